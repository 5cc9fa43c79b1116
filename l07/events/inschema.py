"""What we require of what we read, as JSON Schema: the fields from the structs of the decoder, its other rules by hand.

A schema cannot say all: the bytes (UTF-8, depth, a key twice), a content type that is no JSON, and times against the record's
are the decoder's alone. What a schema refuses, the decoder refuses too, and a test holds both against every case of the corpus.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from l07.events.cloudevents import MAX_ID, OPTIONAL
from l07.events.dialects import RunData
from l07.events.inbound import VERDICTS, ReviewData, ScoreData

ROLES: Mapping[str, Any] = {
    "trace": RunData,
    "plan": RunData,
    "score": ScoreData,
    "review": ReviewData,
    "request": Any,  # whatever the model's server was asked: what cannot be read is a reason, no error
    "response": Any,
}

_NULL = {"type": "null"}
_TEXT = {"type": "string", "minLength": 1}
_MAYBE = {"type": ["string", "null"], "minLength": 1}
_NAME = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_ID,
    "not": {"pattern": "[\\u0000-\\u001f\\u007f-\\u009f]"},
}
_ENVELOPE = {
    "specversion": {"const": "1.0"},
    "id": _NAME,
    "source": _TEXT,
    "type": _TEXT,  # which names are read as what is a setting
    "time": {"type": ["string", "null"], "format": "date-time"},
    **dict.fromkeys(OPTIONAL, _MAYBE),
}


def inbound_event(role: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of a structured event that is read as `role`, and the parts that it refers to. Null is absent."""
    data, parts = inbound_data(role)
    carries = [
        {"properties": {"data": data, "data_base64": _NULL}, "required": ["data"]},
        {"properties": {"data": _NULL, "data_base64": _BASE64}, "required": ["data_base64"]},
    ]
    return {
        "properties": _ENVELOPE,
        "required": ["specversion", "id", "source", "type"],
        "anyOf": carries,
    }, parts


_BASE64 = {"type": "string", "contentEncoding": "base64", "contentMediaType": "application/json"}


def inbound_data(role: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of `data` alone, and the parts that it refers to."""
    (data,), parts = msgspec.json.schema_components([ROLES[role]], ref_template="#/$defs/{name}")
    return {"allOf": [data, *_RULES[role]]}, parts


def _has(**fields: Any) -> dict[str, Any]:
    """These fields, each as its schema says."""
    return {"properties": fields, "required": list(fields)}


def _absent(*names: str) -> dict[str, Any]:
    return {"properties": dict.fromkeys(names, _NULL)}


def _one(*ways: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": list(ways)}


_NUMBER = {"type": "number"}
_THERE: dict[str, Any] = {}  # what stands in attributes or spans is the decoder's to look at
_NAMED_BY_ATTRIBUTES = [_has(**{"gen_ai.conversation.id": _NAME}), _has(attributes=_THERE)]
_SAID_OF = _one(_has(execution_id=_NAME), {"allOf": [_absent("execution_id"), _has(plan_id=_NAME)]})
_SAID_OF_RUN = _one(_SAID_OF, {"allOf": [_absent("execution_id", "plan_id"), _one(*_NAMED_BY_ATTRIBUTES)]})
_PART_OF_RUN = {"type": "object", **_has(execution_id=_NAME)}
_PART_OF_PLAN = {"type": "object", **_has(plan_id=_NAME)}
_RULES: Mapping[str, list[dict[str, Any]]] = {
    "trace": [
        _one(
            _has(execution_id=_NAME),
            {"allOf": [_absent("execution_id"), _has(trace=_PART_OF_RUN)]},
            {"allOf": [_absent("execution_id"), _one(*_NAMED_BY_ATTRIBUTES, _has(spans=_THERE))]},
        )
    ],
    "plan": [
        _one(
            _has(plan_id=_NAME),
            {"allOf": [_absent("plan_id"), _has(plan=_PART_OF_PLAN)]},
            {"allOf": [_absent("plan_id", "plan"), _has(planning_trace=_PART_OF_PLAN)]},
        )
    ],
    "score": [
        _SAID_OF_RUN,
        _one(
            _has(quality_score=_NUMBER),
            _has(**{"gen_ai.evaluation.score.value": _NUMBER}),
            _has(attributes=_THERE),
        ),
        _one(_has(confidence=_NUMBER), _has(confidence_level=_NUMBER)),
    ],
    "request": [],
    "response": [],
    "review": [
        _SAID_OF,
        {"properties": {"verdict": {"enum": list(VERDICTS)}, "reviewer": _NAME}},
        _one(
            _has(verdict={"const": "fixed"}, messages={"type": "array", "minItems": 1}),
            {"properties": {"verdict": {"not": {"const": "fixed"}}, "messages": _NULL}},
        ),
    ],
}
