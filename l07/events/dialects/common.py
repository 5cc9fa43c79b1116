"""What the dialects share: text, calls, and the shape that each of them yields."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from l07.events.strict import too_deep

QualityScore = Annotated[float, msgspec.Meta(ge=0, le=100)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Confidence = Annotated[float, msgspec.Meta(ge=0, le=1)]
Message = dict[str, Any]

_encode = msgspec.json.Encoder(order="sorted").encode


class Talk(msgspec.Struct, frozen=True, gc=False):
    """A run as OpenAI chat. `reason` says why it cannot be an example; "" when it can."""

    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    final_answer: str = ""
    context: str = ""
    reason: str = ""


class Unusable(Exception):
    """A run that was decoded but cannot be an example; its text is the reason. It never leaves this package."""


def text_of(value: Any) -> str:
    """Text as it is, nothing as "", anything else as JSON with sorted keys."""
    if isinstance(value, str):
        return value
    return "" if value is None else _encode(value).decode()


def filled(value: Any) -> str:
    """The same, "" when there is only white space in it."""
    if not isinstance(value, str):
        value = text_of(value)
    return "" if value.isspace() else value


def came_of(value: Any) -> str:
    """What `outcome` says, as text."""
    if isinstance(value, str):
        return "" if value.isspace() else value
    if isinstance(value, bool):
        return "success" if value else "failure"
    return filled(value)


def arguments_of(value: Any) -> dict[str, Any]:
    """Arguments of a call as an object; JSON text is parsed, nothing is {}.

    Raises Unusable "bad_arguments" for anything else: a guess would be learned."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str) and value.strip():
        raw = value.encode()
        if too_deep(raw):  # text inside of text has levels of its own
            raise Unusable("bad_arguments")
        try:
            value = msgspec.json.decode(raw)
        except msgspec.DecodeError as err:
            raise Unusable("bad_arguments") from err
    if value is None or value == "" or (isinstance(value, str) and not value.strip()):
        return {}
    if not isinstance(value, dict):
        raise Unusable("bad_arguments")
    return value


def call(ident: str, name: str, arguments: dict[str, Any]) -> Message:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def asks(content: str, calls: list[Message]) -> Message:
    """An assistant message with calls."""
    return {"role": "assistant", "content": content, "tool_calls": calls}


def says(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def answers(ident: str, name: str, content: str) -> Message:
    """A tool message."""
    return {"role": "tool", "content": content, "tool_call_id": ident, "name": name}


def opening(goal: str, context: str) -> list[Message]:
    """How a run without messages of its own begins: its context as the system's, its goal as the user's."""
    return ([says("system", context)] if context else []) + [says("user", goal)]
