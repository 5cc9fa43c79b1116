"""Is a run nearer to copies with a fault than to runs as they are? Trees learn it from the source itself; a small source
also hears what all sources of the build teach together."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from l07.domain.doubt.growing import Growth, codes_of, cuts_of, log_odds
from l07.domain.doubt.source import Source
from l07.domain.selection import keyed_hash

F64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LEARNT = 2_000  # runs of a source that a classifier learns from
SMALL = 500  # accepted runs of a source
COMPANY = 400  # runs of a source, and twice as many copies, that teach others
MOST_COMPANY = 6_000  # rows of all sources
FOLDS = 5
RUN_TREES = 50


class Rows:
    """The accepted runs of a source that are judged or learnt from, and the copies with a fault behind them."""

    def __init__(self, source: Source) -> None:
        accepted = [attempt for attempt in source.attempts if attempt.accepted]
        usual = source.some(accepted, LEARNT, "learnt")
        self.source, self.is_small = source, len(accepted) < SMALL
        self.runs = [attempt for attempt in accepted if attempt.new or attempt.key in usual]
        self.table = as_table([*map(source.row, self.runs), *(row for _, row in source.faulty)])
        self.tasks = [attempt.task for attempt in (*self.runs, *(attempt for attempt, _ in source.faulty))]
        self.is_fault = np.arange(len(self.table)) >= len(self.runs)
        self.learns = self.is_fault | self._are(usual)
        self.scores = out_of_fold(self.table, self.is_fault, self.learns, self.tasks, Growth(RUN_TREES))

    def teaches(self, count: int) -> Flags:
        """So many of the runs, and twice as many copies."""
        chosen = self.source.some(self.runs, count, "learnt")
        return self._are(chosen) | (self.is_fault & (np.cumsum(self.is_fault) <= 2 * count))

    def _are(self, keys: set[str]) -> Flags:
        return np.array([attempt.key in keys for attempt in self.runs] + [False] * len(self.source.faulty))


def soundness(sources: Sequence[Source]) -> list[Rows]:
    """Scores are high for what is like a copy with a fault. Those of a small source are the mean of its own trees' and
    of all sources' trees'."""
    rows = [Rows(source) for source in sources]
    if len(rows) > 1 and any(one.is_small for one in rows):
        teaches = [one.teaches(min(COMPANY, MOST_COMPANY // (3 * len(rows)))) for one in rows]
        some = [says | one.is_small for one, says in zip(rows, teaches, strict=True)]
        scores = out_of_fold(
            np.concatenate([one.table[there] for one, there in zip(rows, some, strict=True)]),
            np.concatenate([one.is_fault[there] for one, there in zip(rows, some, strict=True)]),
            np.concatenate([says[there] for says, there in zip(teaches, some, strict=True)]),
            [task for one, there in zip(rows, some, strict=True) for task in np.array(one.tasks)[there].tolist()],
            Growth(RUN_TREES),
        )
        ends = np.cumsum([there.sum() for there in some])
        for one, its in zip(rows, np.split(scores, ends[:-1]), strict=True):
            if one.is_small:
                one.scores = (one.scores + its) / 2
    return rows


def as_table(rows: Sequence[Sequence[float]]) -> F64:
    """Of rows of numbers; numpy would look at each twice."""
    return np.fromiter(chain.from_iterable(rows), np.float64).reshape(len(rows), -1)


def out_of_fold(table: F64, says: Flags, learns: Flags, tasks: Sequence[str], growth: Growth) -> F64:
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
