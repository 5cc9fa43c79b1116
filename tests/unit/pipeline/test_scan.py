"""The scanner in C says nothing that the careful way does not say, and is sure of nearly everything that is in order.

By hand, a million damaged events from seed 7; prints those that differ: python -m tests.unit.pipeline.test_scan 1000000 7
"""

import json
import os
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import xxhash

from l07.domain import world
from l07.events import inbound
from l07.events.record import Record, TopicPartition
from l07.events.strict import compact
from l07.pipeline import compiled
from l07.pipeline import ingest as ingesting
from l07.pipeline.ingest import IngestRules, TrackRule, careful, ingest
from l07.ports import Half, Slice, Unreadable
from tests.unit.events.builders import NAMES, NOW_MS, STEPS, a_record, a_score, a_trace, an_event, tight
from tests.unit.events.corpus import cases, record_of

LATE_MS = 4_000_000_000_000
PIECES = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"1e5", b"null", b"true", b"\x00", b"\x1f", b" ", b"\n",
    b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xe3\x80\x80", b"\xc2\xa0", b"\\u0000", b"\\ud83d", b"\\u0061",
    b'"id":"x",', b'"data":{},', b'"execution_id":"e2",', b'"domain":"",', b'"quality_score":101,', b'"confidence":0.5,',
    b'"messages":[],', b'"trace":null,', b'"x":1,"x":2,', b'"role":"user",', b'{"role":"user","content":" "},', b"[" * 60,
    b'"traceparent":"",', b'"traceparent":"x",', b'"myext":1,', b'"data_base64":"e30=",', b'"dataschema":1,',
    b"12345678901234567890", b'"plan_id":"p",', b"\x7f", b"-0.0",
]  # fmt: skip
needed = pytest.mark.skipif(
    not compiled.COMPILED and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)


@needed
@pytest.mark.parametrize("size", [*range(70), 1000, 2047])
def test_content_has_the_digest_that_the_library_says(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert compiled.scan.xxh64_digest(data) == xxhash.xxh64_digest(data)


def seeds() -> list[bytes]:
    """Events that are in order, of every kind that the scanner reads."""
    talk = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "Wie gro\u00df ist das? \U0001f600"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": [{"type": "text", "text": "1"}], "tool_call_id": "1"},
        {"role": "assistant", "content": "12"},
    ]
    own = [
        a_score(), a_score(execution_id=None, plan_id="p1", confidence=None, confidence_level=0.25, evaluation_id=None),
        a_score(quality_score=0, dimensions={"a": [1, 2.5, None]}, unknown=True), a_trace(), a_trace(messages=talk, trace=None),
        a_trace(domain="sql", quality_score=77, confidence=1), a_trace(execution_id=None, trace={**STEPS, "execution_id": "e9"}),
        an_event("execution.completed", a_trace()["data"], subject="s", partitionkey="k", time="2026-01-05T09:00:01.3Z"),
        an_event("execution.completed", a_trace()["data"], datacontenttype="application/json", subject=None),
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "sampledrate": 3, **a_trace()},
        {"causationid": None, "correlationid": "c", "dataschema": "s", "myext": {"a": ["\u00e4"]}, **a_score()},
    ]  # fmt: skip
    return [*map(tight, own), *(line.encode() for line in world.stream(world.demo_runs(3, 5), seed=5).lines)]


