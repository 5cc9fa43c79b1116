"""What one run says of itself: whether calls, outputs and answer belong together, and its trail, a few bytes a step by
which runs of one source are compared without their texts."""

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import xxhash

from l07.domain.doubt.words import MOST_CHARACTERS, NOT_ASKED, WORDS, overlaps
from l07.domain.example import text_of

try:
    from l07.domain.doubt import skim
except ImportError:  # no C compiler where this was installed
    skim = None  # type: ignore[assignment]

Messages = Sequence[Mapping[str, Any]]

MOST_STEPS = 64  # of a run that its trail holds

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
_SHAPE = bytes(97 if chr(byte).isalpha() or byte >= 128 else 48 if 48 <= byte <= 57 else byte for byte in range(256))
_ERRORS = (b"error", b"exception", b"invalid", b"not found", b"denied", b"failed", b"doesn't exist")


Step = tuple[int, int, int, int]  # digests of the call and of its output, kinds of the call and of its output
CALL, OUTPUT, CALL_KIND, OUTPUT_KIND = range(4)


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
        return cls(answer, tuple(_STEP.iter_unpack(packed[_HEAD.size :])))


class Reading(NamedTuple):
    """One run, read: the values of CONSISTENCY and the trail, packed."""

    values: tuple[float, ...]
    trail: bytes


class _Call(NamedTuple):
    name: str
    arguments: Any
    text: str  # the arguments as JSON
    output: str | None


def read(messages: Messages, goal: str) -> Reading:
    """Compare what was asked, called, answered and said. Texts are read up to MOST_CHARACTERS each."""
    found = skim and skim.read(messages, goal, WORDS, _ERRORS, _shape, MOST_STEPS, MOST_CHARACTERS)
    return Reading(*found) if found else read_slowly(messages, goal)


def read_slowly(messages: Messages, goal: str) -> Reading:
    """Of whatever stands for a run; skim.pyx does the same for those that were decoded."""
    calls = _calls(messages)
    answer = _answer(messages)
    given = ["" if call.output is None else call.output for call in calls]
    steps = tuple(map(_step, calls[:MOST_STEPS]))
    values = (
        *overlaps([call.text for call in calls], given, goal, answer),
        _repeat_conflict(steps),
        1 - len({step[OUTPUT] for step in steps}) / len(steps) if steps else NOT_ASKED,
        sum(call.output is None for call in calls) / len(calls) if calls else NOT_ASKED,
        float(steps[0][OUTPUT_KIND] == _ERROR) if steps else NOT_ASKED,
        float(steps[-1][OUTPUT_KIND] == _ERROR) if steps else NOT_ASKED,
        float(_after_last_output(messages)),
        _ending(messages),
    )
    return Reading(tuple(round(value, 6) for value in values), Trail(_digest(answer), steps).pack())


def _calls(messages: Messages) -> list[_Call]:
    """Each call with its output: the tool message that names its id, else the next one."""
    made: list[tuple[str, Any]] = []
    waiting: list[tuple[Any, int]] = []
    outputs: dict[int, str] = {}
    for message in messages:
        role = message.get("role")
        if role == "assistant":
            for call in message.get("tool_calls") or ():
                waiting.append((call.get("id"), len(made)))
                made.append(_made(call.get("function")))
        elif role == "tool" and waiting:
            ident, at = message.get("tool_call_id"), 0
            if waiting[0][0] != ident:
                at = next((i for i, (known_as, _) in enumerate(waiting) if known_as == ident), 0)
            outputs[waiting.pop(at)[1]] = text_of(message.get("content"))
    return [_Call(name, value, text_of(value), outputs.get(i)) for i, (name, value) in enumerate(made)]


def _made(function: Any) -> tuple[str, Any]:
    """Name and arguments. A dict is asked for first: what else is a mapping takes ten times as long to tell."""
    if type(function) is dict or isinstance(function, Mapping):
        return str(function.get("name")), function.get("arguments")
    return "", None


def _answer(messages: Messages) -> str:
    for message in reversed(messages):
        if message.get("role") == "assistant" and message.get("content"):
            return text_of(message.get("content"))
    return ""


def _repeat_conflict(steps: Sequence[Step]) -> float:
    seen: dict[int, int] = {}
    repeated = other = 0
    for call, output, _, _ in steps:
        if call in seen:
            repeated += 1
            other += seen[call] != output
        seen[call] = output
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
    return (
        _digest(f"{call.name} {call.text}"),
        _digest(call.output or "") & 0xFFFFFFFF,
        kind,
        _output_kind(call.output),
    )


def _call_kind(name: str, arguments: Any) -> bytes:
    """The tool; of a tool with one free text also the text's first word that is not the tool's own: select, describe,
    ls."""
    kind = name.encode("utf-8", "replace")
    if (type(arguments) is dict or isinstance(arguments, Mapping)) and len(arguments) == 1:
        (value,) = arguments.values()
        if isinstance(value, str) and " " in value:
            own = _own_words(name)
            for word in value[:60].encode("utf-8", "replace").translate(WORDS).split():
                if word not in own:
                    return kind + b" " + word
    return kind


@lru_cache(maxsize=1024)
def _own_words(tool: str) -> frozenset[bytes]:
    return frozenset(tool.encode("utf-8", "replace").translate(WORDS).replace(b"_", b" ").split())


_ERROR, _NONE = _kind(b"error"), _kind(b"none")


def _output_kind(output: str | None) -> int:
    return _NONE if output is None else _kind(_shape(output))


def _shape(output: str) -> bytes:
    """Error, empty, or the shape of its beginning: letters and digits as classes, signs as they are."""
    head = output[:200].lstrip()
    if not head:
        return b"empty"
    low = head.lower().encode("utf-8", "replace")
    for word in _ERRORS:
        if word in low:
            return b"error"
    shape = head[:24].encode("utf-8", "replace").translate(_SHAPE, b" \t\r\n")
    while b"aa" in shape:
        shape = shape.replace(b"aa", b"a")
    while b"00" in shape:
        shape = shape.replace(b"00", b"0")
    return shape[:6] + (b"+" if len(output) > 300 else b"")
