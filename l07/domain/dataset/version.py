"""What a version is called, what has changed in it, why there is none, and its numbers."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from l07.domain.dataset.groups import MIN_GROUPS
from l07.domain.dataset.members import SPLITS, Member, row_digest
from l07.errors import TooFewGroups

SCHEMA = 3  # of the files; a change makes a new major version. 2: members carry their deeds; 3: scores, model, subject


class Number(NamedTuple):
    """major: schema or label meaning; minor: rows added; patch: rows removed, scrubbed, or scored anew."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @classmethod
    def parse(cls, text: str) -> "Number":
        major, minor, patch = (int(part) for part in text.split("."))
        return cls(major, minor, patch)


@dataclass(frozen=True, slots=True)
class Change:
    """Natural keys of the splits, against the version before."""

    added: frozenset[str]
    removed: frozenset[str]
    altered: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.altered)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no version; the batch stays PENDING and joins the next."""

    code: str
    reason: str  # "too_few_groups", "empty_split" or "no_change"
    message: str
    needed: int
    have: int

    def raise_(self) -> None:
        """For a person who asked for a dataset. Raises TooFewGroups (E7101)."""
        raise TooFewGroups(self.message, reason=self.reason, needed=self.needed, have=self.have)


class Cell(NamedTuple):
    """What rows are counted by."""

    table: str
    domain: str
    difficulty: str  # easy, medium, hard
    task_type: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """A version as counts."""

    cells: Mapping[Cell, int]
    groups: Mapping[str, int]  # split -> groups with rows in it
    scores: Mapping[float, int]  # of the rows in the splits: how many have each

    @property
    def splits(self) -> dict[str, int]:
        return {split: sum(n for cell, n in self.cells.items() if cell.table == split) for split in SPLITS}


def refusal(tally: Tally, *, changed: bool) -> Refusal | None:
    """None when the splits can stand; else what is missing."""
    groups = sum(tally.groups.values())
    if groups < MIN_GROUPS:
        message = f"{groups} groups of accepted runs; a dataset needs {MIN_GROUPS}, so that no split is empty"
        return Refusal(TooFewGroups.code, "too_few_groups", message, MIN_GROUPS, groups)
    empty = [split for split, rows in tally.splits.items() if not rows]
    if empty:
        message = (
            f"no row is left in {', '.join(empty)}, and a split that was given stays: {len(empty)} more groups needed"
        )
        return Refusal(TooFewGroups.code, "empty_split", message, groups + len(empty), groups)
    if not changed:
        return Refusal("", "no_change", "nothing in the splits has changed", 1, 0)
    return None


def change(before: Iterable[Member], after: Iterable[Member]) -> Change:
    """What the splits gained, lost, and say differently; rows that are the same before and after may be left out.
    Contrast and review move no version: they wait for the next."""
    old = {member.key: row_digest(member) for member in before if member.learnt_from}
    new = {member.key: row_digest(member) for member in after if member.learnt_from}
    altered = {key for key in old.keys() & new.keys() if old[key] != new[key]}
    return Change(frozenset(new.keys() - old.keys()), frozenset(old.keys() - new.keys()), frozenset(altered))


def next_number(parent: str | None, difference: Change, *, same_meaning: bool) -> Number:
    """The number of the version after `parent`. `same_meaning`: schema and label thresholds are those of the parent."""
    if parent is None:
        return Number(1, 0, 0)
    number = Number.parse(parent)
    if not same_meaning:
        return Number(number.major + 1, 0, 0)
    if difference.added:
        return Number(number.major, number.minor + 1, 0)
    return Number(number.major, number.minor, number.patch + 1)


def statistics(tally: Tally) -> dict[str, Any]:
    """Counts of the rows in the splits, score mean and deviation (population), why rows are in none, and what was
    noted of those that are."""
    learnt = {cell: count for cell, count in tally.cells.items() if cell.table in SPLITS}
    others = {cell: count for cell, count in tally.cells.items() if cell.table not in SPLITS}
    mean, deviation = mean_and_deviation(tally.scores)
    return {
        "splits": tally.splits,
        "domains": _counts((cell.domain, n) for cell, n in learnt.items()),
        "difficulties": _counts((cell.difficulty, n) for cell, n in learnt.items()),
        "task_types": _counts((cell.task_type, n) for cell, n in learnt.items()),
        "groups": dict(tally.groups),
        "contrast": sum(n for cell, n in others.items() if cell.table == "contrast"),
        "review": sum(n for cell, n in others.items() if cell.table == "review"),
        "score_mean": None if mean is None else round(mean, 6),
        "score_deviation": None if deviation is None else round(deviation, 6),
        "reasons": _counts((reason, n) for cell, n in others.items() for reason in cell.reasons),
        "notes": _counts((reason, n) for cell, n in learnt.items() for reason in cell.reasons),
    }


def mean_and_deviation(values: Mapping[float, int]) -> tuple[float | None, float | None]:
    """Of values and how many there are of each; the same as if each stood in a list as often as it is there, to the last
    bit: a value times a power of two is exact, and fsum is of exact sums."""
    count = sum(values.values())
    if not count:
        return None, None
    mean = _sum(values.items()) / count
    return mean, math.sqrt(_sum(((value - mean) ** 2, times) for value, times in values.items()) / count)


def _sum(values: Iterable[tuple[float, int]]) -> float:
    return math.fsum(
        math.ldexp(value, bit) for value, times in values for bit in range(times.bit_length()) if times >> bit & 1
    )


def _counts(values: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for value, count in values:
        found[value] += count
    return dict(sorted(found.items()))
