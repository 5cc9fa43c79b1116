"""The join of one call: what the buffer's script does with halves, for halves that lie in a list. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from l07.ports import Half


@dataclass(slots=True)
class Run:
    """A trace, and the score that counts; None: its own. Of a pair `trace` is the response, and `request` stands beside it."""

    trace: Half | None = None
    score: Half | None = None
    seen: set[bytes] = field(default_factory=set)  # contents of its scores
    request: Half | None = None
    alone: Half | None = None  # a request or a response without the other

    @property
    def judge(self) -> Half | None:
        """The half whose score counts."""
        if self.score is not None:
            return self.score
        return self.trace if self.trace is not None and self.trace.side == "both" else None


@dataclass(frozen=True, slots=True)
class Joined:
    """Runs with both parts, as they became complete; runs of which one part came; duplicates by reason."""

    runs: Sequence[Run]
    waiting: int
    duplicates: Mapping[str, int]  # reason -> halves


def join(halves: Iterable[Half], *, prefer_separate: bool = False) -> Joined:
    """The first trace of a run wins; of different scores the more confident one, then the smaller evaluation_id.

    `prefer_separate`: a separate evaluation wins over the score that a trace carries, however sure either is."""
    runs: dict[str, Run] = {}
    complete: dict[str, Run] = {}
    duplicates: Counter[str] = Counter()
    for half in halves:
        run = runs.setdefault(half.key, Run())
        reason = _reason(run, half, prefer_separate)
        if reason:
            duplicates[reason] += 1
        if run.trace is not None and run.judge is not None:
            complete.setdefault(half.key, run)
    waiting = sum(1 for key, run in runs.items() if key not in complete)
    return Joined(list(complete.values()), waiting, dict(sorted(duplicates.items())))


def _reason(run: Run, half: Half, prefer_separate: bool) -> str:
    if half.side in ("request", "response"):
        return _part(run, half)
    return _score(run, half, prefer_separate) if half.side == "score" else _trace(run, half, prefer_separate)


def _part(run: Run, half: Half) -> str:
    other = run.alone
    if run.trace is not None or (other is not None and other.side == half.side):
        known = (run.trace, run.request, other)
        return "repeat" if any(one and one.content == half.content for one in known) else "trace_conflict"
    if other is None:
        run.alone = half
        return ""
    request, response = (half, other) if half.side == "request" else (other, half)
    run.request, run.trace, run.alone = request, response._replace(reason=response.reason or request.reason), None
    return ""


def _trace(run: Run, half: Half, prefer_separate: bool) -> str:
    if run.trace is not None:
        return "repeat" if run.trace.content == half.content else "trace_conflict"
    run.trace = half
    if half.side == "both" and not prefer_separate and run.score is not None and _better(half, run.score):
        run.score = None
        return "score_superseded"
    return ""


def _score(run: Run, half: Half, prefer_separate: bool) -> str:
    if half.content in run.seen:
        return "repeat"
    run.seen.add(half.content)
    judge = run.score if prefer_separate else run.judge
    if judge is not None and not _better(half, judge):
        return "score_superseded"
    superseded = run.score is not None
    run.score = half
    return "score_superseded" if superseded else ""


def _better(one: Half, other: Half) -> bool:
    if one.confidence != other.confidence:
        return (one.confidence or 0.0) > (other.confidence or 0.0)
    return one.tiebreak.encode() < other.tiebreak.encode()


def gate(
    extraction: str, score: float, confidence: float, *, quality_threshold: float, confidence_threshold: float
) -> tuple[str, ...]:
    """Why the script would reject this run; empty when it would not. The names are the script's."""
    found = (
        (extraction, bool(extraction)),
        ("low_score", score < quality_threshold),
        ("low_confidence", confidence < confidence_threshold),
    )
    return tuple(name for name, holds in found if holds)
