"""Spans as they come: attributes as an object or in OTLP's list of keys and values, events on them, one span or many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DETAILS = "gen_ai.client.inference.operation.details"  # an event whose attributes are the call's
DIRECT = {  # names that may stand in `data` itself
    "gen_ai.input.messages": "input_messages",
    "gen_ai.output.messages": "output_messages",
    "gen_ai.system_instructions": "system_instructions",
    "gen_ai.tool.definitions": "tool_definitions",
    "gen_ai.conversation.id": "conversation_id",
    "gen_ai.evaluation.score.value": "evaluation_value",
}


@dataclass(frozen=True, slots=True)
class SpanEvent:
    name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """`parent`: the id of the span around it; "": none is known."""

    attributes: Mapping[str, Any]
    events: Sequence[SpanEvent] = field(default_factory=tuple)
    parent: str = ""


def spans_of(data: Any) -> list[Span]:
    """Of `data` of a trace or a score, in their order; `data`'s own attributes are the last. What is no span is left out."""
    spans = [_span(raw) for raw in _list(getattr(data, "spans", None)) if isinstance(raw, Mapping)]
    own = {name: value for name, field_ in DIRECT.items() if (value := getattr(data, field_, None)) is not None}
    attributes = {**flat(getattr(data, "attributes", None)), **own}
    if attributes:
        spans.append(_span({"attributes": attributes, "events": getattr(data, "events", None)}))
    return spans


def _span(raw: Mapping[str, Any]) -> Span:
    events = [_event(event) for event in _list(raw.get("events")) if isinstance(event, Mapping)]
    attributes = flat(raw.get("attributes"))
    for event in events:
        if event.name == DETAILS:
            attributes |= event.attributes
    parent = raw.get("parent_span_id") or raw.get("parentSpanId") or raw.get("parent_id")
    return Span(attributes, tuple(events), parent if isinstance(parent, str) else "")


def _event(raw: Mapping[str, Any]) -> SpanEvent:
    """`body` is where the per-message events of before had their content."""
    name = raw.get("name") or raw.get("event_name") or raw.get("eventName")
    body = raw.get("body")
    return SpanEvent(str(name or ""), {**(body if isinstance(body, Mapping) else {}), **flat(raw.get("attributes"))})


def flat(attributes: Any) -> dict[str, Any]:
    """An object as it is; OTLP's list of {key, value} as an object; nothing as {}."""
    if isinstance(attributes, Mapping):
        return dict(attributes)
    found = {}
    for pair in _list(attributes):
        if isinstance(pair, Mapping) and isinstance(pair.get("key"), str):
            found[pair["key"]] = _value(pair.get("value"))
    return found


def _value(value: Any) -> Any:
    """OTLP says the type in a key: {"stringValue": "x"}, {"arrayValue": {"values": [...]}}."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind == "arrayValue":
        return [_value(item) for item in _list(inner.get("values") if isinstance(inner, Mapping) else None)]
    if kind == "kvlistValue":
        return flat(inner.get("values") if isinstance(inner, Mapping) else None)
    if kind == "intValue" and isinstance(inner, str) and inner.lstrip("-").isdigit():
        return int(inner)  # 64 bits as text, as JSON of protobuf has it
    return inner if kind in ("stringValue", "boolValue", "intValue", "doubleValue", "bytesValue") else value


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
