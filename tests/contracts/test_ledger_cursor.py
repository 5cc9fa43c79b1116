"""How far a ledger was announced: a cursor that several processes move, and never back."""

import asyncio
import fcntl
from pathlib import Path

import pytest

from l07.backends.store import FolderLedger
from l07.errors import LedgerBroken
from l07.ports import Ledger
from tests.contracts.ledger_kit import fill


async def test_the_cursor_is_remembered_and_never_moves_back(ledger: Ledger, root: Path) -> None:
    await fill(ledger)
    assert await ledger.announced() == 0
    await ledger.mark_announced(4)
    await ledger.mark_announced(2)
    assert await FolderLedger(root, "jobs").announced() == 4


async def test_late_announcers_in_several_processes_never_move_it_back(ledger: Ledger, root: Path) -> None:
    await fill(ledger, 30)
    many = [FolderLedger(root, "jobs") for _ in range(3)]
    highest = 0

    async def look() -> None:
        nonlocal highest
        for _ in range(60):
            now = await FolderLedger(root, "jobs").announced()
            assert now >= highest
            highest = now

    marks = [many[n % 3].mark_announced(n) for n in [*range(30, 0, -1), *range(1, 31)]]
    await asyncio.gather(look(), *marks)
    assert await ledger.announced() == 30


async def test_a_frozen_announcer_holds_nobody_up(ledger: Ledger, root: Path) -> None:
    """It may stand still with the cursor's lock in its hand; what others say is not said again and again meanwhile."""
    await fill(ledger)
    with (root / "jobs" / ".announced.lock").open("w") as frozen:
        fcntl.flock(frozen, fcntl.LOCK_EX)
        async with asyncio.timeout(10):
            await ledger.mark_announced(3)
            assert (await ledger.announced(), await FolderLedger(root, "jobs").announced()) == (3, 0)
            assert len(await ledger.entries()) == 5
    await ledger.mark_announced(2)
    assert await FolderLedger(root, "jobs").announced() == 3


async def test_a_cursor_that_a_power_cut_tore_announces_again(ledger: Ledger, root: Path) -> None:
    await fill(ledger)
    await ledger.mark_announced(4)
    (root / "jobs" / "announced").write_bytes(b"")
    assert await FolderLedger(root, "jobs").announced() == 0


async def test_more_announced_than_there_is_stops_us(ledger: Ledger, root: Path) -> None:
    """A cut tail, or an old copy: entries under the same numbers would never be announced."""
    await fill(ledger)
    await ledger.mark_announced(5)
    for number in (4, 5):
        (root / "jobs" / f"{number:08}.json").unlink()
    with pytest.raises(LedgerBroken, match="was announced and is gone"):
        await FolderLedger(root, "jobs").announced()
