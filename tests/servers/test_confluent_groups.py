"""The second Kafka client as a member of a group: rebalances, a blocked loop, members that die, freeze or are cancelled."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from l07.backends.kafka import confluent_subscription
from l07.backends.kafka.confluent_subscription import ConfluentSubscription
from l07.errors import BusUnavailable, NoMergedOrder
from l07.events.record import TopicPartition
from tests.servers.confluent_kit import a_bus, from_the, produce, records_of, until
from tests.servers.kafka_server import Broker
from tests.servers.kafka_topics import make_topics

PARTITIONS = 6
PROTOCOLS = ("classic", "consumer")


@asynccontextmanager
async def a_member(address: str, topic: str, **kafka: object) -> AsyncIterator[ConfluentSubscription]:
    async with a_bus(address, **kafka) as bus, bus.subscribe([topic], group=topic, start=from_the(0)) as sub:
        yield sub


async def settled(done: Callable[[], bool], *subs: ConfluentSubscription, within_s: float = 60.0) -> None:
    """All poll until it is so."""
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, [sub.position() for sub in subs]
        await asyncio.gather(*(sub.poll(limit=100, timeout_s=0.1) for sub in subs))


async def filled(address: str, topic: str, each: int = 10) -> None:
    await make_topics(address, {topic: PARTITIONS})
    for partition in range(PARTITIONS):
        produce(address, topic, *[b"%d" % n for n in range(each)], partition=partition)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_members_share_the_partitions_and_take_over_from_one_that_left(
    kafka: Broker, unique: str, protocol: str
) -> None:
    topic = f"share.{protocol}.{unique}"
    await filled(kafka.address, topic)
    async with a_member(kafka.address, topic, protocol=protocol) as first:
        await settled(lambda: len(first.position()) == PARTITIONS, first)
        async with a_member(kafka.address, topic, protocol=protocol) as second:
            await settled(lambda: len(first.position()) == len(second.position()) == PARTITIONS // 2, first, second)
            assert not first.position().keys() & second.position().keys()
            assert first.rebalances > 0
        await settled(lambda: len(first.position()) == PARTITIONS, first)


async def test_a_partition_that_is_kept_through_a_rebalance_goes_on_where_it_was(kafka: Broker, unique: str) -> None:
    topic = f"kept.{unique}"
    await filled(kafka.address, topic)
    asked: list[TopicPartition] = []

    async def start(assigned: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        asked.extend(assigned)
        return dict.fromkeys(assigned, 0)

    async with a_bus(kafka.address) as bus, bus.subscribe([topic], group=topic, start=start) as first:
        await settled(lambda: sum(first.position().values()) == 10 * PARTITIONS, first)
        async with a_member(kafka.address, topic) as second:
            await settled(lambda: len(second.position()) == PARTITIONS // 2, first, second)
            assert set(first.position().values()) == {10}
        assert len(asked) == PARTITIONS  # cooperative: what stays is not asked for again


async def test_a_rebalance_waits_for_the_slice_in_hand(
    kafka: Broker, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confluent_subscription, "REVOKE_S", 60.0)
    topic = f"hand.{unique}"
    await filled(kafka.address, topic, each=1)
    async with a_member(kafka.address, topic) as first:
        await settled(lambda: sum(first.position().values()) == PARTITIONS, first)
        await asyncio.to_thread(produce, kafka.address, topic, b"in hand")
        [slice_] = await until(first, bool)
        async with a_member(kafka.address, topic) as second:
            assert await until(second, bool, within_s=6) == []
            assert second.position() == {}
            await first.commit({slice_.tp: slice_.next})
            await settled(lambda: bool(second.position()), second, within_s=10)


async def test_a_rebalance_waits_for_a_bounded_time_only(
    kafka: Broker, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confluent_subscription, "REVOKE_S", 1.0)
    topic = f"bounded.{unique}"
    await filled(kafka.address, topic, each=1)
    async with a_member(kafka.address, topic) as first:
        await settled(lambda: sum(first.position().values()) == PARTITIONS, first)
        await asyncio.to_thread(produce, kafka.address, topic, b"in hand")
        [slice_] = await until(first, bool)
        async with a_member(kafka.address, topic) as second:
            await settled(lambda: len(second.position()) == PARTITIONS // 2, second, within_s=15)
            await first.commit({slice_.tp: slice_.next})  # too late, and no error
            await settled(lambda: len(first.position()) == PARTITIONS // 2, first)


async def test_a_blocked_event_loop_costs_no_membership(kafka: Broker, unique: str) -> None:
    topic = f"blocked.{unique}"
    await filled(kafka.address, topic)
    async with a_member(kafka.address, topic) as first, a_member(kafka.address, topic) as second:
        await settled(lambda: len(first.position()) == len(second.position()) == PARTITIONS // 2, first, second)
        before = [(set(member.position()), member.rebalances) for member in (first, second)]
        time.sleep(12)  # noqa: ASYNC251 - twice the session timeout: this is the point
        everything = 10 * PARTITIONS
        await settled(
            lambda: sum([*first.position().values(), *second.position().values()]) == everything, first, second
        )
        assert [(set(member.position()), member.rebalances) for member in (first, second)] == before
        await asyncio.to_thread(produce, kafka.address, topic, b"after", partition=min(first.position()).partition)
        assert [record.value for record in records_of(await until(first, bool))] == [b"after"]


CHILD = """
import asyncio, json, sys
from tests.servers.confluent_kit import a_bus, from_the

