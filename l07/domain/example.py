"""A trace and its score become one training example: the extractor. What is not said in the events is measured from
the trace."""

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from l07.domain.decoded import runs
from l07.events.normalise import normalise, normalise_pair, read_score


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an example came from; a side table of the dataset, never part of its digest."""

    trace_event: str  # CloudEvents id
    trace_source: str
    trace_at: str  # "topic:partition:offset"; of a response and its request both, with a space between them
    score_event: str | None
    score_source: str | None
    score_at: str | None
    trace_sha256: str  # of the trace event's bytes; of a response's, then its request's
    batch_id: str = ""


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One run, ready to learn from. Messages and tools have the shape of OpenAI chat; arguments of a call are
    objects, not text."""

    key: str  # natural key: "execution:<id>" or "plan:<id>"
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...]
    goal: str
    outcome: str  # "success", "failure", or what the run said of itself
    domain: str
    task_type: str
    task_id: str  # runs of one task share a group
    agent_id: str
    source: str  # CloudEvents source of the trace
    difficulty: float  # 0-1
    quality_score: float  # 0-100
    confidence: float  # 0-1
    provenance: Provenance
    model_version: str | None = None  # the released model that did the run, if the score named one
    failure: str | None = None  # failure_classification of the score
    features: Mapping[str, float] = field(default_factory=dict)  # structural features, by name
    subject_id: str = field(default="", repr=False)  # whose data it is, as the events say; never stored as it is


@dataclass(frozen=True, slots=True)
class NoExample:
    """A run that can never be an example, and why, in the normaliser's words: "no_goal", "no_outcome", "no_messages",
    ..."""

    key: str
    reason: str
    subject_id: str = field(default="", repr=False)


Place = tuple[str, int, int]  # topic, partition, offset


def extract(
    key: str,
    trace: bytes,
    evaluation: bytes | None,
    *,
    score: float,
    confidence: float,
    trace_at: Place,
    evaluation_at: Place | None,
    request: bytes | None = None,
    request_at: Place | None = None,
    batch_id: str = "",
) -> TrainingExample | NoExample:
    """One joined run as an example. `score` and `confidence` are those that the buffer joined; the events say the rest.
    With a `request`, `trace` is its response.

    Raises BadEvent (E70xx) when the bytes are no event; the buffer holds only such as were decoded once."""
    run = normalise(trace) if request is None else normalise_pair(request, trace)
    said = read_score(evaluation if evaluation is not None else trace)
    if run.reason:
        return NoExample(key, run.reason, run.subject_id or said.subject_id)
    features = measure(run.messages, run.goal)
    return TrainingExample(
        key=key,
        messages=tuple(run.messages),
        tools=tuple(run.tools),
        goal=run.goal,
        outcome=run.outcome,
        domain=run.domain or derive_domain(run.messages, run.tools),
        task_type=said.task_type or run.task_type or derive_task_type(key, features),
        task_id=run.task_id or _task_of_goal(run.goal),
        agent_id=run.agent_id or "unknown",
        source=run.source,
        difficulty=difficulty(features),
        quality_score=score,
        confidence=confidence,
        provenance=Provenance(
            trace_event=run.event_id,
            trace_source=run.source,
            trace_at=f"{_place(trace_at)} {_place(request_at)}" if request_at else _place(trace_at),
            score_event=said.event_id if evaluation_at else None,
            score_source=said.source if evaluation_at else None,
            score_at=_place(evaluation_at) if evaluation_at else None,
            trace_sha256=hashlib.sha256(trace + request if request else trace).hexdigest(),
            batch_id=batch_id,
        ),
        model_version=said.model_version or run.model_version,
        failure=said.failure,
        features=features,
        subject_id=run.subject_id or said.subject_id,
    )


def _place(at: Place) -> str:
    return f"{at[0]}:{at[1]}:{at[2]}"


def _task_of_goal(goal: str) -> str:
    """Runs that name no task but share a goal are runs of one task: they must share a split."""
    return "goal-" + hashlib.sha256(" ".join(goal.lower().split()).encode()).hexdigest()[:16]


# ------------------------------------------------------------------ measuring

FEATURES = (
    "assistant_turns",
    "tool_calls",
    "distinct_tools",
    "goal_chars",
    "trace_chars",
    "answer_chars",
    "output_chars_mean",
    "empty_output_share",
    "error_output_share",
    "repeated_call_share",
    "longest_repeat",
    "compression",
    "odd_character_share",
)

_ERROR = re.compile(
    r"\b(?:error|exception|traceback|failed|failure|invalid|not found|denied|unknown column)\b", re.IGNORECASE
)
_ODD = re.compile(r"[^\w\s.,:;!?'\"()\[\]{}<>@#$%&*+=/\\|^~`-]")
_USUAL = bytes(code for code in range(128) if not _ODD.match(chr(code)))


def measure(messages: Sequence[Mapping[str, Any]], goal: str) -> dict[str, float]:
    """Thirteen structural features of a run, by name: counts, characters, shares 0-1. The system prompt is not the
    run's own doing and is left out. Chosen for the faults of curation.md section 4.1: cut traces, loops, garbage,
    empty and failed tools."""
    values = runs.measure(messages, goal, _ERROR.search) if runs else None
    return dict(zip(FEATURES, values or measured(messages, goal), strict=True))


