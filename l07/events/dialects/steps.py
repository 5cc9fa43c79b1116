"""Dialect 1: `data.trace` with `task_description`, `task_context`, `steps` and `final_answer`."""

from collections.abc import Iterator, Sequence
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

try:
    from l07.events.dialects import turns
except ImportError:  # no C compiler where this was installed
    turns = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from l07.events.dialects import RunData


class Step(msgspec.Struct, kw_only=True, gc=False):
    """One thing that the agent did; with a `tool_name` it is a call, else it is what the agent said."""

    step_id: Any = None
    action_type: str | None = None
    tool_name: str | None = None
    parameters: Any = None
    output: Any = None
    reasoning: str | None = None


class StepTrace(msgspec.Struct, kw_only=True, gc=False):
    """`data.trace`."""

    trace_id: str | None = None
    execution_id: str | None = None
    task_id: str | None = None
    agent_id: str | None = None
    domain: str | None = None
    task_type: str | None = None
    task_description: str | None = None
    task_context: Any = None
    steps: list[Step] | None = None
    final_answer: Any = None
    outcome: Any = None
    hardness: Any = None
    version: Any = None


def goal(data: "RunData") -> str:
    assert data.trace is not None
    return filled(data.trace.task_description) or filled(data.goal) or filled(data.task_description)


def outcome(data: "RunData") -> str:
    """What the run said of itself; where it says nothing, its final answer."""
    assert data.trace is not None
    return came_of(data.outcome) or came_of(data.trace.outcome) or final_answer(data)


def final_answer(data: "RunData") -> str:
    assert data.trace is not None
    return filled(data.trace.final_answer) or filled(data.final_answer)


def reason(data: "RunData") -> str:
    """Steps or at least an answer, a goal, an outcome: what is missing first."""
    assert data.trace is not None
    if data.trace.steps and filled(data.trace.task_description) and came_of(data.outcome):
        return ""  # nearly always, and this is asked of every event
    if not data.trace.steps and not final_answer(data):
        return "no_steps"
    if not goal(data):
        return "no_goal"
    return "" if outcome(data) else "no_outcome"


def talk(data: "RunData") -> Talk:
    """Context and goal, each step as a call with its output or as what the agent said, the final answer."""
    trace = data.trace
    assert trace is not None
    context = "" if trace.task_context in (None, {}, []) else filled(trace.task_context)
    messages = opening(goal(data), context)
    if turns is not None and trace.steps:
        turns.of_steps(trace.steps, messages, arguments_of, text_of, filled)
    else:
        messages += of_steps(trace.steps or ())
    last = final_answer(data)
    if last:
        messages.append(says("assistant", last))
    return Talk(tuple(messages), tuple(data.tools or ()), last, context)


def of_steps(steps: Sequence[Step]) -> Iterator[Message]:
    """In Python; turns.pyx does the same."""
    for number, step in enumerate(steps, 1):
        yield from of_step(number, step)


def of_step(number: int, step: Step) -> list[Message]:
    """A call and its output; without a tool, what the agent said or thought, or nothing."""
    if step.tool_name:
        ident = f"call_{number}"
        asked = asks(step.reasoning or "", [call(ident, step.tool_name, arguments_of(step.parameters))])
        return [asked, answers(ident, step.tool_name, text_of(step.output))]
    said = filled(step.reasoning) or filled(step.output)
    return [says("assistant", said)] if said else []
