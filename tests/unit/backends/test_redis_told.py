"""What an announcement says of a batch is read out of its rows without taking them apart; both readings say the same."""

import os
import random

import pytest

from l07.backends.redis import wire
from l07.errors import BodyDamaged
from l07.events.record import TopicPartition
from l07.ports import Half, IngestBatch, Part

TRACES, SCORES = TopicPartition("a:topic", 3), TopicPartition("scores", 0)
WHY = b"low_score\nno_goal"


@pytest.fixture(autouse=True, params=["compiled", "python"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(wire, "pack", None)
    elif wire.pack is None and "CI" not in os.environ:
        pytest.skip("l07 was installed without a C compiler")


def a_half(side: str, number: int) -> bytes:
    part, said = (1, 0.5) if side in ("score", "both") else (0, None)
    track = "" if side == "score" else "default"
    key = f"execution:ä{number}"
    half = Half(part, number, 1, key, side, b"c" * 8, track, "why", said, said, "tie", b"body")  # type: ignore[arg-type]
    parts = [Part(TRACES, 0, 100, b"", 0), Part(SCORES, 0, 100, b"", 0)]
    return wire.step_of(IngestBatch(parts, [half]), "s" * wire.SLICE).words[3]


def a_row(number: int, rng: random.Random) -> bytes:
    """A run of two halves, one of three, one whose trace had its own score, or a score that revises."""
    halves = rng.choice([["trace", "score"], ["response", "request", "score"], ["both"], ["score"]])
    bits = (wire.SCORE_BIT if halves[-1] == "score" else 0) | (wire.TRACE_BIT if halves[0] != "score" else 0)
    bits |= wire.REVISION_BIT if halves == ["score"] else 0
    why = rng.choice([b"", WHY])
    return wire.ROW.pack(bits, len(why)) + why + b"".join(a_half(side, number) for side in halves)


def some_rows() -> list[bytes]:
    rng = random.Random(7)
    numbers = list(range(40))
    rng.shuffle(numbers)
    return [a_row(number, rng) for number in numbers]


def test_keys_and_spans_are_those_of_the_rows_taken_apart() -> None:
    blobs = some_rows()
    rows = wire.rows_of("default-1", blobs)
    told = wire.told_of("default-1", blobs)
    offsets: dict[str, list[int]] = {}
    for row in rows:
        for half in row.halves():
            offsets.setdefault(half.tp, []).append(half.offset)
    assert told.keys == tuple(row.key for row in rows)
    assert list(told.first.items()) == sorted((tp, min(found)) for tp, found in offsets.items())
    assert list(told.last.items()) == sorted((tp, max(found)) for tp, found in offsets.items())


def test_no_rows_have_no_keys_and_no_spans() -> None:
    assert wire.told_of("default-1", []) == wire.Told((), {}, {})


@pytest.mark.parametrize("cut", [1, 2, 9, wire.CHECK, 70])
def test_a_row_that_is_cut_off_is_named(cut: int) -> None:
    blobs = some_rows()
    blobs[5] = blobs[5][:-cut]
    with pytest.raises(BodyDamaged, match="row 5 of default-1"):
        wire.told_of("default-1", blobs)


def test_a_row_with_more_than_it_says_is_named() -> None:
    blobs = some_rows()
    blobs[5] += b"x"
    with pytest.raises(BodyDamaged, match="row 5 of default-1"):
        wire.told_of("default-1", blobs)


def test_a_key_that_is_no_text_is_named() -> None:
    blobs = some_rows()
    blobs[5] = blobs[5].replace("ä".encode(), b"\xff\xff")
    with pytest.raises(BodyDamaged, match="row 5 of default-1"):
        wire.told_of("default-1", blobs)


@pytest.mark.parametrize("mark", [b"execution:", b"a:topic:3", b"scores:0"])
def test_a_row_with_a_text_that_is_none_is_named(mark: bytes) -> None:
    blobs = some_rows()
    place = next(n for n, blob in enumerate(blobs) if mark in blob)
    blobs[place] = blobs[place].replace(mark, b"\xff" * len(mark), 1)
    with pytest.raises(BodyDamaged, match="default-1 is damaged"):
        wire.told_of("default-1", blobs)


@pytest.mark.parametrize("seed", range(30))
def test_after_damage_both_ways_say_the_same(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        blobs = some_rows()[:5]
        row = bytearray(blobs[2])
        row[rng.randrange(len(row))] = rng.choice((0, 1, 255, rng.randrange(256)))
        blobs[2] = bytes(row)
        both = []
        for way in (wire.told_of, wire.told_one_by_one):
            try:
                both.append(repr(way("b-1", blobs)))
            except BodyDamaged as err:
                both.append(err.message)
        assert both[0] == both[1]
