"""Batches that no client library reads, or that would fill the memory: each comes out as a record that says so."""

import resource
from pathlib import Path

import cramjam
import pytest

from l07.backends.kafka import fetching
from l07.backends.kafka.fetching import Fetched
from l07.backends.kafka.unpack import Damage, after_damage, read_header, unpacked
from l07.errors import BadEvent, BatchTooLarge, CodecUnknown, RecordDamaged
from l07.events.modes import DAMAGES, structured
from l07.events.record import Record, TopicPartition
from tests.servers.kafka_batches import GZIP, LZ4, NONE, SNAPPY, ZSTD, batch, record

TP = TopicPartition("t", 0)
BOUND = 1_048_576


class State:
    """What aiokafka keeps of a partition."""

    def __init__(self) -> None:
        self.position = 0
        self.paused = False

    def consumed_to(self, position: int) -> None:
        self.position = position


class Assignment:
    active = True

    def __init__(self) -> None:
        self.state = State()

    def state_value(self, tp: TopicPartition) -> State:
        return self.state


def fetched(data: bytes, *, aborted: list[tuple[int, int]] | None = None) -> list[Record]:
    """Everything that a fetch of these batches hands out, in slices of two."""
    found = Fetched(TP, Assignment(), data, offset=0, aborted=aborted or [], bound=BOUND)
    out: list[Record] = []
    position = 0
    while not found.done:
        slice_, _ = found.take(2, 10**9)
        if slice_ is not None:
            assert slice_.start == position
            position = slice_.next
            out += slice_.records
    return out


def gzip(data: bytes) -> bytes:
    return bytes(cramjam.gzip.compress(data))


def xerial(data: bytes) -> bytes:
    blocks = (bytes(cramjam.snappy.compress_raw(data[at : at + 32768])) for at in range(0, len(data), 32768))
    head = b"\x82SNAPPY\0" + (1).to_bytes(4, "big") * 2
    return head + b"".join(len(block).to_bytes(4, "big") + block for block in blocks)


CODECS = {
    "gzip": (GZIP, gzip),
    "snappy": (SNAPPY, lambda data: bytes(cramjam.snappy.compress_raw(data))),
    "snappy in blocks": (SNAPPY, xerial),
    "lz4": (LZ4, lambda data: bytes(cramjam.lz4.compress(data))),
    "zstd": (ZSTD, lambda data: bytes(cramjam.zstd.compress(data))),
}


@pytest.mark.parametrize("name", CODECS)
def test_a_compressed_batch_is_read(name: str) -> None:
    codec, pack = CODECS[name]
    payload = b"".join(record(b"v%d" % n * 9000, delta=n) for n in range(5))
    found = fetched(batch(pack(payload), records=5, codec=codec))
    assert [(r.offset, r.value, r.damage) for r in found] == [(n, b"v%d" % n * 9000, "") for n in range(5)]


@pytest.mark.parametrize("name", CODECS)
def test_a_batch_that_unpacks_too_far_is_one_dead_letter_and_the_next_is_read(name: str) -> None:
    codec, pack = CODECS[name]
    bomb = batch(pack(bytes(4 * BOUND)), records=3, codec=codec)
    found = fetched(bomb + batch(record(b"good"), records=1, base=3))
    assert [(r.offset, bool(r.damage), r.value == b"good") for r in found] == [(0, True, False), (3, False, True)]
    assert found[0].value == bomb
    with pytest.raises(BatchTooLarge, match=r"E7422.*1048576"):
        structured(found[0], max_bytes=10**9)


@pytest.mark.parametrize("name", CODECS)
def test_a_batch_at_the_bound_is_read(name: str) -> None:
    codec, pack = CODECS[name]
    assert unpacked(codec, pack(bytes(BOUND)), bound=BOUND) == bytes(BOUND)


@pytest.mark.parametrize("name", CODECS)
def test_a_compressed_batch_that_is_cut_off_has_no_form(name: str) -> None:
    codec, pack = CODECS[name]
    with pytest.raises(Damage, match="form"):
        unpacked(codec, pack(bytes(range(256)) * 400)[:-9], bound=BOUND)


