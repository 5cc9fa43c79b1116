"""Runs that look as if something had happened to their recording, and scores that look wrong: two classifiers a source,
which learn from the source itself and need nobody to say what is noise.

Sources: Northcutt, Jiang, Chuang, 2021 (out-of-fold self-confidence); Blanchard, Lee, Scott, 2010 (the share of noise as
the least ratio of two tails). Departures: gradient-boosted trees on shares and likelihoods; a fold is a set of tasks;
scores are read against those of the same task.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from l07.domain.doubt.copies import Texts, copies
from l07.domain.doubt.growing import Growth, codes_of, cuts_of, log_odds
from l07.domain.doubt.habits import CONTEXT, Counted, Habits, habits_of
from l07.domain.doubt.limits import Limits, centred, threshold
from l07.domain.doubt.trail import CONSISTENCY, Trail
from l07.domain.example import FEATURES
from l07.domain.selection import keyed_hash, lowest

F64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Found = dict[str, tuple[float, bool]]

LEAST_ACCEPTED, LEAST_TASKS = 100, 15  # of a source, or nothing is judged
LEAST_LABELS = 30  # accepted and rejected runs of a source, or its labels are not judged
RESERVOIR = 10_000  # runs of a source that say what is usual, beside the attempts at the tasks in hand
LEARNT = 2_000  # runs of a source that a classifier learns from
FAULTY = 500  # of them that are copied with a fault
FOLDS = 5
RUN_TREES, LABEL_TREES = 50, 30
COLUMNS = (*FEATURES, *CONSISTENCY, *CONTEXT)
# A likelihood counts accepted runs alone, and so an accepted run's own kind once less than a rejected one's.
OF_LABELS = [place for place, name in enumerate(COLUMNS) if "likelihood" not in name]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run as this stage sees it. `new` runs are judged; the others say what is usual."""

    key: str
    source: str
    domain: str
    task: str
    accepted: bool  # what the gates say
    features: tuple[float, ...]  # FEATURES, then CONSISTENCY
    trail: Trail
    new: bool
    content: str = ""  # digest of the text; "" is not remembered


