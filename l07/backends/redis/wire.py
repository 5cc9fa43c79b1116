"""Batches to arguments of the script, and what it stored back to rows, seals and messages."""

import math
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple, cast

import msgspec
import xxhash

from l07.errors import BadBatch, BodyDamaged
from l07.events.record import Message, TopicPartition
from l07.ports import Half, IngestBatch, Part, Position, Seal, SealedRow, Unreadable

MAX_RECORDS = 500  # above it one step blocks the server for more than 10-30 ms
SIDES = {"trace": "t", "score": "s", "both": "b"}
HALF, UNREADABLE, IGNORED = 1, 2, 3

encode = msgspec.msgpack.Encoder().encode


class StoredHalf(msgspec.Struct, array_like=True):
    """A half as the script keeps it; a score or confidence of -1 is none."""

    key: str
    side: str
    tp: str
    offset: int
    time_ms: int
    track: str
    reason: str
    score: float
    confidence: float
    tiebreak: str
    check: str

    def body_key(self, tag: str) -> str:
        return f"{tag}:b:{self.tp}@{self.offset}"

    def at(self) -> tuple[str, int, int]:
        tp = TopicPartition.parse(self.tp)
        return tp.topic, tp.partition, self.offset


class StoredRow(msgspec.Struct, array_like=True):
    """A joined run, or a score that revises one; `False` where a part is missing."""

    key: str
    why: str
    trace: StoredHalf | bool
    score: StoredHalf | bool
    time_ms: int
    revision: bool

    def halves(self) -> list[StoredHalf]:
        return [half for half in (self.trace, self.score) if isinstance(half, StoredHalf)]


class StoredSeal(msgspec.Struct, array_like=True):
    track: str
    number: int
    cause: Literal["count", "age", "idle"]
    at_ms: int
    accepted: int
    rejected: int
    rows: int
    outbox: int


class Track(NamedTuple):
    number: int
    accepted: int
    rejected: int
    revisions: int
    oldest_ms: int
    rows: int


_row = msgspec.msgpack.Decoder(StoredRow).decode
_seal = msgspec.msgpack.Decoder(StoredSeal).decode
_track = msgspec.msgpack.Decoder(tuple[int, int, int, int, int, int]).decode
_message = msgspec.msgpack.Decoder(
    tuple[str, bytes | None, bytes, tuple[tuple[bytes, bytes | None], ...], int | None]
).decode


# ------------------------------------------------------------------ to the script


def arguments(batch: IngestBatch) -> list[bytes]:
    """The batch's part of the call: metadata, digests, bodies.

    Raises BadBatch (E7458) for what no pipeline may send; nothing was written then."""
    check(batch)
    items: list[tuple[object, ...]] = []
    digests: list[bytes] = []
    bodies: list[bytes] = []
    for item in batch.items:
        if isinstance(item, Half):
            items.append(_half(item))
            digests += (run_digest(item.key), item.content)
            bodies.append(item.body)
        elif isinstance(item, Unreadable):
            items.append((UNREADABLE, item.part, item.offset))
            bodies.append(_guarded(encode(item.message)))
        else:
            items.append((IGNORED, item.part, item.offset, item.reason))
    parts = [(str(p.tp), p.start, p.next, p.last_digest.hex(), p.last_time_ms) for p in batch.parts]
    return [encode((parts, items)), b"".join(digests), *bodies]


def run_digest(key: str) -> bytes:
    """16 bytes that stand for a natural key. Cryptographic, so that nobody can make two runs collide."""
    return blake2b(key.encode(), digest_size=16).digest()


def _half(h: Half) -> tuple[object, ...]:
    score = -1.0 if h.score is None else h.score
    confidence = -1.0 if h.confidence is None else h.confidence
    proof = _proof(h.key, h.track, h.reason, score, confidence, h.tiebreak, h.body)
    place = (HALF, h.part, h.offset, h.time_ms)
    return (*place, h.key, SIDES[h.side], h.track, h.reason, score, confidence, h.tiebreak, proof)


def _proof(key: str, track: str, reason: str, score: float, confidence: float, tiebreak: str, body: bytes) -> str:
    """Over all that an example is made of: the server's append-only file has no checksum."""
    return xxhash.xxh3_64_hexdigest(encode((key, track, reason, float(score), float(confidence), tiebreak)) + body)


def check(batch: IngestBatch) -> None:
    if len(batch.items) > MAX_RECORDS:
        raise BadBatch(f"{len(batch.items)} records in one batch; {MAX_RECORDS} at most", records=len(batch.items))
    if len({part.tp for part in batch.parts}) != len(batch.parts):
        raise BadBatch("a partition stands twice in one batch")
    for part in batch.parts:
        _check_part(part)
    last = [part.start - 1 for part in batch.parts]
    for item in batch.items:
        if not 0 <= item.part < len(last):
            raise BadBatch(f"a record names part {item.part} of {len(last)}")
        if not last[item.part] < item.offset < batch.parts[item.part].next:
            raise BadBatch(f"offset {item.offset} is out of order or outside of its part {batch.parts[item.part]}")
        last[item.part] = item.offset
        if isinstance(item, Half):
            _check_half(item)


