"""Records once more: from one bus to another, or into a buffer that lost them. What was applied stays applied once.

Into a buffer, records go through the ingest's own step: what lies below a partition's stored offset is skipped by the fence,
a run that is known is a duplicate by its natural key. So a replay of what was applied changes nothing, and says so.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from l07.errors import ReplayBeyond
from l07.events.record import Message, Record, TopicPartition
from l07.pipeline.ingest import IngestRules, ingest
from l07.ports import Bus, ExampleBuffer, Slice

PAGE_RECORDS = 250
SEND_BYTES = 4_000_000  # of one publish

Tell = Callable[["Counted"], None]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of one partition: fetch positions, the end fixed when the replay begins."""

    tp: TopicPartition
    start: int
    end: int


@dataclass(slots=True)
class Counted:
    """What has happened so far. `below`: under the offset that the buffer had stored, so it was applied before."""

    read: Counter[str] = field(default_factory=Counter)  # by partition
    types: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    left_out: int = 0
    below: int = 0
    fates: Counter[str] = field(default_factory=Counter)  # into a buffer: applied, duplicate, rejected, ...

    @property
    def total(self) -> int:
        return self.read.total()

    def as_data(self) -> dict[str, Any]:
        return {
            "read": self.total,
            "partitions": dict(sorted(self.read.items())),
            "types": dict(sorted(self.types.items())),
            "sent": self.sent,
            "left_out": self.left_out,
            "applied_before": self.below,
            "fates": {name: n for name, n in sorted(self.fates.items()) if n},
        }


class _Type(msgspec.Struct):
    type: str = ""


_type = msgspec.json.Decoder(_Type)


def type_of(record: Record) -> str:
    """The event's type in either content mode; "" where nothing can be read."""
    for name, text in record.headers:
        if name.lower() == b"ce_type" and text is not None:
            return text.decode("utf-8", "backslashreplace")
    try:
        return _type.decode(record.value or b"").type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def is_wanted(record: Record, types: Collection[str]) -> bool:
    """No types: every record. `execution.completed` also means `com.example.execution.completed`."""
    if not types:
        return True
    kind = type_of(record)
    return any(kind == wanted or kind.endswith(f".{wanted}") for wanted in types)


async def spans(
    bus: Bus, topics: Sequence[str], *, offset: int | None = None, time_ms: int | None = None
) -> list[Span]:
    """What to replay of each partition: from `offset`, from the first record at `time_ms` or later, else from the log's beginning."""
    begins, ends = await bus.begin_offsets(topics), await bus.end_offsets(topics)
    at = await bus.offsets_at(topics, time_ms) if time_ms is not None else {}
    out = []
    for tp, end in sorted(ends.items()):
        wanted = at.get(tp, 0) if time_ms is not None else offset or 0
        start = max(begins.get(tp, 0), wanted)
        out.append(Span(tp, min(start, end), end))
    return out


async def slices(bus: Bus, span: Span) -> AsyncIterator[Slice]:
    """The span's records in contiguous slices; the last covers holes up to the end."""
    position = span.start
    while position < span.end:
        page = await bus.read(span.tp, position, limit=PAGE_RECORDS)
        found = [record for record in page if record.offset < span.end]
        following = found[-1].offset + 1 if found and len(found) == len(page) else span.end
        yield Slice(span.tp, position, following, found)
        position = following


async def count(
    bus: Bus, wanted: Sequence[Span], *, types: Collection[str], stored: Mapping[TopicPartition, int]
) -> Counted:
    """A dry run: reads everything, changes nothing."""
    counted = Counted()
    for span in wanted:
        async for slice_ in slices(bus, span):
            _note(counted, slice_, types, stored.get(span.tp, 0))
    return counted


def _note(counted: Counted, slice_: Slice, types: Collection[str], stored: int) -> list[Record]:
    chosen = [record for record in slice_.records if is_wanted(record, types)]
    counted.read[str(slice_.tp)] += len(slice_.records)
    counted.types.update(type_of(record) or "unreadable" for record in chosen)
    counted.left_out += len(slice_.records) - len(chosen)
    counted.below += sum(record.offset < stored for record in slice_.records)
    return chosen


async def to_bus(
    source: Bus, target: Bus, wanted: Sequence[Span], *, types: Collection[str], pace: "Pace", tell: Tell
) -> Counted:
    """Copy key, value, headers and time, byte for byte, in each partition's order; the target's partitioner chooses the partition."""
    counted = Counted()
    for span in wanted:
        async for slice_ in slices(source, span):
            chosen = _note(counted, slice_, types, 0)
            for batch in _batches(chosen):
                await target.publish([_copy(record) for record in batch])
                counted.sent += len(batch)
                tell(counted)
                await pace.after(len(batch))
    return counted


