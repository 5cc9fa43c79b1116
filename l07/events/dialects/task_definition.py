"""Dialect 2: `data.task_definition{goal, context}` with `data.execution_trace` and `final_answer`."""

from typing import TYPE_CHECKING, Any

import msgspec

from l07.events.dialects.common import (
    Message,
    Talk,
    answers,
    arguments_of,
    asks,
    call,
    came_of,
    filled,
    opening,
    says,
    text_of,
)

if TYPE_CHECKING:
    from l07.events.dialects import RunData

SAYING = frozenset(
    {
        "respond",
        "response",
        "answer",
        "final_answer",
        "message",
        "say",
        "think",
        "thought",
        "reason",
        "reasoning",
    }
)


class TaskDefinition(msgspec.Struct, kw_only=True, gc=False):
    """What was asked."""

    goal: str | None = None
    context: Any = None
    task_id: str | None = None
    task_type: str | None = None
    domain: str | None = None


class Action(msgspec.Struct, kw_only=True, gc=False):
    """One line of `data.execution_trace`. `action` is the tool's name, unless it is one of SAYING."""

    step: Any = None
    action: str | None = None
    parameters: Any = None
    output: Any = None
    reasoning: str | None = None


def goal(data: "RunData") -> str:
    assert data.task_definition is not None
    return filled(data.task_definition.goal) or filled(data.goal) or filled(data.task_description)


def outcome(data: "RunData") -> str:
    """What the run said of itself; where it says nothing, its final answer."""
    return came_of(data.outcome) or filled(data.final_answer)


def reason(data: "RunData") -> str:
    """Actions or at least an answer, a goal, an outcome: what is missing first."""
    if not data.execution_trace and not filled(data.final_answer):
        return "no_steps"
    if not goal(data):
        return "no_goal"
    return "" if outcome(data) else "no_outcome"


def talk(data: "RunData") -> Talk:
    """Context and goal, each action as a call with its output or as what the agent said, the final answer."""
    task = data.task_definition
    assert task is not None
    context = "" if task.context in (None, {}, []) else filled(task.context)
    messages = opening(goal(data), context)
    for number, action in enumerate(data.execution_trace or (), 1):
        messages += _of_action(number, action)
    last = filled(data.final_answer)
    if last:
        messages.append(says("assistant", last))
    return Talk(tuple(messages), tuple(data.tools or ()), last, context)


def _of_action(number: int, action: Action) -> list[Message]:
    name = action.action or ""
    if name and name.lower() not in SAYING:
        ident = f"call_{number}"
        asked = asks(action.reasoning or "", [call(ident, name, arguments_of(action.parameters))])
        return [asked, answers(ident, name, text_of(action.output))]
    said = filled(action.output) or filled(action.reasoning)
    return [says("assistant", said)] if said else []
