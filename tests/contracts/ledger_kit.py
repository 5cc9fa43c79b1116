"""Ledgers with something in them."""

from l07.ports import Entry, Ledger

AT = "2026-01-02T03:04:05Z"


async def fill(ledger: Ledger, count: int = 5) -> list[Entry]:
    return [await ledger.append("k", str(n), {"n": n, "text": "añ\ud800"}, at=AT) for n in range(1, count + 1)]
