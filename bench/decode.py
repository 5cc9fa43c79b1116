"""Decode and validate real 2 KB events, against a bare typed msgspec decode of the same events in the same minute.

    python bench/decode.py [EVENTS.jsonl]

Without a file it takes the events of ../shared/tools/traces_to_events.py. The two ways take turns, a slice at a time; the
figure is the fastest slice of each, so that a busy neighbour does not decide. Limit: ratio 3.0. Goal: 8 us.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from l07.events import inbound
from l07.events.dialects import RunData
from l07.events.record import Record
from l07.settings import Types

TOOL = Path(__file__).resolve().parents[2] / "shared" / "tools" / "traces_to_events.py"
HEADERS = ((b"content-type", b"application/cloudevents+json"),)
LIMIT, GOAL_US, ROUNDS = 3.0, 8.0, 300


class Bare(msgspec.Struct):
    """The same event with every field typed, and nothing checked beside the types."""

    specversion: str
    id: str
    source: str
    type: str
    data: RunData
    subject: str | None = None
    datacontenttype: str | None = None
    partitionkey: str | None = None
    time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


def lines() -> Sequence[bytes]:
    if len(sys.argv) > 1:
        return Path(sys.argv[1]).read_bytes().splitlines()
    return subprocess.run([sys.executable, str(TOOL)], capture_output=True, check=True).stdout.splitlines()


def fastest(ways: Sequence[Callable[[], None]], events: int) -> list[float]:
    """Microseconds an event of each way, in its fastest round."""
    best = [float("inf")] * len(ways)
    for _ in range(ROUNDS):
        for number, way in enumerate(ways):
            began = time.perf_counter()
            way()
            best[number] = min(best[number], time.perf_counter() - began)
    return [seconds / events * 1e6 for seconds in best]


def measure(name: str, values: Sequence[bytes]) -> float:
    types = Types()
    names = inbound.TypeNames(trace=types.trace, plan=types.plan, score=types.score)
    limits = inbound.Limits()
    records = [Record("execution.traces", 0, n, 4_000_000_000_000, None, v, HEADERS) for n, v in enumerate(values)]
    bare = msgspec.json.Decoder(Bare).decode

    def typed() -> None:
        for value in values:
            bare(value)

    def ours() -> None:
        for record in records:
            inbound.decode(record, limits=limits, names=names)

    base, own = fastest([typed, ours], len(values))
    size = sum(map(len, values)) / len(values)
    print(
        f"{name:28s} {len(values):5d} events of {size:7.0f} bytes: bare {base:6.2f} us, decode {own:6.2f} us, ratio {own / base:.2f}"
    )
    return own / base


def main() -> int:
    traces: Any = [line for line in lines() if b'"type":"execution.completed"' in line]
    ratio = measure("2 KB", [value for value in traces if 1900 <= len(value) <= 2200][:400])
    extended = [value.replace(b'"outcome":', b'"latency_ms":12,"outcome":', 1) for value in traces]
    measure("2 KB, an unknown field", [value for value in extended if 1900 <= len(value) <= 2200][:400])
    measure("0.5 to 1 KB", [value for value in traces if 500 <= len(value) <= 1000][:400])
    measure("above 15 KB", [value for value in traces if len(value) > 15_000][:100])
    print(f"limit for 2 KB: ratio {LIMIT}, goal {GOAL_US} us: {'kept' if ratio <= LIMIT else 'NOT kept'}")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
