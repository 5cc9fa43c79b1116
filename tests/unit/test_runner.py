"""The two loops: where they start, what they refuse, which fate each error has."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from l07.backends.sqlite import SqliteBus
from l07.errors import BusUnavailable, SourceChanged
from l07.events.record import Message, TopicPartition
from l07.pipeline.ingest import IngestRules, ingest_rules, record_digest
from l07.ports import Applied, IngestBatch, Position
from l07.runner import at_end, ingest_step, resume_from, with_back_off
from l07.settings import load_settings

TRACES = TopicPartition("execution.traces", 0)


@dataclass
class BufferFake:
    """Stored positions, and what was applied; refuses a part that starts beyond its stored offset."""

    stored: dict[TopicPartition, Position] = field(default_factory=dict)
    batches: list[IngestBatch] = field(default_factory=list)

    async def positions(self) -> Mapping[TopicPartition, Position]:
        return self.stored

    async def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.stored = {tp: Position(offset, b"", 0) for tp, offset in offsets.items()} | self.stored

    async def apply(self, batch: IngestBatch) -> Applied:
        have = {part.tp: self.stored[part.tp].next if part.tp in self.stored else 0 for part in batch.parts}
        beyond = {part.tp: have[part.tp] for part in batch.parts if part.start > have[part.tp]}
        if beyond:
            return Applied(refused=beyond)
        self.batches.append(batch)
        self.stored.update({part.tp: Position(part.next, part.last_digest, part.last_time_ms) for part in batch.parts})
        return Applied(counts={"dead_letter": len(batch.items)})


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[SqliteBus]:
    async with SqliteBus.open(tmp_path / "bus.db", partitions=1) as bus:
        yield bus


def rules() -> IngestRules:
    return ingest_rules(load_settings({}).settings, cluster="test")


async def sent(bus: SqliteBus, *values: bytes, topic: str = TRACES.topic) -> None:
    await bus.publish([Message(topic, b"k", value, (), 1_767_600_000_000 + n) for n, value in enumerate(values)])


async def read_all(bus: SqliteBus, buffer: Any, *, merged: bool = True) -> int:
    total = 0
    async with bus.subscribe([TRACES.topic], group="g", start=resume_from(bus, buffer)) as sub:
        while (found := (await ingest_step(sub, buffer, rules=rules(), limit=2, merged=merged, timeout_s=0.05))[0]) > 0:
            total += found
    return total


@pytest.mark.parametrize("merged", [True, False])
async def test_every_record_is_applied_once_over_two_runs(bus: SqliteBus, merged: bool) -> None:
    buffer = BufferFake()
    await sent(bus, b"1", b"2", b"3")
    assert await read_all(bus, buffer, merged=merged) == 3
    await sent(bus, b"4")
    assert await read_all(bus, buffer, merged=merged) == 1
    assert [item.offset for batch in buffer.batches for item in batch.items] == [0, 1, 2, 3]


async def test_a_buffer_that_lost_everything_starts_at_the_beginning_of_the_log(bus: SqliteBus) -> None:
    buffer = BufferFake()
    await sent(bus, b"1", b"2")
    await read_all(bus, buffer)
    buffer.stored.clear()
    assert await read_all(bus, buffer) == 2


async def test_a_buffer_that_rolls_back_under_us_makes_us_seek_back(bus: SqliteBus) -> None:
    buffer = BufferFake()
    await sent(bus, b"1", b"2", b"3")
    async with bus.subscribe([TRACES.topic], group="g", start=resume_from(bus, buffer)) as sub:
        await ingest_step(sub, buffer, rules=rules(), limit=2, merged=True)
        buffer.stored.clear()
        count, applied = await ingest_step(sub, buffer, rules=rules(), limit=2, merged=True)
        assert (count, dict(applied.refused)) == (0, {TRACES: 0})
        assert (await ingest_step(sub, buffer, rules=rules(), limit=9, merged=True))[0] == 3


async def test_a_topic_that_was_made_again_stops_us(bus: SqliteBus) -> None:
    await sent(bus, b"another")
    stored = {TRACES: Position(1, record_digest_of(b"the one that was applied"), 0)}
    with pytest.raises(SourceChanged, match="another record"):
        await read_all(bus, BufferFake(stored))


async def test_a_topic_that_was_cut_stops_us(bus: SqliteBus) -> None:
    await sent(bus, b"1")
    with pytest.raises(SourceChanged, match="ends at 1"):
        await read_all(bus, BufferFake({TRACES: Position(7, b"", 0)}))


def record_digest_of(value: bytes) -> bytes:
    from l07.events.record import Record

    return record_digest(Record("t", 0, 0, 0, None, value))


async def test_the_first_member_tells_the_buffer_of_every_input_so_that_nothing_expires_before_it_was_read(
    tmp_path: Path,
) -> None:
    """What waits must wait for the partitions too whose owners come later: an unknown one would hold nothing back."""
    buffer = BufferFake()
    async with SqliteBus.open(tmp_path / "bus.db", partitions=2) as bus:
        await bus.publish([Message(topic, b"k", b"1", (), 1_767_600_000_000) for topic in ("here", "there")])
        start = resume_from(bus, buffer, inputs=["here", "there", "missing"])
        assert await start([TopicPartition("here", 1)]) == {TopicPartition("here", 1): 0}
    assert sorted(buffer.stored) == [TopicPartition(topic, n) for topic in ("here", "there") for n in (0, 1)]


async def test_at_end_names_the_partitions_that_are_read(bus: SqliteBus) -> None:
    await sent(bus, b"1")
    async with bus.subscribe([TRACES.topic], group="g") as sub:
        assert list(await at_end(sub)) == []
        await sub.poll(limit=5, timeout_s=1)
        assert list(await at_end(sub)) == [TRACES]


async def test_back_off_doubles_and_ends_with_stop() -> None:
    stop = asyncio.Event()
    calls: list[int] = []

    async def never() -> None:
        calls.append(1)
        if len(calls) == 3:
            stop.set()
        raise BusUnavailable("down")

    assert await with_back_off(never, stop=stop, first_s=0.001) is None
    assert len(calls) == 3


async def test_a_cancellation_that_a_library_let_out_ends_no_loop() -> None:
    calls = []

    async def cancelled_inside() -> str:
        calls.append(0)
        if len(calls) == 1:
            raise asyncio.CancelledError
        return "done"

    assert await with_back_off(cancelled_inside, stop=asyncio.Event(), first_s=0.001) == "done"


async def test_a_cancellation_of_the_task_itself_ends_it() -> None:
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(with_back_off(wait, stop=asyncio.Event(), first_s=0.001))
    await begun.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    assert task.cancelled()


async def test_a_partition_that_comes_while_the_ends_are_asked_for_is_not_at_its_end() -> None:
    """It would be at the end of a log that nobody has looked at, and what waits for it would expire (simulation, 3497)."""

    class Sub:
        async def end_offsets(self) -> Mapping[TopicPartition, int]:
            return {}

        def position(self) -> Mapping[TopicPartition, int]:
            return {TRACES: 0}

    assert await at_end(Sub()) == {}  # type: ignore[arg-type]
