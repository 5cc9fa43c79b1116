"""Dialect 4: OpenTelemetry's GenAI attributes, of one span or of all spans of a run, with OpenInference's names beside them.

A run becomes OpenAI chat and is then read as that dialect is: what is a goal, an outcome or an answer is said once.
Conventions: semantic-conventions-genai (`gen_ai.input.messages` and its parts), the per-message events before it
(`gen_ai.user.message`, `gen_ai.choice`), OpenInference (`llm.input_messages.0.message.role`). All three are still moving."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from l07.events.dialects import chat
from l07.events.dialects.common import Unusable, came_of
from l07.events.dialects.genai import messages as parts
from l07.events.dialects.genai import openinference
from l07.events.dialects.genai.spans import Span, spans_of

if TYPE_CHECKING:
    from l07.events.dialects import RunData

CONVERSATION = "gen_ai.conversation.id"
SCORE = "gen_ai.evaluation.score.value"
RESULT = "gen_ai.evaluation.result"  # a span event that carries SCORE

_chat = msgspec.defstruct(
    "_Chat",
    [("messages", list[chat.ChatMessage]), ("tools", list[dict[str, Any]], msgspec.field(default_factory=list))],
)


def there(data: "RunData") -> bool:
    """Whether `data` has what this dialect reads."""
    return any(value is not None for value in (data.attributes, data.spans, data.input_messages, data.output_messages))


def reason(data: "RunData") -> str:
    """As chat's, of the messages that were found; "bad_messages" where they have not the form that the conventions give them."""
    run, fault = as_chat(data)
    return fault or chat.reason(run)


def as_chat(data: "RunData") -> tuple["RunData", str]:
    """The run in chat's dialect, and why it cannot be. Its outcome is what it said of itself; else its error."""
    spans = spans_of(data)
    outcome = came_of(data.outcome) or _error(spans) or None
    try:
        messages, tools = _messages_of(spans)
    except Unusable as err:
        return type(data)(outcome=outcome), str(err)
    return msgspec.structs.replace(data, messages=messages, tools=data.tools or tools, outcome=outcome), ""


def conversation_id(data: Any) -> str | None:
    """Which run it is, where no `execution_id` says so. `data` of a trace or of a score."""
    for span in spans_of(data):
        found = span.attributes.get(CONVERSATION)
        if isinstance(found, str):
            return found
    return None


def evaluation_of(data: Any) -> Any:
    """The value of the newest evaluation that the run or the score event carries, as it stands there; None: there is none."""
    for span in reversed(spans_of(data)):
        marks = [event.attributes for event in span.events if event.name == RESULT]
        for attributes in (*reversed(marks), span.attributes):
            if attributes.get(SCORE) is not None:
                return attributes[SCORE]
    return None


def _error(spans: Sequence[Span]) -> str:
    """Of the span that was outermost: an error in a call that was tried again is not the run's."""
    roots = [span for span in spans if not span.parent] or spans
    kind = next((span.attributes.get("error.type") for span in roots if span.attributes.get("error.type")), None)
    return f"error: {kind}" if kind else ""


def _messages_of(spans: Sequence[Span]) -> tuple[list[chat.ChatMessage], list[dict[str, Any]]]:
    """Those of the span that holds most of them: an agent's last call carries all before it. And the tools.

    Raises Unusable "bad_messages" or what the parts say."""
    conversations = [found for span in spans if (found := _conversation(span))]
    best: Mapping[str, Any] = max(reversed(conversations), key=lambda found: len(found["messages"]), default={})
    tools: list[Any] = best.get("tools") or next((found["tools"] for found in conversations if found["tools"]), [])
    try:
        made: Any = msgspec.convert({"messages": best.get("messages", []), "tools": tools}, _chat)
    except msgspec.ValidationError as err:
        raise Unusable("bad_messages") from err
    return made.messages, made.tools


def _conversation(span: Span) -> dict[str, Any]:
    """Messages and tools of one span in OpenAI's form; {} where it has no messages."""
    found = parts.conversation(span) or openinference.conversation(span)
    return found or {}
