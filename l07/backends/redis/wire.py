"""Batches to arguments of the script, and what it stored back to rows, seals and messages."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Literal, NamedTuple, cast

import msgspec
import xxhash

from l07.backends.redis.checking import MAX_RECORDS, check_items, check_parts
from l07.backends.redis.packing import Written
from l07.errors import BadBatch, BodyDamaged
from l07.events.record import Message, TopicPartition
from l07.ports import Half, Ignored, IngestBatch, Position, Seal, SealedRow, Unreadable

try:
    from l07.backends.redis.pack import pack, pack_rows, told
except ImportError:  # no C compiler where this was installed: `packed_one_by_one` does it
    pack = None  # type: ignore[assignment]

SIDES = {"trace": b"t", "score": b"s", "both": b"b", "request": b"q", "response": b"p"}
UNREADABLE, IGNORED = "u", "i"
# side, time, score, confidence, content, offset, bytes of the body, its number in the slice; lengths of topic:partition,
# track, reason, tiebreak, key. Then the slice's name, these texts, and the check
HEAD = struct.Struct(">cddd8sdIHHHHII")
SLICE, CHECK = 16, 8
ROW = struct.Struct(">BH")  # bits, length of why; then why and the halves
TRACE_BIT, SCORE_BIT, REVISION_BIT = 1, 2, 4
NUMBERS = tuple(b"%d" % n for n in range(MAX_RECORDS + 1))
ERASED = b""  # where a row was
RESPONSE = SIDES["response"][0]
NONE = -1.0  # a score or confidence that is not there

# 16 bytes that stand for a natural key. Cryptographic, so that nobody can make two runs collide
run_hash = partial(blake2b, digest_size=16)
encode = msgspec.msgpack.Encoder().encode
_head, _digest = HEAD.pack, xxhash.xxh3_64_digest  # named once: they run for every record


BodyAt = tuple[str, int]
Bodies = Mapping[BodyAt, bytes | None]


class StoredHalf(NamedTuple):
    """A half as the script keeps it: the client packs it, the script reads it and stores it as it is."""

    tp: str
    offset: int
    key: str
    score: float
    confidence: float
    slice: str  # where its body is: the slice in which it came, and the number there
    number: int
    covered: bytes  # what the check covers beside the body
    check: bytes
    request: "StoredHalf | None" = None  # of a response that found its request: one trace, and both halves lie together

    def records(self) -> "list[StoredHalf]":
        return [self] if self.request is None else [self, self.request]

    def at(self) -> tuple[str, int, int]:
        tp = TopicPartition.parse(self.tp)
        return tp.topic, tp.partition, self.offset

    def body(self) -> BodyAt:
        return self.slice, self.number


class StoredRow(NamedTuple):
    """A joined run, or a score that revises one."""

    why: str
    trace: StoredHalf | None
    score: StoredHalf | None
    revision: bool

    @property
    def key(self) -> str:
        return self.halves()[0].key

    def halves(self) -> list[StoredHalf]:
        """Of each record one."""
        return [each for half in (self.trace, self.score) if half is not None for each in half.records()]


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


_seal = msgspec.msgpack.Decoder(StoredSeal).decode
_track = msgspec.msgpack.Decoder(tuple[int, int, int, int, int, int]).decode
_message = msgspec.msgpack.Decoder(
    tuple[str, bytes | None, bytes, tuple[tuple[bytes, bytes | None], ...], int | None]
).decode


# ------------------------------------------------------------------ to the script


class Step(NamedTuple):
    """What one batch says to the server: the words of the call, and the bodies, number by number."""

    words: list[bytes | Written]
    bodies: list[bytes | Written]


def step_of(batch: IngestBatch, slice_: str, *, written: bool = False) -> Step:
    """Parts and what is no half, digests, packed halves, dead letters. `slice_`: 16 characters that no other step has.
    `written`: the connection takes words that are in the protocol already, where there are such.

    Raises BadBatch (E7458) for what no pipeline may send; nothing was written then."""
    check_parts(batch)
    names, own = [str(part.tp).encode() for part in batch.parts], slice_.encode()
    packed = _rows(batch, names, own) if written else None
    halves, digests, bodies, rest = packed or _compiled(batch, names, own) or packed_one_by_one(batch, names, own)
    others: list[tuple[object, ...]] = []
    letters: list[bytes] = []
    for number in rest:
        item = batch.items[number - 1]
        if isinstance(item, Unreadable):
            others.append((number, UNREADABLE, item.part, item.offset, ""))
            letters.append(_guarded(encode(item.message)))
        else:
            others.append((number, IGNORED, item.part, item.offset, cast(Ignored, item).reason))
    parts = [(str(p.tp), p.start, p.next, p.last_digest.hex(), p.last_time_ms, p.log) for p in batch.parts]
    return Step([encode((parts, others)), b"".join(digests), own, *halves, *letters], bodies)


Words = list[bytes | Written]
Packed = tuple[Words, list[bytes], Words, list[int]]


def _rows(batch: IngestBatch, names: list[bytes], own: bytes) -> Packed | None:
    """None where nothing was compiled, the items have no rows, or one may break the contract."""
    if pack is None:
        return None
    starts, ends = [part.start for part in batch.parts], [part.next for part in batch.parts]
    found = pack_rows(batch.items, starts, ends, names, own, Half, _digest)
    if found is None:
        return None
    count, bodies, halves, digests, rest = found
    return ([Written(count, halves)], [digests], [Written(2 * count, bodies)], rest) if count else ([], [], [], rest)


def _compiled(batch: IngestBatch, names: list[bytes], own: bytes) -> Packed | None:
    """None where nothing was compiled, or an item may break the contract."""
    if pack is None:
        return None
    starts, ends = [part.start for part in batch.parts], [part.next for part in batch.parts]
    return cast("Packed | None", pack(batch.items, starts, ends, names, own, Half, NUMBERS, _digest))


def packed_one_by_one(batch: IngestBatch, names: list[bytes], own: bytes) -> Packed:
    """The halves as strings, digests of their keys, their bodies with their numbers, and the numbers of what is no half.

    Raises BadBatch (E7458)."""
    check_items(batch)
    out: Packed = [], [], [], []
    halves, digests, bodies, rest = out
    for number, item in enumerate(batch.items, 1):
        if isinstance(item, Half):
            key = item.key.encode()
            digests.append(run_hash(key).digest())
            halves.append(_packed(item, names[item.part], key, own, number))
            bodies += NUMBERS[number], item.body
        else:
            rest.append(number)
    return out


def _packed(half: Half, name: bytes, key: bytes, slice_: bytes, number: int) -> bytes:
    """One string that the script stores as it is: it costs the server less than what it would have to put together."""
    _, offset, time_ms, _, side, content, track, reason, score, confidence, tiebreak, body = half
    own_track, why, tie = track.encode(), reason.encode(), tiebreak.encode()
    score, confidence = NONE if score is None else score, NONE if confidence is None else confidence
    try:
        head = _head(
            SIDES[side], time_ms, score, confidence, content, offset, len(body), number,
            len(name), len(own_track), len(why), len(tie), len(key),
        )  # fmt: skip
    except struct.error as err:
        raise BadBatch(f"a {side} whose texts are too long: {err}", key=half.key) from err
    packed = b"".join((head, slice_, name, own_track, why, tie, key))
    return packed + _digest(packed + body)


def _check(covered: bytes, body: bytes) -> bytes:
    """Over all that an example is made of: the server's append-only file has no checksum."""
    return _digest(covered + body)


