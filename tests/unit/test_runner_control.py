"""One control event at a time: which fate each error has, and what a stop, an outage or a rebalance leaves behind."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from l07.backends.sqlite import SqliteBus
from l07.errors import BusUnavailable, FileChanged, NoSuchBatch, Poison, StoreFull
from l07.events import cloudevents
from l07.events.outbound import TrainingFailed, TrainingFailedData
from l07.events.record import Message, TopicPartition
from l07.ports import Slice
from l07.runner import control, control_step

EVENTS = TopicPartition("learning.events", 0)
LETTERS = TopicPartition("learning.dlq", 0)


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[SqliteBus]:
    async with SqliteBus.open(tmp_path / "bus.db", partitions=1) as bus:
        yield bus


def a_failure(number: int) -> Message:
    data = TrainingFailedData(job_id="j", track="t", code="E7700", message="killed", attempts=1, again=False)
    event = TrainingFailed(id=f"e-{number}", source="/l07/train", subject="s", time="2026-01-05T09:00:00Z", data=data)
    return cloudevents.encode(event)._replace(topic="learning.events")


async def handled(bus: Any, handler: Any, *, stop: asyncio.Event | None = None) -> int:
    async with bus.subscribe(["learning.events"], group="l07.test") as sub:
        return await step(sub, bus, handler, stop)


async def step(sub: Any, bus: Any, handler: Any, stop: asyncio.Event | None = None) -> int:
    return await control_step(sub, bus, {TrainingFailed: handler}, dlq="learning.dlq", stop=stop or asyncio.Event())


async def committed(bus: SqliteBus) -> int:
    return (await bus.committed("l07.test", ["learning.events"])).get(EVENTS, 0)


async def letters(bus: SqliteBus) -> list[bytes]:
    return [record.value or b"" for record in await bus.read(LETTERS, 0, limit=9)]


async def test_an_event_is_committed_only_after_its_handler(bus: SqliteBus) -> None:
    await bus.publish([a_failure(1), a_failure(2)])
    seen: list[str] = []

    async def fails_at_the_second(event: TrainingFailed) -> None:
        seen.append(event.id)
        if seen == ["e-1", "e-2"]:
            raise StoreFull("as if we were killed here")

    with pytest.raises(StoreFull):
        await handled(bus, fails_at_the_second)
    assert await handled(bus, fails_at_the_second) == 1
    assert seen == ["e-1", "e-2", "e-2"]


@pytest.mark.parametrize("error", [Poison("never"), FileChanged("the seal does not fit")])
async def test_an_event_that_can_never_be_handled_stops_nobody(bus: SqliteBus, error: Exception) -> None:
    await bus.publish([a_failure(1), a_failure(2)])
    seen: list[str] = []

    async def never_the_first(event: TrainingFailed) -> None:
        seen.append(event.id)
        if event.id == "e-1":
            raise error

    assert await handled(bus, never_the_first) == 2
    assert seen == ["e-1", "e-2"]
    (letter,) = await letters(bus)
    assert b'"offset":0' in letter
    assert getattr(error, "code", "").encode() in letter


async def test_an_event_that_cannot_be_read_stops_nobody(bus: SqliteBus) -> None:
    await bus.publish([Message("learning.events", b"k", b"{ no event"), a_failure(2)])
    seen: list[str] = []

    async def see(event: TrainingFailed) -> None:
        seen.append(event.id)

    assert await handled(bus, see) == 2
    assert seen == ["e-2"]
    assert len(await letters(bus)) == 1


async def test_a_batch_that_another_member_took_meanwhile_is_looked_for_once_more(bus: SqliteBus) -> None:
    await bus.publish([a_failure(1), a_failure(2)])
    looks: list[str] = []

    async def gone_at_first(event: TrainingFailed) -> None:
        looks.append(event.id)
        if looks == ["e-1"] or event.id == "e-2":
            raise NoSuchBatch("released")

    assert await handled(bus, gone_at_first) == 2
    assert looks == ["e-1", "e-1", "e-2", "e-2"]
    assert len(await letters(bus)) == 1, "a batch that nobody took is a dead letter"


async def test_an_outage_is_waited_for_and_the_same_event_handled(bus: SqliteBus) -> None:
    await bus.publish([a_failure(1)])
    tries: list[str] = []

    async def down_once(event: TrainingFailed) -> None:
        tries.append(event.id)
        if len(tries) == 1:
            raise BusUnavailable("down")

    assert await handled(bus, down_once) == 1
    assert tries == ["e-1", "e-1"]


async def test_a_stop_during_an_outage_leaves_the_event_for_the_next_run(bus: SqliteBus) -> None:
    await bus.publish([a_failure(1)])
    stop = asyncio.Event()

    async def down(_: TrainingFailed) -> None:
        stop.set()
        raise BusUnavailable("down")

    assert await handled(bus, down, stop=stop) == 0
    assert await committed(bus) == 0


class Member:
    """A subscription around a real one, on which a test can play the broker: it counts polls, moves partitions away, fails
    a commit."""

    def __init__(self, sub: Any) -> None:
        self._sub = sub
        self.rebalances = 0
        self.polls = 0
        self.polled = asyncio.Event()
        self.held: list[set[TopicPartition]] = []
        self.gone: set[TopicPartition] = set()
        self.commit_fails = 0

    async def poll(self, *, limit: int, timeout_s: float) -> Sequence[Slice]:
        self.polls += 1
        self.polled.set()
        return await self._sub.poll(limit=limit, timeout_s=timeout_s)  # type: ignore[no-any-return]

    async def polled_again(self, times: int) -> None:
        end = self.polls + times
        while self.polls < end:
            self.polled.clear()
            await self.polled.wait()

    def hold(self, tps: Collection[TopicPartition]) -> None:
        self.held.append(set(tps))
        self._sub.hold(tps)

    def position(self) -> Mapping[TopicPartition, int]:
        return {tp: at for tp, at in self._sub.position().items() if tp not in self.gone}

    async def seek(self, tp: TopicPartition, offset: int) -> None:
        await self._sub.seek(tp, offset)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        assert not self.gone & set(offsets), "a partition of another member is not ours to commit"
        if self.commit_fails:
            self.commit_fails -= 1
            raise BusUnavailable("no answer to the commit")
        await self._sub.commit(offsets)


@asynccontextmanager
async def a_member(bus: SqliteBus) -> AsyncIterator[Member]:
    async with bus.subscribe(["learning.events"], group="l07.test") as sub:
        yield Member(sub)


async def test_the_poll_goes_on_with_all_held_while_a_handler_works(
    bus: SqliteBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "KEEPALIVE_S", 0.01)
    await bus.publish([a_failure(1), a_failure(2)])
    seen: list[str] = []

    async with a_member(bus) as member:

        async def long(event: TrainingFailed) -> None:
            seen.append(event.id)
            await member.polled_again(3)

        assert await step(member, bus, long) == 2
        assert seen == ["e-1", "e-2"], "the polls that keep us alive take nothing and lose nothing"
        assert {EVENTS} in member.held
        assert member.held[-1] == set()
        await bus.publish([a_failure(3)])
        assert await step(member, bus, long) == 1


async def test_what_was_polled_behind_a_commit_that_failed_is_polled_again(bus: SqliteBus) -> None:
    await bus.publish([a_failure(1), a_failure(2)])
    seen: list[str] = []

    async def see(event: TrainingFailed) -> None:
        seen.append(event.id)

    async with a_member(bus) as member:
        member.commit_fails = 1
        with pytest.raises(BusUnavailable):
            await step(member, bus, see)
        while await step(member, bus, see):
            pass
    assert seen in (["e-1", "e-2"], ["e-1", "e-1", "e-2"]), "without going back e-2 was lost"
    assert await committed(bus) == 2


async def test_a_partition_that_leaves_under_the_handler_is_neither_committed_nor_read_on(bus: SqliteBus) -> None:
    await bus.publish([a_failure(1), a_failure(2)])
    seen: list[str] = []

    async with a_member(bus) as member:

        async def leaves(event: TrainingFailed) -> None:
            seen.append(event.id)
            member.gone, member.rebalances = {EVENTS}, member.rebalances + 1

        assert await step(member, bus, leaves) == 1
    assert seen == ["e-1"]
    assert await committed(bus) == 0


async def test_after_a_rebalance_that_left_it_here_the_rest_is_polled_again(bus: SqliteBus) -> None:
    await bus.publish([a_failure(1), a_failure(2)])
    seen: list[str] = []

    async with a_member(bus) as member:

        async def shaken(event: TrainingFailed) -> None:
            seen.append(event.id)
            member.rebalances += 1

        assert [await step(member, bus, shaken), await step(member, bus, shaken)] == [1, 1]
    assert seen == ["e-1", "e-2"]
    assert await committed(bus) == 2
