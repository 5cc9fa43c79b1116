"""Records that lie as rows are as good as a list of them, and are scanned as their objects are."""

import os
import random
from collections.abc import Sequence

import confluent_kafka as lib
import pytest

from l07.backends.kafka import confluent_records, fetching
from l07.backends.kafka.confluent_records import behind, cut
from l07.events.modes import PLAIN, Headers
from l07.events.record import Record
from l07.pipeline import compiled
from tests.unit.pipeline.test_scan import LATE_MS, RULES, damaged, seeds

needed = pytest.mark.skipif(
    (fetching.compiled is None or not compiled.COMPILED) and "CI" not in os.environ,
    reason="l07 was installed without a C compiler",
)
HEADERS: list[list[tuple[str, bytes]] | None] = [
    None, [], [("ce_id", b"x")], *([(name.decode(), value or b"") for name, value in plain] for plain in PLAIN),
]  # fmt: skip


def some(seed: int, count: int = 60) -> list[lib.Message]:
    rng, events = random.Random(seed), seeds()
    out, offset = [], 0
    for _ in range(count):
        offset += rng.choice((1, 1, 1, 5))
        value = rng.choice((rng.choice(events), damaged(rng, rng.choice(events)), None, b""))
        time = (1, LATE_MS + rng.randrange(-1000, 1000))
        out.append(
            lib.Message(
                topic="t", partition=2, offset=offset, key=rng.choice((None, b"", b"key")), value=value,
                headers=rng.choice(HEADERS), timestamp=time,
            )
        )  # fmt: skip
    return out


def rows(messages: Sequence[lib.Message], monkeypatch: pytest.MonkeyPatch) -> tuple[Sequence[Record], list[Record]]:
    """The same messages as rows, and as the Python beside it reads them."""
    (run,) = cut(messages).runs
    with monkeypatch.context() as patched:
        patched.setattr(confluent_records, "_sound", confluent_records.sound_messages)
        (plain,) = cut(messages).runs
    assert fetching.compiled is not None
    assert type(run.records) is fetching.compiled.Records
    assert type(plain.records) is list
    return run.records, plain.records


@needed
@pytest.mark.parametrize("seed", range(10))
def test_are_the_records_that_the_python_beside_it_reads(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, plain = rows(some(seed), monkeypatch)
    assert ours == plain
    assert len(ours) == len(plain)
    assert all(type(record) is Record for record in ours)
    assert [ours[place] for place in (0, -1, 17, -17)] == [plain[place] for place in (0, -1, 17, -17)]
    for piece in (
        slice(3, 9),
        slice(None, 20),
        slice(50, None),
        slice(9, 3),
        slice(-5, -1),
        slice(None, None, 7),
        slice(70, 90),
    ):
        assert ours[piece] == plain[piece]
        assert ours[piece][1:3] == plain[piece][1:3], "a piece of a piece"
    for place in (60, -61):
        with pytest.raises(IndexError):
            ours[place]
    with pytest.raises(IndexError):
        ours[3:9][6]


@needed
def test_grow_by_what_follows_and_their_pieces_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    first, plain = rows(some(1), monkeypatch)
    more, other = rows(some(2), monkeypatch)
    head, middle = first[:40], first[10:20]
    both = behind(first, more)
    assert both is first, "it grows in its place"
    assert both == plain + other
    assert (head, middle) == (plain[:40], plain[10:20])
    assert behind(head, middle) == plain[:40] + plain[10:20], "what is no end of it is copied"
    assert both == plain + other
    assert behind(list(middle), more[:2]) == behind(middle, list(more[:2])) == plain[10:20] + other[:2]
    (elsewhere,) = cut([lib.Message(topic="t", partition=3, offset=1, value=b"v", timestamp=(1, 1))]).runs
    assert {record.partition for record in behind(both, elsewhere.records)} == {2, 3}


@needed
@pytest.mark.parametrize("seed", range(20))
def test_are_scanned_as_their_objects_are(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, plain = rows(some(seed), monkeypatch)
    for piece in (slice(None), slice(7, 50), slice(0, 0)):
        (found, left), (slow, slow_left) = RULES.sure(ours[piece], 3), RULES.sure(plain[piece], 3)
        assert list(left) == list(slow_left)
        assert repr(found) == repr(slow)
        assert compiled.value_bytes(ours[piece]) == compiled.value_bytes(plain[piece])
    assert RULES.sure(ours, 3)[1]
    assert any(RULES.sure(ours, 3)[0])


@needed
@pytest.mark.parametrize("wrong", ["version", "rows", "values", "start"])
def test_rows_that_do_not_hold_what_they_say_are_not_read(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Changed(list[Record]):
        def columns(self) -> tuple[int, bytearray, list[bytes | None], dict[int, Headers], int, int]:
            kind, held, values, headers, start, stop = ours.columns()  # type: ignore[attr-defined]
            held, values = bytearray(held), list(values)
            if wrong == "rows":
                del held[-1]
            if wrong == "values":
                values.pop()
            return kind + (wrong == "version"), held, values, headers, start - (wrong == "start"), stop

    ours, plain = rows(some(3), monkeypatch)
    changed = Changed(plain)
    if wrong == "version":
        assert repr(RULES.sure(changed, 3)[0]) == repr(RULES.sure(plain, 3)[0]), "by its objects"
        return
    with pytest.raises(IndexError):
        RULES.sure(changed, 3)
