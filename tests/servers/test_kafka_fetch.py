"""What comes out of real logs: holes, transactions, retention, damaged and oversized batches, topics that go and come back."""

import asyncio
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cramjam
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition as LibPartition

from l07.events.record import Message, TopicPartition
from tests.servers.kafka_batches import NONE, ZSTD, batch, record, send_batch
from tests.servers.kafka_kit import Begin, a_bus, gather_records, gather_slices, messages
from tests.servers.kafka_server import Broker, HomeBroker
from tests.servers.kafka_topics import admin, delete_topics, make_topics


async def transaction(address: str, topic: str, values: list[bytes], *, commit: bool) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address, transactional_id=f"{topic}-tx")
    await producer.start()
    try:
        await producer.begin_transaction()
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


async def test_slices_cover_markers_and_aborted_records_without_a_hole(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 1})
    tp = TopicPartition(unique, 0)
    for values, commit in (([b"a"], True), ([b"no", b"no"], False), ([b"b"], True), ([b"no"], False)):
        await transaction(kafka.address, unique, values, commit=commit)
    async with a_bus(kafka.address) as bus:
        end = (await bus.end_offsets([unique]))[tp]
        async with bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
            slices = []
            deadline = time.monotonic() + 20
            while sub.position().get(tp) != end and time.monotonic() < deadline:
                slices += await sub.poll(limit=1, timeout_s=0.3)
            assert [r.value for s in slices for r in s.records] == [b"a", b"b"]
            assert slices[0].start == 0
            assert slices[-1].next == end == 9
            assert all(one.next == other.start for one, other in pairwise(slices))
            assert (
                slices[-1].records == []
            )  # nothing but an aborted record and its marker: the offset moves all the same
        assert [r.value for r in await bus.read(tp, 1, limit=9)] == [b"b"]
        assert await bus.read(tp, end - 1) == []


async def test_a_record_that_aiokafka_cannot_read_stalls_nothing(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 1})
    payload = record(b"one") + record(b"two", headers=[(b"\xff\xfe", b"x")], delta=1) + record(b"three", delta=2)
    assert await send_batch(kafka.address, unique, batch(payload, records=3)) == 0
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
        found = await gather_records(sub, 3)
        assert [r.value for r in found] == [b"one", b"two", b"three"]
        assert found[1].headers == ((b"\xff\xfe", b"x"),)


async def test_a_bomb_is_a_dead_letter_and_what_follows_is_read(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 1})
    bomb = bytes(cramjam.zstd.compress(record(bytes(100_000_000))))
    assert len(bomb) < 30_000
    assert await send_batch(kafka.address, unique, batch(bomb, records=1, codec=ZSTD)) == 0
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
        await bus.publish([Message(unique, None, b"after")])
        first, second = await gather_records(sub, 2)
        assert (first.damage[:5], first.offset, second.value, second.offset) == ("large", 0, b"after", 1)
        assert [r.damage[:5] for r in await bus.read(first.tp, 0)] == ["large"]


async def test_a_batch_that_is_damaged_on_disk_is_a_dead_letter(
    home_broker: Callable[..., HomeBroker], unique: str
) -> None:
    broker = home_broker()
    await make_topics(broker.address, {unique: 1})
    for values in ((b"first",), (b"to be hurt", b"too"), (b"last",)):
        payload = b"".join(record(value, delta=n) for n, value in enumerate(values))
        assert await send_batch(broker.address, unique, batch(payload, records=len(values), codec=NONE)) == 0
    await asyncio.to_thread(broker.halt)
    flip(broker.data / f"{unique}-0" / "00000000000000000000.log", b"to be hurt")
    await asyncio.to_thread(broker.start)
    async with a_bus(broker.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
        slices = await gather_slices(sub, 3)
        found = [r for s in slices for r in s.records]
        assert [(r.offset, r.damage[:4]) for r in found] == [(0, ""), (1, "form"), (3, "")]
        assert slices[-1].next == 4


def flip(path: Path, text: bytes) -> None:
    data = bytearray(path.read_bytes())
    assert data.count(text) == 1
    data[data.index(text)] ^= 1
    path.write_bytes(data)


async def test_records_larger_than_a_fetch_come_and_slices_are_cut_by_size(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 1}, {"max.message.bytes": "12000000"})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
        await bus.publish([Message(unique, b"k", b"x" * 10_000_000) for _ in range(4)])
        slices = await gather_slices(sub, 4)
        assert [r.offset for s in slices for r in s.records] == [0, 1, 2, 3]
        assert max(sum(len(r.value or b"") for r in s.records) for s in slices) <= 20_000_000


