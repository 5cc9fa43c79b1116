"""What is compiled packs as the Python beside it does, and leaves to it whatever breaks the contract."""

import json
import os
import random
import struct
from typing import Any

import pytest

from l07.backends.redis import packing, wire
from l07.errors import BadBatch
from l07.events.record import Message, Record, TopicPartition
from l07.pipeline.ingest import ingest
from l07.ports import Half, Ignored, IngestBatch, Part, Slice, Unreadable
from tests.unit.events.builders import a_score, a_trace, tight
from tests.unit.pipeline.test_scan import LATE_MS, RULES

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
        said = int.from_bytes(wire._digest(data), "big")
        assert xxh3_64(data[:first], data[first:]) == xxh3_64(data[:first], data[first:], False) == said
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


def some_items(seed: int) -> tuple[IngestBatch, int]:
    """Items as they come from the scanner: rows, halves that are objects, and what is no half; how many are halves."""
    from l07.pipeline.compiled import scan

    rng = random.Random(seed)
    values = [tight(a_score(execution_id=f"e{n}", evaluation_id=rng.choice((None, "v", "ä" * 9)))) for n in range(40)]
    values += [tight(a_trace(execution_id=f"t{n}", domain=rng.choice(("sql", "x")))) for n in range(40)]
    values += [
        tight(a_trace(quality_score=77, confidence=1, messages=[{"role": "user", "content": "x" * 9000}])),
        tight(a_trace()),
    ]
    values += [
        json.dumps(a_score(execution_id="spaced")).encode(),
        b"no event",
        tight({**a_score(), "type": "unheard.of"}),
    ]
    rng.shuffle(values)
    records = [Record("traces", 7, 3 * n, LATE_MS, None, value) for n, value in enumerate(values)]
    parts = [Slice(TopicPartition("traces", n), 0, 1000, records[at : at + 45]) for n, at in ((7, 0), (8, 45))]
    batch = ingest(parts, rules=RULES)
    assert isinstance(batch.items, scan.Items)
    return batch, sum(isinstance(item, Half) for item in batch.items)


@needed
@pytest.mark.parametrize("seed", range(10))
def test_rows_are_written_byte_for_byte_as_their_objects_are(seed: int) -> None:
    batch, halves = some_items(seed)
    step = wire.step_of(batch, "s" * wire.SLICE, written=True)
    slow = wire.step_of(IngestBatch(batch.parts, list(batch.items)), "s" * wire.SLICE)
    assert [type(word) for word in step.words].count(packing.Written) == 1
    assert [word.words for word in step.bodies if isinstance(word, packing.Written)] == [2 * halves]
    assert b"".join(packing._joined([step.words, step.bodies])) == b"".join(packing.joined([slow.words, slow.bodies]))
    assert packing._joined([list(step.words)]) == packing.joined([list(step.words)])


@needed
@pytest.mark.parametrize(
    "wrong", ["part", "offset", "order", "version", "text", "rows", "body", "side", "score", "track"]
)
def test_rows_that_break_the_contract_are_left_to_the_objects(wrong: str) -> None:
    from l07.backends.redis.pack import pack_rows

    class Changed:
        def columns(self) -> tuple[Any, ...]:
            kind, rows, texts, bodies, others = batch.items.columns()  # type: ignore[attr-defined]
            rows, bodies, size = bytearray(rows), list(bodies), kind % 1000
            if wrong == "body":
                bodies[place] = None
            field, code, value = {
                "part": (56, "i", 2), "offset": (0, "q", 1000), "order": (0, "q", -1), "text": (40, "I", 2**31), "side": (60, "i", 113),
                "score": (16, "d", 100.5), "track": (52, "I", 0),
            }.get(wrong, (0, "", 0))  # fmt: skip
            if code:
                struct.pack_into("=" + code, rows, size * place + field, value)
            return (kind + (wrong == "version"), rows[: -1 if wrong == "rows" else None], texts, bodies, others)

    def packed(items: Any) -> object:
        return pack_rows(items, [0, 0], [1000, 1000], [b"traces:7", b"traces:8"], OWN, Half, wire._digest)

    batch, _ = some_items(1)
    place = next(n for n, item in enumerate(batch.items) if n > 5 and isinstance(item, Half) and item.side == "trace")
    assert packed(batch.items) is not None
    assert packed(Changed()) is None


@needed
def test_joins_as_the_python_beside_it() -> None:
    rng = random.Random(1)
    commands: list[list[Any]] = [
        ["HSET", "key", *(rng.randbytes(size) for size in (0, 1, 9, 10, 99, 100, 4095, 4096, 99_999, 100_000))],
        ["EXPIRE", "ä", 12345, 1.5], ["EXEC"],
        ["X"] * 1001, ["SET", packing.Written(2, b"\r\n$1\r\na\r\n$1\r\nb"), "c"], [packing.Written(0, b"")],
    ]  # fmt: skip
    assert packing._joined is not packing.joined
    assert packing._joined([list(words) for words in commands]) == packing.joined(commands)
