"""Traces and scores come in, in any order of keys, from either content mode, under any prefix."""

import json
import subprocess
import sys

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from l07.errors import BadEvent, EmptyValue, MissingField, OutOfRange, TimeInFuture, TooLarge
from l07.events import inbound
from l07.events.cloudevents import decode_envelope
from l07.events.record import Record
from tests.unit.events.builders import NAMES, NOW_MS, STRUCTURED, a_record, a_score, a_trace, an_event, decoded, tight


def test_a_trace_says_all_that_ingest_asks() -> None:
    trace = decoded(a_trace(domain="sql"))
    assert isinstance(trace, inbound.Trace)
    assert (trace.key, trace.dialect, trace.domain, trace.source) == ("execution:e1", "steps", "sql", "/test")
    assert (trace.reason, trace.score, trace.confidence, trace.evaluation_id) == ("", None, None, "")
    assert len(trace.content) == 8
    assert trace.body == tight(a_trace(domain="sql"))


def test_a_score_says_all_that_ingest_asks() -> None:
    score = decoded(a_score())
    assert isinstance(score, inbound.Score)
    assert (score.key, score.score, score.confidence, score.evaluation_id) == ("execution:e1", 90.5, 0.9, "q1")


def test_a_plan_and_its_score_share_a_key() -> None:
    plan = decoded(an_event("planning.completed", {"plan_id": "p1", "plan": {}}))
    score = decoded(a_score(execution_id=None, plan_id="p1"))
    assert isinstance(plan, inbound.Trace)
    assert isinstance(score, inbound.Score)
    assert plan.key == score.key == "plan:p1"


def test_the_execution_counts_where_a_score_names_both() -> None:
    score = decoded(a_score(plan_id="p1"))
    assert isinstance(score, inbound.Score)
    assert score.key == "execution:e1"


def test_ids_inside_the_part_count_where_data_has_none() -> None:
    trace = decoded(an_event("execution.completed", {"trace": {"execution_id": "e9"}}))
    plan = decoded(an_event("planning.completed", {"planning_trace": {"plan_id": "p9"}}))
    assert isinstance(trace, inbound.Trace)
    assert isinstance(plan, inbound.Trace)
    assert (trace.key, plan.key) == ("execution:e9", "plan:p9")


def test_confidence_level_counts_only_without_confidence() -> None:
    alone, both = decoded(a_score(confidence=None, confidence_level=0.4)), decoded(a_score(confidence_level=0.4))
    assert isinstance(alone, inbound.Score)
    assert isinstance(both, inbound.Score)
    assert (alone.confidence, both.confidence) == (0.4, 0.9)


def test_a_trace_may_carry_its_own_score() -> None:
    trace = decoded(a_trace(quality_score=91, confidence_level=0.8, evaluation_id="q"))
    assert isinstance(trace, inbound.Trace)
    assert (trace.score, trace.confidence, trace.evaluation_id) == (91.0, 0.8, "q")


@pytest.mark.parametrize("half", [{"quality_score": 91}, {"confidence": 0.8}])
def test_half_a_score_of_its_own_is_none(half: dict[str, float]) -> None:
    trace = decoded(a_trace(**half))
    assert isinstance(trace, inbound.Trace)
    assert (trace.score, trace.confidence) == (None, None)


def test_a_type_may_have_a_prefix_but_not_just_an_ending() -> None:
    assert NAMES.role("com.agentic.evaluation.completed") == "score"
    assert NAMES.role("planning.decision_recorded") == "plan"
    assert NAMES.role("reevaluation.completed") == "other"
    assert NAMES.role("evaluation.completed.v2") == "other"


def test_names_from_outside_do_not_fill_the_memory() -> None:
    names = inbound.TypeNames(trace=("t",), plan=(), score=())
    for number in range(3000):
        assert names.role(f"x{number}") == "other"
    assert len(names.known) <= 1024


def test_nobody_reads_an_unknown_type() -> None:
    other = decoded(an_event("weather.changed", {"rain": True}))
    assert isinstance(other, inbound.Other)
    assert other.envelope.type == "weather.changed"


def test_a_digest_tells_a_repeat_from_a_conflict() -> None:
    first, repeat, conflict = decoded(a_trace()), decoded({**a_trace(), "id": "2"}), decoded(a_trace(domain="x"))
    assert first.content == repeat.content != conflict.content  # type: ignore[union-attr]


def test_the_digest_does_not_depend_on_white_space_or_on_the_place_of_data() -> None:
    event = a_trace()
    spaced = json.dumps(event, indent=3).encode()
    turned = {"data": event.pop("data"), **event}
    contents = {decoded(each).content for each in (a_trace(), spaced, turned)}  # type: ignore[union-attr]
    assert len(contents) == 1


