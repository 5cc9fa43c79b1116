"""`gen_ai.input.messages`, `gen_ai.output.messages` and the per-message events before them, in OpenAI's form."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from l07.events.dialects.common import Unusable, text_of
from l07.events.dialects.genai.spans import Span
from l07.events.strict import too_deep

LEGACY = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
CHOICE = "gen_ai.choice"
SILENT = ("reasoning",)  # what the model thought is not what it said; no set: a kind may be anything, also a list

_decode = msgspec.json.Decoder().decode


def conversation(span: Span) -> dict[str, Any]:
    """Messages and tools; {} where the span has none. Raises Unusable."""
    attributes = span.attributes
    told = [parsed(attributes.get(f"gen_ai.{side}.messages")) for side in ("input", "output")]
    raw = [message for messages in told for message in _list(messages)]
    if not raw:
        raw = list(_legacy(span))
    if not raw:
        return {}
    system = _system(parsed(attributes.get("gen_ai.system_instructions")))
    messages = [made for message in raw for made in _messages(message)]
    return {"messages": [*system, *messages], "tools": tools(parsed(attributes.get("gen_ai.tool.definitions")))}


def parsed(value: Any) -> Any:
    """JSON text as what it says; anything else as it is. Raises Unusable "bad_messages"."""
    if not isinstance(value, str):
        return value
    raw = value.encode("utf-8", "surrogatepass")
    if too_deep(raw):  # text inside of text has levels of its own
        raise Unusable("bad_messages")
    try:
        return _decode(raw) if value.strip() else None
    except msgspec.DecodeError as err:
        raise Unusable("bad_messages") from err


def tools(definitions: Any) -> list[dict[str, Any]]:
    """As OpenAI writes them: what says no `function` is one itself."""
    found = []
    for tool in _list(parsed(definitions)):
        tool = parsed(tool)
        if isinstance(tool, Mapping):
            bare = {name: value for name, value in tool.items() if name != "type"}
            found.append(dict(tool) if "function" in tool else {"type": "function", "function": bare})
    return found


def _list(value: Any) -> Sequence[Any]:
    """Raises Unusable "bad_messages" for what is neither a list nor absent."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Unusable("bad_messages")
    return value


def _system(instructions: Any) -> list[dict[str, Any]]:
    if isinstance(instructions, str):
        return [{"role": "system", "content": instructions}]
    text = "\n".join(_text(part) for part in _list(instructions))
    return [{"role": "system", "content": text}] if text else []


def _legacy(span: Span) -> Iterator[Mapping[str, Any]]:
    for event in span.events:
        said = event.attributes
        if event.name in LEGACY:
            yield {"role": LEGACY[event.name], **said}
        elif event.name == CHOICE:
            message = parsed(said.get("message"))
            yield {"role": "assistant", **(message if isinstance(message, Mapping) else said)}


def _messages(message: Any) -> Iterator[dict[str, Any]]:
    """One message of theirs may be several of OpenAI's: each answer of a tool is its own."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise Unusable("bad_messages")
    role = message["role"]
    if not isinstance(message.get("parts"), list):
        yield _plain(role, message)
        return
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for part in message["parts"]:
        _sort_out(part, texts, calls, answers)
    if calls or texts or not answers:
        told = {"role": role, "content": "\n".join(texts), "tool_calls": calls or None}
        yield {name: value for name, value in told.items() if value is not None}
    yield from answers


def _plain(role: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """One that is written as OpenAI's already, or by the events of before (`id` names the call that a tool answers)."""
    names = ("content", "name", "tool_calls", "tool_call_id", "refusal")
    told = {"role": role, **{name: message[name] for name in names if message.get(name) is not None}}
    if role == "tool" and "tool_call_id" not in told and isinstance(message.get("id"), str):
        told["tool_call_id"] = message["id"]
    told["tool_calls"] = parsed(told.get("tool_calls"))
    if role == "tool" and not isinstance(told.get("content"), str | None):
        told["content"] = text_of(told["content"])
    return {name: value for name, value in told.items() if value is not None}


def _sort_out(part: Any, texts: list[str], calls: list[dict[str, Any]], answers: list[dict[str, Any]]) -> None:
    """Raises Unusable "unsupported_content" for a picture or a sound: without it the rest would mislead."""
    kind = part.get("type") if isinstance(part, Mapping) else "text"
    if kind == "tool_call":
        function = {"name": str(part.get("name") or ""), "arguments": part.get("arguments")}
        calls.append({"id": _ident(part), "type": "function", "function": function})
    elif kind == "tool_call_response":
        said = next((part[name] for name in ("response", "result", "content") if part.get(name) is not None), "")
        told = {"role": "tool", "content": text_of(said), "tool_call_id": _ident(part), "name": part.get("name")}
        answers.append({name: value for name, value in told.items() if value is not None})
    elif kind not in SILENT:
        texts.append(_text(part))


def _ident(part: Mapping[str, Any]) -> str | None:
    ident = part.get("id")
    return ident if isinstance(ident, str) and ident else None


def _text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("content"), str):
        return str(part["content"])
    raise Unusable("unsupported_content")
