"""The schemas that ship: current, sound, and never stricter than the code; where a schema can tell, never weaker."""

import json
from importlib import resources
from typing import Any

import jsonschema
import msgspec
import pytest

from l07.cli import dlq
from l07.errors import BadEvent, BadReview, MalformedJson, Poison
from l07.events import deadletter, inbound, schema
from l07.events.modes import structured
from l07.events.record import Message, Record
from l07.pipeline.ingest import dead_letter_of_control
from tests.unit.events.builders import NAMES, a_review, decoded
from tests.unit.events.corpus import FOLDER, cases, record_of

SAYS = {"E7001", "E7008", "E7009", "E7010", "E7011", "E7012", "E7019", "E7020", "E7021"}  # a schema can tell these
GOLDEN = sorted((FOLDER / "golden").glob("*.json"))


def checker(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema.schema(name))


CHECKERS = {role: checker(f"in.{role}") for role in schema.ROLES}


def document_of(case: dict[str, Any]) -> Any:
    """The structured event of a case; None where its bytes are no JSON to begin with."""
    try:
        value = structured(record_of(case), max_bytes=inbound.Limits().max_bytes)
        document = msgspec.json.decode(value)
        json.dumps(document)
    except (BadEvent, ValueError, RecursionError):
        return None
    return document


def role_of(document: Any) -> str | None:
    name = document.get("type") if isinstance(document, dict) else None
    role = NAMES.role(name) if isinstance(name, str) else "other"
    return role if role != "other" else None


def judged() -> list[tuple[dict[str, Any], str, Any]]:
    found = ((case, document_of(case)) for case in cases())
    return [(case, role, document) for case, document in found if (role := role_of(document))]


def test_every_name_has_its_file_and_there_is_no_other() -> None:
    files = {path.name for path in resources.files("l07.events").joinpath("schemas").iterdir()}
    assert files == {f"{name}.json" for name in schema.NAMES}


@pytest.mark.parametrize("name", schema.NAMES)
def test_the_schema_that_ships_is_current_and_sound(name: str) -> None:
    """After a change: python -m l07.events.schema"""
    assert schema.shipped(name) == schema.text(name)
    jsonschema.Draft202012Validator.check_schema(json.loads(schema.shipped(name)))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_golden_event_fits(path: Any) -> None:
    event = json.loads(path.read_text("utf-8"))["event"]
    CHECKERS[str(role_of(event))].validate(event)


def test_what_the_decoder_accepts_fits_its_schema() -> None:
    accepted = [found for found in judged() if found[0]["expect"] != "dead_letter"]
    assert {role for _, role, _ in accepted} == set(CHECKERS)
    assert [case["name"] for case, role, document in accepted if not CHECKERS[role].is_valid(document)] == []


def test_a_wrong_field_of_the_corpus_fails_where_a_schema_can_tell() -> None:
    wrong = [found for found in judged() if found[0].get("code") in SAYS and not found[0].get("inside")]
    assert len(wrong) >= 60
    assert {case["code"] for case, _, _ in wrong} >= SAYS - {"E7008"}
    assert [case["name"] for case, role, document in wrong if CHECKERS[role].is_valid(document)] == []


@pytest.mark.parametrize(
    "data",
    [
        {"verdict": "maybe"},
        {"reviewer": ""},
        {"messages": [{"role": "user", "content": "x"}]},
        {"verdict": "fixed", "messages": []},
    ],
)
def test_a_bad_review_fails_both(data: dict[str, Any]) -> None:
    assert not CHECKERS["review"].is_valid(a_review(**data))
    with pytest.raises(BadReview):
        decoded(a_review(**data))


RECORD = Record(
    "execution.traces", 1, 7, 1_767_603_610_123, b"k", b"\xff{", ((b"content-type", b"x"), (b"n", None))
)  # fmt: skip
BYTES = (
    b'{"specversion":"1.0","type":"learning.dead_letter","source":"/l07/ingest","id":"f595e5620141048b7756e740",'
    b'"subject":"execution.traces:1:7","time":"2026-01-05T09:00:10.123000Z","datacontenttype":"application/json",'
    b'"data":{"id":"f595e5620141048b7756e740","code":"E7005","message":"no","topic":"execution.traces","partition":1,'
    b'"offset":7,"timestamp_ms":1767603610123,"headers":[["Y29udGVudC10eXBl","eA=="],["bg==",null]],"key":"aw==",'
    b'"sha256":"b26f99543485cab0666a50160ed4281d01669a10feb99985525b10dd791f1e9d","length":2,"raw":"/3s="}}'
)


def letter(record: Record = RECORD, err: Poison | None = None) -> Message:
    return dead_letter_of_control(record, err or MalformedJson("no"), dlq="learning.dlq")


def test_a_dead_letter_keeps_its_bytes() -> None:
    assert letter().value == BYTES


@pytest.mark.parametrize(
    "record", [RECORD, RECORD._replace(value=None, key=None), RECORD._replace(value=b"x" * 70_000)]
)
def test_a_dead_letter_fits_its_schema_and_is_what_the_command_reads(record: Record) -> None:
    document = json.loads(letter(record).value)
    checker(deadletter.LETTER).validate(document)
    assert dlq.Letter.__struct_fields__ == deadletter.DeadLetterData.__struct_fields__
    for name in document["data"]:
        left = {key: value for key, value in document["data"].items() if key != name}
        assert not checker(deadletter.LETTER).is_valid({**document, "data": left}), name


def test_the_mark_of_a_retry_fits_its_schema() -> None:
    data = json.loads(letter().value)["data"]
    mark = dlq._mark(msgspec.convert(data, dlq.Letter), "learning.dlq")
    checker(deadletter.RETRIED).validate(json.loads(mark.value))
    assert (dlq.LETTER, dlq.RETRIED) == (deadletter.LETTER, deadletter.RETRIED)