# ------------------------------------------------------------------ from the server


def rows_of(batch_id: str, blobs: Iterable[bytes]) -> list[StoredRow]:
    out = []
    for place, blob in enumerate(blobs):
        try:
            if blob != ERASED:
                out.append(_row(blob))
        except (struct.error, ValueError) as err:  # cut off, or no text
            raise BodyDamaged(f"row {place} of {batch_id} is damaged: {err}", batch=batch_id, row=place) from err
    return out


def _row(blob: bytes) -> StoredRow:
    bits, length = ROW.unpack_from(blob)
    at = ROW.size + length
    why, halves = blob[ROW.size : at].decode(), []
    for bit in (TRACE_BIT, SCORE_BIT):
        half = None
        if bits & bit:
            half, at = half_at(blob, at)
        halves.append(half)
    if at != len(blob) or halves == [None, None]:
        raise ValueError(f"{len(blob)} bytes where {at} are said")
    return StoredRow(why, halves[0], halves[1], bool(bits & REVISION_BIT))


def half_at(blob: bytes, start: int) -> tuple[StoredHalf, int]:
    """With the request behind a response."""
    half, at = single_at(blob, start)
    if blob[start] != RESPONSE:
        return half, at
    request, at = single_at(blob, at)
    return half._replace(request=request), at


def single_at(blob: bytes, start: int) -> tuple[StoredHalf, int]:
    """One that has nothing behind it, or without that."""
    _, _, score, confidence, _, offset, _, number, *sizes = HEAD.unpack_from(blob, start)
    at, texts = start + HEAD.size, []
    for size in (SLICE, *sizes):
        texts.append(blob[at : at + size])
        at += size
    slice_, tp, *_, key = (text.decode() for text in texts)
    where = tp, int(offset), key, score, confidence, slice_, number
    return StoredHalf(*where, blob[start:at], blob[at : at + CHECK]), at + CHECK