@dataclass(frozen=True, slots=True)
class Doubt:
    """What speaks against a run and against its label, as log odds; None where nothing can be said."""

    run: float | None = None
    label: float | None = None
    doubtful_run: bool = False
    doubtful_label: bool = False

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the run goes to review, or that it was not judged."""
        if self.run is None and self.label is None:
            return ("doubt_not_judged",)
        named = (("doubtful_run", self.doubtful_run), ("doubtful_label", self.doubtful_label))
        return tuple(name for name, holds in named if holds)


def doubts(attempts: Iterable[Attempt], texts: Texts, *, limits: Limits, seed: int) -> dict[str, Doubt]:
    """Every new run's doubt, judged within its (source, domain). Attempts in any order; the result follows from their
    set, their texts and the seed, to the last bit.

    `texts` is asked for at most FAULTY accepted runs a source, of which some need not be there."""
    sources: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda attempt: attempt.key):
        sources[attempt.source, attempt.domain].append(attempt)
    found: dict[str, Doubt] = {}
    for name in sorted(sources):
        found |= _of_source(sources[name], texts, limits, seed)
    return found


def _of_source(attempts: Sequence[Attempt], texts: Texts, limits: Limits, seed: int) -> dict[str, Doubt]:
    new = [attempt for attempt in attempts if attempt.new]
    accepted = [attempt for attempt in attempts if attempt.accepted]
    if not new or len(accepted) < LEAST_ACCEPTED or len({a.task for a in accepted}) < LEAST_TASKS:
        return {attempt.key: Doubt() for attempt in new}
    source = _Source(attempts, seed=seed)
    runs = _doubtful_runs(source, texts, limits)
    labels = _doubtful_labels(source, limits)
    nothing = (None, False)
    return {
        key: Doubt(run=run, label=label, doubtful_run=run_doubtful, doubtful_label=label_doubtful)
        for key in (attempt.key for attempt in new)
        for (run, run_doubtful), (label, label_doubtful) in [(runs.get(key, nothing), labels.get(key, nothing))]
    }


@dataclass
class _Source:
    """The runs of one source, what is usual among them, and their rows of numbers."""

    attempts: Sequence[Attempt]
    seed: int
    habits: Habits = field(init=False)

    def __post_init__(self) -> None:
        tasks = {attempt.task for attempt in self.attempts if attempt.new}
        usual = self.some(self.attempts, RESERVOIR, "usual")
        counted = [a for a in self.attempts if a.key in usual or a.task in tasks]
        self._counted = {attempt.key for attempt in counted}
        self._rows: dict[str, tuple[float, ...]] = {}
        self._usual = [attempt for attempt in counted if attempt.accepted]
        self._usual_of: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self._usual:
            self._usual_of[attempt.task].append(attempt)
        self.habits = habits_of((a.task, a.trail, a.accepted) for a in counted)

    def some(self, attempts: Iterable[Attempt], count: int, purpose: str) -> set[str]:
        """Always the same ones."""
        return lowest((attempt.key for attempt in attempts), count, seed=self.seed, purpose=purpose)

    def row(self, attempt: Attempt) -> tuple[float, ...]:
        """The values of COLUMNS."""
        if attempt.key not in self._rows:
            self._rows[attempt.key] = (*attempt.features, *self.context(attempt, attempt.trail))
        return self._rows[attempt.key]

    def context(self, attempt: Attempt, trail: Trail) -> tuple[float, ...]:
        """Of the attempt with this trail, against everybody else."""
        own = attempt.trail if attempt.key in self._counted else None
        return self.habits.compare(attempt.task, trail, own, self._left_out(attempt))

    def _left_out(self, attempt: Attempt) -> Counted | None:
        """The attempt itself, or another in its place."""
        if attempt.accepted:
            return Counted(attempt.task, attempt.trail) if attempt.key in self._counted else None
        others = self._usual_of.get(attempt.task) or self._usual
        other = others[keyed_hash(self.seed, "left out", attempt.key) % len(others)]
        return Counted(other.task, other.trail)

    def faulty(self, texts: Texts) -> list[tuple[Attempt, tuple[float, ...]]]:
        """Rows of copies with a fault, each with the run that it was."""
        accepted = {attempt.key: attempt for attempt in self.attempts if attempt.accepted}
        chosen = {key: accepted[key].content for key in self.some(accepted.values(), FAULTY, "faulty")}
        found = copies(chosen, texts, seed=self.seed)
        return [
            (accepted[key], (*copy.values, *self.context(accepted[key], Trail.unpack(copy.trail))))
            for key, copy in found.items()
        ]


def _doubtful_runs(source: _Source, texts: Texts, limits: Limits) -> Found:
    """The new accepted runs: is each nearer to copies with a fault than to runs as they are?"""
    accepted = [attempt for attempt in source.attempts if attempt.accepted]
    usual = source.some(accepted, LEARNT, "learnt")
    whole = [attempt for attempt in accepted if attempt.new or attempt.key in usual]
    faulty = source.faulty(texts)
    if not faulty:
        return {}
    table = np.array([*map(source.row, whole), *(row for _, row in faulty)])
    tasks = [attempt.task for attempt in (*whole, *(attempt for attempt, _ in faulty))]
    is_fault = np.arange(len(table)) >= len(whole)
    learns = is_fault | np.array([a.key in usual for a in whole] + [False] * len(faulty))
    scores = _out_of_fold(table, is_fault, learns, tasks, Growth(RUN_TREES))
    scores = centred(scores, tasks, real=~is_fault)
    return _flagged(whole, scores[~is_fault], scores[is_fault], limits.run_share, limits.run_precision)


def _doubtful_labels(source: _Source, limits: Limits) -> Found:
    """The new runs, accepted and rejected: is each nearer to those with the other label?"""
    usual = source.some(source.attempts, 2 * LEARNT, "labels")
    rows = [attempt for attempt in source.attempts if attempt.new or attempt.key in usual]
    rejected = np.array([not attempt.accepted for attempt in rows])
    if min(rejected.sum(), (~rejected).sum()) < LEAST_LABELS:
        return {}
    learns = np.array([attempt.key in usual for attempt in rows])
    scores = _out_of_fold(
        np.array([*map(source.row, rows)])[:, OF_LABELS], rejected, learns, [a.task for a in rows], Growth(LABEL_TREES)
    )
    found: Found = {}
    for label, sign in ((False, 1.0), (True, -1.0)):
        mine = rejected == label
        own = [attempt for attempt, is_mine in zip(rows, mine, strict=True) if is_mine]
        found |= _flagged(own, sign * scores[mine], sign * scores[~mine], limits.label_share, limits.label_precision)
    return found


def _flagged(attempts: Sequence[Attempt], scores: F64, faulty: F64, share: float, precision: float) -> Found:
    """The new ones with their scores, and whether each is beyond the threshold. The share counts among the new ones,
    where there are enough to tell."""
    new = np.array([attempt.new for attempt in attempts])
    judged = scores[new] if new.sum() >= LEAST_ACCEPTED else scores
    least = threshold(judged, faulty, share=share, precision=precision)
    pairs = zip(attempts, scores.tolist(), strict=True)
    return {attempt.key: (score, score >= least) for attempt, score in pairs if attempt.new}


def _out_of_fold(table: F64, says: Flags, learns: Flags, tasks: Sequence[str], growth: Growth) -> F64:
    """Log odds of `says` for each row, from trees that have seen no row of its task; `learns`: rows that may be learnt
    from."""
    fold_of = {task: keyed_hash(0, "doubt fold", task) % FOLDS for task in set(tasks)}
    folds = np.array([fold_of[task] for task in tasks])
    codes = codes_of(table, cuts_of(table[learns]))
    scores = np.zeros(len(table))
    for fold in range(FOLDS):
        mine = folds == fold
        taught = learns & ~mine
        if mine.any() and 0 < says[taught].sum() < taught.sum():
            scores[mine] = log_odds(codes[taught], says[taught], codes[mine], growth)
    return np.round(scores, 6)
