"""What is compiled reads a sound batch as the libraries' classes do, and leaves every other one to them."""

import os
import random
import struct
from typing import Any

import pytest
from aiokafka.record.util import calc_crc32c

from l07.backends.kafka import fetching
from l07.backends.kafka.unpack import HEADER, LOG_APPEND_TIME, read_header, read_records
from l07.events.record import Record, TopicPartition
from tests.servers.confluent_kit import RawRecord, raw_batch

TP = TopicPartition("traces", 3)
compiled = fetching.compiled
needed = pytest.mark.skipif(
    compiled is None and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)


def some(rng: random.Random) -> list[RawRecord]:
    def maybe(most: int) -> bytes | None:
        return None if rng.random() < 0.2 else rng.randbytes(rng.randrange(most))

    names = [b"content-type", b"ce_id", b"\xff\xfe", b""]
    return [
        (maybe(30), maybe(300), [(rng.choice(names), maybe(20)) for _ in range(rng.choice((0, 0, 1, 3)))])
        for _ in range(rng.randrange(1, 20))
    ]


def both(whole: bytes) -> tuple[Any, list[Record]]:
    """What is compiled, and the reading one by one: of a batch in the middle of other bytes."""
    batch = read_header(whole, 0)
    ours = fetching._Raw(b"before" + whole + b"behind", 6, 6 + len(whole)).records(batch, TP)
    return ours, fetching._one_by_one(batch, whole, TP)


@needed
@pytest.mark.parametrize("seed", range(30))
def test_reads_what_the_library_reads(seed: int) -> None:
    whole = raw_batch(some(random.Random(seed)))
    ours, theirs = both(whole)
    assert ours == theirs == read_records(read_header(whole, 0), whole[HEADER.size :], TP)
    assert all(type(record) is Record for record in ours)


@needed
def test_the_time_of_appending_counts_for_all() -> None:
    whole = bytearray(raw_batch([(b"k", b"v", [])] * 3))
    struct.pack_into(">h", whole, 21, LOG_APPEND_TIME)
    struct.pack_into(">q", whole, 35, 1_800_000_000_000)
    ours, theirs = both(bytes(whole))
    assert ours == theirs
    assert {record.timestamp_ms for record in ours} == {1_800_000_000_000}


@needed
@pytest.mark.parametrize("seed", range(40))
def test_damage_is_left_to_the_reading_one_by_one_or_read_alike(seed: int) -> None:
    """A few bytes of the records changed, or the end cut off; the header stays, and its number of records."""
    rng = random.Random(seed)
    left = 0
    for _ in range(300):
        whole = bytearray(raw_batch(some(rng)))
        for _ in range(rng.randrange(3)):
            whole[rng.randrange(HEADER.size, len(whole))] = rng.choice((0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        if rng.random() < 0.3:
            del whole[rng.randrange(HEADER.size, len(whole)) :]
        batch = read_header(bytes(whole), 0)
        ours = fetching._Raw(bytes(whole), 0, len(whole)).records(batch, TP)
        left += ours is None
        if ours is not None:
            assert ours == read_records(batch, bytes(whole[HEADER.size :]), TP)
    assert left > 50


@needed
@pytest.mark.parametrize("count", [-1, 2, 4, 2**31 - 1])
def test_another_number_of_records_than_there_are_is_left_to_it(count: int) -> None:
    whole = bytearray(raw_batch([(b"k", b"v", [])] * 3))
    struct.pack_into(">i", whole, HEADER.size - 4, count)
    assert fetching._Raw(bytes(whole), 0, len(whole)).records(read_header(bytes(whole), 0), TP) is None


@needed
def test_has_the_library_s_checksum() -> None:
    rng = random.Random(5)
    data = rng.randbytes(5000)
    for _ in range(200):
        at, end = sorted((rng.randrange(5001), rng.randrange(5001)))
        if compiled.HAS_CRC32C:
            assert compiled.crc32c(data, at, end) == calc_crc32c(data[at:end])
    with pytest.raises(IndexError):
        compiled.crc32c(data, 0, 5001)


def test_a_wrong_checksum_is_seen_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = raw_batch([(b"k", b"v", [])])
    wrong = whole[:-1] + b"x"
    for there in (compiled, None):
        monkeypatch.setattr(fetching, "compiled", there)
        for data, sound in ((whole, True), (wrong, False)):
            assert fetching._Raw(data, 0, len(data)).has_checksum(read_header(data, 0).crc) is sound
