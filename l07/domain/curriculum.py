"""In which order the train rows are learned: easy first, by how often runs of a task fail; and a shuffled control.

Difficulty is the task's fail rate, shrunk towards that of its kind (empirical Bayes, Beta prior by moments: Efron and
Morris, 1975; Casella, 1985) once three attempts are known; with fewer it is blended with the structural difficulty of
the run, brought onto the scale of fail rates by its rank. On real runs the fail rate of others goes with people's
hardness labels at a rank correlation of 0.40, steps and goal length at 0.43 and 0.39. Pacing by buckets follows Bengio
et al., 2009; by competence: Platanios et al., 2019. Departure: no row is seen twice in a pass, so that a pass over the
order is an epoch and the shuffled control arm learns from the same rows as often.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from l07.domain.arrays import inverse, order_of

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

Pacing = Literal["buckets", "competence"]
SHARES: Mapping[str, float] = {"easy": 0.3, "medium": 0.5, "hard": 0.2}
STAGES = tuple(SHARES)
ENOUGH_ATTEMPTS = 3  # from here on the fail rate speaks alone
ENOUGH_TASKS = 10  # with as many attempts: from here on a kind of task has a prior of its own
WEIGHTS = (1.0, 50.0)  # smallest and largest weight of a prior, in attempts
DEFAULT_WEIGHT = 4.0
COMPETENCE = 0.1  # share of the order that is open at the beginning


@dataclass(frozen=True, slots=True)
class CurriculumStage:
    """One step of the progression: its rows stand at ranks `first` to `last`."""

    name: str  # easy, medium, hard
    rows: int
    first: int
    last: int
    difficulty_from: float  # 0-1
    difficulty_to: float


@dataclass(frozen=True, slots=True)
class Runs:
    """Everyone whom a version knows, a place each. `task` and `kind` are numbers of names."""

    task: I64
    kind: I64  # task type
    judged: Flags  # its score says whether it failed
    failed: Flags
    structural: F64  # difficulty of the run, 0-1
    learnt: Flags  # it is in train


@dataclass(frozen=True, slots=True)
class Curriculum:
    """The train rows, by place in Runs. Ranks begin at 0."""

    place: I64
    difficulty: F64
    stage: I64  # of STAGES
    rank: I64
    rank_shuffled: I64

    def stages(self) -> list[CurriculumStage]:
        """Those that have rows, in their order."""
        return [self._stage(number) for number in range(len(STAGES)) if (self.stage == number).any()]

    def _stage(self, number: int) -> CurriculumStage:
        at = self.stage == number
        rank, hard = self.rank[at], self.difficulty[at]
        return CurriculumStage(
            STAGES[number], int(at.sum()), int(rank.min()), int(rank.max()), float(hard.min()), float(hard.max())
        )


def curriculum(runs: Runs, draws: U64, control: U64, *, pacing: Pacing) -> Curriculum:
    """The order for these rows. `draws` and `control`: a random number a run, of the order within a stage and of the
    control arm. Only tasks of train rows speak: nothing of validation or test shows in the order."""
    place = np.flatnonzero(runs.learnt)
    hardness, structural, drawn = difficulty(runs, place), runs.structural[place], draws[place]
    stage = _stages(hardness, structural, drawn)
    if pacing == "competence":
        by_difficulty = np.lexsort((drawn, structural, hardness))
        order = by_difficulty[_by_competence(drawn[by_difficulty])]
    else:
        each = [np.flatnonzero(stage == number) for number in range(len(STAGES))]
        order = np.concatenate([rows[order_of(drawn[rows])] for rows in each])
    return Curriculum(place, hardness, stage, inverse(order), inverse(order_of(control[place])))


def _stages(hardness: F64, structural: F64, draws: U64) -> I64:
    """The shares of the rows in the order of difficulty, of which only the rows next to a limit are brought into order."""
    ends = np.round(np.cumsum(list(SHARES.values())) * len(hardness)).astype(np.int64)
    within = [end for end in ends[:-1].tolist() if end < len(hardness)]
    limits = np.partition(hardness, within)[within] if within else ()
    stage = np.zeros(len(hardness), np.int64)
    for end, limit in zip(within, limits, strict=True):
        tied = np.flatnonzero(hardness == limit)
        first = int((hardness < limit).sum())
        stage += hardness > limit
        stage[tied[np.lexsort((draws[tied], structural[tied]))[end - first :]]] += 1
    return stage


def _by_competence(draws: U64) -> I64:
    """At each step a random one of the rows that are open and not drawn yet; rows open from easy to hard, as the square
    root of the steps done."""
    count = len(draws)
    share = (np.arange(count) + 1) / max(count, 1)
    opens = np.maximum(0.0, (share**2 - COMPETENCE**2) / (1 - COMPETENCE**2)) * count
    open_: list[tuple[int, int]] = []
    order, at = np.empty(count, np.int64), 0
    for step in range(count):
        while at < count and (opens[at] <= step or not open_):
            heapq.heappush(open_, (int(draws[at]), at))
            at += 1
        order[step] = heapq.heappop(open_)[1]
    return order


# ------------------------------------------------------------------ difficulty


def difficulty(runs: Runs, places: I64 | None = None) -> F64:
    """0-1, of these runs, or of all: how often runs of its task are expected to fail."""
    spoken = np.zeros(int(runs.task.max(initial=-1)) + 1, bool)
    spoken[runs.task[runs.learnt]] = True
    counts = runs.judged & spoken[runs.task]
    attempts = np.bincount(runs.task[counts], minlength=len(spoken)).astype(np.float64)
    fails = np.bincount(runs.task[counts & runs.failed], minlength=len(spoken)).astype(np.float64)
    kinds = np.zeros(len(spoken), np.int64)
    kinds[runs.task[::-1]] = runs.kind[::-1]  # of a task's first run
    rates = _shrunk(fails, attempts, kinds, spoken)
    task, structural = (runs.task, runs.structural) if places is None else (runs.task[places], runs.structural[places])
    known, hard = np.minimum(1.0, attempts / ENOUGH_ATTEMPTS)[task], rates[task]
    unsure = known < 1
    scaled = _on_scale(runs, structural[unsure], np.sort(rates[spoken & (attempts >= ENOUGH_ATTEMPTS)]))
    hard[unsure] = known[unsure] * hard[unsure] + (1 - known[unsure]) * scaled
    return np.asarray(np.round(hard, 6))


def _shrunk(fails: F64, attempts: F64, kinds: I64, spoken: Flags) -> F64:
    """Fail rates of tasks, each drawn towards the mean of its kind as if `weight` more attempts had failed so often."""
    everyone = _prior(fails[spoken], attempts[spoken]) or (0.5, DEFAULT_WEIGHT)
    rates = np.zeros(len(fails))
    for kind in np.flatnonzero(np.bincount(kinds[spoken])).tolist():
        at = spoken & (kinds == kind)
        mean, weight = _prior(fails[at], attempts[at]) or everyone
        rates[at] = (fails[at] + mean * weight) / (attempts[at] + weight)
    return rates


def _prior(fails: F64, attempts: F64) -> tuple[float, float] | None:
    """Mean and weight of the Beta distribution that the rates of these tasks come from, by moments: what they differ
    by beyond what chance alone would give. None: too few tasks."""
    enough = attempts >= ENOUGH_ATTEMPTS
    if enough.sum() < ENOUGH_TASKS:
        return None
    rate, mean = fails[enough] / attempts[enough], float(fails[enough].sum() / attempts[enough].sum())
    by_chance = float(np.mean(mean * (1 - mean) / attempts[enough]))
    between = max(float(np.var(rate)) - by_chance, 1e-9)
    return mean, float(np.clip(mean * (1 - mean) / between - 1, *WEIGHTS))


def _on_scale(runs: Runs, wanted: F64, rates: F64) -> F64:
    """These structural difficulties as the fail rates of the same rank; as they are, where few rates are known."""
    if len(rates) < ENOUGH_TASKS:
        return wanted
    order = np.sort(runs.structural[runs.learnt])
    turn = np.argsort(wanted)  # a search for one after the other, as they rise, stays in the processor's cache
    rising = wanted[turn]
    low, high = (np.searchsorted(order, rising, side=side) for side in ("left", "right"))
    out = np.empty(len(wanted))
    out[turn] = np.interp((low + high) / 2 / max(len(order), 1), np.linspace(0, 1, len(rates)), rates)
    return out


def said(made: Curriculum, pacing: Pacing) -> dict[str, Any]:
    """For the manifest: the stages and how they are paced."""
    fields = ("name", "rows", "first", "last", "difficulty_from", "difficulty_to")
    stages: Sequence[CurriculumStage] = made.stages()
    return {"pacing": pacing, "stages": [{name: getattr(stage, name) for name in fields} for stage in stages]}
