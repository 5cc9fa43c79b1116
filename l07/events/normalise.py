"""From an event that was decoded once to what an example is made of: one conversation, whatever the dialect."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import msgspec

from l07.events.dialects import RunData, chat, genai, known, kserve, pick, reason_of, talk_of
from l07.events.dialects.common import Confidence, QualityScore, Talk, Unusable, filled, text_of


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """A run as OpenAI chat; arguments of a call are objects.

    `reason` says why it cannot be an example, "" when it can; where there is one, `messages` may be empty."""

    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...]
    goal: str
    outcome: str
    final_answer: str
    dialect: str  # "chat", "steps", "task_definition", "plans", "genai", "kserve", or "" when none fits
    domain: str | None
    task_type: str | None
    task_id: str | None
    agent_id: str | None
    model_version: str | None
    subject_id: str  # whose data it is; "" when nobody says
    context: str  # what the run was told besides its goal, as text
    reason: str
    event_id: str
    source: str


class ScoreView(msgspec.Struct, frozen=True, gc=False):
    """What an event says of a run's quality; of a score, or of a trace that carries its own. None: it says nothing."""

    evaluation_id: str
    quality_score: (
        float | None
    )  # 0-100; None too where the event has OpenTelemetry's share alone: the decoder read that
    confidence: float | None  # 0-1
    model_version: str | None
    failure: str | None
    task_type: str | None
    subject_id: str
    event_id: str
    source: str


class _Run(msgspec.Struct, gc=False):
    id: str
    source: str
    data: RunData


class _Payload(msgspec.Struct, gc=False):
    id: str
    source: str
    data: Any = None
    data_base64: Any = None
    namespace: Any = None
    inferenceservicename: Any = None


class _Said(msgspec.Struct, kw_only=True, gc=False):
    quality_score: QualityScore | None = None
    confidence: Confidence | None = None
    confidence_level: Confidence | None = None
    evaluation_id: str | None = None
    model_version: str | None = None
    failure_classification: Any = None
    task_type: str | None = None
    subject_id: Any = None


class _Evaluation(msgspec.Struct, gc=False):
    id: str
    source: str
    data: _Said


_run = msgspec.json.Decoder(_Run).decode
_payload = msgspec.json.Decoder(_Payload).decode
_evaluation = msgspec.json.Decoder(_Evaluation).decode


def normalise(body: bytes) -> Conversation:
    """`body` of a Trace as one conversation. What inbound.decode accepted never fails here.

    A run that cannot be an example has a reason: its Trace's, or one that shows only in its messages (bad_arguments,
    unsupported_content)."""
    event = _run(body)
    return _told(event.id, event.source, event.data, *pick(event.data))


def normalise_pair(request: bytes, response: bytes) -> Conversation:
    """The bodies of two Payloads of one id as one conversation; source and id are the response's. Never fails either."""
    asked, said = _payload(request), _payload(response)
    try:
        found, why = kserve.exchange(asked.data, kserve.body_of(said.data, said.data_base64)), ""
    except Unusable as err:
        found, why = kserve.Exchange(()), str(err)
    names = (text for value in (said.namespace, said.inferenceservicename) if (text := filled(value)))
    data = RunData(
        messages=list(found.messages),
        tools=list(found.tools) or None,
        outcome=found.outcome or None,
        agent_id="/".join(names) or None,
    )
    told = _told(said.id, said.source, data, kserve.NAME, chat)
    return msgspec.structs.replace(told, reason=why or told.reason)


def _told(ident: str, source: str, data: RunData, name: str, dialect: ModuleType | None) -> Conversation:
    run, fault = data, ""
    if dialect is genai:  # its spans are read once, not for each question
        run, fault = genai.as_chat(data)
        dialect = chat
    reason = fault or reason_of(run, dialect)
    talk = Talk() if dialect is None or reason in ("unknown_role", "no_messages") else talk_of(run, dialect)
    return Conversation(
        messages=talk.messages,
        tools=talk.tools,
        goal=dialect.goal(run) if dialect else "",
        outcome=dialect.outcome(run) if dialect else "",
        final_answer=talk.final_answer,
        dialect=name,
        domain=data.domain or known(data, "domain") or None,
        task_type=data.task_type or known(data, "task_type") or None,
        task_id=data.task_id or known(data, "task_id") or None,
        agent_id=data.agent_id or known(data, "agent_id") or None,
        model_version=data.model_version,
        subject_id=text_of(data.subject_id),
        context=talk.context,
        reason=reason or talk.reason,
        event_id=ident,
        source=source,
    )


def read_score(body: bytes) -> ScoreView:
    """What the event says of its run."""
    event = _evaluation(body)
    data = event.data
    return ScoreView(
        evaluation_id=data.evaluation_id or "",
        quality_score=data.quality_score,
        confidence=data.confidence if data.confidence is not None else data.confidence_level,
        model_version=data.model_version,
        failure=text_of(data.failure_classification) or None,
        task_type=data.task_type,
        subject_id=text_of(data.subject_id),
        event_id=event.id,
        source=event.source,
    )
