"""What every bus promises, run against each. What the embedded one promises beyond it: test_bus_sqlite.py; when the world is
down: test_bus_down.py and tests/servers/."""

import asyncio
import contextlib
import gc
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from bus_builders import a_message, everything, flat
from bus_worlds import World, world

from l07.events.record import Message, Record, TopicPartition
from l07.ports import Bus, Subscription
from tests.servers.ingest_kit import until
from tests.servers.kafka_topics import delete_topics

__all__ = ["world"]  # a fixture


async def some(sub: Subscription, world: World, *, limit: int = 100) -> list[Record]:
    return flat(await sub.poll(limit=limit, timeout_s=world.patience_s))


async def rest(sub: Subscription, world: World, count: int) -> list[Record]:
    """The next `count` records, or what there is of them."""
    found: list[Record] = []
    while len(found) < count and (more := await some(sub, world)):
        found += more
    return found


# ------------------------------------------------------------------ publishing


async def test_a_record_comes_back_byte_for_byte(world: World) -> None:
    topic = await world.topic()
    headers = ((b"ce_id", b"1"), ("ključ".encode(), b"\xfe"), (b"ce_id", None), (b"", b""))
    await world.bus.publish([Message(topic, b"\x00key", b"\xff{\x00", headers, 1234)])
    [record] = await everything(world.bus, topic)
    assert record == Record(topic, record.partition, 0, 1234, b"\x00key", b"\xff{\x00", headers)


async def test_offsets_of_a_partition_are_contiguous_from_zero(world: World) -> None:
    topic = await world.topic()
    for n in range(20):
        await world.bus.publish([a_message(key=f"{n}-{m}".encode(), topic=topic) for m in range(5)])
    offsets: dict[int, list[int]] = {}
    for record in await everything(world.bus, topic):
        offsets.setdefault(record.partition, []).append(record.offset)
    assert all(found == list(range(len(found))) for found in offsets.values())
    assert sum(map(len, offsets.values())) == 100


async def test_a_key_keeps_its_partition(world: World) -> None:
    topic = await world.topic()
    for _ in range(3):
        await world.bus.publish([a_message(key=str(n).encode(), topic=topic) for n in range(20)])
    places: dict[bytes | None, set[int]] = {}
    for record in await everything(world.bus, topic):
        places.setdefault(record.key, set()).add(record.partition)
    assert len(places) == 20
    assert {len(found) for found in places.values()} == {1}


async def test_the_order_of_a_key_is_kept(world: World) -> None:
    topic = await world.topic()
    for n in range(0, 200, 20):
        await world.bus.publish([a_message(str(m).encode(), key=b"k", topic=topic) for m in range(n, n + 20)])
    assert [record.value for record in await everything(world.bus, topic)] == [str(n).encode() for n in range(200)]


async def test_a_record_without_a_time_gets_the_clocks(world: World) -> None:
    topic = await world.topic()
    before = int(time.time() * 1000)
    await world.bus.publish([a_message(topic=topic), a_message(at=7, topic=topic)])
    first, second = await everything(world.bus, topic)
    assert before - 1 <= first.timestamp_ms <= time.time() * 1000 + 1
    assert second.timestamp_ms == 7


async def test_a_topic_that_is_not_there_has_no_end(world: World) -> None:
    assert await world.bus.end_offsets(["nowhere"]) == {}
    assert await world.bus.begin_offsets(["nowhere"]) == {}
    assert await world.bus.offsets_at(["nowhere"], 0) == {}
    assert await world.bus.read(TopicPartition("nowhere", 0), 0) == []


async def test_reading_needs_no_group_and_ends_at_the_end(world: World) -> None:
    topic = await world.topic()
    await world.bus.publish([a_message(str(n).encode(), topic=topic) for n in range(10)])
    tp = (await everything(world.bus, topic))[0].tp
    assert [record.offset for record in await world.bus.read(tp, 7, limit=9)] == [7, 8, 9]
    assert [record.offset for record in await world.bus.read(tp, 4)] == [4]
    assert await world.bus.read(tp, 10) == []
    assert await world.bus.read(tp, 99) == []


async def test_offsets_by_time_are_of_the_first_record_that_is_not_older(world: World) -> None:
    topic = await world.topic(partitions=3)
    await world.bus.publish([a_message(topic=topic, at=1000 + 10 * n) for n in range(10)])
    tp = (await everything(world.bus, topic))[0].tp
    found = {at: (await world.bus.offsets_at([topic], at))[tp] for at in (0, 1000, 1001, 1090, 1091)}
    assert found == {0: 0, 1000: 0, 1001: 1, 1090: 9, 1091: 10}


# ------------------------------------------------------------------ polling


