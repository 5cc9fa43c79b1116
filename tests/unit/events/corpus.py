"""Bad input as data: tests/corpus/wire, one case a line. See tests/corpus/wire/README.md."""

import base64
import json
from pathlib import Path
from typing import Any

from l07.events import inbound
from l07.events.record import Record

FOLDER = Path(__file__).parents[2] / "corpus" / "wire"
NAMES = inbound.TypeNames(
    trace=("execution.completed", "execution.trace_generated"),
    plan=("planning.completed", "planning.decision_recorded"),
    score=("evaluation.completed", "evaluation.quality_score_computed"),
    review=("review.recorded",),
    request=("org.kubeflow.serving.inference.request",),
    response=("org.kubeflow.serving.inference.response",),
)
LIMITS = inbound.Limits()


def cases() -> list[dict[str, Any]]:
    files = sorted(FOLDER.glob("*.jsonl"))
    lines = [(file.stem, line) for file in files for line in file.read_text("utf-8").splitlines()]
    return [{"file": stem, **json.loads(line)} for stem, line in lines]


def record_of(case: dict[str, Any]) -> Record:
    headers = tuple((_bytes(name) or b"", _bytes(value)) for name, value in case["headers"])
    return Record("execution.traces", 0, 0, case["timestamp_ms"], None, value_of(case), headers)


def value_of(case: dict[str, Any]) -> bytes | None:
    """The bytes that `text`, `base64` or `parts` stand for; None without any of them."""
    if "base64" in case:
        return base64.b64decode(case["base64"])
    if "parts" in case:
        return b"".join(text.encode() * times for text, times in case["parts"])
    return case["text"].encode() if "text" in case else None


def _bytes(text: Any) -> bytes | None:
    if isinstance(text, dict):
        return base64.b64decode(text["base64"])
    return None if text is None else text.encode()
