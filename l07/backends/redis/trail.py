"""Where one run stands in the buffer: read with plain commands, so that it may be asked beside a running `l07 run`."""

import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from l07.backends.redis import wire
from l07.errors import BodyDamaged
from l07.ports import Trail

MORE = b"\xff"  # state.lua: before a waiting half, with the day and the contents of its run's scores
WAITING = struct.Struct(">IH")
SEEN = struct.Struct(">cII")
STATES = {b"F": "full", b"X": "expired"}
SIDES = {letter: side for side, letter in wire.SIDES.items()}

Call = Callable[..., Awaitable[Any]]


async def trail_of(call: Call, tag: str, key: str) -> Trail:
    """Its waiting half, else what is remembered of it, newest day first. Raises BodyDamaged (E7460)."""
    digest = wire.run_hash(key.encode()).digest()
    packed, lone = await call("HGET", f"{tag}:wait", digest), await call("HGET", f"{tag}:pair", digest)
    if packed is not None or lone is not None:
        return _all_waiting(packed, lone, key)
    for day in sorted(await call("SMEMBERS", f"{tag}:days"), key=int, reverse=True):
        value = await call("HGET", f"{tag}:seen:{day.decode()}", digest)
        if value is not None:
            return await _joined(call, tag, value, key)
    return Trail("unknown")


def _all_waiting(packed: bytes | None, lone: bytes | None, key: str) -> Trail:
    """A request or a response may wait beside a score."""
    trail = _waiting(packed, key) if packed is not None else None
    if lone is None:
        return trail or Trail("unknown")
    part = _waiting(lone, key, alone=True)
    if trail is None:
        return part
    since = min(time for time in (part.since_ms, trail.since_ms) if time is not None)
    return replace(trail, side=f"{part.side}, {trail.side}", since_ms=since, places=(*part.places, *trail.places))


def _waiting(value: bytes, key: str, *, alone: bool = False) -> Trail:
    try:
        at = 0
        if value[:1] == MORE:
            _, scores = WAITING.unpack_from(value, 1)
            at = 1 + WAITING.size + scores
        side, time_ms, *_ = wire.HEAD.unpack_from(value, at)
        half = (wire.single_at if alone else wire.half_at)(value, at)[0]
    except (struct.error, ValueError) as err:
        raise BodyDamaged(f"the waiting half of {key} is damaged: {err}", key=key) from err
    judged = half.score >= 0
    return Trail(
        "waiting",
        side="trace" if half.request else SIDES[side],
        since_ms=int(time_ms),
        score=half.score if judged else None,
        confidence=half.confidence if judged else None,
        places=tuple(each.at() for each in half.records()),
    )


async def _joined(call: Call, tag: str, value: bytes, key: str) -> Trail:
    try:
        state, number, index = SEEN.unpack_from(value)
        track = _track(value)
    except (struct.error, ValueError, IndexError) as err:
        raise BodyDamaged(f"what is remembered of {key} is damaged: {err}", key=key) from err
    if state in STATES:
        return Trail(STATES[state])
    batch_id = f"{track}-{number}"
    blob = await call("LINDEX", f"{tag}:rows:{batch_id}", index)
    where = await _state_of(call, tag, track, number)
    if blob is None or where == "released":
        return Trail("released", batch_id=batch_id)
    rows = wire.rows_of(batch_id, [blob])
    if not rows:
        return Trail("erased", batch_id=batch_id)
    row = rows[0]
    judge = row.score or row.halves()[0]
    return Trail(
        where,
        batch_id=batch_id,
        reasons=tuple(row.why.split("\n")) if row.why else (),
        score=judge.score,
        confidence=judge.confidence,
        places=tuple(half.at() for half in row.halves()),
    )


def _track(value: bytes) -> str:
    """Behind the content of the trace (its length in one byte) and those of the scores (in two), its own length in two."""
    at = SEEN.size
    at += 1 + value[at]
    at += 2 + int.from_bytes(value[at : at + 2], "big")
    length = int.from_bytes(value[at : at + 2], "big")
    if at + 2 + length > len(value):
        raise ValueError(f"{len(value)} bytes where {at + 2 + length} are said")
    return value[at + 2 : at + 2 + length].decode()


async def _state_of(call: Call, tag: str, track: str, number: int) -> str:
    blob = await call("HGET", f"{tag}:tracks", track)
    if blob is not None and wire.track_of(blob).number == number:
        return "open"
    return "sealed" if await call("HEXISTS", f"{tag}:batches", f"{track}-{number}") else "released"
