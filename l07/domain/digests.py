"""What tells one run from another: digests of all that is learned of it, of its conversation, of its calls."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from l07.domain import deeds
from l07.domain.decoded import runs
from l07.domain.example import TrainingExample


class Digests(NamedTuple):
    """As the fields of a member."""

    content: str
    exact: str
    deeds: str


Documents = tuple[bytes, bytes, bytes, int]  # what they are of; how many characters the arguments of the calls have


def digests_of(example: TrainingExample) -> Digests:
    """All three at once: they are of the same messages."""
    body = (example.goal, example.messages, example.tools, example.outcome, example.task_id, example.agent_id)
    found = runs.documents(body, example.messages) if runs else None
    content, exact, calls, characters = found or documents(body, example.messages)
    return Digests(
        hashlib.sha256(content).hexdigest(), hashlib.sha256(exact).hexdigest(), deeds.digest_of(calls, characters)
    )


def documents(body: Sequence[Any], messages: Sequence[Mapping[str, Any]]) -> Documents:
    """Of whatever stands for a run; runs.pyx does the same for those that were decoded."""
    exact = [_without_ids(message) for message in messages]
    return _encoded(body), _encoded(exact), *deeds.document_of(messages)


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _without_ids(message: Mapping[str, Any]) -> list[Any]:
    """Call ids are drawn anew in every run; two runs that differ in nothing else are one."""
    calls = [call.get("function") for call in message.get("tool_calls") or ()]
    return [message.get("role"), message.get("content"), calls, message.get("name")]
