"""What only the embedded bus promises: its hash of keys, its merged order, pseudo topics, topics that come into being."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from bus_builders import a_message, everything, flat, publisher

from l07.backends.sqlite import SqliteBus, subscription
from l07.events.record import TopicPartition
from l07.ports import Bus


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus.db"


@pytest.fixture
async def bus(path: Path) -> AsyncIterator[Bus]:
    async with SqliteBus.open(path, partitions=3) as bus:
        yield bus


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


async def test_poll_wakes_up_for_a_new_record(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "LOOK_S", 30)  # by the publish, not by looking now and then
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


async def test_a_slice_of_huge_records_is_cut_by_size(bus: Bus) -> None:
    await bus.publish([a_message(b"x" * 6_000_000) for _ in range(5)])
    async with bus.subscribe(["t"], group="g") as sub:
        assert [len(flat(await sub.poll(limit=100, timeout_s=0))) for _ in range(3)] == [3, 2, 0]
    async with bus.subscribe(["t"], group="h") as sub:
        merged = [await sub.poll_merged(limit=100) for _ in range(3)]
        assert [len(chunk.order) if chunk else 0 for chunk in merged] == [3, 2, 0]


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


async def test_a_cursor_of_a_pseudo_topic_is_kept(bus: Bus) -> None:
    cursor = TopicPartition("ledger/jobs", 0)
    await bus.commit("announce", {cursor: 7})
    await bus.commit("announce", {cursor: 9})
    assert await bus.committed("announce", ["ledger/jobs", "t"]) == {cursor: 9}
    assert await bus.end_offsets(["ledger/jobs"]) == {}


async def test_a_subscriber_of_a_topic_that_is_not_there_waits_for_it(bus: Bus) -> None:
    async with bus.subscribe(["later"], group="g") as sub:
        assert await sub.end_offsets() == {TopicPartition("later", n): 0 for n in range(3)}
        await bus.publish([a_message(topic="later")])
        assert len(flat(await sub.poll(limit=1, timeout_s=0))) == 1
