"""What lies in the buffer of a run, read from outside of the script, and what tells the script which of it to erase."""

import asyncio
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from l07.backends.redis import wire
from l07.backends.redis.client import Client, answer, send
from l07.backends.redis.fates import said
from l07.errors import BodyDamaged, FileNotRewritten

MORE, LEAD = b"\xff", struct.Struct(">IH")  # before a waiting half: day, length of its run's scores; then these
LOOK_S = 0.05
REWRITE_S = 600.0
FORBIDDEN = (
    "the buffer's user may not run BGREWRITEAOF, so what was erased may still lie in the server's append-only file: "
    "let an administrator run it, or add +bgrewriteaof to the user (docs/redis.md)"
)


def waiting_half(value: bytes) -> wire.StoredHalf:
    """Raises BodyDamaged (E7460)."""
    try:
        at = 1 + LEAD.size + LEAD.unpack_from(value, 1)[1] if value[:1] == MORE else 0
        return wire.half_at(value, at)[0]
    except (struct.error, ValueError) as err:
        raise BodyDamaged(f"a waiting half is damaged: {err}") from err


def lone_half(value: bytes) -> wire.StoredHalf:
    """Raises BodyDamaged (E7460)."""
    try:
        return wire.single_at(value, 0)[0]
    except (struct.error, ValueError) as err:
        raise BodyDamaged(f"a waiting half is damaged: {err}") from err


def rows_with_place(batch_id: str, blobs: Sequence[bytes]) -> Iterator[tuple[int, bytes, wire.StoredRow]]:
    """Of the rows that are still there."""
    for place, blob in enumerate(blobs):
        for row in wire.rows_of(batch_id, [blob]):
            yield place, blob, row


def erasure(rows: Sequence[tuple[str, int, bytes]], ids: Mapping[str, str], keys: Sequence[str]) -> tuple[bytes, ...]:
    """The arguments of the script's `erase`. `rows`: batch, place, the row as it was read."""
    digests = b"".join(wire.run_hash(key.encode()).digest() for key in keys)
    places = [(batch, place) for batch, place, _ in rows]
    return (wire.encode((places, dict(ids))), digests, *(blob for *_, blob in rows))


async def rewrite_file(client: Client) -> None:
    """Begin, again if one is under way already, and wait. Raises FileNotRewritten (E7125)."""
    until = time.monotonic() + REWRITE_S
    before = (await _idle(client, until)).get("aof_rewrites", 0)
    while not await answer(_begin(client)):
        before = (await _idle(client, until)).get("aof_rewrites", 0)
    while (info := await _idle(client, until)).get("aof_rewrites", 0) == before:
        await _rest(until)
    if info.get("aof_last_bgrewrite_status") != "ok" or info["aof_rewrites"] < before:
        raise FileNotRewritten(
            "the buffer's server could not rewrite its append-only file: is its disk full? Try again"
        )


async def _begin(client: Client) -> bool:
    """False: one that began before our writes is under way."""
    try:
        await send(client, "BGREWRITEAOF")
    except ResponseError as err:
        text = said(err).lower()
        if "in progress" in text:
            return False
        if isinstance(err, NoPermissionError) or "unknown command" in text:
            raise FileNotRewritten(FORBIDDEN) from err
        raise
    return True


async def _idle(client: Client, until: float) -> dict[str, Any]:
    """What the server says of its file, once no rewrite is under way."""
    while True:
        info: dict[str, Any] = await answer(send(client, "INFO", "persistence"))
        if not (info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled")):
            return info
        await _rest(until)


async def _rest(until: float) -> None:
    if time.monotonic() > until:
        raise FileNotRewritten(f"the buffer's server did not rewrite its append-only file within {REWRITE_S:.0f} s")
    await asyncio.sleep(LOOK_S)
