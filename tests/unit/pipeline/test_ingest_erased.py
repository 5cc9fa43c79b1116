"""What was erased does not come in again: no half, no dead letter, nothing but a count."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from l07.domain.erasure import Tombstones
from l07.domain.marks import KEY, SOURCE, SUBJECT, Marks
from l07.events import whose
from l07.events.record import ERASED, Record, TopicPartition
from l07.pipeline.ingest import IngestRules, check_resume, ingest, ingest_rules
from l07.ports import Half, Ignored, Slice, Unreadable
from l07.settings import Settings

MARKS = Marks(b"k" * 32)
NAMED = Settings.model_validate({"topics": {"payloads": "inference.logs"}})
STRUCTURED = ((b"content-type", b"application/cloudevents+json"),)
Headers = tuple[tuple[bytes, bytes | None], ...]


def stones(**names: str) -> Tombstones:
    return Tombstones(MARKS, {kind: frozenset({MARKS.of(kind, name)}) for kind, name in names.items()}, 1)


def rules(tombstones: Tombstones) -> IngestRules:
    return replace(ingest_rules(Settings(), cluster="c"), tombstones=tombstones)


def an_event(ident: str, *, kind: str = "execution.completed", source: str = "/agents", **data: Any) -> bytes:
    body = {"execution_id": ident, "outcome": "success", "messages": [{"role": "user", "content": "hello"}], **data}
    event = {"specversion": "1.0", "type": kind, "source": source, "id": ident, "time": "2026-01-05T09:00:00Z"}
    return json.dumps(event | {"data": body}, separators=(",", ":")).encode()


def a_score(ident: str, **data: Any) -> bytes:
    body = {"execution_id": ident, "quality_score": 80.0, "confidence": 0.9, "evaluation_id": "e", **data}
    event = {"specversion": "1.0", "type": "evaluation.completed", "source": "/judge", "id": f"s-{ident}"}
    return json.dumps(event | {"time": "2026-01-05T09:00:00Z", "data": body}, separators=(",", ":")).encode()


def what_of(
    *values: bytes | None, by: Tombstones, headers: Headers = STRUCTURED, key: bytes | None = None
) -> list[Any]:
    records = [Record("t", 0, n, 1_767_603_600_000, key, value, headers) for n, value in enumerate(values)]
    return list(ingest([Slice(TopicPartition("t", 0), 0, len(records), records)], rules=rules(by)).items)


def test_a_run_that_was_erased_is_rejected_and_so_is_a_score_for_it() -> None:
    items = what_of(an_event("gone"), a_score("gone"), an_event("stays"), by=stones(**{KEY: "execution:gone"}))
    assert items[:2] == [Ignored(0, 0, "erased"), Ignored(0, 1, "erased")]
    assert isinstance(items[2], Half)


def a_payload(part: str, ident: str) -> bytes:
    kind = f"org.kubeflow.serving.inference.{part}"
    event = {"specversion": "1.0", "type": kind, "source": "/kserve", "id": ident, "data": {"prompt": "hello"}}
    return json.dumps(event, separators=(",", ":")).encode()


@pytest.mark.parametrize("part", ["request", "response"])
def test_a_request_and_a_response_of_an_erased_run_are_known_by_the_id_of_their_event(part: str) -> None:
    by = stones(**{KEY: "execution:gone"})
    read = replace(rules(by), names=ingest_rules(NAMED, cluster="c").names)
    records = [
        Record("t", 0, n, 1_767_603_600_000, None, a_payload(part, ident), STRUCTURED)
        for n, ident in enumerate(("gone", "stays"))
    ]
    gone, stays = ingest([Slice(TopicPartition("t", 0), 0, 2, records)], rules=read).items
    assert gone == Ignored(0, 0, "erased")
    assert isinstance(stays, Half)
    assert whose.of_event(a_payload(part, "gone")).keys == {"execution:gone"}
    assert whose.of_event(an_event("run")).keys == {"execution:run"}


def test_without_tombstones_all_come_in() -> None:
    """The control: it is the tombstone that keeps them out."""
    assert all(isinstance(item, Half) for item in what_of(an_event("gone"), a_score("gone"), by=Tombstones()))


def test_a_person_is_known_by_the_subject_id_of_a_trace_or_a_score() -> None:
    by = stones(**{SUBJECT: "lucia"})
    items = what_of(
        an_event("1", subject_id="lucia"), a_score("2", subject_id="lucia"), an_event("3", subject_id="max"), by=by
    )
    assert [type(item).__name__ for item in items] == ["Ignored", "Ignored", "Half"]


def test_a_source_is_known_by_the_envelope_and_not_by_what_a_tool_said() -> None:
    by = stones(**{SOURCE: "/bad"})
    said = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": '{"source": "/bad"}'}]
    items = what_of(an_event("1", source="/bad"), an_event("2", messages=said), by=by)
    assert [type(item).__name__ for item in items] == ["Ignored", "Half"]


@pytest.mark.parametrize(
    "value",
    [
        b'{"specversion":"1.0","data":{"execution_id":"gone","messages":[',
        b'{"data":{"execution_id":"gone"},"data":{}}',
        an_event("gone")[:-1] + b"}}",
        an_event("gone").replace(b'"1.0"', b'"9.9"'),
        b'{"data":{"execution_id" : "\\u0067one", "x": \xff',
    ],
)
def test_what_nobody_can_read_leaves_no_dead_letter_where_it_names_who_was_erased(value: bytes) -> None:
    by = stones(**{KEY: "execution:gone"})
    assert what_of(value, by=by) == [Ignored(0, 0, "erased")]
    [letter] = what_of(value.replace(b"gone", b"else").replace(b"\\u0067one", b"else"), by=by)
    assert isinstance(letter, Unreadable)


def test_a_broken_record_is_known_by_its_key_and_its_headers_too() -> None:
    by = stones(**{KEY: "execution:gone"})
    assert what_of(b"broken", by=by, key=b"gone") == [Ignored(0, 0, "erased")]
    assert what_of(b"broken", by=by, headers=((b"ce_subject", b"gone"),)) == [Ignored(0, 0, "erased")]


def test_binary_mode_and_base64_are_looked_into() -> None:
    by = stones(**{SUBJECT: "lucia"})
    data = json.loads(an_event("1", subject_id="lucia"))["data"]
    attributes = {"specversion": "1.0", "type": "execution.completed", "source": "/a", "id": "1"}
    headers = tuple((f"ce_{name}".encode(), text.encode()) for name, text in attributes.items())
    in_headers = ((b"content-type", b"application/json"), *headers)
    assert what_of(json.dumps(data).encode(), by=by, headers=in_headers) == [Ignored(0, 0, "erased")]
    packed = {**attributes, "data_base64": base64.b64encode(json.dumps(data).encode()).decode()}
    assert whose.of_event(json.dumps(packed).encode()).subjects == {"lucia"}


def test_the_place_of_a_record_that_was_erased_is_rejected_as_such_with_and_without_tombstones() -> None:
    for by in (Tombstones(), stones(**{KEY: "execution:x"})):
        assert what_of(None, by=by, headers=ERASED) == [Ignored(0, 0, "erased")]
    assert isinstance(what_of(None, by=Tombstones(), headers=())[0], Unreadable)


def test_an_erased_last_record_does_not_stop_its_partition() -> None:
    last = Record("t", 0, 3, 1, None, None, ERASED)
    assert check_resume(last.tp, last, b"d" * 16)
    assert not check_resume(last.tp, last._replace(headers=()), b"d" * 16)


def test_a_plan_has_tombstones_of_its_own() -> None:
    plan = json.loads(an_event("p", kind="planning.completed"))
    plan["data"] = {"plan_id": "gone", "plan": {"plan_id": "gone"}}
    value = json.dumps(plan).encode()
    assert whose.of_event(value).keys == {"plan:gone"}
    assert what_of(value, by=stones(**{KEY: "plan:gone"})) == [Ignored(0, 0, "erased")]