async def test_poll_gives_every_record_once_in_contiguous_slices(world: World) -> None:
    topic = await world.topic()
    await world.bus.publish([a_message(str(n).encode(), key=str(n).encode(), topic=topic) for n in range(100)])
    seen: Counter[bytes | None] = Counter()
    position: dict[TopicPartition, int] = {}
    async with world.bus.subscribe([topic], group=world.group()) as sub:
        while seen.total() < 100 and (slices := await sub.poll(limit=7, timeout_s=world.patience_s)):
            assert sum(len(slice_.records) for slice_ in slices) <= 7
            for slice_ in slices:
                assert slice_.start == position.get(slice_.tp, 0)
                assert [r.offset for r in slice_.records] == list(range(slice_.start, slice_.next))
                position[slice_.tp] = slice_.next
            seen.update(record.value for record in flat(slices))
        assert sub.position() == await sub.end_offsets()
    assert seen == {str(n).encode(): 1 for n in range(100)}


async def test_a_busy_partition_starves_nobody(world: World) -> None:
    busy, quiet = await world.topic("a"), await world.topic("b")
    await world.bus.publish([a_message(b"busy", topic=busy) for _ in range(50)] + [a_message(b"quiet", topic=quiet)])
    async with world.bus.subscribe([busy, quiet], group=world.group()) as sub:
        first = [(await some(sub, world, limit=10))[0].value for _ in range(6)]
    assert b"quiet" in first


async def test_poll_wakes_up_for_a_new_record(world: World) -> None:
    topic = await world.topic()
    async with world.bus.subscribe([topic], group=world.group()) as sub:
        assert await sub.poll(limit=10, timeout_s=min(world.patience_s, 1.0)) == []
        waiting = asyncio.create_task(sub.poll(limit=10, timeout_s=30))
        await asyncio.sleep(0)
        await world.bus.publish([a_message(b"new", topic=topic)])
        assert [record.value for record in flat(await asyncio.wait_for(waiting, 5))] == [b"new"]


async def test_poll_gives_up_after_its_time_without_spinning(world: World) -> None:
    topic = await world.topic()
    async with world.bus.subscribe([topic], group=world.group()) as sub:
        while len(sub.position()) < 3:
            assert await sub.poll(limit=1, timeout_s=world.patience_s / 10) == []
        began, cpu = time.monotonic(), time.process_time()
        assert await sub.poll(limit=1, timeout_s=0.3) == []
        assert 0.29 <= time.monotonic() - began < 5
        assert time.process_time() - cpu < 0.15


async def test_a_cancelled_poll_loses_nothing(world: World) -> None:
    topic = await world.topic()
    await world.bus.publish([a_message(str(n).encode(), topic=topic) for n in range(10)])
    async with world.bus.subscribe([topic], group=world.group()) as sub:
        for turns in (0, 1, 5, 50):
            task = asyncio.create_task(sub.poll(limit=3, timeout_s=1))
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.done():
                break
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        given = [record.value for record in flat(task.result())] if task.done() and not task.cancelled() else []
        values = given + [record.value for record in await rest(sub, world, 10 - len(given))]
    assert values == [str(n).encode() for n in range(10)]


async def test_a_call_that_is_cancelled_while_it_connects_leaves_no_client_behind(world: World) -> None:
    topic = await world.topic()
    before = sockets()
    for turns in (10, 100, 400, 1600):
        async with world.opened() as bus, bus.subscribe([topic], group=world.group()) as sub:
            calls = bus.publish([a_message(topic=topic)]), bus.end_offsets([topic]), sub.poll(limit=1, timeout_s=1)
            for call in calls:
                task = asyncio.ensure_future(call)
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    gc.collect()
    await until(
        lambda: sockets() <= before, within_s=10
    )  # a socket is closed in a later turn, or by librdkafka's thread


