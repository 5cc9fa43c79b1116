"""docs/asyncapi.json says what the classes, the settings and the routes say, and is AsyncAPI 3.

`asyncapi-3.0.0.json.gz` is schemas/3.0.0.json of the npm package @asyncapi/specs 6.11.1 (Apache-2.0), written without white space.
"""

import copy
import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from l07.cli import asyncapi
from l07.events import cloudevents, deadletter, outbound, schema
from l07.events.modes import structured
from l07.routes import CONSUMERS, Ports, input_topics, routes
from l07.settings import Settings, load_settings
from tests.unit.events.corpus import NAMES, cases, record_of
from tests.unit.events.golden_out import DATA
from tests.unit.events.test_outbound import an_event_of

HERE = Path(__file__).parent
PAYLOADS = {"request", "response"}  # not read until their topic is named
ROOT = HERE.parents[2]
DOCUMENT = json.loads((ROOT / "docs" / "asyncapi.json").read_text("utf-8"))
OFFICIAL = jsonschema.Draft7Validator(json.loads(gzip.decompress((HERE / "asyncapi-3.0.0.json.gz").read_bytes())))


def test_the_document_is_current() -> None:
    """After a change: python -m l07.cli.asyncapi"""
    assert (ROOT / "docs" / "asyncapi.json").read_text("utf-8") == asyncapi.page()


def test_it_is_asyncapi_3() -> None:
    assert [f"{list(err.absolute_path)}: {err.message[:200]}" for err in OFFICIAL.iter_errors(DOCUMENT)] == []


def broken(change: Callable[[dict[str, Any]], object]) -> bool:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return not OFFICIAL.is_valid(document)


def test_the_official_schema_can_say_no() -> None:
    assert broken(lambda d: d.pop("info"))
    assert broken(lambda d: d["operations"]["ingest.receives.traces"].pop("action"))
    assert broken(lambda d: d["channels"]["events"].update(key="track"))
    assert broken(lambda d: d["channels"]["events"]["bindings"]["kafka"].update(partitions=0))
    assert broken(lambda d: d["components"]["messages"]["batch.sealed"].update(payload={"type": "record"}))


def refs(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from ([part["$ref"]] if isinstance(part.get("$ref"), str) else [])
        for each in part.values():
            yield from refs(each)
    elif isinstance(part, list):
        for each in part:
            yield from refs(each)


def at(pointer: str) -> Any:
    found: Any = DOCUMENT
    for name in pointer.removeprefix("#/").split("/"):
        found = found[name]
    return found


def test_every_reference_leads_somewhere() -> None:
    found = set(refs(DOCUMENT))
    assert len(found) > 50
    for pointer in found:
        assert pointer.startswith("#/")
        assert at(pointer)


def used(action: str) -> dict[str, set[str]]:
    """Message -> components."""
    found: dict[str, set[str]] = {}
    for name, operation in DOCUMENT["operations"].items():
        for message in operation["messages"] if operation["action"] == action else ():
            assert message["$ref"].startswith(operation["channel"]["$ref"])
            found.setdefault(message["$ref"].split("/")[-1], set()).add(name.split(".")[0])
    return found


def test_every_event_class_is_a_message_that_its_component_sends() -> None:
    sent = used("send")
    for kind, cls in outbound.TYPES.items():
        assert kind in DOCUMENT["channels"]["events"]["messages"]
        assert sent[kind] == {cls.SOURCE.removeprefix("/l07/")}
    assert set(sent) == {*outbound.TYPES, *deadletter.TYPES}
    assert set(DOCUMENT["channels"]["dlq"]["messages"]) == set(deadletter.TYPES)


def test_every_topic_is_a_channel_at_its_address() -> None:
    topics = {name: topic for name, topic in Settings().topics.model_dump().items() if topic}
    assert {name: channel["address"] for name, channel in DOCUMENT["channels"].items()} == topics
    assert {channel["bindings"]["kafka"]["topic"] for channel in DOCUMENT["channels"].values()} == set(topics.values())


def test_what_is_received_is_what_the_routes_and_the_ingest_read() -> None:
    class Anything(SimpleNamespace):
        def __getattr__(self, name: str) -> Any:
            return Anything()

    ports: Ports = Anything()  # type: ignore[assignment]
    listens = {consumer: tuple(cls.TYPE for cls in routes(consumer, ports)) for consumer in CONSUMERS}  # type: ignore[attr-defined]
    assert dict(asyncapi.LISTENS) == listens
    read = {
        DOCUMENT["channels"][operation["channel"]["$ref"].split("/")[-1]]["address"]
        for name, operation in DOCUMENT["operations"].items()
        if name.startswith("ingest.receives")
    }
    assert read == set(input_topics(Settings()))


def test_the_page_of_the_wire_names_the_same_types_as_not_emitted() -> None:
    page = (ROOT / "docs" / "wire.md").read_text("utf-8")
    (said,) = re.findall(
        r"^(.+?) are classes with schemas, and no\npart of this release emits them\.", page, re.MULTILINE
    )
    assert set(re.findall(r"`([^`]+)`", said)) == asyncapi.NOT_YET


def payload(message: str) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(
        {"components": DOCUMENT["components"], "allOf": [DOCUMENT["components"]["messages"][message]["payload"]]}
    )


@pytest.mark.parametrize("kind", sorted(DATA))
def test_what_we_write_fits_the_payload_and_damage_does_not(kind: str) -> None:
    document = json.loads(cloudevents.encode(an_event_of(kind)).value)
    payload(kind).validate(document)
    first = next(iter(document["data"]))
    assert not payload(kind).is_valid({**document, "data": {**document["data"], first: {"a": 1.5}}})


def test_what_we_read_fits_the_payload_of_its_mode() -> None:
    seen = set()
    for case in cases():
        if case["expect"] == "ok":
            event = json.loads(structured(record_of(case), max_bytes=10**6))
            role = NAMES.role(event["type"])
            if role in PAYLOADS:
                continue
            seen.add(role)
            payload(f"{role}.structured").validate(event)
            if isinstance(event.get("data"), dict):
                payload(f"{role}.binary").validate(event["data"])
            assert not payload(f"{role}.structured").is_valid({**event, "type": "weather.changed"})
            assert not payload(f"{role}.binary").is_valid({})
    assert seen == set(schema.ROLES) - PAYLOADS


def test_payload_events_are_on_a_channel_once_their_topic_is_named() -> None:
    chosen = {"topics.payloads": "inference.logs"}
    made = asyncapi.document(load_settings({}, overrides=chosen).settings)
    OFFICIAL.validate(made)
    assert made["channels"]["payloads"]["address"] == "inference.logs"
    named = {message["$ref"].split("/")[-1] for message in made["operations"]["ingest.receives.payloads"]["messages"]}
    assert named == {f"{part}.{mode}" for part in PAYLOADS for mode in asyncapi.MODES}
    assert not PAYLOADS & {name.partition(".")[0] for name in DOCUMENT["components"]["messages"]}


def test_settings_show_in_the_document() -> None:
    chosen = {
        "topics.scores": "l06.scores",
        "types.score": ["scored"],
        "bus.partitions": 12,
        "bus.kafka.group": "blue",
    }
    made = asyncapi.document(load_settings({}, overrides=chosen).settings)
    channel = made["channels"]["scores"]
    assert (channel["address"], channel["bindings"]["kafka"]["partitions"]) == ("l06.scores", 12)
    assert made["components"]["messages"]["score.binary"]["name"] == "scored"
    group = made["operations"]["ingest.receives.scores"]["bindings"]["kafka"]["groupId"]
    assert group["enum"] == ["blue.ingest"]
