"""A row as other trainers read it: TRL, OpenAI's fine-tuning files, ShareGPT as LLaMA-Factory has it.

Each shape takes a row of a version ({"key", "messages", "tools"}, arguments as objects) and gives it in that format,
or says why the format cannot hold it. Turns after the assistant's last teach nothing; where a format wants an
assistant's turn at the end they are cut, and the row is noted.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from l07.domain.example import text_of, tool_calls

Row = Mapping[str, Any]
Message = Mapping[str, Any]


class Shaped(NamedTuple):
    """The row in the format; `notes`: what was done to it."""

    row: dict[str, Any]
    notes: tuple[str, ...] = ()


class Unfit(NamedTuple):
    """The format cannot hold the row."""

    reason: str


Shape = Callable[[Row], Shaped | Unfit]

MOST_TOOLS = 128  # of one OpenAI example
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_OPENAI_ROLES = frozenset({"system", "user", "assistant", "tool"})


def text_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def until_answer(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages up to the assistant's last turn; none where it never spoke."""
    last = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    return messages[: last + 1]


# ------------------------------------------------------------------ TRL


def trl(row: Row) -> Shaped | Unfit:
    """TRL's conversational language modelling with tools, all messages as they are."""
    tools = {"tools": list(row["tools"])} if row["tools"] else {}
    return Shaped({"key": row["key"], "messages": list(row["messages"]), **tools})


# ------------------------------------------------------------------ OpenAI


def openai(row: Row) -> Shaped | Unfit:
    """A line of a supervised fine-tuning file: `messages`, `tools`, arguments as JSON text, every call answered.

    No `weight` is written: every assistant's turn of an accepted run is learned from, which is the default there.
    Source: OpenAI's API reference, FineTuneChatRequestInput and its chat messages."""
    messages = until_answer(row["messages"])
    reason = _openai_unfit(messages, row["tools"])
    if reason:
        return Unfit(reason)
    line: dict[str, Any] = {"messages": [_openai_message(message) for message in _with_ids(messages)]}
    if row["tools"]:
        most = max((len(message.get("tool_calls") or ()) for message in messages), default=0)
        line |= {"tools": [_openai_tool(tool) for tool in row["tools"]], "parallel_tool_calls": most > 1}
    return Shaped(line, _notes(row, messages))


def _openai_unfit(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
    names = [_function(tool).get("name") for tool in tools]
    names += [_function(call).get("name") for call in tool_calls(messages)]
    tests = (
        ("no_assistant_turn", not messages),
        ("role", any(message["role"] not in _OPENAI_ROLES for message in messages)),
        ("tool_name", any(not isinstance(name, str) or not _NAME.fullmatch(name) for name in names)),
        ("too_many_tools", len(tools) > MOST_TOOLS),
        ("empty_turn", any(_empty(message) for message in messages)),
        ("unanswered_call", not _answered(messages)),
    )
    return next((reason for reason, is_so in tests if is_so), "")


def _empty(message: Message) -> bool:
    """Only an assistant's turn that calls may have no content."""
    return message.get("content") is None and not message.get("tool_calls")


def _answered(messages: Sequence[Message]) -> bool:
    """Whether each call is answered at once, each answer has its call, and a turn's ids name one call each. Calls of
    the last turn need no answer."""
    open_: list[Any] = []
    for message in messages:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_:
                return False
            open_.remove(message.get("tool_call_id"))
        elif open_:
            return False
        else:
            open_ = [call.get("id") for call in message.get("tool_calls") or ()]
            if len(set(open_)) < len(open_):
                return False
    return True


def _with_ids(messages: Sequence[Message]) -> Sequence[Message]:
    """Calls numbered through where an id is missing or names two calls of the row; some agents call every call
    `call_0`."""
    ids = [call.get("id") for call in tool_calls(messages)]
    if all(ids) and len(set(ids)) == len(ids):
        return messages
    number, names, named = 0, dict[Any, str](), list[Message]()
    for message in messages:
        calls = []
        for call in message.get("tool_calls") or ():
            number += 1
            names[call.get("id")] = f"call_{number}"
            calls.append({**call, "id": names[call.get("id")]})
        if calls:
            named.append({**message, "tool_calls": calls})
        elif message["role"] == "tool":
            named.append({**message, "tool_call_id": names[message.get("tool_call_id")]})
        else:
            named.append(message)
    return named


def _openai_message(message: Message) -> dict[str, Any]:
    role = message["role"]
    said: dict[str, Any] = {"role": role}
    if message.get("content") is not None:
        said["content"] = text_of(message["content"])
    if role == "tool":
        said["tool_call_id"] = message["tool_call_id"]
    calls = [_openai_call(call) for call in message.get("tool_calls") or ()]
    return {**said, "tool_calls": calls} if calls and role == "assistant" else said


def _openai_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = _function(call)
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": function["name"], "arguments": text_json(function.get("arguments") or {})},
    }


