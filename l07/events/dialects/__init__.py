"""What a trace may look like: one file a dialect, and the table that picks."""

from types import ModuleType
from typing import Any

import msgspec

from l07.events.dialects import chat, genai, plans, steps
from l07.events.dialects import task_definition as tasks
from l07.events.dialects.common import Confidence, QualityScore, Share, Talk, Unusable


class RunData(msgspec.Struct, kw_only=True, gc=False):
    """`data` of a trace or a plan, in every dialect that is read. A field that is absent is None."""

    execution_id: str | None = None
    plan_id: str | None = None
    task_id: str | None = None
    agent_id: str | None = None
    domain: str | None = None
    task_type: str | None = None
    model_version: str | None = None
    goal: str | None = None
    task_description: str | None = None
    outcome: Any = None
    final_answer: Any = None
    trace: steps.StepTrace | None = None
    task_definition: tasks.TaskDefinition | None = None
    execution_trace: list[tasks.Action] | None = None
    messages: list[chat.ChatMessage] | None = None
    tools: list[dict[str, Any]] | None = None
    plan: plans.Plan | None = None
    planning_trace: plans.Plan | None = None
    quality_score: QualityScore | None = None
    confidence: Confidence | None = None
    confidence_level: Confidence | None = None
    evaluation_id: str | None = None
    failure_classification: Any = None
    subject_id: Any = None
    attributes: Any = None
    events: Any = None
    spans: Any = None
    input_messages: Any = msgspec.field(default=None, name="gen_ai.input.messages")
    output_messages: Any = msgspec.field(default=None, name="gen_ai.output.messages")
    system_instructions: Any = msgspec.field(default=None, name="gen_ai.system_instructions")
    tool_definitions: Any = msgspec.field(default=None, name="gen_ai.tool.definitions")
    conversation_id: Any = msgspec.field(default=None, name="gen_ai.conversation.id")
    evaluation_value: Share | None = msgspec.field(default=None, name="gen_ai.evaluation.score.value")


UNKNOWN = "unknown_dialect"  # the reason of a run in none of the dialects


def pick(data: RunData) -> tuple[str, ModuleType | None]:
    """The dialect of a run and its module; ("", None) when it has none.

    With several, the first of chat, steps, task_definition, plans, genai."""
    if data.messages is not None:
        return "chat", chat
    if data.trace is not None:
        return "steps", steps
    if data.task_definition is not None:
        return "task_definition", tasks
    if data.plan is not None or data.planning_trace is not None:
        return "plans", plans
    if genai.there(data):
        return "genai", genai
    return "", None


def reason_of(data: RunData, dialect: ModuleType | None) -> str:
    """Why this run can never be an example, as far as that shows without building a message; "" when it can."""
    reason: str = dialect.reason(data) if dialect else UNKNOWN
    return reason


def talk_of(data: RunData, dialect: ModuleType) -> Talk:
    """The run as OpenAI chat. What cannot be an example comes back as a reason, never as an exception."""
    try:
        talk: Talk = dialect.talk(data)
    except Unusable as err:
        return Talk(reason=str(err))
    return talk


def known(data: RunData, name: str) -> str:
    """`domain`, `task_type`, `task_id` or `agent_id`: of `data` itself, else of the part in it; "" when nobody says."""
    value = getattr(data, name)
    if not value:
        part = data.trace or data.plan or data.planning_trace or data.task_definition
        value = getattr(part, name, None)
    return value or ""
