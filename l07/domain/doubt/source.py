"""The runs of one source, what is usual among them, and each as a row of numbers."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field

from l07.domain.doubt.copies import Texts, copies
from l07.domain.doubt.habits import CONTEXT, Counted, Habits, habits_of
from l07.domain.doubt.trail import CONSISTENCY
from l07.domain.example import FEATURES
from l07.domain.selection import keyed_hash, lowest

RESERVOIR = 10_000  # runs of a source that say what is usual, beside the attempts at the tasks in hand
FAULTY = 500  # runs that are copied with a fault; of fewer each is copied several times
MOST_COPIES = 8  # of one run
COLUMNS = (*FEATURES, *CONSISTENCY, *CONTEXT)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run as this stage sees it. `new` runs are judged; the others say what is usual."""

    key: str
    source: str
    domain: str
    task: str
    accepted: bool  # what the gates say
    features: tuple[float, ...]  # FEATURES, then CONSISTENCY
    trail: bytes  # packed
    new: bool
    content: int = 0  # 64 bits of the digest of the text; 0 is not remembered


@dataclass
class Source:
    """The runs of one source, what is usual among them, and their rows of numbers."""

    attempts: Sequence[Attempt]
    texts: InitVar[Texts]
    seed: int
    habits: Habits = field(init=False)

    def __post_init__(self, texts: Texts) -> None:
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
        self.faulty = self._faulty(texts)

    def some(self, attempts: Iterable[Attempt], count: int, purpose: str) -> set[str]:
        """Always the same ones."""
        return lowest((attempt.key for attempt in attempts), count, seed=self.seed, purpose=purpose)

    def row(self, attempt: Attempt) -> tuple[float, ...]:
        """The values of COLUMNS."""
        if attempt.key not in self._rows:
            self._rows[attempt.key] = (*attempt.features, *self.context(attempt, attempt.trail))
        return self._rows[attempt.key]

    def context(self, attempt: Attempt, trail: bytes) -> tuple[float, ...]:
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

    def _faulty(self, texts: Texts) -> list[tuple[Attempt, tuple[float, ...]]]:
        """Rows of copies with a fault, each with the run that it was."""
        accepted = {attempt.key: attempt for attempt in self.attempts if attempt.accepted}
        chosen = {key: accepted[key].content for key in self.some(accepted.values(), FAULTY, "faulty")}
        found = copies(chosen, texts, each=min(MOST_COPIES, 1 + FAULTY // (2 * max(1, len(chosen)))), seed=self.seed)
        return [
            (accepted[key], (*copy.values, *self.context(accepted[key], copy.trail)))
            for key, of_run in found.items()
            for copy in of_run
        ]
