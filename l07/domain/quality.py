"""What makes an example good enough to learn from: the rules of the filter, the decisions, completeness with its
reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from l07.domain.decoded import runs

if TYPE_CHECKING:  # ports import the rules; they need not bring in the extractor
    from l07.domain.example import TrainingExample

Decision = Literal["ACCEPT", "REVIEW", "REJECT", "QUARANTINE"]


@dataclass(frozen=True, slots=True)
class CurateRules:
    """All that a version depends on; they stand in its manifest. Names and units as in the settings."""

    seed: int = 7
    quality_threshold: float = 70.0  # 0-100; the script has compared it, a change makes a new major version
    confidence_threshold: float = 0.6  # 0-1; the same
    max_outlier_probability: float = 0.15
    outlier_z: float = 3.5
    near_duplicate_similarity: float = 0.95
    cluster_similarity: float = 0.7
    scrub_secrets: str = "scrub"
    scrub_personal: str = "keep_arguments"
    max_secrets: int = 5
    max_personal: int = 50
    scanners: tuple[str, ...] = ()
    contrast_ratio: float = 2.0
    max_examples: int = 500_000
    max_per_task: int = 0  # 0: any number
    completeness: bool = True  # the switches of the stages; a stage that is off changes nothing
    exact_duplicates: bool = True
    near_duplicates: bool = True
    outliers: bool = True
    doubt: bool = True
    doubt_run_share: float = 0.14
    doubt_label_share: float = 0.04
    injection: bool = True
    injection_threshold: float = 0.45  # score of a hijacked run, 0-1
    injection_scanner: str = ""
    pacing: Literal["buckets", "competence"] = "buckets"  # of the curriculum
    license: str = ""  # that the card names


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the filter says of one example, and why. Gates tag, they never drop: REJECT is kept as contrast."""

    decision: Decision
    reasons: tuple[str, ...] = ()


UNHOLDABLE = frozenset({"no_assistant_turn", "malformed_call"})  # no table can hold it, or nobody can learn from it
_MAPPING = (dict, Mapping)  # a dict is seen at once; any other is asked for
COMPLETENESS = UNHOLDABLE | {"no_goal", "answer_without_call", "unknown_tool"}


def completeness(example: "TrainingExample") -> tuple[str, ...]:
    """Every reason why nothing can be learned from these messages; empty when something can.

    Only what holds for every source is asked: "ends with an assistant turn" is false for whole sources of good runs
    (a user's stop word, a last tool result), so it is no rule here."""
    goal = () if example.goal and not example.goal.isspace() else ("no_goal",)
    found = runs.broken(example.messages, example.tools) if runs else -1
    if found == 0:
        return goal
    if found < 0:
        found = broken(example.messages, example.tools)
    names = [name for bit, name in enumerate(_BROKEN) if found >> bit & 1]
    return (*names[: found & 1], *goal, *names[found & 1 :])


_BROKEN = ("no_assistant_turn", "malformed_call", "answer_without_call", "unknown_tool")  # the first bit's name first


def broken(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> int:
    """What is wrong with messages, as bits; runs.pyx does the same for those that were decoded, if they are well formed."""
    assistant = [message for message in messages if message.get("role") == "assistant"]
    calls = [call for message in assistant for call in message.get("tool_calls") or ()]
    found = (
        not calls and not any(message.get("content") for message in assistant),
        not all(map(_well_formed, calls)),
        _answers_unknown_call(messages),
        bool(tools) and _calls_unknown_tool(messages, tools),
    )
    return sum(1 << bit for bit, holds in enumerate(found) if holds)


def _well_formed(call: Mapping[str, object]) -> bool:
    function = call.get("function")
    if not isinstance(function, _MAPPING):
        return False
    return bool(function.get("name")) and isinstance(function.get("arguments"), _MAPPING)


def _answers_unknown_call(messages: Sequence[Mapping[str, Any]]) -> bool:
    """A tool's answer before any call was made: the trace has lost its beginning, or belongs to another."""
    for message in messages:
        if message.get("role") == "assistant" and message.get("tool_calls"):
            return False
        if message.get("role") == "tool":
            return True
    return False


def _calls_unknown_tool(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> bool:
    """A call of a tool that was not offered. A run that names no tools says nothing of what was offered."""
    offered = {_named(tool) for tool in tools}
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return any(_named(call) not in offered for call in calls)


def _named(tool: Mapping[str, Any]) -> object:
    function = tool.get("function")
    return function.get("name") if isinstance(function, Mapping) else tool.get("name")


def judge(example: "TrainingExample", gate: str, gate_reasons: tuple[str, ...], *, complete: bool = True) -> Verdict:
    """The gates' decision with its reasons, and every reason of completeness beside them; without `complete` only those
    for which there is no room in a table."""
    broken = completeness(example)
    reasons = (*gate_reasons, *(reason for reason in broken if complete or reason in UNHOLDABLE))
    return Verdict("ACCEPT" if gate == "ACCEPT" and not reasons else "REJECT", reasons)
