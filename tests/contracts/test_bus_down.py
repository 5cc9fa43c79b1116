"""The embedded bus with several processes, when they are killed, and when the disk or the lock says no."""

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bus_builders import a_message, everything, publisher

from l07.backends.sqlite import SqliteBus
from l07.backends.sqlite.log import LAYOUT
from l07.errors import BusDamaged, BusUnavailable, FolderNotWritable, LayoutUnknown, StoreFull


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus.db"


@pytest.fixture
async def bus(path: Path) -> AsyncIterator[SqliteBus]:
    async with SqliteBus.open(path, partitions=3) as bus:
        yield bus


# ------------------------------------------------------------------ several processes, crashes


@pytest.mark.slow
async def test_several_processes_publish_into_one_log(path: Path) -> None:
    children = [publisher(path, name, 20) for name in ("a", "b", "c")]  # they also race to make the file
    for child in children:
        assert await asyncio.to_thread(child.wait, 60) == 0
        child.stdout.close()  # type: ignore[union-attr]
    async with SqliteBus.open(path) as bus:
        records = await everything(bus, "t")
    assert Counter(r.value for r in records) == {f"{name}:{n}".encode(): 1 for name in "abc" for n in range(200)}
    for tp in {record.tp for record in records}:
        mine = [record for record in records if record.tp == tp]
        assert [record.offset for record in mine] == list(range(len(mine)))
        for name in (b"a", b"b", b"c"):  # a producer's order holds within a key
            for n in range(7):
                numbers = [int(r.value.split(b":")[1]) for r in mine if r.value and r.key == name + b"-%d" % n]
                assert numbers == sorted(numbers)


@pytest.mark.slow
async def test_what_a_killed_publisher_had_acknowledged_is_there(path: Path) -> None:
    for round_ in range(3):
        child = publisher(path, f"p{round_}", 100_000)
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(5 + round_)]
        os.kill(child.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
        child.wait(10)
        child.stdout.close()
        async with SqliteBus.open(path) as bus:
            records = await everything(bus, "t")
            await bus.publish([a_message(b"after")])
        mine = sorted(int(r.value.split(b":")[1]) for r in records if (r.value or b"").startswith(b"p%d:" % round_))
        assert mine == list(range(len(mine)))  # whole transactions, none twice
        assert acknowledged[-1] < len(mine)
        assert len(mine) % 10 == 0
        for tp in {record.tp for record in records}:
            offsets = [record.offset for record in records if record.tp == tp]
            assert offsets == list(range(len(offsets)))


# ------------------------------------------------------------------ a world that is down


async def publish_until_it_fails(bus: SqliteBus, acknowledged: list[int]) -> None:
    for n in range(1000):
        await bus.publish([a_message(b"x" * 10_000)])
        acknowledged.append(n)


async def test_a_full_disk_is_said_and_costs_nothing_that_was_acknowledged(small_disk: Path) -> None:
    async with SqliteBus.open(small_disk / "bus.db") as bus:
        acknowledged: list[int] = []
        with pytest.raises(StoreFull, match=r"E7400: no space left"):
            await publish_until_it_fails(bus, acknowledged)
        assert len(acknowledged) > 10
        assert len(await everything(bus, "t")) == len(acknowledged)


async def test_a_full_disk_is_left_behind_once_there_is_space(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 400_000)
    async with SqliteBus.open(small_disk / "bus.db") as bus:
        with pytest.raises(StoreFull):
            await publish_until_it_fails(bus, [])
        ballast.unlink()
        await bus.publish([a_message(b"again")])
        assert (await everything(bus, "t"))[-1].value == b"again"


async def test_a_full_disk_at_the_first_start_is_said(small_disk: Path) -> None:
    with contextlib.suppress(OSError):
        (small_disk / "ballast").write_bytes(b"x" * 2_000_000)
    with pytest.raises(StoreFull):
        async with SqliteBus.open(small_disk / "bus.db"):
            pass


async def test_a_file_that_may_grow_no_more_is_full(bus: SqliteBus) -> None:
    await bus._on(bus._writer, lambda: bus._write_db.execute("PRAGMA max_page_count=30").fetchall())
    with pytest.raises(StoreFull):
        await publish_until_it_fails(bus, [])
    end = max((await bus.end_offsets(["t"])).values())
    assert len(await everything(bus, "t")) == end > 0


async def test_a_bus_that_is_locked_too_long_is_tried_again_later(path: Path) -> None:
    async with SqliteBus.open(path, busy_timeout_s=0.05) as bus:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusUnavailable, match="E7401"):
            await bus.publish([a_message()])
        other.execute("ROLLBACK")
        other.close()
        await bus.publish([a_message()])
        assert len(await everything(bus, "t")) == 1


async def test_the_loop_runs_on_while_a_publish_waits_for_the_lock(path: Path) -> None:
    async with SqliteBus.open(path, busy_timeout_s=10) as bus:
        await bus.publish([a_message()])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(bus.publish([a_message()]))
        assert len(await asyncio.wait_for(everything(bus, "t"), 5)) == 1  # reading does not wait for the writer either
        assert not waiting.done()
        other.execute("ROLLBACK")
        other.close()
        await asyncio.wait_for(waiting, 10)


async def test_a_folder_that_cannot_be_written_is_said(unwritable: Path) -> None:
    with pytest.raises(FolderNotWritable, match="E7402"):
        async with SqliteBus.open(unwritable / "bus.db"):
            pass


async def test_a_file_that_is_no_bus_is_not_touched(path: Path) -> None:
    path.write_bytes(b"This is my diary. " * 1000)
    with pytest.raises(BusDamaged, match="E7403"):
        async with SqliteBus.open(path):
            pass
    assert path.read_bytes() == b"This is my diary. " * 1000


async def test_somebody_elses_database_is_not_touched(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE addresses(name)")
    other.close()
    with pytest.raises(BusDamaged, match="not a bus"):
        async with SqliteBus.open(path):
            pass


async def test_a_damaged_page_is_said(path: Path) -> None:
    async with SqliteBus.open(path) as bus:
        await bus.publish([a_message(b"x" * 3000) for _ in range(100)])
    raw = bytearray(path.read_bytes())
    raw[4096 * 2 :] = b"\xff" * (len(raw) - 4096 * 2)
    path.write_bytes(raw)
    with pytest.raises(BusDamaged):
        async with SqliteBus.open(path) as bus:
            await everything(bus, "t")


async def test_a_newer_layout_is_refused(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version={LAYOUT + 1}")
    other.close()
    with pytest.raises(LayoutUnknown, match=r"E7404: .* has state layout"):
        async with SqliteBus.open(path):
            pass