async def from_lines(
    messages: Iterable[Message], target: Bus | None, *, types: Collection[str], pace: "Pace", tell: Tell
) -> Counted:
    """Messages of a file onto a bus; without one they are only counted."""
    counted = Counted()
    batch: list[Message] = []
    for message in messages:
        record = Record(message.topic, 0, 0, message.timestamp_ms or 0, message.key, message.value, message.headers)
        counted.read[message.topic] += 1
        if not is_wanted(record, types):
            counted.left_out += 1
            continue
        counted.types[type_of(record) or "unreadable"] += 1
        batch.append(message)
        if len(batch) >= PAGE_RECORDS:
            await _send(batch, target, counted, pace, tell)
            batch = []
    await _send(batch, target, counted, pace, tell)
    return counted


async def _send(batch: Sequence[Message], target: Bus | None, counted: Counted, pace: "Pace", tell: Tell) -> None:
    if target is None or not batch:
        return
    await target.publish(batch)
    counted.sent += len(batch)
    tell(counted)
    await pace.after(len(batch))


def _batches(records: Sequence[Record]) -> list[list[Record]]:
    out: list[list[Record]] = [[]]
    size = 0
    for record in records:
        if out[-1] and size >= SEND_BYTES:
            out.append([])
            size = 0
        out[-1].append(record)
        size += len(record.value or b"")
    return [batch for batch in out if batch]


def _copy(record: Record) -> Message:
    return Message(record.topic, record.key, record.value or b"", record.headers, record.timestamp_ms)


async def to_buffer(
    bus: Bus, buffer: ExampleBuffer, wanted: Sequence[Span], *, rules: IngestRules, pace: "Pace", tell: Tell
) -> Counted:
    """Apply what the buffer does not have. Partitions take turns, so that halves meet and memory stays small.

    Raises:
        ReplayBeyond: E7907, the replay would begin behind what is stored and leave a gap; nothing of that partition was applied."""
    counted = Counted()
    positions = await buffer.positions()
    stored = {tp: at.next for tp, at in positions.items()}
    await buffer.begin({span.tp: span.start for span in wanted if span.tp not in stored})
    feeds = {span.tp: slices(bus, span) for span in wanted}
    while feeds:
        for tp, feed in list(feeds.items()):
            slice_ = await anext(feed, None)
            if slice_ is None:
                del feeds[tp]
                continue
            _note(counted, slice_, (), stored.get(tp, 0))
            await _apply(buffer, slice_, rules, counted)
            tell(counted)
            await pace.after(len(slice_.records))
    return counted


async def _apply(buffer: ExampleBuffer, slice_: Slice, rules: IngestRules, counted: Counted) -> None:
    applied = await buffer.apply(ingest([slice_], rules=rules))
    if slice_.tp in applied.refused:
        have = applied.refused[slice_.tp]
        raise ReplayBeyond(
            f"{slice_.tp} is applied up to {have}, and the replay begins at {slice_.start}: begin at {have} or earlier, "
            "or accept the gap with --accept-reset",
            tp=str(slice_.tp),
            have=have,
        )
    counted.fates.update(applied.counts)


async def accept_reset(
    bus: Bus, buffer: ExampleBuffer, wanted: Sequence[Span]
) -> dict[TopicPartition, tuple[int | None, int]]:
    """Make the buffer go on at each span's start, in the log that is there now, whatever it had: old and new offset by
    partition."""
    ids = await bus.log_ids(sorted({span.tp.topic for span in wanted}))
    stored = await buffer.positions()
    names = {span.tp: ids[span.tp.topic] for span in wanted if span.tp.topic in ids}
    await buffer.reset({span.tp: span.start for span in wanted}, names)
    return {span.tp: (stored[span.tp].next if span.tp in stored else None, span.start) for span in wanted}


@dataclass(slots=True)
class Pace:
    """At most `rate` records a second, over the whole replay; 0: as fast as it goes."""

    rate: float = 0.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    _began: float | None = None
    _done: int = 0

    async def after(self, records: int) -> None:
        if not self.rate:
            return
        if self._began is None:
            self._began = self.clock()
        self._done += records
        ahead = self._done / self.rate - (self.clock() - self._began)
        if ahead > 0:
            await self.sleep(ahead)