async def test_where_the_log_is_gone_start_is_asked_again(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 2})
    tp = TopicPartition(unique, 0)
    async with a_bus(kafka.address) as bus:
        await bus.publish(messages(unique, 100))
        async with admin(kafka.address) as client:
            await client.delete_records({LibPartition(*tp): RecordsToDelete(before_offset=20)})
        begin = Begin()

        async def start(assigned: list[TopicPartition]) -> dict[TopicPartition, int]:
            await begin(assigned)
            return {one: (await bus.begin_offsets([unique]))[one] if len(begin.asked) > 1 else 0 for one in assigned}

        async with bus.subscribe([unique], group=f"l07.{unique}", start=start) as sub:
            found = await gather_records(sub, 80)
            assert begin.asked == [[tp, TopicPartition(unique, 1)], [tp]]
            assert min(r.offset for r in found if r.tp == tp) == 20
            assert len(found) == 80
        assert [r.offset for r in await bus.read(tp, 3)] == [20]  # what is gone is skipped


async def test_of_a_log_from_which_all_was_taken_nothing_is_read_and_nobody_waits(kafka: Broker, unique: str) -> None:
    """A topic on which nothing came for as long as it keeps records: its last record is asked for at each assignment."""
    await make_topics(kafka.address, {unique: 1})
    tp = TopicPartition(unique, 0)
    async with a_bus(kafka.address) as bus, asyncio.timeout(10):  # the patience of a read is 15 s, and then again
        await bus.publish(messages(unique, 10))
        assert [r.offset for r in await bus.read(tp, 9)] == [9]
        async with admin(kafka.address) as client:
            await client.delete_records({LibPartition(*tp): RecordsToDelete(before_offset=10)})
        assert await bus.begin_offsets([unique]) == await bus.end_offsets([unique]) == {tp: 10}
        assert [list(await bus.read(tp, offset)) for offset in (9, 0, 10)] == [[], [], []]
        await bus.publish(messages(unique, 1))
        assert [r.offset for r in await bus.read(tp, 9)] == [10]


async def test_beyond_the_end_start_is_asked_again(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 1})
    tp = TopicPartition(unique, 0)
    begin = Begin({tp: 77})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=begin) as sub:
        await bus.publish(messages(unique, 3))
        while len(begin.asked) < 2:
            await sub.poll(limit=9, timeout_s=0.1)
        begin.at[tp] = 1
        assert [r.offset for r in await gather_records(sub, 2)] == [1, 2]
        assert set(map(tuple, begin.asked)) == {(tp,)}


async def test_a_topic_that_is_deleted_and_made_again_is_read_from_where_start_says(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 2})
    begin = Begin()
    async with (
        a_bus(kafka.address, metadata_age_s=1) as bus,
        bus.subscribe([unique], group=f"l07.{unique}", start=begin) as sub,
    ):
        await bus.publish(messages(unique, 10))
        assert len(await gather_records(sub, 10)) == 10
        await delete_topics(kafka.address, unique)
        deadline = time.monotonic() + 30
        while sub.position() and time.monotonic() < deadline:
            await sub.poll(limit=9, timeout_s=0.1)
        assert sub.position() == {}
        await make_topics(kafka.address, {unique: 3})
        await bus.publish(messages(unique, 6, first=50))
        found = await gather_records(sub, 6)
        assert sorted(int(r.value or b"") for r in found) == list(range(50, 56))
        assert len(begin.asked[-1]) == 3
        assert sub.rebalances >= 1


async def test_new_partitions_are_read(kafka: Broker, unique: str) -> None:
    from aiokafka.admin import NewPartitions

    await make_topics(kafka.address, {unique: 1})
    async with (
        a_bus(kafka.address, metadata_age_s=1) as bus,
        bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub,
    ):
        await gather_records(sub, 0)
        async with admin(kafka.address) as client:
            await client.create_partitions({unique: NewPartitions(3)})
        deadline = time.monotonic() + 30
        while len(sub.position()) < 3 and time.monotonic() < deadline:
            await sub.poll(limit=9, timeout_s=0.1)
        assert len(sub.position()) == 3


async def test_a_broker_that_goes_and_comes_back_loses_and_doubles_nothing(
    home_broker: Callable[..., HomeBroker], unique: str
) -> None:
    """The broker may be away for so long that the group is made again: then each partition begins where `start` says."""
    broker, begin = home_broker(), Begin()
    await make_topics(broker.address, {unique: 2})
    async with a_bus(broker.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=begin) as sub:
        await bus.publish(messages(unique, 50))
        found = await gather_records(sub, 30, limit=10, keep=begin)
        broker.halt(signal.SIGKILL)
        await asyncio.to_thread(broker.start)
        found += await gather_records(sub, 50 - len(found), keep=begin)
        assert sorted(int(r.value or b"") for r in found) == list(range(50))


@pytest.mark.parametrize("limit", [1, 7])
async def test_slices_join_without_a_gap_whatever_the_limit(kafka: Broker, unique: str, limit: int) -> None:
    await make_topics(kafka.address, {unique: 3})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
        await bus.publish(messages(unique, 60))
        position: dict[TopicPartition, int] = {}
        for slice_ in await gather_slices(sub, 60, limit=limit):
            assert slice_.start == position.get(slice_.tp, 0)
            position[slice_.tp] = slice_.next
        assert position == sub.position()
