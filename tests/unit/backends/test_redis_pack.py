"""What is compiled packs as the Python beside it does, and leaves to it whatever breaks the contract."""

import os
import random
from typing import Any

import pytest

from l07.backends.redis import packing, wire
from l07.errors import BadBatch
from l07.events.record import Message, TopicPartition
from l07.ports import Half, Ignored, IngestBatch, Part, Unreadable

OWN = b"s" * wire.SLICE
TP = TopicPartition("traces", 7)
needed = pytest.mark.skipif(
    wire.pack is None and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)


def a_half(rng: random.Random, offset: int) -> Half:
    side = rng.choice(("trace", "score", "both", "request", "response"))
    score, confidence = (
        (None, None)
        if side not in ("score", "both")
        else (rng.choice((0, 0.0, 100, 33.3)), rng.choice((0, 1, 1.0, 0.1)))
    )
    text = rng.choice(("", "e", "ä\u3042" * 9, "x" * 300))
    return Half(
        0, offset, rng.randrange(2**45), f"execution:{text}{offset}", side, rng.randbytes(8), "" if side == "score" else "sql",
        rng.choice(("", "no_goal")), score, confidence, text, rng.randbytes(rng.choice((1, 50, 5000))),
    )  # fmt: skip


def a_batch(items: list[Any]) -> IngestBatch:
    return IngestBatch([Part(TP, 0, 1000, b"", 0)], items)


def both(batch: IngestBatch) -> tuple[Any, Any]:
    names = [str(part.tp).encode() for part in batch.parts]
    try:
        plain: Any = wire.packed_one_by_one(batch, names, OWN)
    except BadBatch:
        plain = None
    return wire._compiled(batch, names, OWN), plain


@needed
@pytest.mark.parametrize("size", [0, 1, 8, 63, 64, 127, 128, 129, 255, 256, 257, 1000])
def test_a_key_has_the_digest_that_the_library_says(size: int) -> None:
    from l07.backends.redis.pack import blake2b_16

    data = random.Random(size).randbytes(size)
    assert blake2b_16(data) == wire.run_hash(data).digest()


@needed
@pytest.mark.parametrize("first", [0, 1, 63, 64, 65, 200, 1024, 70_000])
@pytest.mark.parametrize("second", [0, 1, 40, 63, 64, 65, 176, 240, 241, 823, 824, 825, 1023, 1024, 1025, 5000])
def test_a_check_is_what_the_library_says_of_both_texts_together(first: int, second: int) -> None:
    from l07.backends.redis.pack import xxh3_64

    data = random.Random(first * 7 + second).randbytes(first + second)
    if len(data) > 240:
        assert xxh3_64(data[:first], data[first:]) == int.from_bytes(wire._digest(data), "big")
    else:
        with pytest.raises(ValueError, match="too short"):
            xxh3_64(data[:first], data[first:])


@needed
@pytest.mark.parametrize("seed", range(20))
def test_packs_as_the_python_beside_it(seed: int) -> None:
    rng = random.Random(seed)
    items: list[Any] = [a_half(rng, offset) for offset in sorted(rng.sample(range(1000), 400))]
    for place in rng.sample(range(400), 20):
        offset = items[place].offset
        items[place] = rng.choice(
            (Ignored(0, offset, "type"), Unreadable(0, offset, Message("dlq", None, b"{}", (), None)))
        )
    ours, plain = both(a_batch(items))
    assert ours == plain
    assert len(ours[3]) == 20


GOOD = a_half(random.Random(3), 5)._replace(side="both", track="sql", score=1.0, confidence=0.5)


@needed
@pytest.mark.parametrize(
    "wrong",
    [
        {"part": 1}, {"part": -1}, {"offset": 1000}, {"offset": -1}, {"score": 100.1}, {"score": -0.1}, {"score": float("nan")},
        {"confidence": 1.1}, {"confidence": None}, {"score": None}, {"score": None, "confidence": None}, {"side": "trace"},
        {"side": "score"}, {"side": "request"}, {"side": "response"}, {"track": ""}, {"content": b"1234567"}, {"time_ms": -1}, {"track": "t" * 65_536},
        {"reason": "t" * 65_536}, {"side": "trace", "score": None, "confidence": 0.5},
    ],
)  # fmt: skip
def test_what_breaks_the_contract_is_left_to_it(wrong: dict[str, Any]) -> None:
    assert both(a_batch([GOOD]))[0] is not None
    assert both(a_batch([GOOD._replace(**wrong)])) == (None, None)
    assert both(a_batch([GOOD, GOOD])) == (None, None), "an offset twice"


@needed
def test_joins_as_the_python_beside_it() -> None:
    rng = random.Random(1)
    commands: list[list[Any]] = [
        ["HSET", "key", *(rng.randbytes(size) for size in (0, 1, 9, 10, 99, 100, 4095, 4096, 99_999, 100_000))],
        ["EXPIRE", "ä", 12345, 1.5], ["EXEC"],
        ["X"] * 1001,
    ]  # fmt: skip
    assert packing._joined is not packing.joined
    assert packing._joined([list(words) for words in commands]) == packing.joined(commands)
