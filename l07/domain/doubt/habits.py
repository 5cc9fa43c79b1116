"""What the runs of one source usually do: which output follows which call, which step follows which, what other
attempts at the same task got, did and ended with. A run is always compared with the others, never with itself.
`usual.pyx` does the same, fifteen times as fast."""

import math
import operator
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple, Protocol

from l07.domain.doubt.trail import CALL, CALL_KIND, OUTPUT, Trail
from l07.domain.doubt.words import NOT_ASKED

try:
    from l07.domain.doubt import usual
except ImportError:  # no C compiler where this was installed
    usual = None  # type: ignore[assignment]

CONTEXT = (
    "output_likelihood",  # log probability of the outputs' kinds given the calls'; mean over the steps
    "output_likelihood_least",
    "order_likelihood",  # log probability of each step's kind given the one before, with both ends; mean
    "order_likelihood_least",
    "agreement",  # share of the same calls in other attempts at the task that had the same output; mean over calls
    "agreement_least",
    "same_answer",  # share of the accepted other attempts that answered the same
    "same_last_output",
    "attempts",  # other attempts, 20 at most
    "shared_calls",  # share of the accepted other attempts that made a call of this run; mean over calls
)  # how many of the others were accepted is no value: it would tell of a run what its own label is


class Counted(NamedTuple):
    """An accepted run, as it was counted."""

    task: str
    trail: bytes


Parts = list[tuple[int, int]]

START, END = 0, 1
SMOOTHING = 0.5
MOST_ATTEMPTS = 20.0


class Habits(Protocol):
    """Counts over the runs of one source. Fill with `add`, then `compare` any run. Trails are packed."""

    def add(self, task: str, trail: bytes, *, accepted: bool) -> None:
        """One run: an accepted one shapes what is usual; what a call returned counts from every run."""

    def compare(self, task: str, trail: bytes, own: bytes | None, left_out: Counted | None) -> tuple[float, ...]:
        """The values of CONTEXT. `own`: the trail with which this run was added, None if it was not. `left_out`: an
        accepted run that is not counted, of an accepted run itself; a rejected one leaves out another of its task, or
        the number of those that it is compared with would tell its label."""


class Counts(Habits):
    """In Python."""

    def __init__(self) -> None:
        self._outputs: Counter[tuple[int, int]] = Counter()
        self._calls: Counter[int] = Counter()
        self._output_kinds: set[int] = set()
        self._follows: Counter[tuple[int, int]] = Counter()
        self._states: Counter[int] = Counter()
        self._next_kinds: set[int] = set()
        self._tasks: dict[str, _Task] = defaultdict(_Task)

    def add(self, task: str, trail: bytes, *, accepted: bool) -> None:
        run = Trail.unpack(trail)
        self._tasks[task].add(run, accepted=accepted)
        if accepted:
            for call, output in _pairs(run):
                self._outputs[call, output] += 1
                self._calls[call] += 1
                self._output_kinds.add(output)
            for before, after in _moves(run):
                self._follows[before, after] += 1
                self._states[before] += 1
                self._next_kinds.add(after)

    def compare(self, task: str, trail: bytes, own: bytes | None, left_out: Counted | None) -> tuple[float, ...]:
        run = Trail.unpack(trail)
        other = Trail.unpack(left_out.trail) if left_out else None
        gone = (_pairs(other), _moves(other)) if other else ([], [])
        outputs = _likelihoods(_pairs(run), gone[0], self._outputs, self._calls, len(self._output_kinds))
        moves = _likelihoods(_moves(run), gone[1], self._follows, self._states, len(self._next_kinds))
        others: tuple[float, ...] = NOTHING_KNOWN
        if task in self._tasks:
            good = other if left_out and left_out.task == task else None
            others = self._tasks[task].compare(run, Trail.unpack(own) if own else None, good)
        return (*_mean_and_least(outputs), *_mean_and_least(moves), *others)


NOTHING_KNOWN = (NOT_ASKED,) * 4 + (0.0, NOT_ASKED)


