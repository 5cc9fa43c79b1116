"""What the version before knows, for the next one to ask: columns of everyone, their groups, their sketches; a member
as an object only on demand."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from l07.domain.arrays import distinct
from l07.domain.bands import Bands, as_array
from l07.domain.dataset import Group, Member
from l07.domain.example import FEATURES
from l07.pipeline.curate.columns import I64, TABLE, TABLE_NAMES, Book, Column, Columns
from l07.pipeline.curate.twins import Bodies

F64 = npt.NDArray[np.float64]

NOT_MEASURED = (float("nan"),) * len(FEATURES)


@dataclass(slots=True)
class Grouping:
    """Which group every task is in, and the group's split. A group is named after one of its tasks."""

    group: Column = field(default_factory=lambda: np.zeros(0, "i4"))  # by task: the task that names its group
    split: Column = field(default_factory=lambda: np.zeros(0, "u1"))  # by task: as a table's number, 0 without one

    @classmethod
    def of(cls, groups: Iterable[Group], tasks: Book[str]) -> "Grouping":
        listed = list(groups)
        for group in listed:
            for task in group.tasks:
                tasks.number(task)
        grouping = cls().grown(len(tasks))
        for group in listed:
            grouping.put(group, tasks)
        return grouping

    def grown(self, count: int) -> "Grouping":
        """A copy for `count` tasks; the new ones are groups of their own."""
        new = np.arange(len(self.group), count, dtype="i4")
        return Grouping(np.concatenate([self.group, new]), np.concatenate([self.split, np.zeros(len(new), "u1")]))

    def put(self, group: Group, tasks: Book[str]) -> None:
        at = [tasks.number(task) for task in group.tasks]
        self.group[at] = tasks.number(group.id)
        self.split[at] = TABLE[group.split]

    def of_groups(self, numbers: Column, tasks: Book[str]) -> list[Group]:
        """These groups with all their tasks, by id."""
        members: dict[int, list[str]] = {}
        mine = np.zeros(len(self.group), bool)
        mine[numbers] = True
        for task in np.flatnonzero(mine[self.group]).tolist():
            members.setdefault(int(self.group[task]), []).append(tasks.names[task])
        return sorted(
            (
                Group(tasks.names[number], tuple(sorted(found)), TABLE_NAMES[self.split[number]])
                for number, found in members.items()
            ),
            key=lambda group: group.id,
        )


@dataclass(frozen=True, slots=True)
class Roll:
    """A row's number is its place, and stays for ever."""

    columns: Columns
    grouping: Grouping
    bands: Sequence[Bands]  # of every row that a version has held; row numbers rise from one to the next
    find: Callable[[Sequence[str]], Sequence[int]]  # natural keys -> rows, -1 for one that is not known
    keys: Callable[[Sequence[int]], list[str]]
    members: Callable[[Sequence[int]], list[Member]]
    features: Callable[[I64], F64]  # [n, 13]; a line of nan where nothing was measured

    def __len__(self) -> int:
        return len(self.columns)

    @classmethod
    def of(cls, members: Iterable[Member], groups: Iterable[Group] = ()) -> "Roll":
        """Of members that are at hand as objects."""
        listed = list(members)
        columns = Columns.of(listed)
        place = {member.key: number for number, member in enumerate(listed)}
        return cls(
            columns=columns,
            grouping=Grouping.of(groups, columns.tasks).grown(len(columns.tasks)),
            bands=[bands] if (bands := bands_of(range(len(listed)), listed)) else [],
            find=lambda keys: [place.get(key, -1) for key in keys],
            keys=lambda rows: [listed[row].key for row in rows],
            members=lambda rows: [listed[row] for row in rows],
            features=lambda rows: np.array([listed[row].features or NOT_MEASURED for row in rows], np.float64),
        )


def bands_of(rows: Sequence[int], members: Sequence[Member]) -> Bands | None:
    """Of those that have a sketch; None when none has."""
    having = [(row, member.sketch) for row, member in zip(rows, members, strict=True) if member.sketch]
    if not having:
        return None
    return Bands.of(np.array([row for row, _ in having], np.uint32), as_array([sketch for _, sketch in having]))


@dataclass(frozen=True, slots=True)
class Parent:
    """The version before: its number, everyone it knows, the meaning of its labels, and its texts on demand."""

    version: str
    roll: Roll
    meaning: Mapping[str, Any]
    bodies: Bodies

    @property
    def members(self) -> Mapping[str, Member]:
        return Everyone(self.roll, {})

    @property
    def groups(self) -> list[Group]:
        """All of them, by id."""
        return groups_of(self.roll.columns, self.roll.grouping)


def groups_of(columns: Columns, grouping: Grouping) -> list[Group]:
    return grouping.of_groups(distinct(grouping.group), columns.tasks)


class Everyone(Mapping[str, Member]):
    """All members by natural key, sorted: those that have changed, and the others on demand. To walk through it makes
    an object of each; what has to be fast asks the columns."""

    def __init__(self, roll: Roll, changed: Mapping[int, Member]) -> None:
        self._roll, self._changed = roll, changed
        self._rows = {member.key: row for row, member in changed.items()}
        self._listed: dict[str, Member] | None = None

    def __getitem__(self, key: str) -> Member:
        if self._listed is not None:  # who walks through it asks for each: a search for every one would be quadratic
            return self._listed[key]
        row = self._rows.get(key, -1)
        if row < 0:
            row = self._roll.find([key])[0]
        if row < 0:
            raise KeyError(key)
        return self._changed.get(row) or self._roll.members([row])[0]

    def __len__(self) -> int:
        return len(self._roll) + sum(row >= len(self._roll) for row in self._changed)

    def __iter__(self) -> Iterator[str]:
        if self._listed is None:
            old = [row for row in range(len(self._roll)) if row not in self._changed]
            everyone = (*self._roll.members(old), *self._changed.values())
            self._listed = {member.key: member for member in sorted(everyone, key=lambda m: m.key)}
        return iter(self._listed)
