"""`l07 send`: lines of a file onto the bus, as a producer would put them there."""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.lines import MAX_LINE_BYTES, check_readable, lines_of, size_of
from l07.cli.routing import Router
from l07.errors import InputBroken, InputMissing, LinesTooLong
from l07.settings import Settings

BATCH_RECORDS = 500
BATCH_BYTES = 8 * 1024 * 1024  # whichever comes first, so that long lines cost no more memory than short ones


@dataclass(slots=True)
class Sent:
    """What has happened so far."""

    topics: Counter[str] = field(default_factory=Counter)
    blank: int = 0
    too_long: list[str] = field(default_factory=list)  # "FILE:LINE"
    last_ms: int = 0

    @property
    def total(self) -> int:
        return self.topics.total()

    def stamp(self) -> int:
        """The time of the next batch: now, and later than the batch before.

        Append time, as a broker stamps it: expiry is counted from it. One time a batch and never the same twice,
        so the merged order of `l07 run --until-idle` follows the file, however fast it was sent."""
        self.last_ms = max(time.time_ns() // 1_000_000, self.last_ms + 1)
        return self.last_ms


def send(args: argparse.Namespace, console: Console) -> int:
    """Exit 1 with E7902 where lines were too long; everything else was sent."""
    for name in args.files:
        check_readable(name)
    settings = loaded(args).settings
    sent = Sent()
    try:
        size = size_of(args.files)
        tell = partial(_tell, console, sent, size)
        asyncio.run(_send(args.files, settings, args.topic, sent, tell=tell))
    finally:
        console.end_progress()
        _report(sent, console)
    if sent.too_long:
        shown = ", ".join(sent.too_long[:5]) + (" ..." if len(sent.too_long) > 5 else "")
        raise LinesTooLong(
            f"{len(sent.too_long)} lines above {MAX_LINE_BYTES} bytes were not sent: {shown}", lines=sent.too_long
        )
    return 0


async def send_file(path: Path, settings: Settings) -> int:
    """Send one file without telling anybody; how many events that were. Raises E7900, E7901."""
    sent = Sent()
    await _send([str(path)], settings, None, sent, tell=lambda done: None)
    return sent.total


async def _send(
    files: Sequence[str], settings: Settings, topic: str | None, sent: Sent, *, tell: Callable[[int], None]
) -> None:
    """`tell` gets the bytes that were read so far, over all files."""
    from l07.backends.open import open_bus

    router = Router(settings, other=topic)
    async with open_bus(settings) as bus:
        for batch, done in _batches(files, sent):
            now = sent.stamp()
            messages = [router.message(line, timestamp_ms=now) for line in batch]
            await bus.publish(messages)
            sent.topics.update(message.topic for message in messages)
            tell(done)


def _batches(files: Sequence[str], sent: Sent) -> Iterator[tuple[list[bytes], int]]:
    """Lines in batches, each with the bytes read for it so far. What stands before a damaged spot goes out first."""
    batch: list[bytes] = []
    held = done = 0
    try:
        for data, done in _wanted_lines(files, sent):
            batch.append(data)
            held += len(data)
            if len(batch) >= BATCH_RECORDS or held >= BATCH_BYTES:
                yield batch, done
                batch, held = [], 0
    except (InputBroken, InputMissing):
        if batch:
            yield batch, done
        raise
    if batch:
        yield batch, done


def _wanted_lines(files: Sequence[str], sent: Sent) -> Iterator[tuple[bytes, int]]:
    """Lines that are sent, with the position over all files; the others are counted."""
    before = position = 0
    for name in files:
        for line in lines_of(name):
            position = before + line.position
            if line.data is None:
                sent.too_long.append(f"{name}:{line.number}")
            elif not line.data.strip():
                sent.blank += 1
            else:
                yield line.data, position
        before = position


def _tell(console: Console, sent: Sent, size: int | None, done: int) -> None:
    share = f" ({100 * done // size} %)" if size else ""
    console.progress(f"sent {sent.total:,} events{share}")


def _report(sent: Sent, console: Console) -> None:
    """Printed after an interruption too: what is on the bus stays there."""
    if console.as_json:
        console.data(
            {"sent": sent.total, "topics": dict(sent.topics), "blank": sent.blank, "too_long": len(sent.too_long)}
        )
        return
    console.line(f"sent {sent.total} events")
    for topic, count in sorted(sent.topics.items()):
        console.line(f"  {topic}  {count}")
    if sent.blank:
        console.line(f"  blank lines skipped  {sent.blank}")
