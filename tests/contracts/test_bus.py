"""What every bus promises; run against the embedded one. What it does when the world is down: test_bus_down.py."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from bus_builders import a_message, everything, flat, publisher

from l07.backends import sqlite
from l07.backends.sqlite import SqliteBus
from l07.events.record import Message, Record, TopicPartition
from l07.ports import Bus


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus.db"


@pytest.fixture
async def bus(path: Path) -> AsyncIterator[Bus]:
    async with SqliteBus.open(path, partitions=3) as bus:
        yield bus


# ------------------------------------------------------------------ publishing


async def test_a_record_comes_back_byte_for_byte(bus: Bus) -> None:
    headers = ((b"ce_id", b"1"), (b"\xff\x00", b"\xfe"), (b"ce_id", None))
    await bus.publish([Message("t", b"\x00key", b"\xff{\x00", headers, 1234)])
    [record] = await everything(bus, "t")
    assert record == Record("t", record.partition, 0, 1234, b"\x00key", b"\xff{\x00", headers)


async def test_offsets_of_a_partition_are_contiguous_from_zero(bus: Bus) -> None:
    for n in range(20):
        await bus.publish([a_message(key=f"{n}-{m}".encode()) for m in range(5)])
    offsets: dict[int, list[int]] = {}
    for record in await everything(bus, "t"):
        offsets.setdefault(record.partition, []).append(record.offset)
    assert all(found == list(range(len(found))) for found in offsets.values())
    assert sum(map(len, offsets.values())) == 100


async def test_a_key_keeps_its_partition_for_ever(path: Path) -> None:
    hashes = {  # xxh3_64 of the key: numbers that must never change
        b"same": 9763539159511379728,
        b"": 3244421341483603138,
        b"exec-1": 12209187734883976707,
        b"a": 16629034431890738719,
    }
    for _ in range(2):  # and after a restart
        async with SqliteBus.open(path, partitions=97) as bus:
            await bus.publish([a_message(key=key) for key in hashes])
            found = {(record.key, record.partition) for record in await everything(bus, "t")}
    assert found == {(key, number % 97) for key, number in hashes.items()}


async def test_a_publish_that_fails_half_way_leaves_nothing(bus: Bus) -> None:
    with pytest.raises(OverflowError):
        await bus.publish([a_message(b"good"), a_message(b"no time", at=2**70)])
    assert await everything(bus, "t") == []
    await bus.publish([a_message(b"next")])
    assert [(record.offset, record.value) for record in await everything(bus, "t")] == [(0, b"next")]


async def test_records_without_a_key_go_round(bus: Bus) -> None:
    for _ in range(9):
        await bus.publish([a_message(key=None)])
    assert set((await bus.end_offsets(["t"])).values()) == {3}


async def test_a_record_without_a_time_gets_the_clocks(path: Path) -> None:
    async with SqliteBus.open(path, clock=lambda: 1_700_000_000.5) as bus:
        await bus.publish([a_message(), a_message(at=7)])
        assert [record.timestamp_ms for record in await everything(bus, "t")] == [1_700_000_000_500, 7]


async def test_a_topic_keeps_the_partitions_that_it_was_made_with(path: Path) -> None:
    async with SqliteBus.open(path, partitions=2) as bus:
        await bus.publish([a_message(topic="old")])
    async with SqliteBus.open(path, partitions=5) as bus:
        await bus.publish([a_message(topic="old"), a_message(topic="new")])
        assert Counter(tp.topic for tp in await bus.end_offsets(["old", "new"])) == {"old": 2, "new": 5}


async def test_a_topic_that_is_not_there_has_no_end(bus: Bus) -> None:
    assert await bus.end_offsets(["nowhere"]) == {}
    assert await bus.read(TopicPartition("nowhere", 0), 0) == []


# ------------------------------------------------------------------ polling


async def test_poll_gives_every_record_once_in_contiguous_slices(bus: Bus) -> None:
    await bus.publish([a_message(str(n).encode(), key=str(n).encode()) for n in range(100)])
    seen: Counter[bytes | None] = Counter()
    async with bus.subscribe(["t"], group="g") as sub:
        position = dict(sub.position())
        while slices := await sub.poll(limit=7, timeout_s=0):
            assert sum(len(slice_.records) for slice_ in slices) <= 7
            for slice_ in slices:
                assert slice_.start == position[slice_.tp]
                assert [r.offset for r in slice_.records] == list(range(slice_.start, slice_.next))
                position[slice_.tp] = slice_.next
            seen.update(record.value for record in flat(slices))
        assert sub.position() == await sub.end_offsets()
    assert seen == {str(n).encode(): 1 for n in range(100)}


async def test_a_busy_partition_starves_nobody(bus: Bus) -> None:
    await bus.publish([a_message(b"busy", topic="a") for _ in range(50)] + [a_message(b"quiet", topic="b")])
    async with bus.subscribe(["a", "b"], group="g") as sub:
        first = [flat(await sub.poll(limit=1, timeout_s=0))[0].value for _ in range(6)]
    assert b"quiet" in first


async def test_poll_wakes_up_for_a_new_record(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LOOK_S", 30)  # by the publish, not by looking now and then
    async with bus.subscribe(["t"], group="g") as sub:
        assert await sub.poll(limit=10, timeout_s=0) == []
        waiting = asyncio.create_task(sub.poll(limit=10, timeout_s=30))
        await asyncio.sleep(0)
        await bus.publish([a_message(b"new")])
        assert [record.value for record in flat(await asyncio.wait_for(waiting, 5))] == [b"new"]


async def test_poll_sees_what_another_process_writes(bus: Bus, path: Path) -> None:
    async with bus.subscribe(["t"], group="g") as sub:
        waiting = asyncio.create_task(sub.poll(limit=1000, timeout_s=30))
        with publisher(path, "p", 1) as child:
            assert flat(await asyncio.wait_for(waiting, 20))
            assert await asyncio.to_thread(child.wait, 20) == 0


async def test_poll_gives_up_after_its_time_without_spinning(bus: Bus) -> None:
    async with bus.subscribe(["t"], group="g") as sub:
        began, cpu = time.monotonic(), time.process_time()
        assert await sub.poll(limit=1, timeout_s=0.3) == []
        assert 0.29 <= time.monotonic() - began < 5
        assert time.process_time() - cpu < 0.15


async def test_a_cancelled_poll_loses_nothing(bus: Bus) -> None:
    await bus.publish([a_message(str(n).encode()) for n in range(10)])
    async with bus.subscribe(["t"], group="g") as sub:
        task = asyncio.create_task(sub.poll(limit=3, timeout_s=1))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        values = [record.value for record in flat(await sub.poll(limit=100, timeout_s=0))]
    assert values == [str(n).encode() for n in range(10)]


async def test_seek_reads_again(bus: Bus) -> None:
    await bus.publish([a_message(str(n).encode()) for n in range(10)])
    async with bus.subscribe(["t"], group="g") as sub:
        [slice_] = await sub.poll(limit=10, timeout_s=0)
        assert await sub.poll(limit=10, timeout_s=0) == []
        await sub.seek(slice_.tp, 8)
        assert [record.offset for record in flat(await sub.poll(limit=10, timeout_s=0))] == [8, 9]


async def test_a_slice_of_huge_records_is_cut_by_size(bus: Bus) -> None:
    await bus.publish([a_message(b"x" * 6_000_000) for _ in range(5)])
    async with bus.subscribe(["t"], group="g") as sub:
        assert [len(flat(await sub.poll(limit=100, timeout_s=0))) for _ in range(3)] == [3, 2, 0]
    async with bus.subscribe(["t"], group="h") as sub:
        merged = [await sub.poll_merged(limit=100) for _ in range(3)]
        assert [len(chunk.order) if chunk else 0 for chunk in merged] == [3, 2, 0]


# ------------------------------------------------------------------ merged order


async def merged_order(bus: Bus, topics: Sequence[str], *, limit: int, group: str) -> list[tuple[int, str, int, int]]:
    order: list[tuple[int, str, int, int]] = []
    async with bus.subscribe(topics, group=group) as sub:
        while chunk := await sub.poll_merged(limit=limit):
            assert 0 < len(chunk.order) <= limit
            assert sorted(flat(chunk.slices)) == sorted(chunk.order)
            for slice_ in chunk.slices:
                assert [r.offset for r in slice_.records] == list(range(slice_.start, slice_.next))
            order += [(r.timestamp_ms, r.topic, r.partition, r.offset) for r in chunk.order]
    return order


@pytest.mark.parametrize("limit", [1, 7, 1000])
async def test_merged_order_is_time_topic_partition_offset(bus: Bus, limit: int) -> None:
    await bus.publish([a_message(key=str(n).encode(), topic="ab"[n % 2], at=n // 5) for n in range(200)])
    order = await merged_order(bus, ["b", "a"], limit=limit, group="g")
    assert len(order) == 200
    assert order == sorted(order)


async def test_merged_order_does_not_depend_on_the_limit_where_times_run_backwards(bus: Bus) -> None:
    await bus.publish([a_message(key=str(n).encode(), topic="ab"[n % 2], at=n * 7919 % 50) for n in range(200)])
    orders = [await merged_order(bus, ["a", "b"], limit=limit, group=f"g{limit}") for limit in (1, 3, 64, 1000)]
    assert len(orders[0]) == 200
    assert orders.count(orders[0]) == len(orders)


async def test_merged_goes_on_after_its_end_and_after_a_seek(bus: Bus) -> None:
    await bus.publish([a_message(str(n).encode(), at=n) for n in range(5)])
    async with bus.subscribe(["t"], group="g") as sub:
        chunk = await sub.poll_merged(limit=3)
        assert chunk is not None
        tp = chunk.order[0].tp
        assert flat(await sub.poll(limit=1, timeout_s=0))[0].value == b"3"
        assert [r.value for r in (await sub.poll_merged(limit=9)).order] == [b"4"]  # type: ignore[union-attr]
        assert await sub.poll_merged(limit=9) is None
        await bus.publish([a_message(b"5", at=5)])
        await sub.seek(tp, 1)
        assert [r.value for r in (await sub.poll_merged(limit=9)).order] == [b"1", b"2", b"3", b"4", b"5"]  # type: ignore[union-attr]


# ------------------------------------------------------------------ groups


async def test_a_group_goes_on_where_it_committed(bus: Bus, path: Path) -> None:
    await bus.publish([a_message(str(n).encode()) for n in range(10)])
    async with bus.subscribe(["t"], group="g") as sub:
        [slice_] = await sub.poll(limit=4, timeout_s=0)
        await sub.commit({slice_.tp: slice_.next})
        await sub.poll(limit=4, timeout_s=0)  # read, never committed
    async with SqliteBus.open(path) as again, again.subscribe(["t"], group="g") as sub:
        assert flat(await sub.poll(limit=1, timeout_s=0))[0].offset == 4
        assert await again.committed("g", ["t"]) == {slice_.tp: 4}


async def test_groups_do_not_see_each_other(bus: Bus) -> None:
    await bus.publish([a_message()])
    tp = (await everything(bus, "t"))[0].tp
    await bus.commit("one", {tp: 1})
    assert await bus.committed("two", ["t"]) == {}
    async with bus.subscribe(["t"], group="two") as sub:
        assert len(flat(await sub.poll(limit=5, timeout_s=0))) == 1


async def test_a_cursor_of_a_pseudo_topic_is_kept(bus: Bus) -> None:
    cursor = TopicPartition("ledger/jobs", 0)
    await bus.commit("announce", {cursor: 7})
    await bus.commit("announce", {cursor: 9})
    assert await bus.committed("announce", ["ledger/jobs", "t"]) == {cursor: 9}
    assert await bus.end_offsets(["ledger/jobs"]) == {}


async def test_a_member_starts_where_it_is_told(bus: Bus) -> None:
    await bus.publish([a_message(str(n).encode()) for n in range(10)])
    tp = (await everything(bus, "t"))[0].tp
    await bus.commit("g", {tp: 9})
    asked: list[Sequence[TopicPartition]] = []

    async def start(assigned: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        asked.append(assigned)
        return {tp: 6}

    async with bus.subscribe(["t"], group="g", start=start) as sub:
        assert asked == [[TopicPartition("t", n) for n in range(3)]]
        assert flat(await sub.poll(limit=1, timeout_s=0))[0].offset == 6


async def test_a_subscriber_of_a_topic_that_is_not_there_waits_for_it(bus: Bus) -> None:
    async with bus.subscribe(["later"], group="g") as sub:
        assert await sub.end_offsets() == {TopicPartition("later", n): 0 for n in range(3)}
        await bus.publish([a_message(topic="later")])
        assert len(flat(await sub.poll(limit=1, timeout_s=0))) == 1