class _Task:
    """What the attempts at one task got, did and ended with."""

    def __init__(self) -> None:
        self.runs = self.accepted = 0
        self.results: Counter[tuple[int, int]] = Counter()  # (call, output), of all attempts
        self.made: Counter[int] = Counter()  # call, of all attempts
        self.answers: Counter[int] = Counter()  # from here on of the accepted ones
        self.last_outputs: Counter[int] = Counter()
        self.done: Counter[int] = Counter()  # attempts that made the call

    def add(self, trail: Trail, *, accepted: bool) -> None:
        self.runs += 1
        for call, output, _, _ in trail.steps:
            self.results[call, output] += 1
            self.made[call] += 1
        if accepted:
            self.accepted += 1
            self.answers[trail.answer] += 1
            if trail.steps:
                self.last_outputs[trail.steps[-1][OUTPUT]] += 1
            self.done.update({step[CALL] for step in trail.steps})

    def compare(self, trail: Trail, own: Trail | None, good: Trail | None) -> tuple[float, ...]:
        """`own` and `good` are left out, of all attempts and of the accepted ones."""
        agreement = _mean_and_least(self._agreements(trail, own))
        attempts = min(float(self.runs - (own is not None)), MOST_ATTEMPTS)
        count = self.accepted - (good is not None)
        if not count:
            return (*agreement, NOT_ASKED, NOT_ASKED, attempts, NOT_ASKED)
        answer = self.answers[trail.answer] - (good is not None and good.answer == trail.answer)
        return (
            *agreement,
            answer / count,
            self._last_output(trail, good) / count if trail.steps else NOT_ASKED,
            attempts,
            self._shared_calls(trail, good, count),
        )

    def _agreements(self, trail: Trail, own: Trail | None) -> list[float]:
        mine = own.steps if own else ()
        shares = []
        for call, output, _, _ in trail.steps:
            made = self.made.get(call, 0)
            same = self.results.get((call, output), 0)
            for other in mine:
                if other[CALL] == call:
                    made -= 1
                    same -= other[OUTPUT] == output
            if made > 0:
                shares.append(same / made)
        return shares

    def _last_output(self, trail: Trail, own: Trail | None) -> int:
        last = trail.steps[-1][OUTPUT]
        return self.last_outputs.get(last, 0) - bool(own and own.steps and own.steps[-1][OUTPUT] == last)

    def _shared_calls(self, trail: Trail, own: Trail | None, count: int) -> float:
        mine = {step[CALL] for step in own.steps} if own else frozenset[int]()
        calls = {step[CALL] for step in trail.steps}
        done = self.done
        return (
            sum([done.get(call, 0) - (call in mine) for call in calls]) / (count * len(calls)) if calls else NOT_ASKED
        )


def _pairs(trail: Trail) -> Parts:
    return [(call_kind, output_kind) for _, _, call_kind, output_kind in trail.steps]


def _moves(trail: Trail) -> Parts:
    states = [call_kind << 16 | output_kind for _, _, call_kind, output_kind in trail.steps]
    return list(zip((START, *states), (*(step[CALL_KIND] for step in trail.steps), END), strict=True))


def _likelihoods(
    parts: Parts, gone: Parts, together: Mapping[tuple[int, int], int], first: Mapping[int, int], kinds: int
) -> list[float]:
    """log P(second | first) of the parts by additive smoothing, over everything that was counted but `gone`."""
    room = SMOOTHING * max(2, kinds)
    gone_first = [part[0] for part in gone]
    return [
        math.log(
            (together.get(pair, 0) - gone.count(pair) + SMOOTHING)
            / (first.get(pair[0], 0) - gone_first.count(pair[0]) + room)
        )
        for pair in parts
    ]


def _mean_and_least(values: Sequence[float]) -> tuple[float, float]:
    """Added one by one: `sum` rounds otherwise from Python 3.12 on."""
    return (reduce(operator.add, values) / len(values), min(values)) if values else (NOT_ASKED, NOT_ASKED)


def habits_of(runs: Iterable[tuple[str, bytes, bool]]) -> Habits:
    """Of (task, packed trail, accepted)."""
    habits = Counts() if usual is None else usual.Habits()
    for task, trail, accepted in runs:
        habits.add(task, trail, accepted=accepted)
    return habits
