"""OpenInference's names: lists are flattened into the keys (`llm.input_messages.0.message.role`), or stand as objects."""

from collections.abc import Mapping
from typing import Any

from l07.events.dialects.common import Unusable, filled
from l07.events.dialects.genai.messages import parsed, tools
from l07.events.dialects.genai.spans import Span

DEEPEST = 16  # parts of a key: `llm.input_messages.0.message.tool_calls.0.tool_call.function.name` has 9
AROUND = ("AGENT", "CHAIN")  # kinds of a span whose input and output are the run's


def conversation(span: Span) -> dict[str, Any]:
    """Messages and tools; {} where the span has none. Raises Unusable."""
    tree = _tree(span.attributes)
    messages = [_message(item) for side in ("input_messages", "output_messages") for item in _items(tree.get(side))]
    if messages:
        schemas = [_inner(item, "tool").get("json_schema") for item in _items(tree.get("tools"))]
        return {"messages": messages, "tools": tools([schema for schema in schemas if schema])}
    return _around(span.attributes)


def _around(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Of a span that says only what went in and what came out, both as text."""
    if attributes.get("openinference.span.kind") not in AROUND:
        return {}
    sides = (("user", "input.value"), ("assistant", "output.value"))
    told = [{"role": role, "content": filled(attributes.get(name))} for role, name in sides]
    return {"messages": told, "tools": []} if all(message["content"] for message in told) else {}


def _tree(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What stands under `llm`, whether in one key or in many."""
    root: dict[str, Any] = {}
    for name, value in attributes.items():
        if name == "llm" and isinstance(value, Mapping):
            root |= value
        elif name.startswith("llm."):
            path = name.split(".")[1:]
            if len(path) <= DEEPEST:
                _put(root, path, value)
    return root


def _put(node: dict[str, Any], path: list[str], value: Any) -> None:
    for step in path[:-1]:
        below = node.setdefault(step, {})
        if not isinstance(below, dict):
            raise Unusable("bad_messages")
        node = below
    node[path[-1]] = value


def _items(value: Any) -> list[Any]:
    """A list as it is; an object with numbers for names in their order; JSON text as what it says."""
    value = parsed(value)
    if isinstance(value, Mapping):
        if not all(str(name).isdecimal() for name in value):
            raise Unusable("bad_messages")
        return [value[name] for name in sorted(value, key=lambda name: int(name))]
    if value is None or isinstance(value, list):
        return value or []
    raise Unusable("bad_messages")


def _inner(item: Any, name: str) -> Mapping[str, Any]:
    """`{"message": {...}}`, `{"message.role": ...}` or the object itself."""
    if not isinstance(item, Mapping):
        raise Unusable("bad_messages")
    if isinstance(item.get(name), Mapping):
        inner: Mapping[str, Any] = item[name]
        return inner
    dotted: dict[str, Any] = {}
    for key, value in item.items():
        _put(dotted, str(key).removeprefix(f"{name}.").split("."), value)
    return dotted


def _message(item: Any) -> dict[str, Any]:
    message = _inner(item, "message")
    calls = [_call(each) for each in _items(message.get("tool_calls"))]
    told = {
        "role": message.get("role"),
        "content": message.get("content") if message.get("content") is not None else _contents(message),
        "tool_calls": calls or None,
        "tool_call_id": message.get("tool_call_id"),
        "name": message.get("name"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _contents(message: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """In OpenAI's form of parts; a picture keeps its type, and chat says what becomes of it."""
    found = []
    for item in _items(message.get("contents")):
        content = _inner(item, "message_content")
        found.append({"type": content.get("type", "text"), "text": content.get("text")})
    return found or None


def _call(item: Any) -> dict[str, Any]:
    call = _inner(item, "tool_call")
    function = call.get("function")
    if not isinstance(function, Mapping):
        raise Unusable("bad_messages")
    told = {"name": str(function.get("name") or ""), "arguments": function.get("arguments")}
    return {"id": call.get("id"), "type": "function", "function": told}
