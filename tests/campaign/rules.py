"""The judge's own rules for reading an event, written from docs/wire.md for what the campaign's world makes."""

import hashlib
import json
import math
import re
from typing import Any, NamedTuple

from tests.campaign.reading import Raw

LIMIT = 1_000_000
DEEP = 64
ROLES = {"system", "developer", "user", "assistant", "tool", "function"}


class Poisoned(Exception):
    """This record can never be read; the text says why."""


class Said(NamedTuple):
    """What a sound record says."""

    kind: str  # trace, score, unread
    key: str = ""
    domain: str = ""
    source: str = ""
    flaw: bool = False  # a trace that can be no example
    score: float | None = None
    confidence: float = 0.0
    evaluation: str = ""
    content: str = ""


def need(sound: object, why: str) -> None:
    if not sound:
        raise Poisoned(why)


def read(raw: Raw) -> Said:
    """Raises Poisoned."""
    need(raw.headers is not None, "a header's name is not text")
    need(raw.value, "no value")
    need(len(raw.value or b"") <= LIMIT, "too large")
    event = _envelope(raw)
    for name in ("id", "source", "type"):
        need(isinstance(event.get(name), str) and event[name], f"{name} is missing")
    need(event.get("specversion") == "1.0", "specversion")
    need(len(event["id"]) <= 256, "id is too long")
    need("time" not in event, "the world writes a time only where it is wrong")
    kind = event["type"]
    if kind in ("weather.changed", "review.recorded"):
        return Said("unread")
    data = event.get("data")
    need(isinstance(data, dict), "data is no object")
    if kind == "evaluation.completed":
        return _score(data)
    return _run(data, kind, event["source"])


def _envelope(raw: Raw) -> dict[str, Any]:
    headers = raw.headers or []
    names = [name.lower() for name, _ in headers]
    need(len(names) == len(set(names)), "a header stands twice")
    said = {name.lower(): text for name, text in headers}
    kind = (said.get("content-type") or b"").decode("utf-8", "replace")
    document = _json(raw.value or b"")
    if kind == "application/cloudevents+json" or not said:
        need(isinstance(document, dict), "no object")
        return dict(document)
    need(not kind.startswith("application/cloudevents"), "a content type that nobody reads")
    try:
        attributes = {name[3:]: (text or b"").decode() for name, text in said.items() if name.startswith("ce_")}
    except UnicodeDecodeError as err:
        raise Poisoned("a header is not text") from err
    return attributes | {"data": document}


def _json(value: bytes) -> Any:
    text = value.decode("utf-8", "surrogateescape")
    need(not re.search("[\ud800-\udfff]", text), "not UTF-8")
    need(re.search(r"\\u[dD][89abAB]", text) is None, "a surrogate")
    need(_depth(text) <= DEEP, "too deep")
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as err:
        raise Poisoned("no JSON") from err
    return document


def _depth(text: str) -> int:
    deepest = depth = 0
    for mark in re.sub(r'"(?:\\.|[^"\\])*"', "", text):
        depth += (mark in "[{") - (mark in "]}")
        deepest = max(deepest, depth)
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    need(len(pairs) == len(dict(pairs)), "a key stands twice")
    return dict(pairs)


def _finite(text: str) -> float:
    need(math.isfinite(float(text)), "an infinite number")
    return float(text)


def _refuse(_: str) -> Any:
    raise Poisoned("a number that is none")


def _number(value: object, most: float, name: str) -> float:
    need(isinstance(value, int | float) and not isinstance(value, bool), f"{name} is no number")
    assert isinstance(value, int | float)
    need(0 <= value <= most, f"{name} is out of range")
    return float(value)


def _ident(data: dict[str, Any], name: str) -> str:
    need(isinstance(data.get(name), str) and data[name], f"{name} is missing")
    return f"{'plan' if name == 'plan_id' else 'execution'}:{data[name]}"


def _score(data: dict[str, Any]) -> Said:
    key = _ident(data, "plan_id" if data.get("execution_id") is None and "plan_id" in data else "execution_id")
    score = _number(data.get("quality_score"), 100, "quality_score")
    confidence = _number(data.get("confidence"), 1, "confidence")
    return Said("score", key, score=score, confidence=confidence, evaluation=data.get("evaluation_id") or "")


def _run(data: dict[str, Any], kind: str, source: str) -> Said:
    key = _ident(data, "plan_id" if kind == "planning.completed" else "execution_id")
    messages = data.get("messages", [])
    need(
        isinstance(messages, list) and all(isinstance(one, dict) for one in messages), "messages are no list of objects"
    )
    own = data.get("quality_score") is not None and data.get("confidence") is not None
    digest = hashlib.sha256(json.dumps(data).encode()).hexdigest()
    return Said(
        "trace", key, data.get("domain") or "", source, _flawed(data),
        score=_number(data["quality_score"], 100, "quality_score") if own else None,
        confidence=_number(data["confidence"], 1, "confidence") if own else 0.0, content=digest,
    )  # fmt: skip


def _flawed(data: dict[str, Any]) -> bool:
    """Can it be no example? A conversation needs a question, an answer and an outcome; what else the world makes has them."""
    if "messages" not in data:
        return False
    said = data["messages"]
    roles = {one.get("role") for one in said}
    asked = next((one.get("content") for one in said if one.get("role") == "user"), None)
    answered = bool(said) and said[-1].get("role") == "assistant" and bool(said[-1].get("content"))
    return not roles <= ROLES or "assistant" not in roles or not asked or not (data.get("outcome") or answered)