class Told(NamedTuple):
    """What a seal and its announcement say of a batch's rows: keys in order, and each partition's smallest and largest offset."""

    keys: tuple[str, ...]
    first: Mapping[str, int]
    last: Mapping[str, int]


def told_of(batch_id: str, blobs: Iterable[bytes]) -> Told:
    """Read out of the rows alone: taking each of them apart costs four times as much, and every run is announced once.

    Raises BodyDamaged (E7460)."""
    blobs = list(filter(None, blobs))  # without what is ERASED
    found = None if pack is None else told(blobs)
    if found is None:
        return told_one_by_one(batch_id, blobs)
    keys, spans = found
    return Told(tuple(keys), {name: low for name, low, _ in spans}, {name: high for name, _, high in spans})


def told_one_by_one(batch_id: str, blobs: Iterable[bytes]) -> Told:
    keys: list[str] = []
    offsets: dict[bytes, list[int]] = {}
    place = -1
    try:
        for place, blob in enumerate(blobs):  # noqa: B007  # named in the error
            keys.append(_key_of(blob, offsets))
        spans = sorted((name.decode(), found) for name, found in offsets.items())
    except (struct.error, ValueError) as err:  # cut off, or no text
        raise BodyDamaged(f"row {place} of {batch_id} is damaged: {err}", batch=batch_id, row=place) from err
    return Told(tuple(keys), {name: min(at) for name, at in spans}, {name: max(at) for name, at in spans})


def _key_of(blob: bytes, offsets: dict[bytes, list[int]]) -> str:
    """The row's key; notes under each topic:partition where the row's halves lie."""
    bits, length = ROW.unpack_from(blob)
    end, key = ROW.size + length, b""
    for bit in (TRACE_BIT, SCORE_BIT):
        if bits & bit:
            response = blob[end : end + 1] == SIDES["response"]
            for _ in range(1 + response):
                _, _, _, _, _, offset, _, _, name, *others, own = HEAD.unpack_from(blob, end)
                start = end + HEAD.size + SLICE
                end = start + name + sum(others) + own
                offsets.setdefault(blob[start : start + name], []).append(int(offset))
                key = key or blob[end - own : end]
                end += CHECK
    if end != len(blob) or not key:
        raise ValueError(f"{len(blob)} bytes where {end} are said")
    return key.decode()


def seal_of(batch_id: str, stored: StoredSeal, told: Told, said: bytes | None) -> Seal:
    what = stored.track, stored.cause, stored.at_ms, stored.accepted, stored.rejected
    return Seal(batch_id, *what, told.first, told.last, (said or b"").decode())


def sealed_row(batch_id: str, row: StoredRow, bodies: Bodies) -> SealedRow:
    """Raises BodyDamaged (E7460) when a body is gone or not what was applied."""
    trace, score = row.trace, row.score
    judge = score or row.halves()[0]
    request = trace.request if trace else None
    return SealedRow(
        key=row.key,
        decision="REJECT" if row.why else "ACCEPT",
        reasons=tuple(row.why.split("\n")) if row.why else (),
        score=judge.score,
        confidence=judge.confidence,
        trace=proven(batch_id, trace, bodies) if trace else b"",
        evaluation=proven(batch_id, score, bodies) if score else None,
        trace_at=trace.at() if trace else ("", 0, 0),
        evaluation_at=score.at() if score else None,
        revision=row.revision,
        request=proven(batch_id, request, bodies) if request else None,
        request_at=request.at() if request else None,
    )


def proven(batch_id: str, half: StoredHalf, bodies: Bodies) -> bytes:
    body = bodies.get(half.body())
    place = {"batch": batch_id, "key": half.key, "at": f"{half.tp}@{half.offset}"}
    if body is None:
        raise BodyDamaged(f"the body of {half.key} in {batch_id} ({place['at']}) is gone", **place)
    if _check(half.covered, body) != half.check:
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


def by_slice(halves: Iterable[StoredHalf]) -> dict[str, list[int]]:
    """Where the bodies of these halves are: slice -> numbers."""
    out: dict[str, list[int]] = {}
    for half in halves:
        out.setdefault(half.slice, []).append(half.number)
    return out


def batch_order(batch_id: str) -> tuple[str, int]:
    track, _, number = batch_id.rpartition("-")
    return track, int(number)


def pairs(flat: Sequence[object]) -> dict[str, int]:
    """A flat reply of names and numbers."""
    return {cast(bytes, flat[i]).decode(): cast(int, flat[i + 1]) for i in range(0, len(flat), 2)}