def sockets() -> int:
    """This process's that are open."""
    links = (path.readlink().name for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    return sum(name.startswith("socket:") for name in links)


async def test_seek_reads_again(world: World) -> None:
    topic = await world.topic()
    await world.bus.publish([a_message(str(n).encode(), topic=topic) for n in range(10)])
    async with world.bus.subscribe([topic], group=world.group()) as sub:
        records = await rest(sub, world, 10)
        assert await sub.poll(limit=10, timeout_s=0) == []
        await sub.seek(records[0].tp, 8)
        assert [record.offset for record in await some(sub, world)] == [8, 9]


async def test_what_is_held_is_not_fetched_and_comes_when_it_is_not(world: World) -> None:
    one, other = await world.topic("a"), await world.topic("b")
    async with world.bus.subscribe([one, other], group=world.group()) as sub:
        while len(sub.position()) < 6:
            await sub.poll(limit=1, timeout_s=world.patience_s / 10)
        sub.hold([tp for tp in sub.position() if tp.topic == one])
        await world.bus.publish([a_message(b"held", topic=one), a_message(b"free", topic=other)])
        assert [record.value for record in await some(sub, world)] == [b"free"]
        assert await sub.poll(limit=9, timeout_s=world.patience_s / 10) == []
        sub.hold([])
        assert [record.value for record in await some(sub, world)] == [b"held"]


async def test_a_slice_of_huge_records_is_cut_by_size(world: World) -> None:
    topic = await world.topic(partitions=1)
    if world.brand != "sqlite":
        pytest.skip("the broker of the tests takes records of 1 MB; test_kafka_fetch.py has this for Kafka")
    await world.bus.publish([a_message(b"x" * 6_000_000, topic=topic) for _ in range(5)])
    async with world.bus.subscribe([topic], group=world.group()) as sub:
        assert [len(await some(sub, world)) for _ in range(3)] == [3, 2, 0]


# ------------------------------------------------------------------ groups


async def test_a_group_goes_on_where_it_committed(world: World) -> None:
    topic = await world.topic()
    await world.bus.publish([a_message(str(n).encode(), topic=topic) for n in range(10)])
    async with world.bus.subscribe([topic], group=world.group()) as sub:
        slices = await sub.poll(limit=4, timeout_s=world.patience_s)
        tp, reached = slices[0].tp, slices[0].next
        await sub.commit({tp: reached})
        await sub.poll(limit=4, timeout_s=world.patience_s)  # read, never committed
    async with world.opened() as again, again.subscribe([topic], group=world.group()) as sub:
        assert (await some(sub, world, limit=1))[0].offset == reached
        assert (await again.committed(world.group(), [topic]))[tp] == reached


async def test_groups_do_not_see_each_other(world: World) -> None:
    topic = await world.topic()
    await world.bus.publish([a_message(topic=topic)])
    tp = (await everything(world.bus, topic))[0].tp
    await world.bus.commit(world.group("one"), {tp: 1})
    assert await world.bus.committed(world.group("one"), [topic]) == {tp: 1}
    assert await world.bus.committed(world.group("two"), [topic]) == {}
    async with world.bus.subscribe([topic], group=world.group("two")) as sub:
        assert len(await some(sub, world)) == 1


class Starting:
    """A `start` that remembers what it was asked."""

    def __init__(self, **offsets: int) -> None:
        self.asked: list[Sequence[TopicPartition]] = []
        self.offsets: dict[TopicPartition, int] = {}
        self.error: Exception | None = None

    async def __call__(self, assigned: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.asked.append(assigned)
        if self.error is not None:
            raise self.error
        return {tp: offset for tp, offset in self.offsets.items() if tp in assigned}


async def one_partition(bus: Bus, topic: str, count: int) -> TopicPartition:
    """All records under one key; where they lie."""
    await bus.publish([a_message(str(n).encode(), topic=topic) for n in range(count)])
    return (await everything(bus, topic))[0].tp


async def test_a_member_starts_where_it_is_told(world: World) -> None:
    topic = await world.topic()
    tp = await one_partition(world.bus, topic, 10)
    await world.bus.commit(world.group(), {tp: 9})
    start = Starting()
    start.offsets = {TopicPartition(topic, n): 0 for n in range(3)} | {tp: 6}
    async with world.bus.subscribe([topic], group=world.group(), start=start) as sub:
        assert (await some(sub, world, limit=1))[0].offset == 6
        assert start.asked == [[TopicPartition(topic, n) for n in range(3)]]
        assert sub.rebalances == 0


async def test_a_partition_that_start_leaves_out_is_not_fetched_until_it_is_sought(world: World) -> None:
    topic = await world.topic()
    tp = await one_partition(world.bus, topic, 10)
    async with world.bus.subscribe([topic], group=world.group(), start=Starting()) as sub:
        assert await sub.poll(limit=9, timeout_s=world.patience_s / 5) == []
        assert sub.position() == {}
        await sub.seek(tp, 4)
        assert [record.offset for record in await some(sub, world)] == [4, 5, 6, 7, 8, 9]
        assert sub.position() == {tp: 10}


async def test_a_partition_of_somebody_else_is_not_sought(world: World) -> None:
    topic = await world.topic()
    async with world.bus.subscribe([topic], group=world.group()) as sub:
        await sub.poll(limit=9, timeout_s=world.patience_s / 5)
        if world.brand != "sqlite":
            await sub.seek(TopicPartition(topic, 99), 0)
        assert await sub.poll(limit=9, timeout_s=0) == []


# ------------------------------------------------------------------ which log it is


async def test_a_topic_keeps_its_id_and_one_of_its_name_gets_another(world: World) -> None:
    topic, other = await world.topic(), await world.topic("u")
    before = await world.bus.log_ids([topic, other, "nowhere"])
    if world.brand == "sqlite":
        assert before == {}
        return
    assert set(before) == {topic, other}
    assert len(set(before.values())) == 2
    await world.bus.publish([a_message(topic=topic)])
    assert await world.bus.log_ids([topic, other]) == before
    await delete_topics(world.where, topic)
    async with asyncio.timeout(30):
        while topic in await world.bus.log_ids([topic]):
            pass  # each look is a round trip
    await world.topic()
    again = await world.bus.log_ids([topic, other])
    assert again[other] == before[other]
    assert again[topic] != before[topic]


async def test_no_topics_have_no_ids(world: World) -> None:
    assert await world.bus.log_ids([]) == {}
