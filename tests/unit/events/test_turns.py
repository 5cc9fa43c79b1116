"""The compiled way to messages says what the one in Python says, or leaves it to it."""

import os
from typing import Any

import pytest

from l07.events.dialects import chat, steps
from l07.events.dialects.common import Unusable, arguments_of, filled, text_of

if "CI" not in os.environ:  # there a compiler is, and what cannot be imported is a fault
    pytest.importorskip("l07.events.dialects.turns", reason="l07 was installed without a C compiler")

from l07.events.dialects import turns

STEPS: list[dict[str, Any]] = [
    {"tool_name": "ls", "parameters": {"path": "/"}, "output": "a b", "reasoning": "look"},
    {"tool_name": "ls", "parameters": '{"path": 1}', "output": {"b": 1, "a": [2]}},
    {"tool_name": "ls"},
    {"reasoning": "  ", "output": "thought"},
    {"reasoning": "\n", "output": None},
    {"tool_name": "", "reasoning": "said"},
    *[{"tool_name": f"t{number}", "parameters": {}, "output": ""} for number in range(70)],
]
FUNCTION = chat.Function(name="f", arguments={"a": 1})
TEXT = chat.Function(name="g", arguments='{"b": [1, {"c": null}]}')
CALLS = [chat.ToolCall(function=FUNCTION, id="x"), chat.ToolCall(function=TEXT), chat.ToolCall(function=FUNCTION)]
SAID: dict[str, list[dict[str, Any]]] = {
    "plain": [{"role": "developer", "content": "be"}, {"role": "user", "content": "do"}, {"role": "assistant"}],
    "refused": [{"role": "assistant", "content": "", "refusal": "no"}, {"role": "assistant", "content": None}],
    "calls": [
        {"role": "assistant", "content": "c", "tool_calls": CALLS},
        {"role": "tool", "content": "second", "tool_call_id": "call_0_1", "name": "g"},
        {"role": "tool", "content": "first"},
        {"role": "function", "content": "third"},
        {"role": "tool", "content": "more"},
        {"role": "user", "content": "u", "tool_calls": CALLS},
        {"role": "assistant", "content": "c", "tool_calls": []},
    ],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
    "bare": [{"role": "assistant", "tool_calls": [chat.ToolCall(function="f", args={"a": 1})]}],
    "old": [{"role": "assistant", "function_call": FUNCTION}, {"role": "function", "content": "x"}],
    "referred": [
        {"role": "assistant", "tool_calls": CALLS},
        {"role": "tool", "content": "x", "tool_call": chat.CallRef(id="x")},
    ],
}
LEFT_TO_PYTHON = {"parts", "bare", "old", "referred"}


def test_steps_become_the_same_messages() -> None:
    told = [steps.Step(**step) for step in STEPS]
    found: list[dict[str, Any]] = []
    turns.of_steps(told, found, arguments_of, text_of, filled)
    assert found == list(steps.of_steps(told))
    assert [list(message) for message in found] == [list(message) for message in steps.of_steps(told)]


@pytest.mark.parametrize("name", SAID)
def test_a_chat_becomes_the_same_messages(name: str) -> None:
    said = [chat.ChatMessage(**message) for message in SAID[name]]
    found = turns.of_chat(said, chat.ROLES, arguments_of)
    assert found == (None if name in LEFT_TO_PYTHON else chat.as_said(said))


def test_arguments_that_are_no_object_are_told() -> None:
    call = chat.ToolCall(function=chat.Function(name="f", arguments="[1]"))
    with pytest.raises(Unusable, match="bad_arguments"):
        turns.of_chat([chat.ChatMessage(role="assistant", tool_calls=[call])], chat.ROLES, arguments_of)
    with pytest.raises(Unusable, match="bad_arguments"):
        turns.of_steps([steps.Step(tool_name="f", parameters=3)], [], arguments_of, text_of, filled)
