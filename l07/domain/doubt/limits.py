"""How much doubt is too much: a threshold that nobody's labels are needed for."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

LEAST_FOUND = 0.5  # of the faulty rows, beyond the scores by which the share of noise is told
MOST_NOISE = 0.2  # a larger share among real rows: the two kinds cannot be told from each other
TASK_WEIGHT = 10  # attempts at which a task's own median counts half


@dataclass(frozen=True, slots=True)
class Limits:
    """`*_share`: of the runs that are asked about at most, 0-1. `*_precision`: of those that go to review at least this
    share is noise, as far as can be told, 0-1."""

    run_share: float = 0.14
    run_precision: float = 0.2
    label_share: float = 0.04
    label_precision: float = 0.15


def noise_share(real: F64, faulty: F64) -> float:
    """At most this share of the real rows is like the faulty ones: the least ratio of the two tails, where half of the
    faulty ones are beyond. NaN where there are none."""
    if not len(real) or not len(faulty):
        return np.nan
    beyond, found = _tails(real, faulty, np.unique(real))
    wide = found >= LEAST_FOUND
    return float(np.min((beyond[wide] + 1 / len(real)) / found[wide])) if wide.any() else np.nan


def threshold(real: F64, faulty: F64, *, share: float, precision: float) -> float:
    """The least score from which on at most `share` of the real rows lie, of which `precision` is noise if noise is
    like the faulty rows. Infinite where there is none, or where the kinds cannot be told apart."""
    noise = noise_share(real, faulty)
    if not noise <= MOST_NOISE:
        return np.inf
    scores = np.unique(np.concatenate([real, faulty]))
    beyond, found = _tails(real, faulty, scores)
    fine = (beyond <= share) & (noise * found >= precision * beyond)
    return float(scores[fine].min()) if fine.any() else np.inf


def _tails(real: F64, faulty: F64, scores: F64) -> tuple[F64, F64]:
    """The shares of real and of faulty rows from each score on."""
    return _from(real, scores), _from(faulty, scores)


def _from(rows: F64, scores: F64) -> F64:
    """The share of rows from each score on."""
    return np.asarray(1 - np.searchsorted(np.sort(rows), scores, side="left") / len(rows))


def centred(scores: F64, tasks: Sequence[str], *, real: npt.NDArray[np.bool_]) -> F64:
    """Scores against what is usual at their task: all attempts at an unusual task look strange to a classifier that
    does not know it. A task's median counts the more the more real rows it has."""
    rows: dict[str, list[float]] = defaultdict(list)
    for task, score, is_real in zip(tasks, scores.tolist(), real.tolist(), strict=True):
        if is_real:
            rows[task].append(score)
    whole = float(np.median(scores[real]))
    shift = {
        task: (median(of_task) - whole) * len(of_task) / (len(of_task) + TASK_WEIGHT) for task, of_task in rows.items()
    }
    return np.asarray(np.round(scores - np.array([shift.get(task, 0.0) for task in tasks]), 6))
