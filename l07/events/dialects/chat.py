"""Dialect 3: OpenAI chat, `data.messages` with `tool_calls` and `tool_call_id`, and optional `data.tools`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from l07.events.dialects.common import (
    Message,
    Talk,
    Unusable,
    answers,
    arguments_of,
    asks,
    call,
    came_of,
    filled,
    says,
)

try:
    from l07.events.dialects import turns
except ImportError:  # no C compiler where this was installed
    turns = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from l07.events.dialects import RunData

ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


class Function(msgspec.Struct, kw_only=True, gc=False):
    """What is called; arguments are JSON text, as OpenAI writes them, or an object."""

    name: str
    arguments: Any = None


class ToolCall(msgspec.Struct, kw_only=True, gc=False):
    """A call. AgentDojo writes `function` as a bare name beside `args`."""

    function: Function | str
    id: str | None = None
    type: str | None = None
    args: Any = None


class CallRef(msgspec.Struct, kw_only=True, gc=False):
    """AgentDojo's reference of a tool message to its call."""

    id: str | None = None
    function: Any = None
    args: Any = None


class ChatMessage(msgspec.Struct, kw_only=True, gc=False):
    """One message of a conversation."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    tool_call: CallRef | None = None
    function_call: Function | None = None
    refusal: str | None = None


_ROLES = frozenset(ROLES)


def goal(data: "RunData") -> str:
    """The first thing that the user says."""
    first = next((message.content for message in data.messages or () if message.role == "user"), None)
    return filled(_text(first)) or filled(data.goal) or filled(data.task_description)


def outcome(data: "RunData") -> str:
    """What the run said of itself; where it says nothing, its final answer."""
    return came_of(data.outcome) or final_answer(data)


def final_answer(data: "RunData") -> str:
    """What the assistant says at the end, if the run ends with it."""
    last = data.messages[-1] if data.messages else None
    if last is None or last.role != "assistant" or last.tool_calls or last.function_call:
        return ""
    return filled(_text(last.content))


def reason(data: "RunData") -> str:
    """Messages of known roles, one of them the assistant's, a goal, an outcome: what is missing first."""
    roles = {message.role for message in data.messages or ()}
    if not roles:
        return "no_messages"
    if not roles <= _ROLES:
        return "unknown_role"
    if "assistant" not in roles:
        return "no_assistant"
    if not goal(data):
        return "no_goal"
    return "" if outcome(data) else "no_outcome"


def talk(data: "RunData") -> Talk:
    """The messages as they are; ids are kept, and made where a call has none; arguments become objects."""
    said = data.messages or []
    messages = turns.of_chat(said, ROLES, arguments_of) if turns is not None else None
    if messages is None:
        messages = as_said(said)
    context = next((m["content"] for m in messages if m["role"] == "system"), "")
    return Talk(tuple(messages), tuple(map(_tool, data.tools or ())), final_answer(data), context)


def as_said(said: Sequence[ChatMessage]) -> list[Message]:
    """In Python; turns.pyx does the same of what OpenAI writes."""
    messages: list[Message] = []
    waiting: list[str] = []  # ids of calls that no tool has answered yet, for answers that do not name theirs
    for message in said:
        role = ROLES[message.role]
        if role == "tool":
            messages.append(_answer(message, waiting))
            continue
        calls = _calls(message, len(messages)) if role == "assistant" else []
        waiting = [each["id"] for each in calls] or waiting
        text = _content(message)
        messages.append(asks(text, calls) if calls else says(role, text))
    return messages


def _calls(message: ChatMessage, place: int) -> list[Message]:
    calls = list(message.tool_calls or ())
    if message.function_call is not None:
        calls.append(ToolCall(function=message.function_call))
    out = []
    for number, each in enumerate(calls):
        function = (
            Function(name=each.function, arguments=each.args) if isinstance(each.function, str) else each.function
        )
        out.append(call(each.id or f"call_{place}_{number}", function.name, arguments_of(function.arguments)))
    return out


def _answer(message: ChatMessage, waiting: list[str]) -> Message:
    named = message.tool_call_id or (message.tool_call.id if message.tool_call else None)
    ident = named or (waiting[0] if waiting else "")
    if ident in waiting:
        waiting.remove(ident)
    return answers(ident, message.name or "", _content(message))


def _content(message: ChatMessage) -> str:
    content = message.content
    if isinstance(content, list) and any(part.get("type", "text") != "text" for part in content):
        raise Unusable("unsupported_content")  # an image or a sound: without it the rest would mislead
    return _text(content) or message.refusal or ""


def _text(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in content or ())
    return "\n".join(text for text in texts if isinstance(text, str))


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return tool if "function" in tool or "name" not in tool else {"type": "function", "function": tool}