def measured(messages: Sequence[Mapping[str, Any]], goal: str) -> tuple[float, ...]:
    """The values of FEATURES, of whatever stands for a run; runs.pyx does the same for those that were decoded."""
    calls = [_call_text(call) for call in tool_calls(messages)]
    outputs = [text_of(m.get("content")) for m in messages if m.get("role") == "tool"]
    texts = [text_of(m.get("content")) for m in messages if m.get("role") != "system"]
    whole = "\n".join((*texts, *calls))
    answers = [text_of(m.get("content")) for m in messages if m.get("role") == "assistant"]
    raw = whole.encode("utf-8", "replace")
    values = (
        sum(1 for m in messages if m.get("role") == "assistant"),
        len(calls),
        len({str(_function(call).get("name")) for call in tool_calls(messages)}),
        len(goal),
        len(whole),
        len(answers[-1]) if answers else 0,
        sum(map(len, outputs)) / len(outputs) if outputs else 0,
        _share(not output.strip() for output in outputs),
        _share(_tells_of_error(output[:2000]) for output in outputs),
        1 - len(set(calls)) / len(calls) if calls else 0,
        _longest_run(calls),
        len(zlib.compress(raw, 1)) / len(raw) if raw else 0,
        _odd(whole, raw) / len(whole) if whole else 0,
    )
    return tuple(round(float(value), 6) for value in values)


_ERROR_WORDS = (
    "error", "exception", "traceback", "failed", "failure", "invalid", "not found", "denied", "unknown column",
)  # fmt: skip


def _tells_of_error(text: str) -> bool:
    """Most outputs have none of the words; then the expression, which costs ten times as much, is not asked."""
    if text.isascii():
        small = text.lower()
        if not any(word in small for word in _ERROR_WORDS):
            return False
    return bool(_ERROR.search(text))


def _odd(text: str, raw: bytes) -> int:
    """How many characters _ODD finds; ASCII, which most runs are, is counted as bytes."""
    return len(raw.translate(None, _USUAL)) if text.isascii() else len(_ODD.findall(text))


def tool_calls(messages: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Every call of the assistant, in order."""
    for message in messages:
        if message.get("role") == "assistant":
            yield from message.get("tool_calls") or ()


def text_of(content: Any) -> str:
    """A message's content as text; content parts are joined, absent content is empty."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return msgspec.json.encode(content, order="deterministic").decode()


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, Mapping) else {}


def _call_text(call: Mapping[str, Any]) -> str:
    function = _function(call)
    return f"{function.get('name')} {text_of(function.get('arguments'))}"


def _share(flags: Iterator[bool]) -> float:
    seen = list(flags)
    return sum(seen) / len(seen) if seen else 0.0


def _longest_run(calls: Sequence[str]) -> int:
    longest = run = 0
    for number, call in enumerate(calls):
        run = run + 1 if number and call == calls[number - 1] else 1
        longest = max(longest, run)
    return longest


# What makes a run hard: (weight, half). The weight is the feature's rank correlation with a person's hardness label
# (curation.md section 5.4; errors: +0.21, measured on the same 4,133 SQL runs); `half`, where it counts half, is the
# median of 5,521 real runs.
DIFFICULTY = {
    "assistant_turns": (0.43, 5.0),
    "goal_chars": (0.39, 71.0),
    "trace_chars": (0.40, 1500.0),
    "distinct_tools": (0.12, 1.0),
    "error_output_share": (0.21, 0.2),
}
_WEIGHTS = sum(weight for weight, _ in DIFFICULTY.values())
EASY_BELOW, HARD_FROM = 0.41, 0.60  # the 30 % and 80 % quantiles of the same runs


def difficulty(features: Mapping[str, float]) -> float:
    """0-1: the mean of x/(x+half) over DIFFICULTY's features, weighted by their rank correlations with human
    hardness."""
    found = 0.0
    for name, (weight, half) in DIFFICULTY.items():
        value = features[name]
        found += weight * value / (value + half)
    return round(found / _WEIGHTS, 4)


def bucket(value: float) -> str:
    """easy, medium or hard."""
    return "easy" if value < EASY_BELOW else "medium" if value < HARD_FROM else "hard"


_NAMESPACE = re.compile(r"^([A-Za-z][A-Za-z0-9-]*)(?:\.|::|/|__|:)")
_TOOL_DOMAINS = (
    ("sql", "sql"),
    ("bash", "shell"),
    ("shell", "shell"),
    ("python", "code"),
    ("browser", "web"),
    ("http", "web"),
)


def derive_domain(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str:
    """The namespace of most of the called tools ("github.search" -> "github"), else what a well-known tool is for,
    else "unknown". Without calls the offered tools are asked."""
    names = [str(_function(call).get("name") or "") for call in tool_calls(messages)] or [
        str(_function(tool).get("name") or "") for tool in tools
    ]
    found = Counter(domain for name in names if (domain := _domain_of_tool(name)))
    if not found:
        return "unknown"
    return min(found, key=lambda domain: (-found[domain], domain))


@lru_cache(maxsize=4096)
def _domain_of_tool(name: str) -> str:
    namespace = _NAMESPACE.match(name)
    if namespace:
        return namespace.group(1).lower()
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next((domain for word, domain in _TOOL_DOMAINS if word in words), "")


def derive_task_type(key: str, features: Mapping[str, float]) -> str:
    """planning, dialogue (no tool), single_call or multi_step: what the run did, where no event says more."""
    if key.startswith("plan:"):
        return "planning"
    calls = features["tool_calls"]
    return "dialogue" if calls == 0 else "single_call" if calls == 1 else "multi_step"
