"""Dialect 6: `data.plan` with its task, steps and expected outcome, or `data.planning_trace` with constraints."""

from typing import TYPE_CHECKING, Any

import msgspec

from l07.events.dialects.common import Talk, came_of, filled, opening, says, text_of

if TYPE_CHECKING:
    from l07.events.dialects import RunData


class Plan(msgspec.Struct, kw_only=True, gc=False):
    """A plan, in both of its shapes."""

    plan_id: str | None = None
    task_id: str | None = None
    agent_id: str | None = None
    domain: str | None = None
    task_type: str | None = None
    task_description: str | None = None
    goal: str | None = None
    context: Any = None
    constraints: Any = None
    steps: list[Any] | None = None
    expected_outcome: Any = None
    outcome: Any = None


def goal(data: "RunData") -> str:
    plan = plan_of(data)
    return filled(plan.task_description) or filled(plan.goal) or filled(data.goal) or filled(data.task_description)


def outcome(data: "RunData") -> str:
    """What came of the plan; where nothing is known yet, what it expects."""
    plan = plan_of(data)
    return came_of(data.outcome) or came_of(plan.outcome) or filled(plan.expected_outcome)


def final_answer(data: "RunData") -> str:
    """The plan itself: numbered lines, a step that is no text as JSON."""
    lines = (f"{number}. {text_of(step)}" for number, step in enumerate(plan_of(data).steps or (), 1))
    return "\n".join(lines)


def reason(data: "RunData") -> str:
    """Steps, a goal, an outcome: what is missing first."""
    if not plan_of(data).steps:
        return "no_steps"
    if not goal(data):
        return "no_goal"
    return "" if outcome(data) else "no_outcome"


def talk(data: "RunData") -> Talk:
    """Context and constraints, the task, and the plan as the one answer."""
    plan = plan_of(data)
    known = {
        name: value
        for name, value in (("context", plan.context), ("constraints", plan.constraints))
        if value not in (None, "", {}, [])
    }
    context = text_of(known) if known else ""
    answer = final_answer(data)
    messages = (*opening(goal(data), context), says("assistant", answer))
    return Talk(messages, tuple(data.tools or ()), answer, context)


def plan_of(data: "RunData") -> Plan:
    plan = data.plan or data.planning_trace
    assert plan is not None
    return plan
