"""`l07 status`: where everything stands, with and without a running `l07 run`."""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.reading import has_bus
from l07.cli.things import all_views
from l07.errors import FolderInUse, NoLiveBuffer, Transient
from l07.ports import BufferStatus, ExampleBuffer
from l07.settings import Settings

T = TypeVar("T")

COUNTERS = ("consumed", "applied", "duplicate", "dead_letter", "rejected", "waiting", "expired")
NOTHING = BufferStatus({}, {}, {}, (), 0, None)
READ_WITHIN_S = 10.0
SHORT: Mapping[str, tuple[str, ...]] = {
    "datasets": ("id", "state", "splits", "digest", "at"),
    "jobs": ("id", "dataset", "state", "code", "reason", "at"),
    "models": ("id", "stage", "verdict", "tainted", "at"),
}


class Reading(NamedTuple):
    """What the buffer said, and whether an `l07 run` holds it."""

    running: bool
    counted: BufferStatus
    positions: Mapping[str, int]  # by partition, the next offset


def status(args: argparse.Namespace, console: Console) -> int:
    """Reads only. Raises what the backends raise."""
    found = asyncio.run(read_status(loaded(args).settings))
    if console.as_json:
        console.data(found)
    else:
        _print(found, console)
    return 0


async def read_status(settings: Settings) -> dict[str, Any]:
    """The whole answer, as it is printed with --json."""
    running, counted, positions = await patiently(settings, _reading) or Reading(False, NOTHING, {})
    lag = await _lag(settings, positions)
    views = await all_views(settings)
    return {
        "running": running,
        "events": {name: sum(counts.get(name, 0) for counts in counted.partitions.values()) for name in COUNTERS},
        "lag": sum(lag.values()),
        "partitions": {
            name: {**counted.partitions.get(name, {}), "lag": lag.get(name)}
            for name in sorted({*counted.partitions, *lag})
        },
        "reasons": dict(counted.reasons),
        "oldest_waiting_ms": counted.oldest_waiting_ms,
        "outbox": counted.outbox,
        "tracks": _tracks(settings, counted),
        **{what: [_short(view, what) for view in views[what].values()] for what in SHORT},
    }


async def patiently(settings: Settings, read: Callable[[ExampleBuffer, bool], Awaitable[T]]) -> T | None:
    """What `read` says of the buffer and of whether an `l07 run` holds it; None: there is no buffer. A run that is
    starting, and another reader, are over in a moment. Raises what stands after READ_WITHIN_S."""
    deadline = time.monotonic() + READ_WITHIN_S
    while True:
        try:
            return await _read_buffer(settings, read)
        except (Transient, FolderInUse, NoLiveBuffer):
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


async def _read_buffer(settings: Settings, read: Callable[[ExampleBuffer, bool], Awaitable[T]]) -> T | None:
    from l07.backends.open import READING, buffer_alone, has_buffer, open_buffer

    if not has_buffer(settings):
        return None
    try:
        async with buffer_alone(settings) as buffer:
            return await read(buffer, False)
    except FolderInUse as err:
        if err.context.get("purpose") == READING:
            raise
    async with open_buffer(settings, attach=True) as buffer:
        return await read(buffer, True)


async def _reading(buffer: ExampleBuffer, running: bool) -> Reading:
    positions = await buffer.positions()
    return Reading(running, await buffer.status(), {str(tp): at.next for tp, at in positions.items()})


async def _lag(settings: Settings, positions: Mapping[str, int]) -> dict[str, int]:
    """Records that were not read yet, by input partition."""
    from l07.backends.open import open_bus

    if not has_bus(settings):
        return {}
    topics = settings.topics
    async with open_bus(settings, check=False) as bus:
        ends = await bus.end_offsets(topics.read)
    return {str(tp): max(0, end - positions.get(str(tp), 0)) for tp, end in ends.items()}


def _tracks(settings: Settings, counted: BufferStatus) -> dict[str, Any]:
    """Per track what is ready and not sealed, and the count that seals."""
    found: dict[str, Any] = {}
    for name in {**dict.fromkeys(settings.tracks), **dict.fromkeys(counted.ready)}:
        ready = counted.ready.get(name, {})
        rule = settings.tracks[name].seal if name in settings.tracks else None
        found[name] = {
            "ready": {"ACCEPT": ready.get("ACCEPT", 0), "REJECT": ready.get("REJECT", 0)},
            "seal_at": rule.count if rule else None,
            "open_batches": [batch for batch in counted.batches if batch.rpartition("-")[0] == name],
        }
    return found


def _short(view: Mapping[str, Any], what: str) -> dict[str, Any]:
    return {name: view[name] for name in SHORT[what] if view.get(name) is not None}


def _print(found: Mapping[str, Any], console: Console) -> None:
    events = found["events"]
    parts = " + ".join(f"{name} {events[name]}" for name in COUNTERS[1:])
    console.line(f"l07 run is {'running' if found['running'] else 'not running'} on this folder")
    console.line(f"{parts} = consumed {events['consumed']}, lag {found['lag']}")
    partitions = [[name, *(row.get(c) for c in COUNTERS), row["lag"]] for name, row in found["partitions"].items()]
    console.table(["partition", *COUNTERS, "lag"], partitions, title="\npartitions")
    console.table(["reason", "events"], Counter(found["reasons"]).most_common(), title="\nreasons")
    tracks = [
        [name, track["ready"]["ACCEPT"], track["ready"]["REJECT"], track["seal_at"], len(track["open_batches"])]
        for name, track in found["tracks"].items()
    ]
    console.table(["track", "ready", "ready, rejected", "seals at", "open batches"], tracks, title="\ntracks")
    for what, columns in SHORT.items():
        there = [column for column in columns if any(column in view for view in found[what])]
        rows = [[view.get(column) for column in there] for view in found[what]]
        console.table(there, rows, title=f"\n{what}")
