"""Members of a group: who reads what, what a rebalance waits for, and how a member comes back."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from aiokafka.errors import KafkaError

from l07.backends.kafka import subscription
from l07.backends.kafka.subscription import KafkaSubscription
from l07.errors import BusUnavailable, NoMergedOrder, SourceChanged
from l07.events.record import TopicPartition
from tests.servers.kafka_kit import Begin, Polling, a_bus, gather_records, messages, until_placed
from tests.servers.kafka_server import Broker
from tests.servers.kafka_topics import make_topics


async def test_two_members_share_the_partitions_and_one_takes_over(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 4})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as one:
        first = Polling(one)
        await first.until(partitions=4)
        async with bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as two:
            second = Polling(two)
            await second.until(partitions=2)
            await first.until(partitions=2)
            await bus.publish(messages(unique, 40))
            deadline = time.monotonic() + 20
            while len(first.values + second.values) < 40:
                assert time.monotonic() < deadline
                await asyncio.wait({first.task, second.task}, timeout=0.02)
            assert sorted(map(int, filter(None, first.values + second.values))) == list(range(40))
            assert one.rebalances >= 1
            assert two.rebalances == 0
            await second.end()
        await first.until(partitions=4)
        await first.end()


async def test_nothing_is_fetched_before_start_has_said_where(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 3})
    slow: list[float] = []

    async def start(assigned: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(1.5)  # longer than a fetch would take: nothing may come of it
        slow.append(time.monotonic())
        return dict.fromkeys(assigned, 2)

    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=start) as sub:
        await bus.publish(messages(unique, 30, key=b"k"))
        assert min(r.offset for r in await gather_records(sub, 28)) == 2
        assert len(slow) == 1


async def test_what_start_raises_comes_out_of_poll_and_it_is_asked_again(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 1})
    errors: list[Exception] = [SourceChanged("made again"), BusUnavailable("away")]

    async def start(assigned: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        if errors:
            raise errors.pop(0)
        return dict.fromkeys(assigned, 0)

    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=start) as sub:
        await bus.publish(messages(unique, 3))
        for error in (SourceChanged, BusUnavailable):
            with pytest.raises(error):
                await gather_records(sub, 3)
        assert len(await gather_records(sub, 3)) == 3


async def until_rebalance(sub: KafkaSubscription) -> None:
    deadline = time.monotonic() + 20
    while not (sub._consumer and sub._in_rebalance(sub._consumer)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


async def test_a_rebalance_waits_for_the_slice_in_hand(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 2})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as one:
        await bus.publish(messages(unique, 4))
        slices = await one.poll(limit=100, timeout_s=20)
        async with bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as two:
            other = Polling(two)
            await until_rebalance(one)
            await asyncio.wait({other.task}, timeout=1)  # the group is in the middle of it, and waits for us
            assert one.position() != {}
            assert two.position() == {}
            await one.commit({slice_.tp: slice_.next for slice_ in slices})  # done with it
            mine = Polling(one)
            await other.until(partitions=1)
            await mine.end()
            await other.end()
        assert await bus.committed(f"l07.{unique}", [unique]) != {}


async def test_a_rebalance_does_not_wait_for_ever(kafka: Broker, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "REVOKE_S", 0.5)
    await make_topics(kafka.address, {unique: 2})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as one:
        await bus.publish(messages(unique, 4))
        slices = await one.poll(limit=100, timeout_s=20)
        async with bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as two:
            other = Polling(two)
            await other.until(partitions=1)
            await one.commit({slice_.tp: slice_.next for slice_ in slices})  # too late, and no error
            assert len(one.position()) <= 1
            await other.end()


async def test_a_blocked_handler_costs_no_membership(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 1})
    async with (
        a_bus(kafka.address) as bus,
        bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub,
    ):
        await bus.publish(messages(unique, 2))
        assert len(await gather_records(sub, 1, limit=1)) == 1
        await asyncio.sleep(7)  # more than a session without a poll
        assert len(await gather_records(sub, 1, limit=1)) == 1
        assert sub.rebalances == 0


async def test_a_static_member_that_comes_back_causes_no_rebalance(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 2})
    async with (
        a_bus(kafka.address) as bus,
        a_bus(kafka.address, instance_id="pod-1") as other,
        bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as stays,
    ):
        async with other.subscribe([unique], group=f"l07.{unique}", start=Begin()) as first:
            polling = Polling(first)
            await until_placed(stays, 1)
            await polling.end()
        before = stays.rebalances
        async with other.subscribe([unique], group=f"l07.{unique}", start=Begin()) as again:
            polling = Polling(again)
            await polling.until(partitions=1)
            await polling.end()
        await stays.poll(limit=1, timeout_s=0.5)
        assert stays.rebalances == before


async def poll_in_turn(*subs: KafkaSubscription) -> None:
    for n in range(120):
        await subs[n % len(subs)].poll(limit=1, timeout_s=0.5)


async def test_two_members_with_one_instance_id_are_told(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 2})
    async with (
        a_bus(kafka.address, instance_id="pod-1") as bus,
        bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as one,
        bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as two,
    ):
        await until_placed(one, 2)
        await until_placed(two, 2)
        with pytest.raises(BusUnavailable, match=r"another live member whose instance id is pod-1\."):
            await poll_in_turn(one, two)


async def test_a_member_that_the_group_has_forgotten_joins_anew(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 2})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
        await until_placed(sub, 2)
        assert isinstance(sub, KafkaSubscription)
        consumer = sub._consumer
        assert consumer is not None
        consumer._coordinator._pending_exception = KafkaError("an error of the library's own")
        await bus.publish(messages(unique, 5))
        with pytest.raises(BusUnavailable):
            await gather_records(sub, 5)
        assert len(await gather_records(sub, 5)) == 5


async def test_a_member_without_a_place_for_too_long_joins_anew(
    kafka: Broker, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_topics(kafka.address, {unique: 1})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
        await until_placed(sub, 1)
        with monkeypatch.context() as patched:  # aiokafka #1037: heartbeats end, and nobody joins
            patched.setattr(KafkaSubscription, "_in_rebalance", lambda *_: True)
            patched.setattr(KafkaSubscription, "_patience_s", 0.3)
            with pytest.raises(BusUnavailable, match="joining anew"):
                await gather_records(sub, 1)
        await bus.publish(messages(unique, 1))
        assert len(await gather_records(sub, 1)) == 1


async def test_a_group_without_start_goes_on_where_it_committed(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 1})
    async with a_bus(kafka.address, group="acme") as bus:
        await bus.publish(messages(unique, 10))
        async with bus.subscribe([unique], group=f"l07.{unique}") as sub:
            assert len(await gather_records(sub, 10)) == 10
            await sub.commit({TopicPartition(unique, 0): 4})
        async with bus.subscribe([unique], group=f"l07.{unique}") as sub:
            assert [r.offset for r in await gather_records(sub, 6)] == [4, 5, 6, 7, 8, 9]
        assert await bus.committed(f"l07.{unique}", [unique]) == {TopicPartition(unique, 0): 4}


async def test_partitions_without_traffic_have_a_committed_offset_too(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 3})
    async with a_bus(kafka.address) as bus:
        async with bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
            await until_placed(sub, 3)
        assert await bus.committed(f"l07.{unique}", [unique]) == {TopicPartition(unique, n): 0 for n in range(3)}


async def test_kafka_has_no_merged_order(kafka: Broker, unique: str) -> None:
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}") as sub:
        with pytest.raises(NoMergedOrder, match="E7417"):
            await sub.poll_merged(limit=1)
