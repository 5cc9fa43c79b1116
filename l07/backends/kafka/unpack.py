"""Kafka's record batches, read by ourselves: bounds on what a batch unpacks to, and records that no client library reads.

Format: KIP-98, message format 2. Nothing here speaks to a broker or knows a client."""

import mmap
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import cramjam

from l07.events.record import Record, TopicPartition

HEADER = struct.Struct(">qiibIhiqqqhii")
HEAD = struct.Struct(">qi")  # base offset, length of what follows: the same in every format
MAGIC_AT = 16
ATTRIBUTES_AT = 21  # what the checksum covers begins here
AFTER_ATTRIBUTES = 23
CODEC, LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 0x07, 0x08, 0x10, 0x20
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
XERIAL = b"\x82SNAPPY\x00"
XERIAL_HEAD = 16
LATEST_MS = 253_402_300_799_000  # year 9999

Headers = tuple[tuple[bytes, bytes | None], ...]


class Damage(Exception):
    """Why a batch or a record cannot be read; `kind` is a key of l07.events.modes.DAMAGES."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")


class Batch(NamedTuple):
    """The header of a batch."""

    base_offset: int
    length: int
    epoch: int
    magic: int
    crc: int
    attributes: int
    last_delta: int
    first_ms: int
    max_ms: int
    producer_id: int
    producer_epoch: int
    sequence: int
    records: int

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_delta + 1


def read_header(data: bytes, at: int) -> Batch:
    """The header at `at`; the caller has looked that there are enough bytes."""
    return Batch._make(HEADER.unpack_from(data, at))


def after_damage(batch: Batch, following: int | None) -> int:
    """Where to go on after a batch whose checksum is wrong: never beyond a record that may be good.

    What the next batch says counts most. Without one the smaller of two numbers of the header: going less far only means
    that the rest of the batch comes again."""
    if following is not None and following > batch.base_offset:
        return following
    return batch.base_offset + max(1, min(batch.last_delta + 1, batch.records))


# ------------------------------------------------------------------ compression


def unpacked(codec: int, payload: bytes, *, bound: int) -> bytes:
    """The records of a compressed batch.

    Raises Damage: `codec` for one that nobody knows, `large` for more than `bound` bytes, `form` for what is no such data."""
    unpack = _UNPACKERS.get(codec)
    if unpack is None:
        raise Damage("codec", f"compression codec {codec}")
    try:
        return unpack(payload, bound)
    except (cramjam.DecompressionError, zlib.error, struct.error, OSError, ValueError) as err:
        raise Damage("form", f"{_NAMES[codec]}: {err}") from err


def _gzip(payload: bytes, bound: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    out = stream.decompress(payload, bound + 1)
    if len(out) > bound:
        raise _too_large(bound)
    if not stream.eof:
        raise ValueError("the stream is cut off")
    return out


def _framed(into: Callable[[bytes, mmap.mmap], int]) -> Callable[[bytes, int], bytes]:
    """Unpacked into room that is only reserved: pages that stay empty cost nothing, and what would not fit is refused."""

    def unpack(payload: bytes, bound: int) -> bytes:
        with mmap.mmap(-1, bound) as room:
            try:
                return room[: into(payload, room)]
            except (cramjam.DecompressionError, OSError) as err:
                if "whole buffer" in str(err):
                    raise _too_large(bound) from err
                raise

    return unpack


def _snappy(payload: bytes, bound: int) -> bytes:
    if not payload.startswith(XERIAL):
        return _snappy_block(payload, bound, bound)
    out: list[bytes] = []
    left, at = bound, XERIAL_HEAD
    while at < len(payload):
        (size,) = struct.unpack_from(">i", payload, at)
        if size <= 0 or at + 4 + size > len(payload):
            raise ValueError("a block is cut off")
        out.append(_snappy_block(payload[at + 4 : at + 4 + size], left, bound))
        left -= len(out[-1])
        at += 4 + size
    return b"".join(out)


def _snappy_block(block: bytes, left: int, bound: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > left:
        raise _too_large(bound)
    return bytes(cramjam.snappy.decompress_raw(block))


def _too_large(bound: int) -> Damage:
    return Damage("large", f"the batch unpacks to more than {bound} bytes")


_NAMES = {GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}
_UNPACKERS: Mapping[int, Callable[[bytes, int], bytes]] = {
    GZIP: _gzip,
    SNAPPY: _snappy,
    LZ4: _framed(cramjam.lz4.decompress_into),
    ZSTD: _framed(cramjam.zstd.decompress_into),
}

# ------------------------------------------------------------------ records, one by one


class Cursor:
    """Reads the fields of records. Raises Damage where the bytes end too early or a length is none."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self) -> int:
        """A zigzag varint of at most 64 bits."""
        shift = value = 0
        while True:
            if self.at >= len(self.data) or shift > 63:
                raise Damage("form", f"no number at byte {self.at}")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7

    def bytes(self) -> bytes | None:
        size = self.number()
        if size < 0:
            return None
        if self.at + size > len(self.data):
            raise Damage("form", f"{size} bytes at byte {self.at} are not all there")
        found = self.data[self.at : self.at + size]
        self.at += size
        return found

    def record(self, batch: Batch, tp: TopicPartition) -> Record:
        end = self.number() + self.at
        self.at += 1  # attributes: none are in use
        timestamp = batch.first_ms + self.number()
        if batch.attributes & LOG_APPEND_TIME:
            timestamp = batch.max_ms
        offset = batch.base_offset + self.number()
        key, value = self.bytes(), self.bytes()
        headers = self.headers()
        if self.at != end:
            raise Damage("form", f"the record at offset {offset} ends at byte {self.at} and not at {end}")
        return Record(*tp, offset, timestamp, key, value, headers)

    def headers(self) -> Headers:
        count = self.number()
        if not 0 <= count <= len(self.data):
            raise Damage("form", f"{count} headers")
        return tuple((self.bytes() or b"", self.bytes()) for _ in range(count))


def read_records(batch: Batch, payload: bytes, tp: TopicPartition) -> list[Record]:
    """Every record of a batch that is not compressed any more: a header's name may be any bytes.

    From a record on that has no form, one record stands for the rest."""
    cursor = Cursor(payload)
    records: list[Record] = []
    at = 0
    try:
        while cursor.at < len(payload):
            at = cursor.at
            records.append(cursor.record(batch, tp))
    except Damage as damage:
        offset = records[-1].offset + 1 if records else batch.base_offset
        if offset < batch.next_offset:
            records.append(damaged(tp, offset, payload[at:], str(damage), batch.max_ms))
    return records


def damaged(tp: TopicPartition, offset: int, raw: bytes, why: str, time_ms: int = 0) -> Record:
    """What stands for a batch, or for records, that cannot be read. No time is better than one that may be wrong."""
    return Record(*tp, offset, time_ms if 0 <= time_ms <= LATEST_MS else 0, None, raw, (), why)
