"""Whose data an event is: its run, its person, its source; also of what is no event, as far as that can be seen.

For erasure alone, which must find too much of what nobody can read rather than too little."""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from l07.events.dialects.common import text_of

Headers = tuple[tuple[bytes, bytes | None], ...]


class Whose(NamedTuple):
    """Natural keys, subjects and sources that an event names. An event that is valid names one run."""

    keys: frozenset[str]
    subjects: frozenset[str]
    sources: frozenset[str]

    def __or__(self, other: "Whose") -> "Whose":
        return Whose(*(one | two for one, two in zip(self, other, strict=True)))


NOBODY = Whose(frozenset(), frozenset(), frozenset())


class _Event(msgspec.Struct, gc=False):
    id: Any = None
    type: Any = None
    source: Any = None
    data: Any = None
    data_base64: Any = None


class _Part(msgspec.Struct, gc=False, omit_defaults=True):
    execution_id: Any = None
    plan_id: Any = None


class _Data(_Part, gc=False, omit_defaults=True):
    subject_id: Any = None
    trace: _Part | None = None
    plan: _Part | None = None
    planning_trace: _Part | None = None


class _Usual(_Event, gc=False):
    """Skips the conversation unread."""

    data: _Data | None = None


_usual = msgspec.json.Decoder(_Usual).decode
_event = msgspec.json.Decoder(_Event).decode
_anything = msgspec.json.Decoder().decode
_NAMED = re.compile(rb'"(execution_id|plan_id|subject_id|source)"\s*:\s*("(?:[^"\\]|\\.)*"|-?[0-9.eE+-]+)')
PAYLOADS = (".request", ".response")
_PARTS = ("trace", "plan", "planning_trace")
_KINDS = {"execution_id": "execution", "plan_id": "plan"}


def of_event(body: bytes) -> Whose:
    """Of one JSON document; what it does not say, or what is no JSON, names nobody."""
    event: _Event
    try:
        event = _usual(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        try:
            event = _event(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return NOBODY
    data = _data(event)
    keys = {f"{_KINDS[name]}:{value}" for name, value in _ids(data)}
    if _is_payload(event):
        keys.add(f"execution:{event.id}")
    subject = text_of(data.get("subject_id"))
    source = event.source if isinstance(event.source, str) else ""
    return Whose(frozenset(keys), frozenset({subject} - {""}), frozenset({source} - {""}))


def of_anything(value: bytes, headers: Headers = (), key: bytes | None = None) -> Whose:
    """Of a record that may be no event: what it says as JSON, what looks like an id in its bytes, its key, its headers.

    A record's key is taken for the id of a run, an execution's or a plan's, and of a subject."""
    found = of_event(value) | of_event(b'{"data":' + value + b"}") | _looks_like(value)
    labels = {text for raw in (key, *(text for _, text in headers)) if (text := _text(raw))}
    keys = {f"{kind}:{label}" for label in labels for kind in _KINDS.values()}
    return found | Whose(frozenset(keys), frozenset(labels), frozenset(labels))


def _is_payload(event: _Event) -> bool:
    """A request or a response, whatever the settings call it: its run has the event's own id."""
    kind = event.type if isinstance(event.type, str) else ""
    return isinstance(event.id, str) and kind.endswith(PAYLOADS)


def _data(event: _Event) -> Mapping[str, Any]:
    data = event.data
    if isinstance(event.data_base64, str):
        try:
            data = _anything(base64.b64decode(event.data_base64))
        except (ValueError, RecursionError):  # msgspec's and UTF-8's errors are among them
            return {}
    if isinstance(data, _Data):
        data = msgspec.to_builtins(data)
    return data if isinstance(data, dict) else {}


def _ids(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part in (data, *(data.get(name) for name in _PARTS)):
        for name in _KINDS:
            if isinstance(part, dict) and isinstance(value := part.get(name), str):
                yield name, value


def _looks_like(value: bytes) -> Whose:
    found: dict[str, set[str]] = {"execution_id": set(), "plan_id": set(), "subject_id": set(), "source": set()}
    for name, raw in _NAMED.findall(value):
        try:
            found[name.decode()].add(text_of(_anything(raw)))
        except (ValueError, RecursionError):
            continue
    keys = {f"{kind}:{ident}" for name, kind in _KINDS.items() for ident in found[name]}
    return Whose(frozenset(keys), frozenset(found["subject_id"]), frozenset(found["source"]))


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "surrogateescape") if raw else ""
