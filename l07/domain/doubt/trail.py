"""What one run says of itself: whether calls, outputs and answer belong together, and its trail, a few bytes a step by
which runs of one source are compared without their texts."""

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import xxhash

from l07.domain.example import text_of

Messages = Sequence[Mapping[str, Any]]
Words = set[bytes] | frozenset[bytes]

MOST_CHARACTERS = 2_000  # of each text that is read for words
MOST_STEPS = 64  # of a run that its trail holds
NOT_ASKED = -1.0  # a share of nothing

CONSISTENCY = (
    "answer_known",  # share of the answer's words, without the goal's, that some output has
    "answer_last",  # share of the answer's words that the last output has
    "fit_own",  # share of a call's words in its own output, less that in the output beside it; mean
    "next_use",  # share of a call's new words that the output just before has; mean
    "goal_met",  # share of the goal's words in calls, outputs and answer
    "repeat_conflict",  # share of the calls that were made before and had another output
    "same_output_share",
    "unanswered_share",
    "first_error",
    "last_error",
    "after_last_output",  # messages
    "ending",  # who has the last word: 0 user, 1 tool, 2 assistant, 3 an assistant's call, 4 nobody
)

_STEP = struct.Struct("<QIHH")  # digest of the call, of its output; kind of the call, of its output
_HEAD = struct.Struct("<Q")  # digest of the answer
_WORDS = bytes(
    byte | 32 if 65 <= byte <= 90 else byte if byte >= 128 or chr(byte).isalnum() or byte == 95 else 32
    for byte in range(256)
)
_SHAPE = bytes(97 if chr(byte).isalpha() or byte >= 128 else 48 if 48 <= byte <= 57 else byte for byte in range(256))
_ERRORS = ("error", "exception", "invalid", "not found", "denied", "failed", "doesn't exist")


class Step(NamedTuple):
    """A call and what came back, as digests."""

    call: int
    output: int
    call_kind: int
    output_kind: int


class Trail(NamedTuple):
    """The steps of a run and the digest of what it answered."""

    answer: int
    steps: tuple[Step, ...]

    def pack(self) -> bytes:
        """16 bytes a step; what members hold."""
        return _HEAD.pack(self.answer) + b"".join([_STEP.pack(*step) for step in self.steps])

    @classmethod
    def unpack(cls, packed: bytes) -> "Trail":
        """The reverse of `pack`."""
        (answer,) = _HEAD.unpack_from(packed)
        return cls(answer, tuple(map(Step._make, _STEP.iter_unpack(packed[_HEAD.size :]))))


class Reading(NamedTuple):
    """One run, read: the values of CONSISTENCY and the trail."""

    values: tuple[float, ...]
    trail: Trail


class _Call(NamedTuple):
    name: str
    arguments: Any
    text: str  # the arguments as JSON
    output: str | None


def read(messages: Messages, goal: str) -> Reading:
    """Compare what was asked, called, answered and said. Texts are read up to MOST_CHARACTERS each."""
    calls = _calls(messages)
    answer = _answer(messages)
    asked = [_words(call.text) for call in calls]
    given = [_words(call.output) if call.output else frozenset[bytes]() for call in calls]
    steps = tuple(map(_step, calls[:MOST_STEPS]))
    goal_words, said = _words(goal), _words(answer)
    new = said - goal_words
    values = (
        _met(new, given) if calls else NOT_ASKED,
        len(said & given[-1]) / len(said) if said and given else NOT_ASKED,
        _fit_own(asked, given),
        _next_use(asked, given, goal_words),
        _met(goal_words, [*asked, *given, said]),
        _repeat_conflict(steps),
        1 - len({step.output for step in steps}) / len(steps) if steps else NOT_ASKED,
        sum(call.output is None for call in calls) / len(calls) if calls else NOT_ASKED,
        float(steps[0].output_kind == _ERROR) if steps else NOT_ASKED,
        float(steps[-1].output_kind == _ERROR) if steps else NOT_ASKED,
        float(_after_last_output(messages)),
        _ending(messages),
    )
    return Reading(tuple([round(value, 6) for value in values]), Trail(_digest(answer), steps))