def test_the_digest_of_a_score_is_over_what_counts() -> None:
    same = {decoded(a_score(**more)).content for more in ({}, {"task_type": "x"}, {"dimensions": {"a": 1}})}  # type: ignore[union-attr]
    other = {
        decoded(a_score(**more)).content for more in ({"quality_score": 1}, {"confidence": 1}, {"evaluation_id": "z"})
    }  # type: ignore[union-attr]
    assert (len(same), len(other), same & other) == (1, 3, set())


def test_zero_and_minus_zero_are_one_score() -> None:
    zero, minus = decoded(a_score(quality_score=0)), decoded(tight(a_score(quality_score=0)).replace(b":0,", b":-0.0,"))
    assert zero.content == minus.content  # type: ignore[union-attr]


def test_structured_bytes_are_kept_as_they_came() -> None:
    for text in (tight(a_trace()), json.dumps(a_trace(), indent=1).encode(), json.dumps(a_trace(odd=1)).encode()):
        trace = decoded(text)
        assert isinstance(trace, inbound.Trace)
        assert trace.body == text


def test_the_events_time_is_the_records_where_it_has_none() -> None:
    assert decoded(a_score()).envelope.time_ms == NOW_MS
    late = decoded({**a_score(), "time": "2026-01-05T09:00:00.250Z"})
    assert late.envelope.time_ms == NOW_MS - 9750


def test_the_records_timestamp_decides_and_never_a_clock() -> None:
    event = {**a_score(), "time": "2040-01-01T00:00:00Z"}
    with pytest.raises(TimeInFuture):
        decoded(event)
    assert decoded(event, timestamp_ms=2_208_988_800_000)


def test_faults_of_a_field_say_where_and_never_what() -> None:
    with pytest.raises(OutOfRange, match="quality_score") as caught:
        decoded(a_score(quality_score=101))
    assert "101" not in str(caught.value)
    with pytest.raises(MissingField, match="quality_score"):
        decoded(a_score(quality_score=None))


@pytest.mark.parametrize("event", [a_trace(domain="é😀"), a_score(), a_trace(quality_score=1, confidence=1)])
@pytest.mark.parametrize("written", [to_binary, to_structured])
def test_what_the_cloudevents_package_writes_is_read_as_it_reads_it(event: dict, written) -> None:  # type: ignore[type-arg,no-untyped-def]
    data = event["data"]
    attributes = {name: value for name, value in event.items() if name != "data"}
    message = written(
        CloudEvent({**attributes, "partitionkey": "k", "datacontenttype": "application/json"}, data), JSONFormat()
    )
    headers = tuple((name.encode(), text) for name, text in message.headers.items())
    record = Record("t", 0, 0, 4_000_000_000_000, b"k", message.value, headers)
    ours = inbound.decode(record, limits=inbound.Limits(), names=NAMES)
    assert not isinstance(ours, inbound.Other)
    theirs = from_structured(
        KafkaMessage({"content-type": b"application/cloudevents+json"}, None, ours.body), JSONFormat(), CloudEvent
    )
    assert theirs.get_data() == data
    assert (
        (theirs.get_id(), theirs.get_type()) == (ours.envelope.id, ours.envelope.type) == (event["id"], event["type"])
    )
    assert ours.content == decoded(json.dumps(event).encode()).content  # type: ignore[union-attr]


def test_an_envelope_comes_with_the_bytes_of_its_data() -> None:
    envelope, data = decode_envelope(a_record(an_event("x.y", [1, 2], subject="s")), max_bytes=1000)
    assert (envelope.type, envelope.subject, data) == ("x.y", "s", b"[1,2]")
    with pytest.raises(BadEvent):
        decode_envelope(a_record({"specversion": "1.0", "type": "x", "source": "/", "id": "1"}), max_bytes=1000)
    with pytest.raises(TooLarge):
        decode_envelope(a_record(a_score()), max_bytes=10)
    with pytest.raises(EmptyValue):
        decode_envelope(Record("t", 0, 0, 0, None, None, STRUCTURED), max_bytes=10)


def test_reading_brings_in_no_heavy_package() -> None:
    code = "import sys, l07.events.inbound; print([m for m in ('cloudevents', 'numpy', 'pyarrow', 'redis') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("hidden", [b" " * 10, b',"id":"no"', b',"data":{}'])
def test_the_fast_way_lets_nothing_stand_where_data_is_absent(hidden: bytes) -> None:
    event = an_event("execution.completed", {}, id="no")
    del event["data"]
    value = tight(event)[:-1] + hidden + b"}"
    assert len(hidden) == len(b',"data":{}')  # what an absent `data` would be written as
    assert inbound._quick(value, value, NOW_MS, inbound.Limits(), NAMES) is None
