"""What the tests of the second Kafka client share: a bus, waiting, and record batches made by hand."""

import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import confluent_kafka as lib
from aiokafka.record.util import calc_crc32c

from l07.backends.kafka.confluent import ConfluentBus
from l07.backends.kafka.confluent_subscription import ConfluentSubscription
from l07.events.record import Record, TopicPartition
from l07.ports import Slice, Start
from l07.settings import Settings

RawRecord = tuple[bytes | None, bytes | None, Sequence[tuple[bytes, bytes | None]]]
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)


def settings_of(address: str, **kafka: object) -> Settings:
    said = {"client": "confluent", "session_timeout_s": 6, **kafka}
    return Settings.model_validate({"bus": {"url": f"kafka://{address}", "kafka": said}})


@asynccontextmanager
async def a_bus(address: str, **kafka: object) -> AsyncIterator[ConfluentBus]:
    async with ConfluentBus.open(settings_of(address, **kafka), check=False) as bus:
        assert isinstance(bus, ConfluentBus)
        yield bus


def from_the(offset: int) -> Start:
    async def start(assigned: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(assigned, offset)

    return start


async def until(
    sub: ConfluentSubscription, done: Callable[[list[Slice]], bool], *, within_s: float = 20.0, limit: int = 100
) -> list[Slice]:
    """Slices, until there are enough; each begins where the one before it ended."""
    slices: list[Slice] = []
    deadline = time.monotonic() + within_s
    while not done(slices) and time.monotonic() < deadline:
        slices += await sub.poll(limit=limit, timeout_s=0.2)
    reached: dict[TopicPartition, int] = {}
    for slice_ in slices:
        assert slice_.start == reached.get(slice_.tp, slice_.start)
        reached[slice_.tp] = slice_.next
    return slices


def reached(end: int) -> Callable[[list[Slice]], bool]:
    return lambda slices: bool(slices) and slices[-1].next >= end


def records_of(slices: Sequence[Slice]) -> list[Record]:
    return [record for slice_ in slices for record in slice_.records]


def produce(
    address: str, topic: str, *values: bytes, partition: int = 0, transaction: str = "", commit: bool = True
) -> None:
    """By the library itself; with `transaction` as one, committed or aborted."""
    options: dict[str, str | int] = {"bootstrap.servers": address}
    producer = lib.Producer(options | ({"transactional.id": transaction} if transaction else {}))
    if transaction:
        producer.init_transactions(30)
        producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=partition)
    producer.flush()
    if transaction:
        (producer.commit_transaction if commit else producer.abort_transaction)(30)


# ------------------------------------------------------------------ batches by hand


def _number(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _blob(data: bytes | None) -> bytes:
    return _number(-1) if data is None else _number(len(data)) + data


def raw_record(delta: int, record: RawRecord) -> bytes:
    key, value, headers = record
    heads = b"".join(_blob(name) + _blob(text) for name, text in headers)
    body = b"\0" + _number(0) + _number(delta) + _blob(key) + _blob(value) + _number(len(headers)) + heads
    return _number(len(body)) + body


def raw_batch(records: Sequence[RawRecord] = (), *, codec: int = NONE, payload: bytes = b"", count: int = 0) -> bytes:
    """`payload`: bytes in place of the records, such as compressed ones."""
    payload = payload or b"".join(raw_record(delta, record) for delta, record in enumerate(records))
    count, now = count or len(records), int(time.time() * 1000)
    covered = struct.pack(">hiqqqhii", codec, count - 1, now, now, -1, -1, -1, count) + payload
    rest = struct.pack(">ibI", -1, 2, calc_crc32c(covered)) + covered
    return struct.pack(">qi", 0, len(rest)) + rest


_LEADS_NOT_YET = (3, 5, 6)  # unknown partition, no leader, not the leader: metadata come before the log
_LONGEST_WAIT_S = 30


def send_raw(address: str, topic: str, batch: bytes) -> None:
    """Past every client's checks, into partition 0, once the broker leads it."""
    until = time.monotonic() + _LONGEST_WAIT_S
    while error := _produce(address, topic, batch):
        assert error in _LEADS_NOT_YET, error
        assert time.monotonic() < until, error


def _produce(address: str, topic: str, batch: bytes) -> int:
    """The broker's error number."""
    host, _, port = address.rpartition(":")
    name = struct.pack(">h", len(topic)) + topic.encode()
    body = struct.pack(">hhih3shhii", 0, 7, 1, 3, b"raw", -1, -1, 10_000, 1) + name
    body += struct.pack(">iii", 1, 0, len(batch)) + batch
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
        answer = connection.recv(size, socket.MSG_WAITALL)
    at = 8 + 2 + len(topic) + 4 + 4
    return int(struct.unpack(">h", answer[at : at + 2])[0])


def segment(folder: Path, topic: str) -> Path:
    return folder / f"{topic}-0" / f"{0:020}.log"


def flip(path: Path, mark: bytes) -> None:
    """Change one byte of a record on the broker's disk, so that its batch has a wrong checksum."""
    at = path.read_bytes().index(mark)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"X")


def set_codec(path: Path, mark: bytes, codec: int) -> None:
    """The batch with `mark` says another codec, under a right checksum."""
    data = bytearray(path.read_bytes())
    at = base = 0
    while (at := base) < len(data):
        length = struct.unpack_from(">i", data, at + 8)[0]
        base = at + 12 + length
        if mark in data[at:base]:
            data[at + 22] = codec
            struct.pack_into(">I", data, at + 17, calc_crc32c(bytes(data[at + 21 : base])))
    _overwrite(path, bytes(data))


def _overwrite(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:  # in place: the broker has it open
        file.write(data)
