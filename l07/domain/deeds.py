"""What a run did: a digest of its calls in order, names and arguments, and of nothing that was said.

People ask the same in words of their own: those are two tasks, and a near-duplicate sketch, which has the goal in it,
does not see that they are one question (Spider asks each of its questions twice; 56 of 348 real test rows had their
answer in train). Runs that did exactly the same give the answer away whatever they were asked.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from l07.domain.example import tool_calls

LEAST_CHARACTERS = 16  # of all arguments as JSON without their braces: {"n": 100} is 7, the shortest real query 30
MOST_TASKS = 8  # that the same deeds may tie together; 2,308 real deeds are shared by 4 tasks at most
DEEDS = {"digest": "sha256", "version": 1, "least_characters": LEAST_CHARACTERS, "most_tasks": MOST_TASKS}


def deeds_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """sha256 of the assistant's calls; equal where names and arguments are, as JSON: 1 is 1.0, true is not 1, the order
    of names does not count. "" for a run without calls, or whose arguments are too short to say what was asked."""
    return digest_of(*document_of(messages))


def digest_of(document: bytes, characters: int) -> str:
    return hashlib.sha256(document).hexdigest() if characters >= LEAST_CHARACTERS else ""


def document_of(messages: Sequence[Mapping[str, Any]]) -> tuple[bytes, int]:
    """What the digest is of, and how many characters of arguments are in it."""
    calls, characters = [], 0
    for call in tool_calls(messages):
        function = call.get("function")
        if isinstance(function, Mapping):
            arguments = msgspec.json.encode(_canonical(_as_object(function.get("arguments"))), order="deterministic")
            calls.append((str(function.get("name")), arguments.decode()))
            characters += len(calls[-1][1]) - len("{}")
    return msgspec.json.encode(calls), characters


def _as_object(arguments: Any) -> Any:
    """A golden set may hold them as text, as OpenAI sends them."""
    try:
        return msgspec.json.decode(arguments) if isinstance(arguments, str) else arguments
    except msgspec.DecodeError:
        return arguments


def _canonical(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _canonical(item) for name, item in value.items()}
    return [_canonical(item) for item in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class Shared:
    """Tasks that the same deeds tie together, and deeds of so many tasks that they say nothing of any (looking up the
    opening hours); the latter link nothing."""

    links: tuple[tuple[str, str], ...]
    generic: frozenset[str]


def shared(rows: Iterable[tuple[str, str]]) -> Shared:
    """Of (deeds, task) of each row; the order of rows does not show."""
    tasks: dict[str, set[str]] = defaultdict(set)
    for deeds, task in rows:
        if deeds:
            tasks[deeds].add(task)
    generic = frozenset(deeds for deeds, found in tasks.items() if len(found) > MOST_TASKS)
    together = [sorted(found) for deeds, found in tasks.items() if deeds not in generic]
    return Shared(tuple(sorted((first, other) for first, *others in together for other in others)), generic)
