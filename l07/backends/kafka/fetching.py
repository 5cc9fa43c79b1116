"""The part of aiokafka's consumer that we do ourselves: what becomes of the answer to a fetch.

aiokafka 0.14 stops a partition for ever at one record whose header has a name that is not UTF-8, at one batch with a wrong
checksum or an unknown codec; it unpacks a batch to any size, and steps over a record that is too large. Here such a record
or batch comes out as one that says what is wrong with it. Everything that we use of the library's inside is in this file,
and a test fails when a release changes it.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MethodType
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as lib
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from l07.backends.kafka.fetch_watch import FetchWatch
from l07.backends.kafka.unpack import (
    AFTER_ATTRIBUTES,
    ATTRIBUTES_AT,
    CODEC,
    CONTROL,
    HEAD,
    HEADER,
    LOG_APPEND_TIME,
    MAGIC_AT,
    NONE,
    TRANSACTIONAL,
    Batch,
    Damage,
    after_damage,
    damaged,
    read_header,
    read_records,
    unpacked,
)
from l07.errors import BusBroken, BusForbidden, L07Error
from l07.events.record import Record, TopicPartition
from l07.ports import Slice

try:
    from l07.backends.kafka import batch as compiled
except ImportError:  # no C compiler where this was installed: the library's own classes do it
    compiled = None  # type: ignore[assignment]

log = logging.getLogger("l07.kafka")

PREFETCH_BACK_OFF_S = 0.1  # a partition whose records wait for longer does not hold back its broker's others
MAX_SLICE_BYTES = 16_000_000  # of one poll: a slice of the largest events must not exhaust the memory
_new = tuple.__new__
_Headers = tuple[tuple[bytes, bytes | None], ...]
_headers_seen: dict[tuple[tuple[str, bytes | None], ...], _Headers] = {}


def headers_of(found: Sequence[tuple[str, bytes | None]] | None) -> _Headers:
    """Both client libraries have made text of the names; nearly every record has the same few."""
    if not found:
        return ()
    key = tuple(found)
    known = _headers_seen.get(key)
    if known is None:
        known = tuple((name.encode(), value) for name, value in key)
        if len(_headers_seen) < 1024 and sum(len(value or b"") for _, value in key) <= 1024:  # they come from outside
            _headers_seen[key] = known
    return known


class Fetched:
    """What a fetch brought of one partition, handed out piece by piece."""

    def __init__(
        self,
        tp: TopicPartition,
        assignment: Any,
        data: bytes,
        *,
        offset: int,
        aborted: Sequence[tuple[int, int]],
        bound: int,
    ) -> None:
        self.tp = tp
        self.done = False
        self._assignment = assignment
        self._position = offset
        self._bound = bound
        self._aborted = sorted(aborted, key=lambda found: found[1])
        self._dropping: set[int] = set()
        self._batches = self._read(data)
        self._records: list[Record] = []  # of the batch in hand, still to be handed out
        self._after = offset  # the position behind them
        self._born = time.monotonic()

    def calculate_backoff(self) -> float:
        """Seconds for which the broker of this partition is not asked for others (the library's interface)."""
        return max(0.0, PREFETCH_BACK_OFF_S - (time.monotonic() - self._born))

    def take(self, limit: int, max_bytes: int) -> tuple[Slice | None, int]:
        """At most `limit` records from the partition's position on, and their bytes; nothing when somebody has sought."""
        state = self._assignment.state_value(self.tp)
        if not self._assignment.active or state.paused or state.position != self._position:
            self.done = True
            return None, 0
        start, size = self._position, 0
        taken: list[Record] = []
        while len(taken) < limit and size < max_bytes:
            if not self._records and not self._next_batch():
                self.done = True
                break
            piece = self._records[: limit - len(taken)]
            size += sum([len(record[5] or b"") for record in piece])
            if size > max_bytes:
                piece = _cut(piece, max_bytes - size + sum([len(record[5] or b"") for record in piece]))
            taken += piece
            del self._records[: len(piece)]
            self._position = piece[-1][2] + 1 if self._records else self._after
        state.consumed_to(self._position)
        return (Slice(self.tp, start, self._position, taken) if self._position > start else None), size

    def _next_batch(self) -> bool:
        """The next batch that has records; the position moves over those without any."""
        for records, after in self._batches:
            if after <= self._position:  # the batch before the one that was asked for
                continue
            if records and records[0][2] < self._position:
                records = [record for record in records if record[2] >= self._position]
            self._after = after
            if records:
                self._records = records
                return True
            self._position = after
        return False

    def _read(self, data: bytes) -> Iterator[tuple[list[Record], int]]:
        """(records, next offset) of each whole batch."""
        at, end = 0, len(data)
        while at + HEAD.size <= end:
            base, length = HEAD.unpack_from(data, at)
            until = at + HEAD.size + length
            if length < MAGIC_AT - HEAD.size + 1 or until > end:
                return
            if data[at + MAGIC_AT] >= 2 and until - at >= HEADER.size:
                following = HEAD.unpack_from(data, until)[0] if until + HEAD.size <= end else None
                yield self._batch(read_header(data, at), _Raw(data, at, until), following)
            else:
                yield _old(self.tp, base, data[at:until])
            at = until

    def _batch(self, batch: Batch, raw: "_Raw", following: int | None) -> tuple[list[Record], int]:
        if batch.magic != 2 or not raw.has_checksum(batch.crc):
            why = f"form: a batch of {batch.records} records has a wrong checksum"
            offset = max(batch.base_offset, self._position)
            return [damaged(self.tp, offset, raw.bytes(), why)], max(offset + 1, after_damage(batch, following))
        if batch.producer_id >= 0 and self._is_dropped(batch, raw):
            return [], batch.next_offset
        if batch.attributes & CONTROL:
            return [], batch.next_offset
        try:
            return self._records_of(batch, raw), batch.next_offset
        except Damage as damage:
            offset = max(batch.base_offset, self._position)
            return [damaged(self.tp, offset, raw.bytes(), str(damage), batch.max_ms)], batch.next_offset

    def _is_dropped(self, batch: Batch, raw: "_Raw") -> bool:
        """Whether the batch belongs to a transaction that was aborted; keeps count of them."""
        while self._aborted and self._aborted[0][1] <= batch.base_offset:
            self._dropping.add(self._aborted.pop(0)[0])
        if batch.attributes & CONTROL:
            marker = next(iter(DefaultRecordBatch(raw.bytes())), None)
            if marker is not None and ControlRecord.parse(marker.key) == ABORT_MARKER:
                self._dropping.discard(batch.producer_id)
            return True
        return bool(batch.attributes & TRANSACTIONAL) and batch.producer_id in self._dropping

    def _records_of(self, batch: Batch, raw: "_Raw") -> list[Record]:
        codec = batch.attributes & CODEC
        if codec != NONE:
            raw = raw.unpacked(batch, self._bound)
        found = raw.records(batch, self.tp)
        return found if found is not None else _one_by_one(batch, raw.bytes(), self.tp)


class _Raw(NamedTuple):
    """A batch in what a fetch brought, or one that was unpacked."""

    data: bytes
    at: int
    until: int

    def bytes(self) -> bytes:
        return self.data[self.at : self.until]

    def has_checksum(self, crc: int) -> bool:
        if compiled is not None and compiled.HAS_CRC32C:
            return compiled.crc32c(self.data, self.at + ATTRIBUTES_AT, self.until) == crc
        return bool(DefaultRecordBatch(self.bytes()).validate_crc())

    def unpacked(self, batch: Batch, bound: int) -> "_Raw":
        """Raises Damage."""
        payload = unpacked(batch.attributes & CODEC, self.data[self.at + HEADER.size : self.until], bound=bound)
        plain = (batch.attributes & ~CODEC).to_bytes(2, "big", signed=True)
        head = self.data[self.at : self.at + HEADER.size]
        whole = b"".join((head[:ATTRIBUTES_AT], plain, head[AFTER_ATTRIBUTES:], payload))
        return _Raw(whole, 0, len(whole))

    def records(self, batch: Batch, tp: TopicPartition) -> list[Record] | None:
        """None: somebody has to look at each of them."""
        appended = bool(batch.attributes & LOG_APPEND_TIME)
        if compiled is None or (appended and batch.max_ms < 0):
            return None
        return compiled.records(
            self.data, self.at + HEADER.size, self.until, batch.base_offset, batch.first_ms,
            batch.max_ms if appended else -1, batch.records, tp.topic, tp.partition, Record,
        )  # fmt: skip


def _one_by_one(batch: Batch, raw: bytes, tp: TopicPartition) -> list[Record]:
    topic, partition = tp
    try:
        return [
            _new(Record, (topic, partition, r.offset, r.timestamp, r.key, r.value, headers_of(r.headers), ""))
            for r in DefaultRecordBatch(raw)
        ]
    except (UnicodeDecodeError, lib.CorruptRecordException):  # a header's name, or a record without form
        return read_records(batch, raw[HEADER.size :], tp)


def _cut(records: list[Record], max_bytes: int) -> list[Record]:
    """As many from the beginning as fit, but one at least."""
    for number, record in enumerate(records):
        max_bytes -= len(record.value or b"")
        if max_bytes < 0:
            return records[: max(1, number)]
    return records


def _old(tp: TopicPartition, base: int, raw: bytes) -> tuple[list[Record], int]:
    """A message set of before Kafka 0.11. A compressed one is not unpacked: nothing bounds it."""
    if len(raw) > MAGIC_AT + 1 and raw[MAGIC_AT] < 2 and not raw[MAGIC_AT + 1] & CODEC:
        old = LegacyRecordBatch(raw, raw[MAGIC_AT])
        if old.validate_crc():
            return [Record(*tp, r.offset, r.timestamp or 0, r.key, r.value) for r in old], old.next_offset
    return [damaged(tp, base, raw, "form: an old message format, damaged or compressed")], base + 1


class Failed:
    """What a fetch brought instead of records. `error`: what `poll` raises; None: the log is gone at the position."""

    def __init__(self, error: L07Error | None) -> None:
        self.error = error

    def calculate_backoff(self) -> float:
        return 0.0


# ------------------------------------------------------------------ in aiokafka's place


def read_raw(consumer: AIOKafkaConsumer, *, bound: int, watch: FetchWatch) -> None:
    """From now on this consumer's fetches are read here. To be called after `start` and before it has partitions."""
    fetcher = consumer._fetcher

    async def fetch(self: Any, assignment: Any, node_id: int, request: Any) -> bool:
        asked = {TopicPartition(topic, part[0]): part[1] for topic, parts in request.topics for part in parts}
        try:
            return await _fetch(self, assignment, node_id, request, asked, bound)
        except asyncio.CancelledError:
            return False  # closed, or no longer assigned: whoever closes the library's consumer awaits this
        finally:
            watch.answered(asked)

    fetcher._proc_fetch_request = MethodType(fetch, fetcher)


async def _fetch(
    fetcher: Any, assignment: Any, node_id: int, request: Any, asked: Mapping[TopicPartition, int], bound: int
) -> bool:
    """Send one fetch and shelve what it brings; whether anybody should look."""
    try:
        response = await fetcher._client.send(node_id, request)
    except lib.KafkaError as err:
        log.warning("fetch_failed", extra={"node": node_id, "why": str(err)})
        await asyncio.sleep(fetcher._retry_backoff)
        return False
    if error := getattr(response, "error_code", 0):  # of the whole answer: it names no partition
        log.warning("fetch_refused", extra={"node": node_id, "error": lib.for_code(error).__name__})
        await asyncio.sleep(fetcher._retry_backoff)
        return False
    news = rest = False
    for tp, error, more in _answers(response):
        state = assignment.state_value(tp)
        if not assignment.active or not state.has_valid_position or state.position != asked[tp]:
            continue  # assigned to somebody else, or somebody has sought meanwhile
        found, wait = _found(fetcher, tp, error, more, assignment, bound)
        if found is not None:
            fetcher._records[tp] = found
            news = True
        rest = rest or wait
    if rest:
        await asyncio.sleep(fetcher._retry_backoff)
    return news


def _answers(response: Any) -> Iterator[tuple[TopicPartition, int, Sequence[Any]]]:
    for topic, parts in response.topics:
        for number, error, _, *more in parts:
            yield TopicPartition(topic, number), error, more


def _found(
    fetcher: Any, tp: TopicPartition, error: int, more: Sequence[Any], assignment: Any, bound: int
) -> tuple[Fetched | Failed | None, bool]:
    """What to shelve, and whether to rest a little before the next fetch."""
    position = assignment.state_value(tp).position
    if error == 0:
        data = more[-1]
        if not data:
            return None, False
        if not _is_whole(data):
            text = f"the brokers' answer for {tp} at offset {position} does not begin with a whole batch"
            return Failed(BusBroken(text, tp=str(tp), offset=position)), False
        aborted = more[2] if len(more) > 4 else more[-2]
        return Fetched(tp, assignment, bytes(data), offset=position, aborted=aborted or (), bound=bound), False
    kind = lib.for_code(error)
    if kind is lib.OffsetOutOfRangeError:
        return Failed(None), False
    if kind is lib.TopicAuthorizationFailedError:
        return Failed(BusForbidden(f"Kafka lets this user not read {tp.topic}", topic=tp.topic)), False
    if kind is lib.CorruptRecordException:
        text = f"the brokers cannot read their own log of {tp} at offset {position}: it is damaged on disk"
        return Failed(BusBroken(text, tp=str(tp), offset=position)), False
    if kind.invalid_metadata:
        fetcher._client.force_metadata_update()
    log.warning("fetch_refused", extra={"tp": str(tp), "error": kind.__name__})
    return None, True


def _is_whole(data: bytes) -> bool:
    return len(data) >= HEAD.size and 0 < HEAD.unpack_from(data, 0)[1] <= len(data) - HEAD.size


def take(consumer: AIOKafkaConsumer, *, limit: int) -> tuple[list[Slice], list[TopicPartition]]:
    """What is there, at most `limit` records of it; and the partitions whose log is gone at their position.

    Raises what a fetch has come to, when there is nothing else."""
    fetcher = consumer._fetcher
    slices: list[Slice] = []
    lost: list[TopicPartition] = []
    left = MAX_SLICE_BYTES
    for tp, found in list(fetcher._records.items()):
        if isinstance(found, Failed):
            if found.error is not None and (slices or lost):
                break  # the next call raises it
            _forget(fetcher, tp)
            if found.error is not None:
                raise found.error
            lost.append(TopicPartition(*tp))
            continue
        piece, size = found.take(limit, left)
        if found.done:
            _forget(fetcher, tp)
        if piece is not None:
            slices.append(piece)
            limit -= len(piece.records)
            left -= size
        if limit <= 0 or left <= 0:
            break
    return slices, lost


def _forget(fetcher: Any, tp: TopicPartition) -> None:
    del fetcher._records[tp]
    wake_fetcher(fetcher)


def wake_fetcher(fetcher: Any) -> None:
    fetcher._notify(fetcher._wait_consume_future)
