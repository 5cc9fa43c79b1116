"""Runs that look as if something had happened to their recording, and scores that look wrong: two classifiers a source,
which learn from the source itself and need nobody to say what is noise.

Sources: Northcutt, Jiang, Chuang, 2021 (out-of-fold self-confidence); Blanchard, Lee, Scott, 2010 (the share of noise as
the least ratio of two tails). Departures: gradient-boosted trees on shares and likelihoods; a fold is a set of tasks;
scores are read against those of the same task.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l07.domain.doubt.copies import Texts
from l07.domain.doubt.growing import Growth
from l07.domain.doubt.limits import Limits, centred, threshold
from l07.domain.doubt.soundness import LEARNT, Rows, as_table, out_of_fold, soundness
from l07.domain.doubt.source import COLUMNS, Attempt, Source

F64 = npt.NDArray[np.float64]
Found = dict[str, tuple[float | None, bool]]

LEAST_ACCEPTED, LEAST_TASKS = 50, 6  # of a source, or nothing is judged
LEAST_LABELS = 30  # accepted and rejected runs of a source, or its labels are not judged
ENOUGH_NEW = 100  # new runs of which a share can be told
LABEL_TREES = 30
NOTHING = (None, False)
# A likelihood counts accepted runs alone, and so an accepted run's own kind once less than a rejected one's.
OF_LABELS = [place for place, name in enumerate(COLUMNS) if "likelihood" not in name]


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
    judged = []
    for name in sorted(sources):
        if _is_enough(sources[name]):
            judged.append(Source(sources[name], texts, seed=seed))
        else:
            found |= {attempt.key: Doubt() for attempt in sources[name] if attempt.new}
    for source, rows in zip(judged, soundness(judged), strict=True):
        runs, labels = _doubtful_runs(rows, limits), _doubtful_labels(source, limits)
        for key in (attempt.key for attempt in source.attempts if attempt.new):
            (run, run_doubtful), (label, label_doubtful) = runs.get(key, NOTHING), labels.get(key, NOTHING)
            found[key] = Doubt(run=run, label=label, doubtful_run=run_doubtful, doubtful_label=label_doubtful)
    return found


def _is_enough(attempts: Sequence[Attempt]) -> bool:
    accepted = [attempt.task for attempt in attempts if attempt.accepted]
    any_new = any(attempt.new for attempt in attempts)
    return any_new and len(accepted) >= LEAST_ACCEPTED and len(set(accepted)) >= LEAST_TASKS


def _doubtful_runs(rows: Rows, limits: Limits) -> Found:
    """The new accepted runs: is each nearer to copies with a fault than to runs as they are?"""
    if not rows.is_fault.any():
        return {}
    scores = centred(rows.scores, rows.tasks, real=~rows.is_fault)
    return _flagged(rows.runs, scores[~rows.is_fault], scores[rows.is_fault], limits.run_share, limits.run_precision)


def _doubtful_labels(source: Source, limits: Limits) -> Found:
    """The new runs, accepted and rejected: is each nearer to those with the other label?"""
    usual = source.some(source.attempts, 2 * LEARNT, "labels")
    rows = [attempt for attempt in source.attempts if attempt.new or attempt.key in usual]
    rejected = np.array([not attempt.accepted for attempt in rows])
    if min(rejected.sum(), (~rejected).sum()) < LEAST_LABELS:
        return {}
    learns = np.array([attempt.key in usual for attempt in rows])
    scores = out_of_fold(
        as_table([*map(source.row, rows)])[:, OF_LABELS], rejected, learns, [a.task for a in rows], Growth(LABEL_TREES)
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
    judged = scores[new] if new.sum() >= ENOUGH_NEW else scores
    least = threshold(judged, faulty, share=share, precision=precision)
    pairs = zip(attempts, scores.tolist(), strict=True)
    return {attempt.key: (score, score >= least) for attempt, score in pairs if attempt.new}
