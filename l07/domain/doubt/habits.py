"""What the runs of one source usually do: which output follows which call, which step follows which, what other
attempts at the same task got, did and ended with. A run is always compared with the others, never with itself."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from l07.domain.doubt.trail import NOT_ASKED, Trail

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
    trail: Trail


START, END = 0, 1
SMOOTHING = 0.5
MOST_ATTEMPTS = 20.0


class Habits:
    """Counts over the runs of one source. Fill with `add`, then `compare` any run."""

    def __init__(self) -> None:
        self._outputs: Counter[tuple[int, int]] = Counter()
        self._calls: Counter[int] = Counter()
        self._output_kinds: set[int] = set()
        self._follows: Counter[tuple[int, int]] = Counter()
        self._states: Counter[int] = Counter()
        self._next_kinds: set[int] = set()
        self._tasks: dict[str, _Task] = defaultdict(_Task)

    def add(self, task: str, trail: Trail, *, accepted: bool) -> None:
        """One run: an accepted one shapes what is usual; what a call returned counts from every run."""
        self._tasks[task].add(trail, accepted=accepted)
        if accepted:
            for call, output in _pairs(trail):
                self._outputs[call, output] += 1
                self._calls[call] += 1
                self._output_kinds.add(output)
            for before, after in _moves(trail):
                self._follows[before, after] += 1
                self._states[before] += 1
                self._next_kinds.add(after)

    def compare(self, task: str, trail: Trail, own: Trail | None, left_out: Counted | None) -> tuple[float, ...]:
        """The values of CONTEXT. `own`: the trail with which this run was added, None if it was not. `left_out`: an
        accepted run that is not counted, of an accepted run itself; a rejected one leaves out another of its task, or
        the number of those that it is compared with would tell its label."""
        usual = left_out.trail if left_out else None
        outputs = _likelihoods(_pairs, trail, usual, self._outputs, self._calls, len(self._output_kinds))
        moves = _likelihoods(_moves, trail, usual, self._follows, self._states, len(self._next_kinds))
        good = usual if left_out and left_out.task == task else None
        others = self._tasks[task].compare(trail, own, good) if task in self._tasks else NOTHING_KNOWN
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
        for step in trail.steps:
            self.results[step.call, step.output] += 1
            self.made[step.call] += 1
        if accepted:
            self.accepted += 1
            self.answers[trail.answer] += 1
            if trail.steps:
                self.last_outputs[trail.steps[-1].output] += 1
            self.done.update({step.call for step in trail.steps})

    def compare(self, trail: Trail, own: Trail | None, good: Trail | None) -> tuple[float, ...]:
        """`own` and `good` are left out, of all attempts and of the accepted ones."""
        agreement = _mean_and_least(list(self._agreements(trail, own)))
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

    def _agreements(self, trail: Trail, own: Trail | None) -> Iterator[float]:
        mine = own.steps if own else ()
        for step in trail.steps:
            made = self.made[step.call]
            same = self.results[step.call, step.output]
            for other in mine:
                if other.call == step.call:
                    made -= 1
                    same -= other.output == step.output
            if made > 0:
                yield same / made

    def _last_output(self, trail: Trail, own: Trail | None) -> int:
        last = trail.steps[-1].output
        return self.last_outputs[last] - bool(own and own.steps and own.steps[-1].output == last)

    def _shared_calls(self, trail: Trail, own: Trail | None, count: int) -> float:
        mine = {step.call for step in own.steps} if own else frozenset[int]()
        calls = {step.call for step in trail.steps}
        return sum(self.done[call] - (call in mine) for call in calls) / (count * len(calls)) if calls else NOT_ASKED


def _pairs(trail: Trail) -> Iterator[tuple[int, int]]:
    return ((step.call_kind, step.output_kind) for step in trail.steps)


def _moves(trail: Trail) -> Iterator[tuple[int, int]]:
    before = START
    for step in trail.steps:
        yield before, step.call_kind
        before = step.call_kind << 16 | step.output_kind
    yield before, END


def _likelihoods(
    parts: Callable[[Trail], Iterator[tuple[int, int]]],
    trail: Trail,
    left_out: Trail | None,
    together: Counter[tuple[int, int]],
    first: Counter[int],
    kinds: int,
) -> list[float]:
    """log P(second | first) of the trail's parts by additive smoothing, over everything that was counted but
    `left_out`."""
    room = SMOOTHING * max(2, kinds)
    out = list(parts(left_out)) if left_out else []
    gone, gone_first = Counter(out), Counter([a for a, _ in out])
    return [
        math.log((together[pair] - gone[pair] + SMOOTHING) / (first[pair[0]] - gone_first[pair[0]] + room))
        for pair in parts(trail)
    ]


def _mean_and_least(values: Sequence[float]) -> tuple[float, float]:
    return (sum(values) / len(values), min(values)) if values else (NOT_ASKED, NOT_ASKED)


def habits_of(runs: Iterable[tuple[str, Trail, bool]]) -> Habits:
    """Of (task, trail, accepted)."""
    habits = Habits()
    for task, trail, accepted in runs:
        habits.add(task, trail, accepted=accepted)
    return habits
