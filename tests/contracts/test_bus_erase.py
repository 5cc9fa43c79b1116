"""The embedded bus overwrites what must be gone: in the file and in its write-ahead log, and no offset moves."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bus_builders import a_message, everything

from l07.backends.sqlite import SqliteBus, erase
from l07.events.record import ERASED, Record

CANARY = b"quillfeather"


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[SqliteBus]:
    async with SqliteBus.open(tmp_path / "bus.db", partitions=2) as bus:
        long = CANARY + b"x" * 20_000  # on pages of its own, which are given back
        await bus.publish([a_message(value, key=value[:15]) for value in (b"one", CANARY, b"two", long, b"three")])
        yield bus


def emptied(record: Record) -> Record | None:
    if CANARY not in (record.value or b""):
        return None
    return record._replace(key=None, value=None, headers=ERASED)


def bytes_of(tmp_path: Path) -> bytes:
    return b"".join(path.read_bytes() for path in tmp_path.iterdir())


async def test_nothing_of_it_is_left_and_everything_else_is_where_it_was(bus: SqliteBus, tmp_path: Path) -> None:
    before = await everything(bus, "t")
    assert CANARY in bytes_of(tmp_path)
    assert await bus.rewrite(["t"], emptied) == 2
    assert CANARY not in bytes_of(tmp_path)
    after = await everything(bus, "t")
    assert [(r.partition, r.offset, r.timestamp_ms) for r in after] == [
        (r.partition, r.offset, r.timestamp_ms) for r in before
    ]
    assert [r for r in after if not r.is_erased] == [r for r in before if CANARY not in (r.value or b"")]
    assert await bus.rewrite(["t"], emptied) == 0


@pytest.mark.parametrize("step", ["PRAGMA secure_delete=ON", "wal_checkpoint"])
async def test_without_either_of_its_two_steps_it_would_still_be_there(
    bus: SqliteBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The control: what a plain UPDATE leaves behind."""
    if step == "wal_checkpoint":
        monkeypatch.setattr("l07.backends.sqlite.bus.empty_write_ahead_log", lambda db: None)
    else:
        monkeypatch.setattr(erase, "OVERWRITE", "PRAGMA secure_delete=OFF")
    assert await bus.rewrite(["t"], emptied) == 2
    assert CANARY in bytes_of(tmp_path)


async def test_another_process_reads_on_meanwhile(bus: SqliteBus, tmp_path: Path) -> None:
    async with SqliteBus.open(tmp_path / "bus.db") as other:
        assert len(await everything(other, "t")) == 5
        await bus.rewrite(["t"], emptied)
        assert sum(record.is_erased for record in await everything(other, "t")) == 2
    assert CANARY not in bytes_of(tmp_path)
