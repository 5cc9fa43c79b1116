"""The scrub on one core: bytes of real runs a second against the limits; with `--plants N`, what of N planted values of
each kind it finds; with `--rows`, what it changes in the real runs, by source.

    python -m bench.scrub [EVENTS.jsonl] [--plants N] [--rows] [--half tune|held_out]

Without a file it asks ../shared/tools/traces_to_events.py for the real runs; where that is not, it measures on planted rows.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.real import real_events
from l07.domain.example import NoExample, TrainingExample, extract
from l07.domain.plants.secrets import KINDS, Half, Plant, left, plant
from l07.domain.scrub import Personal, Policy, scrub, scrub_all
from l07.domain.statistics import wilson
from l07.pipeline.curate.intake import AT_ONCE

MUST, GOAL = 10.0, 21.0  # MB/s of JSON on a core
ROUNDS = 5
MODES: tuple[Personal, ...] = ("keep_arguments", "scrub", "off")


def runs_of(path: Path) -> list[TrainingExample]:
    """Each run once, in the order of the file."""
    found: dict[str, TrainingExample] = {}
    for line in path.read_bytes().splitlines():
        event = json.loads(line)
        if event["type"] == "execution.completed":
            key = f"execution:{event['data']['execution_id']}"
            place = ("execution.traces", 0, 0)
            run = extract(key, line, None, score=90.0, confidence=0.9, trace_at=place, evaluation_at=None)
            if not isinstance(run, NoExample):
                found.setdefault(key, run)
    return list(found.values())


def row_of(planted: Plant) -> list[dict[str, Any]]:
    """The plant as a run of one message."""
    if isinstance(planted.content, str):
        return [{"role": planted.place, "content": planted.content}]
    return [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": planted.content}}]}]


def speed(rows: Sequence[tuple[Any, ...]]) -> dict[str, float]:
    """MB/s by mode, the median of the rounds after one that builds the automata."""
    size = sum(len(json.dumps(row, ensure_ascii=False).encode()) for row in rows)
    rates = {}
    for mode in MODES:
        policy = Policy(personal=mode)
        seconds = []
        for _ in range(ROUNDS + 1):
            began = time.process_time()
            for at in range(0, len(rows), AT_ONCE):
                scrub_all([(row, row[:1]) for row in rows[at : at + AT_ONCE]], policy=policy)
            seconds.append(time.process_time() - began)
        rates[mode] = size / 1e6 / statistics.median(seconds[1:])
        print(
            f"{mode:15} {rates[mode]:6.1f} MB/s  {len(rows) / statistics.median(seconds[1:]):8.0f} rows/s  first round {seconds[0]:.2f} s"
        )
    return rates


def tell_plants(count: int, half: Half) -> None:
    """A kind a line: found / planted and the 95 % interval, personal data scrubbed everywhere."""
    policy = Policy(personal="scrub")
    hit = Counter[str]()
    for kind in KINDS:
        plants = [plant(kind, random.Random(f"{kind}/{seed}"), half=half) for seed in range(count)]
        hit[kind] = sum(not left(one, scrub(row_of(one), policy=policy).values) for one in plants)
    for kind, found in [*hit.items(), ("all", hit.total())]:
        among = count * (len(KINDS) if kind == "all" else 1)
        low, high = wilson(found, among)
        print(f"{kind:22} {found:6}/{among:<6} {found / among:7.2%} [{low:.2%}, {high:.2%}]")


def tell_rows(runs: Sequence[TrainingExample]) -> None:
    """By source: rows in which something is replaced or kept, and the kinds."""
    for mode in MODES[:2]:
        policy = Policy(personal=mode)
        total = Counter[str]()
        replaced: dict[str, Counter[str]] = defaultdict(Counter)
        kept: dict[str, Counter[str]] = defaultdict(Counter)
        for run in runs:
            clean = scrub(run.goal, run.messages, run.tools, policy=policy, task=(run.goal,))
            total[run.domain] += 1
            replaced[run.domain].update(dict.fromkeys(clean.kinds, 1) | ({"rows": 1} if clean.kinds else {}))
            kept[run.domain].update(dict.fromkeys(clean.kept, 1) | ({"rows": 1} if clean.kept else {}))
        for domain, rows in sorted(total.items()):
            print(
                f"{mode:15} {domain:8} {rows:5} rows, replaced in {dict(replaced[domain])}, kept in {dict(kept[domain])}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path, nargs="?")
    parser.add_argument("--plants", type=int, default=0)
    parser.add_argument("--half", choices=("tune", "held_out"), default="held_out")
    parser.add_argument("--rows", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="l07-bench-") as name:
        events = args.events or real_events(Path(name) / "events.jsonl")
        runs = runs_of(events) if events else []
    rows: list[tuple[Any, ...]] = [(run.goal, run.messages, run.tools) for run in runs]
    if not rows:
        print("no real runs here: planted rows instead")
        rows = [("", row_of(plant(kind, random.Random(seed)))) for kind in KINDS for seed in range(50)]
    rates = speed(rows)
    if args.plants:
        tell_plants(args.plants, args.half)
    if args.rows:
        tell_rows(runs)
    worst = rates["keep_arguments"]
    print(
        f"default mode: {worst:.1f} MB/s = {worst / MUST:.2f} of the must {MUST:.0f}, {worst / GOAL:.2f} of the goal {GOAL:.0f}"
    )
    sys.exit(worst < MUST)


if __name__ == "__main__":
    main()