def test_a_bomb_of_a_gigabyte_costs_no_more_than_the_bound() -> None:
    bomb = bytes(cramjam.zstd.compress(bytes(1 << 26)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        with pytest.raises(Damage, match="large"):
            unpacked(ZSTD, bomb, bound=BOUND)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16_384  # KiB


def test_an_unknown_codec_is_a_dead_letter_of_its_own() -> None:
    found = fetched(batch(b"?", records=2, codec=7) + batch(record(b"good"), records=1, base=2))
    assert [r.offset for r in found] == [0, 2]
    with pytest.raises(CodecUnknown, match=r"E7421.*codec 7"):
        structured(found[0], max_bytes=10**9)


def test_a_header_whose_name_is_not_utf8_is_read_as_it_is() -> None:
    payload = record(b"a") + record(b"b", headers=[(b"\xff\x00", b"\xfe"), (b"ce_id", None)], delta=1)
    payload += record(b"c", delta=2)
    found = fetched(batch(payload, records=3))
    assert [(r.offset, r.value, r.damage) for r in found] == [(0, b"a", ""), (1, b"b", ""), (2, b"c", "")]
    assert found[1].headers == ((b"\xff\x00", b"\xfe"), (b"ce_id", None))


def test_a_wrong_checksum_is_one_dead_letter_for_the_batch() -> None:
    data = bytearray(batch(record(b"one") + record(b"two", delta=1), records=2))
    data[-3] ^= 1
    found = fetched(bytes(data) + batch(record(b"good"), records=1, base=2))
    assert [(r.offset, r.damage[:4], r.timestamp_ms) for r in found][:1] == [(0, "form", 0)]
    assert [(r.offset, r.value) for r in found[1:]] == [(2, b"good")]
    with pytest.raises(RecordDamaged, match=r"E7420.*checksum"):
        structured(found[0], max_bytes=10**9)


def test_the_rest_of_a_batch_from_a_record_without_form_on_is_one_dead_letter() -> None:
    payload = record(b"good") + b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80" + b"rest"
    found = fetched(batch(payload, records=4) + batch(record(b"next"), records=1, base=4))
    assert [(r.offset, bool(r.damage)) for r in found] == [(0, False), (1, True), (4, False)]


def test_what_follows_a_damaged_batch_is_never_jumped_over() -> None:
    header = read_header(batch(b"", records=5, base=10), 0)
    assert after_damage(header, None) == 15
    assert after_damage(header._replace(last_delta=9_000_000), None) == 15
    assert after_damage(header._replace(records=9_000_000), None) == 15
    assert after_damage(header._replace(last_delta=-7), None) == 11
    assert after_damage(header._replace(last_delta=9_000_000, records=9_000_000), 15) == 15


def test_records_before_the_position_are_not_handed_out_again() -> None:
    assignment = Assignment()
    assignment.state.position = 2
    payload = b"".join(record(b"%d" % n, delta=n) for n in range(4))
    found = Fetched(TP, assignment, batch(payload, records=4), offset=2, aborted=[], bound=BOUND)
    slice_, _ = found.take(9, 10**9)
    assert slice_ is not None
    assert (slice_.start, slice_.next, [r.value for r in slice_.records]) == (2, 4, [b"2", b"3"])


def test_a_slice_is_cut_by_bytes_and_nothing_is_lost() -> None:
    payload = b"".join(record(b"x" * 400, delta=n) for n in range(10))
    found = Fetched(TP, Assignment(), batch(payload, records=10), offset=0, aborted=[], bound=BOUND)
    slices = [found.take(100, 1000)[0] for _ in range(5)]
    assert [(s.start, s.next, len(s.records)) for s in slices if s] == [
        (0, 2, 2),
        (2, 4, 2),
        (4, 6, 2),
        (6, 8, 2),
        (8, 10, 2),
    ]


def test_every_damage_has_its_code() -> None:
    text = Path(fetching.__file__).read_text() + Path(fetching.__file__).with_name("unpack.py").read_text()
    for kind, error in DAMAGES.items():
        assert f'"{kind}"' in text or f'"{kind}: ' in text
        with pytest.raises(error, match="why"):
            structured(Record("t", 0, 0, 0, None, b"raw", (), f"{kind}: why"), max_bytes=9)
        assert issubclass(error, BadEvent)


def test_the_hand_made_batch_without_compression_is_read() -> None:
    assert [r.value for r in fetched(batch(record(None) + record(b"", delta=1), records=2, codec=NONE))] == [None, b""]
