"""Secrets and personal data as users have them, to be planted: `plant(kind, rng)` makes a value with its real shape and
checksum and puts it into what people and machines write.

Shapes follow the issuers' own pages. It shares no code with the scrub. Each kind has its contexts in two halves: rules
are made on `tune`, figures are told of `held_out`.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from l07.domain.plants import contexts
from l07.domain.plants.personal import PERSONAL
from l07.domain.plants.tokens import SECRETS

Half = Literal["tune", "held_out"]
Place = contexts.Place
KINDS: Mapping[str, Callable[[random.Random], str]] = {**SECRETS, **PERSONAL}


@dataclass(frozen=True, slots=True)
class Plant:
    """A value in its context. `content` is a text, or the arguments of a call (`place` "arguments")."""

    kind: str
    value: str  # as it stands in `content`, with its escapes: nothing of it may be left
    content: str | Mapping[str, Any]
    place: Place  # who would write it: "user", "assistant", "tool", or "arguments" of a call

    @property
    def personal(self) -> bool:
        """Personal data, which may be the task itself; the other kinds are secrets."""
        return self.kind in PERSONAL


def plant(kind: str, rng: random.Random, *, half: Half = "held_out") -> Plant:
    """One value of a kind of KINDS in one context of that half; the same for the same state of `rng`."""
    context = rng.choice(contexts.of(kind, half))
    value = KINDS[kind](rng)
    content, written = context.filled(value, rng)
    return Plant(kind, written, content, context.place)


def into(messages: Sequence[Mapping[str, Any]], planted: Plant, rng: random.Random) -> tuple[dict[str, Any], ...]:
    """The messages with the plant in one of its place: a line more in a text, arguments more in a call. Where the run
    has no such message the text becomes one (arguments: a call of the tool `lookup` before the last message)."""
    copy = [dict(message) for message in messages]
    if isinstance(planted.content, str):
        role = planted.place
        at = [n for n, m in enumerate(copy) if m.get("role") == role and isinstance(m.get("content"), str)]
        if not at:
            return (*copy, {"role": role, "content": planted.content})
        message = copy[rng.choice(at)]
        parts = [message["content"], planted.content] if message["content"] else [planted.content]
        message["content"] = "\n".join(parts if rng.random() < 0.5 else reversed(parts))
        return tuple(copy)
    return _into_arguments(copy, planted.content, rng)


def _into_arguments(
    copy: list[dict[str, Any]], more: Mapping[str, Any], rng: random.Random
) -> tuple[dict[str, Any], ...]:
    at = [(n, c) for n, message in enumerate(copy) for c in range(len(message.get("tool_calls") or ()))]
    if not at:
        call = {"id": "call_0", "type": "function", "function": {"name": "lookup", "arguments": dict(more)}}
        return (*copy[:-1], {"role": "assistant", "content": None, "tool_calls": [call]}, *copy[-1:])
    n, c = rng.choice(at)
    calls = [dict(call) for call in copy[n]["tool_calls"]]
    function = dict(calls[c]["function"])
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        function["arguments"] = json.dumps({**json.loads(arguments or "{}"), **more})
    else:
        function["arguments"] = {**(arguments or {}), **more}
    calls[c]["function"] = function
    copy[n]["tool_calls"] = calls
    return tuple(copy)


def left(planted: Plant, value: Any) -> bool:
    """Whether a telling part of the planted value is left in a text or structure: two thirds of it, or 12 characters
    of a long one, in its own line of `value`."""
    size = min(12, max(4, len(planted.value) * 2 // 3))
    parts = {planted.value[at : at + size] for at in range(max(1, len(planted.value) - size + 1))}
    return any(part in text for text in _texts(value) for part in parts)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
