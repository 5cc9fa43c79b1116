"""Events and records that name only what matters."""

import json
from typing import Any

from l07.events import inbound
from l07.events.record import Record

NOW_MS = 1_767_603_610_000  # 2026-01-05T09:00:10Z
STRUCTURED = ((b"content-type", b"application/cloudevents+json"),)
NAMES = inbound.TypeNames(
    trace=("execution.completed", "execution.trace_generated"),
    plan=("planning.completed", "planning.decision_recorded"),
    score=("evaluation.completed", "evaluation.quality_score_computed"),
    review=("review.recorded",),
    request=("org.kubeflow.serving.inference.request",),
    response=("org.kubeflow.serving.inference.response",),
)
STEPS = {
    "task_description": "How many cars?",
    "steps": [{"tool_name": "execute_sql", "parameters": {"query": "select 1"}, "output": "1"}],
    "final_answer": "1",
}


def an_event(type_name: str, data: Any, **attributes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "type": type_name, "source": "/test", "id": "1", **attributes, "data": data}


def a_score(**data: Any) -> dict[str, Any]:
    filled = {"execution_id": "e1", "quality_score": 90.5, "confidence": 0.9, "evaluation_id": "q1", **data}
    return an_event("evaluation.completed", {name: value for name, value in filled.items() if value is not None})


def a_trace(**data: Any) -> dict[str, Any]:
    return an_event("execution.completed", {"execution_id": "e1", "outcome": "success", "trace": STEPS, **data})


def a_review(**data: Any) -> dict[str, Any]:
    return an_event("review.recorded", {"execution_id": "e1", "verdict": "accept", "reviewer": "mia", **data})


def tight(event: Any) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def a_record(event: Any, *, headers: Any = STRUCTURED, timestamp_ms: int = NOW_MS) -> Record:
    value = event if isinstance(event, bytes) else tight(event)
    return Record("execution.traces", 0, 0, timestamp_ms, None, value, headers)


def decoded(event: Any, **record: Any) -> inbound.Event:
    return inbound.decode(a_record(event, **record), limits=inbound.Limits(), names=NAMES)
