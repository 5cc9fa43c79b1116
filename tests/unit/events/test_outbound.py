"""What we emit: ids from causes, bytes that repeat, schemas that fit, and the cloudevents package as the judge."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from l07.errors import BadEvent, EntryUnfit, MissingField, WrongType
from l07.events import cloudevents, outbound, schema
from l07.events.record import Message, Record
from l07.ports import Entry, Seal
from tests.unit.events.golden_out import DATA

SEAL = Seal("default-1", "default", "count", 1_767_603_600_123, 3, 1, {"t:0": 1}, {"t:0": 9})
AT = "2026-01-05T09:00:05Z"


def an_entry(kind: str, data: Mapping[str, Any] | None = None, **body: Any) -> Entry:
    filled = {
        "subject": "models/m:1.0.0",
        "causationid": "c",
        "correlationid": None,
        "data": data or DATA[kind],
        **body,
    }
    return Entry("registry", 3, kind, "m:1.0.0", AT, filled, "", "ff" * 32)


def an_event_of(kind: str) -> outbound.Event[Any]:
    if kind == "batch.sealed":
        return outbound.from_seal(SEAL, ["execution:a", "execution:b"])
    if kind == "training.progress":
        return outbound.progress("job", 1, 0, DATA[kind], at=AT)
    event = outbound.from_entry(an_entry(kind))
    assert event is not None
    return event


def a_record(message: Message) -> Record:
    return Record(message.topic, 0, 0, message.timestamp_ms or 0, message.key, message.value, message.headers)


EVERY = pytest.mark.parametrize("kind", sorted(outbound.TYPES))


@EVERY
def test_what_is_written_is_read_back(kind: str) -> None:
    event = an_event_of(kind)
    assert outbound.read_event(a_record(cloudevents.encode(event))) == event


@EVERY
def test_a_repeat_is_equal_byte_for_byte(kind: str) -> None:
    assert cloudevents.encode(an_event_of(kind)) == cloudevents.encode(an_event_of(kind))


@EVERY
def test_the_cloudevents_package_reads_the_same(kind: str) -> None:
    event = an_event_of(kind)
    message = cloudevents.encode(event)
    headers = {name.decode(): text or b"" for name, text in message.headers}
    theirs = from_structured(KafkaMessage(headers, None, message.value), JSONFormat(), CloudEvent)
    assert (theirs.get_id(), theirs.get_type(), theirs.get_subject()) == (event.id, kind, event.subject)
    assert theirs.get_data() == event.data_document()
    assert (message.key or b"").decode() == event.partitionkey == theirs.get_extension("partitionkey")


def test_what_is_about_one_track_has_one_key_and_all_else_its_subject() -> None:
    keys = {kind: an_event_of(kind).partitionkey for kind in outbound.TYPES}
    assert {keys[kind] for kind in ("batch.sealed", "dataset.created", "training.started", "training.failed")} == {
        "default"
    }
    assert {keys[kind] for kind in ("model.registered", "model.validated", "model.stage_changed")} == {"m"}
    assert {keys[kind] for kind in ("model.rolled_back", "model.tainted")} == {"m"}
    assert {keys[kind] for kind in ("dataset.revoked", "pattern.found", "strategy.recommended")} == {"default"}
    assert keys["training.progress"] == "jobs/job"


@EVERY
def test_fits_its_schema_and_damage_does_not(kind: str) -> None:
    document = json.loads(cloudevents.encode(an_event_of(kind), prefix="com.example.").value)
    checker = jsonschema.Draft202012Validator(schema.schema(kind))
    checker.check_schema(schema.schema(kind))
    checker.validate(document)
    for name in ("id", "data", "subject", "dataschema"):
        assert not checker.is_valid({key: value for key, value in document.items() if key != name})
    first = next(iter(document["data"]))
    assert not checker.is_valid({**document, "data": {**document["data"], first: {"a": 1.5}}})


def an_alert(code: str = "E7480", *, cause: str = "execution.traces:3/17", at: str = AT) -> outbound.LearningAlert:
    return outbound.alert(code, "error", stopped="execution.traces:3", todo="look", at=at, cause=cause)


def test_an_alert_is_one_by_its_code_and_cause_whenever_it_is_said() -> None:
    first, again, later = an_alert(), an_alert(), an_alert(at="2027-01-01T00:00:00Z")
    assert cloudevents.encode(first) == cloudevents.encode(again)
    assert first.id == later.id
    assert len({first.id, an_alert("E7481").id, an_alert(cause="execution.traces:3/18").id}) == 3
    assert (first.subject, first.partitionkey) == ("alerts/E7480", "alerts/E7480")
    assert outbound.read_event(a_record(cloudevents.encode(first))) == first


def test_an_alert_of_no_severity_stops_before_it_is_sent() -> None:
    with pytest.raises(EntryUnfit, match="severity"):
        outbound.alert("E7480", "panic", stopped="x", todo="y", at=AT, cause="z")  # type: ignore[arg-type]


def test_the_id_is_a_function_of_the_cause() -> None:
    entry = an_entry("model.registered")
    ids = [
        replace(entry, **change)
        for change in ({}, {"at": "2027-01-01T00:00:00Z"}, {"number": 4}, {"ledger": "jobs"}, {"key": "m:2.0.0"})
    ]
    first, later, *others = [event.id for each in ids if (event := outbound.from_entry(each))]
    assert first == later
    assert len({first, *others}) == 4
    assert outbound.from_seal(SEAL, ["x"]).id == outbound.from_seal(SEAL, ["x"]).id
    assert outbound.from_seal(SEAL, ["x"]).id != outbound.from_seal(SEAL, ["y"]).id  # after a rollback: another batch
    assert (
        outbound.progress("j", 1, 0, DATA["training.progress"], at=AT).id
        != outbound.progress("j", 1, 1, DATA["training.progress"], at=AT).id
    )


def test_an_entry_that_announces_nothing_gives_no_event() -> None:
    assert outbound.from_entry(an_entry("job.queued", {"x": 1})) is None


@pytest.mark.parametrize(
    "data",
    [
        {"model": "m"},
        {**DATA["model.registered"], "surprise": 1},
        {**DATA["model.registered"], "rank": "8"},
        {**DATA["model.registered"], "lineage": {"loss": float("nan")}},
        {**DATA["model.registered"], "lineage": {"loss": float("inf")}},
        {**DATA["model.validated"], "stages": [{"stage": "safety", "result": "PASS", "n": 1, "surprise": 1}]},
        "text",
    ],
)
def test_what_does_not_fit_the_class_stops_before_it_is_sent(data: Any) -> None:
    kind = "model.validated" if isinstance(data, dict) and "stages" in data else "model.registered"
    with pytest.raises(EntryUnfit, match=kind.split(".")[0]):
        outbound.from_entry(an_entry(kind, data))


def test_an_entry_without_a_subject_stops_too() -> None:
    with pytest.raises(EntryUnfit, match="subject"):
        outbound.from_entry(an_entry("model.registered", subject=""))


def test_what_was_not_measured_is_absent() -> None:
    event = outbound.progress("j", 1, 0, {"step": 1, "steps": 2, "loss": None, "surprise": 3}, at=AT)
    assert event.data_document() == {"job_id": "j", "attempt": 1, "step": 1, "steps": 2}


def test_a_prefix_is_written_and_read() -> None:
    message = cloudevents.encode(an_event_of("model.registered"), prefix="com.example.", topic="elsewhere")
    assert (json.loads(message.value)["type"], message.topic) == ("com.example.model.registered", "elsewhere")
    assert isinstance(outbound.read_event(a_record(message)), outbound.ModelRegistered)


def test_one_of_us_with_a_clock_far_ahead_is_heard() -> None:
    """What it seals is sealed. A broker takes no such record time, so the record has that of its sending."""
    message = cloudevents.encode(an_event_of("batch.sealed"))
    sent_ms = SEAL.sealed_at_ms - 7_200_000
    assert outbound.read_event(a_record(message._replace(timestamp_ms=sent_ms))) == an_event_of("batch.sealed")


def test_a_reader_ignores_what_a_later_release_adds() -> None:
    message = cloudevents.encode(an_event_of("model.registered"))
    later = json.loads(message.value)
    later["data"]["new"] = later["newattribute"] = 1
    assert outbound.read_event(a_record(message._replace(value=json.dumps(later).encode()))) == an_event_of(
        "model.registered"
    )


def test_a_type_that_is_not_ours_is_passed_over() -> None:
    message = cloudevents.encode(an_event_of("model.registered"))
    assert (
        outbound.read_event(
            a_record(message._replace(value=message.value.replace(b"model.registered", b"dead.letter")))
        )
        is None
    )


@pytest.mark.parametrize(
    ("change", "error"), [({"version": 5}, WrongType), ({"version": None}, WrongType), ({"version": ...}, MissingField)]
)
def test_one_of_our_own_that_is_broken_is_a_bad_event(change: dict[str, Any], error: type[BadEvent]) -> None:
    message = cloudevents.encode(an_event_of("model.registered"))
    document = json.loads(message.value)
    document["data"] = {key: value for key, value in {**document["data"], **change}.items() if value is not ...}
    with pytest.raises(error):
        outbound.read_event(a_record(message._replace(value=json.dumps(document).encode())))


def test_no_field_of_an_event_is_named_like_speech() -> None:
    speech = {"messages", "prompt", "completion", "content", "answer", "final_answer", "body", "raw", "goal"}
    for kind, cls in outbound.TYPES.items():
        assert not speech & set(outbound.data_class(cls).__struct_fields__), kind