def _openai_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    known = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: _function(tool)[name] for name in known if name in _function(tool)}}


# ------------------------------------------------------------------ ShareGPT

_FROM = {"user": "human", "tool": "observation"}
_ASKING = frozenset({"human", "observation"})


def sharegpt(row: Row) -> Shaped | Unfit:
    """`conversations` of human and observation, gpt and function_call by turns, `system` and `tools` beside them.

    A turn's calls are one object or a list of {"name", "arguments"}; the answers to several calls of one turn are one
    observation, a JSON list in the order of the calls. Text beside a call has no place. Source: LLaMA-Factory,
    data/README.md and its converter, which skips a conversation that breaks the order."""
    messages = until_answer(row["messages"])
    system, rest = _system(messages)
    reason = _sharegpt_unfit(rest)
    if reason:
        return Unfit(reason)
    turns = _turns(rest)
    if not _by_turns(turns):
        return Unfit("turn_order")
    tools = [_sharegpt_tool(_function(tool)) for tool in row["tools"]]
    if not all(_readable(tool["parameters"]) for tool in tools):
        return Unfit("tool_schema")
    said = text_json(tools) if tools else ""
    line = {"key": row["key"], "conversations": turns, "system": system, "tools": said}
    return Shaped(line, _notes(row, messages))


def _system(messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    if messages and messages[0]["role"] == "system":
        return text_of(messages[0].get("content")), messages[1:]
    return "", messages


def _sharegpt_unfit(messages: Sequence[Message]) -> str:
    tests = (
        ("no_assistant_turn", not messages),
        ("role", any(message["role"] not in ("user", "assistant", "tool") for message in messages)),
        ("text_beside_calls", any(message.get("tool_calls") and message.get("content") for message in messages)),
        ("empty_turn", any(_empty(message) for message in messages)),
    )
    return next((reason for reason, is_so in tests if is_so), "")


def _sharegpt_tool(function: Mapping[str, Any]) -> dict[str, Any]:
    """With what LLaMA-Factory's formatter looks up without asking: a description of parameters, and choices as text."""
    parameters = function.get("parameters")
    parameters = {"type": "object", "properties": {}, **(parameters if isinstance(parameters, Mapping) else {})}
    if isinstance(parameters["properties"], Mapping):
        parameters["properties"] = {name: _with_texts(part) for name, part in parameters["properties"].items()}
    return {**function, "parameters": parameters}


def _with_texts(schema: Any) -> Any:
    if not isinstance(schema, Mapping) or not isinstance(schema.get("enum"), list):
        return schema
    return {**schema, "enum": [one if isinstance(one, str) else text_json(one) for one in schema["enum"]]}


def _readable(parameters: Mapping[str, Any]) -> bool:
    """A parameter that is `true`, or an array of several kinds, is one that the formatter fails on."""
    parts = parameters["properties"]
    return isinstance(parts, Mapping) and all(
        isinstance(part, Mapping) and isinstance(part.get("items") or {}, Mapping) for part in parts.values()
    )


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = []
    answers: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            answers.append(text_of(message.get("content")))
            continue
        turns += _observed(answers)
        answers = []
        turns.append(_turn(message))
    return turns + _observed(answers)


def _observed(answers: Sequence[str]) -> list[dict[str, str]]:
    if not answers:
        return []
    return [{"from": "observation", "value": answers[0] if len(answers) == 1 else text_json(answers)}]


def _turn(message: Message) -> dict[str, str]:
    calls = [
        {"name": _function(call)["name"], "arguments": _function(call).get("arguments") or {}}
        for call in message.get("tool_calls") or ()
    ]
    if calls:
        return {"from": "function_call", "value": text_json(calls[0] if len(calls) == 1 else calls)}
    return {"from": _FROM.get(message["role"], "gpt"), "value": text_of(message["content"])}


def _by_turns(turns: Sequence[Mapping[str, str]]) -> bool:
    """Asking and acting alternate, an asking turn is first, an acting one last."""
    asking = [turn["from"] in _ASKING for turn in turns]
    return bool(asking) and asking[0] and not asking[-1] and all(one != other for one, other in pairwise(asking))


# ------------------------------------------------------------------ all


def _notes(row: Row, messages: Sequence[Message]) -> tuple[str, ...]:
    cut = ("cut_after_last_answer",) if len(messages) < len(row["messages"]) else ()
    calls = any(True for _ in tool_calls(messages))
    return (*cut, "calls_without_tool_list") if calls and not row["tools"] else cut


def _function(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a call or of a tool; a tool may be its function without a cover."""
    function = value.get("function")
    return function if isinstance(function, Mapping) else value


SHAPES: Mapping[str, Shape] = {"trl": trl, "openai": openai, "sharegpt": sharegpt}