async def main(address, topic):
    async with a_bus(address) as bus, bus.subscribe([topic], group=topic, start=from_the(0)) as sub:
        while True:
            await sub.poll(limit=100, timeout_s=0.2)
            print(json.dumps([len(sub.position()), sub.rebalances]), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class Child:
    """A member in another process; `said`: [how many partitions it has, rebalances]."""

    def __init__(self, address: str, topic: str) -> None:
        command = [sys.executable, "-c", CHILD, address, topic]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.said = [0, 0]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said = json.loads(line)

    def hurt(self, number: int) -> None:
        os.kill(self.process.pid, number)


@contextlib.contextmanager
def a_child(address: str, topic: str) -> Iterator[Child]:
    child = Child(address, topic)
    try:
        yield child
    finally:
        child.hurt(signal.SIGCONT)
        child.process.kill()
        child.process.wait()
        assert child.process.stdout is not None
        child.process.stdout.close()


async def test_a_member_that_dies_is_replaced_within_the_session_timeout(kafka: Broker, unique: str) -> None:
    topic = f"dies.{unique}"
    await filled(kafka.address, topic)
    async with a_member(kafka.address, topic) as first:
        with a_child(kafka.address, topic) as child:
            await settled(lambda: child.said[0] == PARTITIONS // 2 == len(first.position()), first)
            child.hurt(signal.SIGKILL)
            began = time.monotonic()
            await settled(lambda: len(first.position()) == PARTITIONS, first)
            assert time.monotonic() - began < 6 + 5


async def test_a_member_that_was_frozen_finds_its_partitions_gone_and_comes_back(kafka: Broker, unique: str) -> None:
    topic = f"frozen.{unique}"
    await filled(kafka.address, topic)
    async with a_member(kafka.address, topic) as first:
        with a_child(kafka.address, topic) as child:
            await settled(lambda: child.said[0] == PARTITIONS // 2 == len(first.position()), first)
            before = child.said[1]
            child.hurt(signal.SIGSTOP)
            await settled(lambda: len(first.position()) == PARTITIONS, first)
            child.hurt(signal.SIGCONT)
            await settled(lambda: len(first.position()) == PARTITIONS // 2 == child.said[0], first)
            assert child.said[1] > before
            assert child.process.poll() is None


async def test_two_processes_with_one_instance_id_are_told(kafka: Broker, unique: str) -> None:
    topic = f"static.{unique}"
    await filled(kafka.address, topic)
    async with a_member(kafka.address, topic, instance_id="one") as first:
        await settled(lambda: len(first.position()) == PARTITIONS, first)
        async with a_member(kafka.address, topic, instance_id="one") as second:
            with pytest.raises(BusUnavailable, match=r"(?i)instance|fenced"):
                await settled(lambda: False, first, second, within_s=30)


async def test_a_static_member_that_comes_back_in_time_moves_nothing(kafka: Broker, unique: str) -> None:
    topic = f"back.{unique}"
    await filled(kafka.address, topic)
    async with a_member(kafka.address, topic, instance_id="a", session_timeout_s=30) as first:
        async with a_member(kafka.address, topic, instance_id="b", session_timeout_s=30) as second:
            await settled(lambda: len(first.position()) == len(second.position()) == PARTITIONS // 2, first, second)
            mine, theirs, rebalances = set(first.position()), set(second.position()), first.rebalances
        async with a_member(kafka.address, topic, instance_id="b", session_timeout_s=30) as again:
            await settled(lambda: set(again.position()) == theirs, first, again)
            assert (set(first.position()), first.rebalances) == (mine, rebalances)


async def test_leaving_ends_the_thread_and_hands_over_at_once(kafka: Broker, unique: str) -> None:
    topic = f"leaves.{unique}"
    await filled(kafka.address, topic)
    async with a_member(kafka.address, topic, session_timeout_s=60) as first:
        async with a_member(kafka.address, topic, session_timeout_s=60) as second:
            await settled(lambda: len(first.position()) == len(second.position()) == PARTITIONS // 2, first, second)
        began = time.monotonic()
        await settled(lambda: len(first.position()) == PARTITIONS, first)
        assert time.monotonic() - began < 10
    assert [thread.name for thread in threading.enumerate() if thread.name == "l07-kafka"] == []


async def test_polls_that_are_cancelled_lose_and_repeat_nothing(kafka: Broker, unique: str) -> None:
    topic = f"cancelled.{unique}"
    await make_topics(kafka.address, {topic: 1})
    values = [b"%d" % n for n in range(3000)]
    await asyncio.to_thread(produce, kafka.address, topic, *values)
    found: list[bytes | None] = []
    async with a_member(kafka.address, topic) as sub:
        for turn in range(3000):
            task = asyncio.create_task(sub.poll(limit=1 + turn % 90, timeout_s=0.5))
            await asyncio.sleep(turn % 7 * 0.0005)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                found += [record.value for record in records_of(await task)]
            if len(found) == len(values):
                break
        while len(found) < len(values) and (slices := await sub.poll(limit=500, timeout_s=5)):
            found += [record.value for record in records_of(slices)]
    assert found == values


async def test_what_a_cancelled_poll_had_fetched_does_not_come_after_a_seek(kafka: Broker, unique: str) -> None:
    topic = f"late.{unique}"
    tp = TopicPartition(topic, 0)
    await make_topics(kafka.address, {topic: 1})
    await asyncio.to_thread(produce, kafka.address, topic, *[b"%d" % n for n in range(500)])
    async with a_member(kafka.address, topic) as sub:
        await settled(lambda: tp in sub.position(), sub)
        for sought in (0, 300, 20):
            task = asyncio.create_task(sub.poll(limit=50, timeout_s=10))
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await sub.seek(tp, sought)
            slices = await until(sub, bool)
            assert (slices[0].start, slices[0].records[0].offset) == (sought, sought)
            assert sub.position() == {tp: slices[-1].next}


async def test_held_partitions_bring_nothing_until_they_are_let_go(kafka: Broker, unique: str) -> None:
    topic = f"held.{unique}"
    await filled(kafka.address, topic)
    async with a_member(kafka.address, topic) as sub:
        held = {TopicPartition(topic, 0), TopicPartition(topic, 1)}
        sub.hold(held)
        found = records_of(await until(sub, lambda slices: len(records_of(slices)) == 40))
        assert await until(sub, bool, within_s=1) == []
        assert {record.partition for record in found} == {2, 3, 4, 5}
        assert sub._ready == []  # not fetched, and not only kept back
        sub.hold(())
        rest = records_of(await until(sub, lambda slices: len(records_of(slices)) == 20))
        assert {record.partition for record in rest} == {0, 1}


async def test_every_slice_is_contiguous_whatever_is_sought_and_held(kafka: Broker, unique: str) -> None:
    """confluent-kafka-python #1013, #1270, #1443: what was fetched before a seek or a revocation must not come after it."""
    topic = f"sought.{unique}"
    end = 5000
    await make_topics(kafka.address, {topic: 3})
    for partition in range(3):
        await asyncio.to_thread(produce, kafka.address, topic, *[b"x" * 100] * end, partition=partition)
    chance = random.Random(7)
    async with a_member(kafka.address, topic) as sub:
        await settled(lambda: len(sub.position()) == 3, sub)
        at = dict(sub.position())
        held: set[TopicPartition] = set()
        for _ in range(150):
            for slice_ in await sub.poll(limit=chance.choice([1, 50, 500]), timeout_s=chance.choice([0, 0.01, 0.1])):
                assert slice_.tp not in held
                assert slice_.start == at[slice_.tp]
                assert [record.offset for record in slice_.records] == list(range(slice_.start, slice_.next))
                at[slice_.tp] = slice_.next
            tp = TopicPartition(topic, chance.randrange(3))
            if chance.random() < 0.3:
                at[tp] = chance.choice([0, end, end - 5, chance.randrange(end), at[tp]])
                await sub.seek(tp, at[tp])
            elif chance.random() < 0.2:
                held = set(chance.sample(sorted(at), chance.randrange(3)))
                sub.hold(held)
        assert sub.position() == at


async def test_there_is_no_order_over_partitions(kafka: Broker, unique: str) -> None:
    async with a_member(kafka.address, f"merged.{unique}") as sub:
        with pytest.raises(NoMergedOrder):
            await sub.poll_merged(limit=1)
