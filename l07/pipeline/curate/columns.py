"""Everyone whom a dataset knows, as columns of small numbers: a million of them fit into 120 MB and are asked at once."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from l07.domain.dataset import TABLES, Member, row_digest
from l07.domain.drawing import draw_of
from l07.domain.example import bucket

Name = TypeVar("Name", bound=Hashable)
I64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Column = npt.NDArray[Any]

TABLE = {name: number for number, name in enumerate(("", *TABLES))}
TABLE_NAMES = tuple(TABLE)
SPLIT_CODES = tuple(TABLE[name] for name in ("train", "validation", "test"))
DECISION = {name: number for number, name in enumerate(("ACCEPT", "REVIEW", "REJECT", "QUARANTINE"))}
DECISION_NAMES = tuple(DECISION)
LEVEL = {name: number for number, name in enumerate(("easy", "medium", "hard"))}
LEVEL_NAMES = tuple(LEVEL)


class Book(Generic[Name]):
    """Names and their numbers, in the order in which they were first seen."""

    def __init__(self, names: Iterable[Name] = ()) -> None:
        self.names: list[Name] = list(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: Name) -> int:
        """A new name gets the next number."""
        found = self._numbers.setdefault(name, len(self.names))
        if found == len(self.names):
            self.names.append(name)
        return found

    def of(self, names: Sequence[Name]) -> list[int]:
        """The numbers of many."""
        for name in dict.fromkeys(names):
            self.number(name)
        return list(map(self._numbers.__getitem__, names))

    def as_here(self, codes: Column, names: Sequence[Name]) -> Column:
        """Another book's numbers as this one's. `names`: of the other book."""
        return np.array(self.of(names) or [0], "i4")[codes]

    def find(self, name: Name) -> int:
        """-1 for a name that is not there."""
        return self._numbers.get(name, -1)

    def copy(self) -> "Book[Name]":
        other: Book[Name] = Book()
        other.names, other._numbers = self.names.copy(), self._numbers.copy()
        return other


def word(digest: str) -> int:
    """The first 64 bits of a digest as hex; 0 for none. Whom they call alike is compared in full where it counts."""
    return int(digest[:16], 16) if digest else 0


def words(digests: Sequence[str]) -> Column:
    """The same of many."""
    return np.frombuffer(bytes.fromhex("".join([digest[:16].zfill(16) for digest in digests])), ">u8").astype(np.uint64)


# Columns of numbers that stand for names, and the book of each.
BOOKS = {
    "task": "tasks", "source": "sources", "domain": "domains", "task_type": "task_types", "reasons": "reason_lists",
}  # fmt: skip


def _none(type_: str, *width: int) -> Callable[[], Column]:
    return lambda: np.zeros((0, *width), type_)


@dataclass(slots=True)
class Columns:
    """A row of each is one natural key. Books translate numbers back into names."""

    table: Column = field(default_factory=_none("u1"))
    decision: Column = field(default_factory=_none("u1"))
    level: Column = field(default_factory=_none("u1"))  # of difficulty
    task: Column = field(default_factory=_none("i4"))
    source: Column = field(default_factory=_none("i4"))
    domain: Column = field(default_factory=_none("i4"))
    task_type: Column = field(default_factory=_none("i4"))
    reasons: Column = field(default_factory=_none("i4"))
    quality: Column = field(default_factory=_none("f8"))
    content: Column = field(default_factory=_none("u8"))  # the first 64 bits of the digest; 0: no text was ever there
    exact: Column = field(default_factory=_none("u8"))  # the same
    deeds: Column = field(default_factory=_none("u8"))
    draw: Column = field(default_factory=_none("u8"))
    cluster: Column = field(default_factory=_none("u8"))  # 0: like nobody
    sketched: Column = field(default_factory=_none("?"))  # a version has held the row
    digest: Column = field(default_factory=_none("u1", 32))  # of the row as it stands in its table
    tasks: Book[str] = field(default_factory=Book)
    sources: Book[str] = field(default_factory=Book)
    domains: Book[str] = field(default_factory=Book)
    task_types: Book[str] = field(default_factory=Book)
    reason_lists: Book[tuple[str, ...]] = field(default_factory=Book)

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def of(cls, members: Sequence[Member]) -> "Columns":
        columns = cls().grown(len(members))
        columns.put(range(len(members)), members)
        columns.seal(range(len(members)), members)
        return columns

    @classmethod
    def joined(cls, parts: Sequence["Columns"]) -> "Columns":
        """The rows of all, part after part, with one book for each kind of name."""
        whole: dict[str, Any] = {book: Book() for book in BOOKS.values()}
        none = cls()
        for one in fields(cls):
            if one.name not in whole:
                columns = [getattr(none, one.name), *(getattr(part, one.name) for part in parts)]
                if (book := BOOKS.get(one.name)) is not None:
                    named = zip(columns, (none, *parts), strict=True)
                    columns = [whole[book].as_here(codes, getattr(part, book).names) for codes, part in named]
                whole[one.name] = np.concatenate(columns)
        return cls(**whole)

    def grown(self, count: int) -> "Columns":
        """A copy with room for `count` more rows."""
        grown: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Book):
                grown[one.name] = value.copy()
            else:
                grown[one.name] = np.concatenate([value, np.zeros((count, *value.shape[1:]), value.dtype)])
        return Columns(**grown)

    def put(self, rows: Sequence[int], members: Sequence[Member]) -> None:
        """What the members say, into their rows; digests are put by `seal`."""
        at = np.asarray(rows, np.int64)
        for name in ("task", "source", "domain", "task_type"):
            book: Book[str] = getattr(self, f"{name}s")
            getattr(self, name)[at] = book.of([getattr(m, name) for m in members])
        self.level[at] = [LEVEL[bucket(m.difficulty)] for m in members]
        self.content[at] = words([m.content for m in members])
        self.exact[at] = words([m.exact for m in members])
        self.deeds[at] = words([m.deeds for m in members])
        self.draw[at] = [draw_of(m.key) for m in members]
        self.move(rows, members)

    def move(self, rows: Sequence[int], members: Sequence[Member]) -> None:
        """Of rows that were put before: what may have changed since."""
        at = np.asarray(rows, np.int64)
        self.table[at] = [TABLE[m.table] for m in members]
        self.decision[at] = [DECISION[m.decision] for m in members]
        self.reasons[at] = self.reason_lists.of([m.reasons for m in members])
        self.quality[at] = [m.quality_score for m in members]
        self.cluster[at] = np.array([m.cluster for m in members], np.uint64)
        self.sketched[at] = [bool(m.sketch) for m in members]

    def seal(self, rows: Iterable[int], members: Iterable[Member]) -> None:
        """The digests of these rows, as they stand in their tables."""
        for row, member in zip(rows, members, strict=True):
            self.digest[row] = np.frombuffer(row_digest(member), np.uint8) if member.table else 0

    # ------------------------------------------------------------------ asked of all rows

    @property
    def learnt(self) -> Flags:
        """The rows of the splits."""
        return (self.table > 0) & (self.table <= len(SPLIT_CODES))

    def strata(self, rows: I64) -> tuple[I64, list[str]]:
        """The rows' strata as numbers that rise with their names, and the names."""
        codes = self.domain[rows].astype(np.int64) * len(LEVEL) + self.level[rows]
        present = np.flatnonzero(np.bincount(codes))
        names = [f"{self.domains.names[code // len(LEVEL)]}/{LEVEL_NAMES[code % len(LEVEL)]}" for code in present]
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.zeros(int(codes.max(initial=0)) + 1, np.int64)
        rank[present[order]] = np.arange(len(names))
        return rank[codes], [names[place] for place in order]