def damaged(rng: random.Random, value: bytes) -> bytes:
    """A few bytes away, others in, pieces moved: mostly no event any more, sometimes another one."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(value) + 1)
        upto = min(len(value), at + rng.choice((0, 0, 1, 1, 2, 8)))
        piece = rng.choice((*PIECES, b"", value[at : at + 12], bytes([rng.randrange(256)])))
        if rng.random() < 0.5:  # where a member begins
            at = upto = max(value.rfind(b",", 0, at), value.rfind(b"{", 0, at)) + 1
        value = value[:at] + piece + value[upto:]
    return value


def rules(limits: inbound.Limits | None = None) -> IngestRules:
    tracks = [
        TrackRule("sql", frozenset({"sql"}), frozenset()),
        TrackRule("rest", frozenset(), frozenset({"/test", "/l02/desk-agents"})),
    ]
    return IngestRules(limits=limits or inbound.Limits(), names=NAMES, tracks=tracks, dlq="dlq", cluster="c")


RULES = rules()


def said(record: Record, by: IngestRules = RULES) -> tuple[str, str] | None:
    """What the scanner says and what the careful way says; None where the scanner is not sure. Texts, so that -0.0 is not 0.0."""
    (found,), left = by.sure([record], 3)
    assert (found is None) == (list(left) == [0])
    return None if found is None else (repr(found), repr(careful(record, 3, by)))


def at(value: bytes, timestamp_ms: int = LATE_MS) -> Record:
    return a_record(value, timestamp_ms=timestamp_ms)


def differing(count: int, seed: int) -> Iterator[tuple[bytes, str, str]]:
    rng, events = random.Random(seed), seeds()
    for _ in range(count):
        value = damaged(rng, rng.choice(events))
        pair = said(at(value))
        if pair is not None and pair[0] != pair[1]:
            yield value, *pair


@needed
def test_is_sure_of_events_in_order_and_says_of_them_what_the_careful_way_says() -> None:
    for value in seeds():
        pair = said(at(value))
        assert pair is not None, value
        assert pair[0] == pair[1], value


@needed
def test_says_of_bad_input_what_the_careful_way_says_or_nothing() -> None:
    sure = 0
    for case in cases():
        record, by = record_of(case), rules(inbound.Limits(**case.get("limits", {})))
        for one in (record, record._replace(value=_compacted(record.value or b""))):
            pair = said(one, by)
            if pair is not None:
                sure += 1
                assert pair[0] == pair[1], case["name"]
    assert sure >= 5, "cases that are in order"


@needed
def test_says_of_damaged_events_what_the_careful_way_says_or_nothing() -> None:
    assert list(differing(30_000, 11)) == []


@needed
@pytest.mark.parametrize(
    "text",
    ["\u3000", "\u2003 ", "\u00a0", "\u1680", "\u0085", " ", "\n\t", "\u2028", "\x1c", "", "\\", "\u3000x", "\u4e00"],
)
def test_a_text_of_white_space_alone_is_never_taken_for_one(text: str) -> None:
    for event in (a_trace(outcome=text), a_trace(trace={**STEPS, "task_description": text})):
        pair = said(at(tight(event)))
        assert pair is None or pair[0] == pair[1]
        assert (pair is not None) == bool(text.strip()), "what is filled is known to be"


@needed
@pytest.mark.parametrize("days", [0, 27, 30, 58, 59, 89, 120, 180, 300, 364, 1460])
def test_knows_each_day_of_the_calendar_as_the_careful_way_does(days: int) -> None:
    moment = datetime(2023, 1, 1, 23, 59, 59, 999_000, tzinfo=UTC) + timedelta(days=days)
    ms = round(moment.timestamp() * 1000)
    for text in (moment.isoformat(timespec="milliseconds"), moment.isoformat(timespec="microseconds")):
        event = {**a_score(), "time": text.replace("+00:00", "Z")}
        near = {ahead: said(at(tight(event), ms - ahead)) for ahead in (299_999, 300_000, 300_001)}
        assert near[299_999] is not None
        assert all(pair is None or pair[0] == pair[1] for pair in near.values())
        assert near[300_001] is None


@needed
@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:60Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00.12345678Z", "1969-12-31T23:59:59Z", "2026-1-01T00:00:00Z0", "Z" * 24,
    ],
)  # fmt: skip
def test_a_time_that_is_none_or_is_written_otherwise_is_left_to_the_careful_way(text: str) -> None:
    assert said(at(tight({**a_score(), "time": text}))) is None


@needed
def test_a_number_is_what_python_makes_of_its_text_to_the_last_bit() -> None:
    rng, sure = random.Random(3), 0
    texts = [
        "0",
        "-0.0",
        "0.0",
        "100",
        "100.0",
        "1",
        "1.0",
        "0.001",
        "0.0001",
        "0.00012",
        "99.99999999999999",
        "0.1000",
        "00.5",
        "1.",
    ]
    for _ in range(4000):
        digits = "".join(rng.choices("0123456789", k=rng.randrange(1, 20)))
        texts.append(f"{rng.randrange(101)}.{digits}" if rng.random() < 0.7 else str(rng.randrange(101)))
    for text in texts:
        value = tight(a_score(quality_score=4321, confidence=4321)).replace(b"4321", text.encode(), 1)
        value = value.replace(
            b"4321", text.encode() if text.startswith("0") else b"0." + text.encode().replace(b".", b"")
        )
        pair = said(at(value))
        sure += pair is not None
        assert pair is None or pair[0] == pair[1], text
    assert sure > 3000


@needed
def test_limits_of_size_and_age_are_kept() -> None:
    value = tight({**a_score(), "time": "2026-01-05T09:00:01Z"})
    assert said(at(value), rules(inbound.Limits(max_bytes=len(value)))) is not None
    assert said(at(value), rules(inbound.Limits(max_bytes=len(value) - 1))) is None
    assert said(at(value, NOW_MS), rules(inbound.Limits(max_age_s=60))) is not None
    assert said(at(value, NOW_MS + 60_000), rules(inbound.Limits(max_age_s=60))) is None


@needed
def test_headers_and_damage_are_left_to_the_careful_way() -> None:
    record = at(tight(a_score()))
    assert said(record._replace(headers=())) is not None
    others = [{"headers": ((b"ce_id", b"1"),)}, {"damage": "form: x"}, {"value": None}, {"value": b""}]
    assert all(said(record._replace(**other)) is None for other in others)


@needed
@pytest.mark.parametrize(
    "event", [a_score(), a_trace(), an_event("execution.completed", {**a_trace()["data"], "domain": "é"})]
)
def test_nothing_that_is_cut_off_is_taken(event: Any) -> None:
    whole = tight(event)
    assert said(at(whole)) is not None
    assert [cut for cut in range(len(whole)) if said(at(whole[:cut])) is not None] == []


@needed
@pytest.mark.parametrize(
    "event", [a_score(), a_trace(), a_trace(domain="sql", quality_score=77, confidence=1), a_score(confidence=7)]
)
def test_an_event_with_spaces_is_what_the_careful_way_says(event: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most Python programs write them."""
    asked: list[Record] = []

    def looked_at(record: Record, part: int, by: IngestRules) -> Any:
        asked.append(record)
        return careful(record, part, by)

    monkeypatch.setattr(ingesting, "careful", looked_at)
    for value in (json.dumps(event).encode(), json.dumps(event, indent=1).encode()):
        record, small = at(value), rules(inbound.Limits(max_bytes=len(value) - 1))
        slice_ = Slice(record.tp, 0, 1, [record])
        assert ingest([slice_], rules=RULES).items == [careful(record, 0, RULES)]
        assert len(asked) == (event == a_score(confidence=7)), "all that is in order is known to the scanner"
        assert ingest([slice_], rules=small).items == [careful(record, 0, small)], "the limit is of what came"
        asked.clear()


def test_the_values_of_records_are_as_long_as_python_says(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [None, b"", b"x" * 7, None, b"y" * 70_000]
    records = [Record("t", 0, offset, 0, None, value, ()) for offset, value in enumerate(values)]
    found = [compiled.value_bytes(records), compiled.value_bytes([])]
    monkeypatch.setattr(compiled, "COMPILED", False)
    assert found == [compiled.value_bytes(records), compiled.value_bytes([])] == [70_007, 0]


def test_where_nothing_was_compiled_the_careful_way_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "COMPILED", False)
    batch = ingest([Slice(TopicPartition("t", 0), 0, 2, [at(tight(a_score())), at(b"{}")])], rules=rules())
    assert [type(item) for item in batch.items] == [Half, Unreadable]


def _compacted(value: bytes) -> bytes:
    try:
        return compact(value)
    except (ValueError, RecursionError):
        return value


if __name__ == "__main__":
    for value, ours, other in differing(int(sys.argv[1]), int(sys.argv[2])):
        sys.stdout.write(f"{value!r}\n  scan:    {ours}\n  careful: {other}\n")