def _calls(messages: Messages) -> list[_Call]:
    """Each call with its output: the tool message that names its id, else the next one."""
    made: list[tuple[str, Any]] = []
    waiting: list[tuple[Any, int]] = []
    outputs: dict[int, str] = {}
    for message in messages:
        role = message.get("role")
        if role == "assistant":
            for call in message.get("tool_calls") or ():
                function = call.get("function")
                known = isinstance(function, Mapping)
                waiting.append((call.get("id"), len(made)))
                made.append((str(function.get("name")), function.get("arguments")) if known else ("", None))
        elif role == "tool" and waiting:
            ident = message.get("tool_call_id")
            at = next((i for i, (known_as, _) in enumerate(waiting) if known_as == ident), 0)
            outputs[waiting.pop(at)[1]] = text_of(message.get("content"))
    return [_Call(name, value, text_of(value), outputs.get(i)) for i, (name, value) in enumerate(made)]


def _answer(messages: Messages) -> str:
    for message in reversed(messages):
        if message.get("role") == "assistant" and message.get("content"):
            return text_of(message.get("content"))
    return ""


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text[:MOST_CHARACTERS].encode("utf-8", "replace").translate(_WORDS).split())


def _met(words: Words, places: Sequence[Words]) -> float:
    """The share of the words that at least one place has."""
    if not words:
        return NOT_ASKED
    left = words
    for place in places:
        left = left - place
    return 1 - len(left) / len(words)


def _fit_own(asked: Sequence[Words], given: Sequence[Words]) -> float:
    total, count, last = 0.0, 0, len(asked) - 1
    for i, words in enumerate(asked):
        if words and last:
            beside = given[i + 1] if i < last else given[i - 1]
            total += (len(words & given[i]) - len(words & beside)) / len(words)
            count += 1
    return total / count if count else NOT_ASKED


def _next_use(asked: Sequence[Words], given: Sequence[Words], goal: Words) -> float:
    total, count = 0.0, 0
    for before, words, output in zip(asked, asked[1:], given, strict=False):
        new = words - before - goal
        if new:
            total += len(new & output) / len(new)
            count += 1
    return total / count if count else NOT_ASKED


def _repeat_conflict(steps: Sequence[Step]) -> float:
    seen: dict[int, int] = {}
    repeated = other = 0
    for step in steps:
        if step.call in seen:
            repeated += 1
            other += seen[step.call] != step.output
        seen[step.call] = step.output
    return other / repeated if repeated else NOT_ASKED


def _after_last_output(messages: Messages) -> int:
    for number, message in enumerate(reversed(messages)):
        if message.get("role") == "tool":
            return number
    return len(messages)


def _ending(messages: Messages) -> float:
    if not messages:
        return 4.0
    last = messages[-1]
    return {"user": 0.0, "tool": 1.0}.get(last.get("role", ""), 3.0 if last.get("tool_calls") else 2.0)


# ------------------------------------------------------------------ steps as digests


def _digest(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "replace"))


@lru_cache(maxsize=4096)
def _kind(text: bytes) -> int:
    return xxhash.xxh3_64_intdigest(text) & 0xFFFF


def _step(call: _Call) -> Step:
    kind = _kind(_call_kind(call.name, call.arguments))
    return Step(
        _digest(f"{call.name} {call.text}"), _digest(call.output or "") & 0xFFFFFFFF, kind, _output_kind(call.output)
    )


def _call_kind(name: str, arguments: Any) -> bytes:
    """The tool; of a tool with one free text also the text's first word that is not the tool's own: select, describe,
    ls."""
    kind = name.encode("utf-8", "replace")
    if isinstance(arguments, Mapping) and len(arguments) == 1:
        (value,) = arguments.values()
        if isinstance(value, str) and " " in value:
            own = _own_words(name)
            for word in value[:60].encode("utf-8", "replace").translate(_WORDS).split():
                if word not in own:
                    return kind + b" " + word
    return kind


@lru_cache(maxsize=1024)
def _own_words(tool: str) -> frozenset[bytes]:
    return frozenset(tool.encode("utf-8", "replace").translate(_WORDS).replace(b"_", b" ").split())


_ERROR, _EMPTY, _NONE = _kind(b"error"), _kind(b"empty"), _kind(b"none")


def _output_kind(output: str | None) -> int:
    """Error, empty, none, or the shape of its beginning: letters and digits as classes, signs as they are."""
    if output is None:
        return _NONE
    head = output[:200].lstrip()
    if not head:
        return _EMPTY
    low = head.lower()
    for word in _ERRORS:
        if word in low:
            return _ERROR
    shape = head[:24].encode("utf-8", "replace").translate(_SHAPE, b" \t\r\n")
    while b"aa" in shape:
        shape = shape.replace(b"aa", b"a")
    while b"00" in shape:
        shape = shape.replace(b"00", b"0")
    return _kind(shape[:6] + (b"+" if len(output) > 300 else b""))