def _check_part(part: Part) -> None:
    whole = 0 <= part.start <= part.next < 2**53 and len(part.last_digest) in (0, 16) and part.last_time_ms >= 0
    if not whole:
        raise BadBatch(f"not a part: {part}")


def _check_half(half: Half) -> None:
    numbers = (half.score, half.confidence)
    missing = half.side == "trace" and numbers != (None, None)
    limits = zip(numbers, (100, 1), strict=True)
    bounded = all(n is None or (math.isfinite(n) and 0 <= n <= limit) for n, limit in limits)
    if missing or not bounded or (half.side != "trace" and None in numbers):
        raise BadBatch(f"a {half.side} with score and confidence {numbers}", key=half.key)
    if len(half.content) != 8 or half.time_ms < 0 or (half.side != "score") != bool(half.track):
        raise BadBatch(f"a {half.side} with content, time or track that cannot be", key=half.key)


# ------------------------------------------------------------------ from the server


def rows_of(batch_id: str, blobs: Iterable[bytes]) -> list[StoredRow]:
    out = []
    for place, blob in enumerate(blobs):
        try:
            out.append(_row(blob))
        except msgspec.MsgspecError as err:
            raise BodyDamaged(f"row {place} of {batch_id} is damaged: {err}", batch=batch_id, row=place) from err
    return out


def seal_of(batch_id: str, stored: StoredSeal, rows: Sequence[StoredRow]) -> Seal:
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for row in rows:
        for half in row.halves():
            first[half.tp] = min(first.get(half.tp, half.offset), half.offset)
            last[half.tp] = max(last.get(half.tp, half.offset), half.offset)
    counts = stored.accepted, stored.rejected
    return Seal(
        batch_id,
        stored.track,
        stored.cause,
        stored.at_ms,
        *counts,
        dict(sorted(first.items())),
        dict(sorted(last.items())),
    )


def sealed_row(batch_id: str, row: StoredRow, bodies: Mapping[str, bytes | None], tag: str) -> SealedRow:
    """Raises BodyDamaged (E7460) when a body is gone or not what was applied."""
    trace = row.trace if isinstance(row.trace, StoredHalf) else None
    score = row.score if isinstance(row.score, StoredHalf) else None
    judge = score or trace
    if judge is None:
        raise BodyDamaged(f"{row.key} in {batch_id} has neither trace nor score", batch=batch_id, key=row.key)
    return SealedRow(
        key=row.key,
        decision="REJECT" if row.why else "ACCEPT",
        reasons=tuple(row.why.split("\n")) if row.why else (),
        score=judge.score,
        confidence=judge.confidence,
        trace=proven(batch_id, trace, bodies, tag) if trace else b"",
        evaluation=proven(batch_id, score, bodies, tag) if score else None,
        trace_at=trace.at() if trace else ("", 0, 0),
        evaluation_at=score.at() if score else None,
        revision=row.revision,
    )


def proven(batch_id: str, half: StoredHalf, bodies: Mapping[str, bytes | None], tag: str) -> bytes:
    body = bodies.get(half.body_key(tag))
    place = {"batch": batch_id, "key": half.key, "at": f"{half.tp}@{half.offset}"}
    if body is None:
        raise BodyDamaged(f"the body of {half.key} in {batch_id} ({place['at']}) is gone", **place)
    is_now = _proof(half.key, half.track, half.reason, half.score, half.confidence, half.tiebreak, body)
    if is_now != half.check:
        raise BodyDamaged(f"{half.key} in {batch_id} ({place['at']}) is not what was applied", **place)
    return body


def stored_seal(batch_id: str, blob: bytes) -> StoredSeal:
    try:
        return _seal(blob)
    except msgspec.MsgspecError as err:
        raise BodyDamaged(f"the seal of {batch_id} is damaged: {err}", batch=batch_id) from err


def track_of(blob: bytes) -> Track:
    return Track(*_track(blob))


def _guarded(blob: bytes) -> bytes:
    return xxhash.xxh3_64_digest(blob) + blob


def message_of(entry_id: str, blob: bytes) -> Message:
    if xxhash.xxh3_64_digest(blob[8:]) != blob[:8]:
        raise BodyDamaged(f"the message in outbox entry {entry_id} is not what was applied", entry=entry_id)
    return Message(*_message(blob[8:]))


def position_of(value: bytes) -> Position:
    next_, time_ms, digest = value.decode().split(" ")
    return Position(int(next_), bytes.fromhex(digest), int(time_ms))


def batch_order(batch_id: str) -> tuple[str, int]:
    track, _, number = batch_id.rpartition("-")
    return track, int(number)


def pairs(flat: Sequence[object]) -> dict[str, int]:
    """A flat reply of names and numbers."""
    return {cast(bytes, flat[i]).decode(): cast(int, flat[i + 1]) for i in range(0, len(flat), 2)}
