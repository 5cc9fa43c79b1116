"""The members on their way from one version to the next: those that are new or move are objects, all others stay
columns."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from l07.domain.arrays import counted, order_of
from l07.domain.bands import Bands
from l07.domain.dataset import SPLITS, Cell, Member, Tally, digest_of_sorted
from l07.domain.example import Provenance, TrainingExample
from l07.domain.quality import CurateRules
from l07.pipeline.curate.columns import DECISION, I64, LEVEL_NAMES, SPLIT_CODES, TABLE, TABLE_NAMES, Columns, Flags
from l07.pipeline.curate.intake import Fresh, Revision, revised
from l07.pipeline.curate.readings import Readings
from l07.pipeline.curate.roll import Roll, bands_of
from l07.pipeline.curate.twins import Bodies, Body, Name, Older, Pairs, Twins, nearest


class Hold(Protocol):
    """Where the bodies of new rows are put as they come, so that no build holds them all as objects."""

    def add(self, examples: Sequence[TrainingExample]) -> None: ...


class Examples(dict[str, TrainingExample]):
    """A hold that keeps them as they are, by key."""

    def add(self, examples: Sequence[TrainingExample]) -> None:
        self.update((example.key, example) for example in examples)


@dataclass(frozen=True, slots=True)
class DatasetWarning:
    """What a person should look at in a version that stands."""

    name: str  # a constant, such as "large_cluster"
    message: str  # one sentence with the value


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a row's decision came from; one line a row and batch."""

    key: str
    batch_id: str
    events: Provenance


class Work:
    """Rows are numbers: those of `roll` first, then the new ones in the order of the batches and of their keys.

    A stage changes a row with `set` or `leave`, adds to `counts` and `warnings`, and asks all rows through `columns`."""

    def __init__(self, rules: CurateRules, roll: Roll, bodies: Bodies, hold: Hold) -> None:
        self.rules, self.roll = rules, roll
        self.changed: dict[int, Member] = {}
        self.held: set[int] = set()  # new rows that have a body and have not left
        self.touched: set[int] = set()  # new with a body, or scored anew
        self.lineage: list[Lineage] = []
        self.counts: Counter[str] = Counter()
        self.warnings: list[DatasetWarning] = []
        self.pairs: Pairs = {}
        self.twins = Twins()
        self.readings = Readings(seed=rules.seed)
        self._bodies, self._hold = bodies, hold
        self._new: dict[str, int] = {}
        self._before: dict[int, Member] = {}
        self._columns: Columns | None = None
        self._stale: set[int] = set()

    def __len__(self) -> int:
        return len(self.roll) + len(self._new)

    # ------------------------------------------------------------------ one row

    def member(self, row: int) -> Member:
        """The row as it stands now."""
        found = self.changed.get(row)
        return self.before([row])[row] if found is None else found

    def before(self, rows: Collection[int]) -> dict[int, Member]:
        """Rows of the version before, as they were; asked for together, because they are read from files."""
        missing = [row for row in rows if row not in self._before]
        self._before |= zip(missing, self.roll.members(missing), strict=True) if missing else ()
        return {row: self._before[row] for row in rows}

    def set(self, row: int, member: Member) -> None:
        self.changed[row] = member
        self._stale.add(row)

    def leave(self, row: int, reason: str) -> None:
        """The row goes, its key stays known; a sketch is kept only of what a version has held."""
        member = self.member(row)
        sketch = b"" if row in self.held else member.sketch
        self.held.discard(row)
        reasons = (*member.reasons, reason)
        self.set(row, member.but(reasons=reasons, table="", group="", split="", sketch=sketch))

    def leave_all(self, rows: Iterable[int], reason: str) -> None:
        there = list(rows)
        self.before([row for row in there if row not in self.changed])
        for row in there:
            self.leave(row, reason)

    # ------------------------------------------------------------------ all rows

    @property
    def columns(self) -> Columns:
        """Everyone as things stand now."""
        if self._columns is None:
            self._columns = self.roll.columns.grown(len(self._new))
            new = range(len(self.roll), len(self))
            self._columns.put(new, [self.changed[row] for row in new])
            self._stale.difference_update(new)
        if self._stale:
            rows = sorted(self._stale)
            self._columns.move(rows, [self.changed[row] for row in rows])
            self._stale.clear()
        return self._columns

    def kept(self, *decisions: str) -> Flags:
        """Rows that have a body and have not left: in a table of the version before, or new."""
        columns = self.columns
        flags = columns.table > 0
        flags[np.fromiter(self.held, np.int64, len(self.held))] = True
        if decisions:
            flags &= np.isin(np.arange(len(DECISION)), [DECISION[name] for name in decisions])[columns.decision]
        return flags

    def old(self, flags: Flags) -> I64:
        """Of these rows those that nothing has moved so far."""
        rows = np.flatnonzero(flags[: len(self.roll)])
        moved = np.zeros(len(flags), bool)
        moved[np.fromiter(self.changed, np.int64, len(self.changed))] = True
        return rows[~moved[rows]]

    def moved(self, *decisions: str) -> dict[int, Member]:
        """Of the kept rows those that are new or have changed."""
        return {
            row: member
            for row, member in self.changed.items()
            if (member.table or row in self.held) and (not decisions or member.decision in decisions)
        }

    # ------------------------------------------------------------------ the beginning

    def take(self, fresh: Sequence[Fresh]) -> None:
        """New rows come in without a table; their bodies go to the hold."""
        bodies: dict[int, Body] = {}
        for one in fresh:
            row = self._new[one.member.key] = len(self)
            if one.provenance is not None:
                self.lineage.append(Lineage(one.member.key, one.member.batch_id, one.provenance))
            if one.example is not None:
                bodies[row] = Body(one.example.goal, one.example.messages)
                if self.rules.doubt:
                    self.readings.add(one.member, one.example)
            self.set(row, one.member)
        for row, sketch in self.twins.sketches(bodies).items():
            self.set(row, self.changed[row].but(sketch=sketch))
        self.held |= bodies.keys()
        self.touched |= bodies.keys()
        self._hold.add([one.example for one in fresh if one.example is not None])

    def judge_again(self, members: Mapping[str, Member]) -> None:
        """What the end of a batch says of rows that it brought; one that is quarantined has no body any more."""
        for key, member in members.items():
            row = self._new[key]
            if member.decision == "QUARANTINE":
                self.held.discard(row)
                self.touched.discard(row)
                self.twins.forget(row)
            self.set(row, member.but(sketch=self.changed[row].sketch if row in self.held else b""))
        self.readings.settle({key for key, member in members.items() if member.decision != "ACCEPT"})

    def revise(self, revisions: Mapping[str, Revision]) -> None:
        """A row that is scored anew leaves its table until it is placed again."""
        rows = dict(zip(revisions, self.roll.find(list(revisions)), strict=True)) | {
            key: row for key, row in self._new.items() if key in revisions
        }
        self.before([row for row in rows.values() if 0 <= row < len(self.roll)])
        for key, revision in revisions.items():
            row = rows[key]
            member = self.member(row) if row >= 0 else None
            self.lineage.append(Lineage(key, revision.batch_id, revision.provenance))
            if member is None or not (member.table or row in self.held):
                self.counts["revision_without_row"] += 1
                continue
            self.set(row, revised(member, revision))
            self.touched.add(row)
            self.counts["revised"] += 1

    def find_twins(self) -> None:
        """Every pair of a touched row with any other that was ever kept."""
        rows = sorted(self.touched)
        asked = bands_of(rows, [self.changed[row] for row in rows])
        if asked is not None:
            among, least = [*self.roll.bands, asked], self.rules.cluster_similarity
            self.pairs = self.twins.pairs(asked, among, self.older, least=least)
        for row, value in nearest(self.pairs).items():
            if row in self.touched:
                member = self.changed[row]
                self.set(row, member.but(scores={**member.scores, "nearest_similarity": round(value, 6)}))

    def texts_of(self, rows: Sequence[int]) -> Mapping[int, Body]:
        """Of older rows; one that has left its table has none."""
        table = self.roll.columns.table
        there = [row for row in rows if table[row]]
        keys = dict(zip(self.roll.keys(there), there, strict=True))
        return {keys[key]: body for key, body in self._bodies(keys).items()} if keys else {}

    @property
    def older(self) -> Older:
        return Older(self._texts_named, self.texts_of)

    def _texts_named(self, rows: Sequence[int]) -> Mapping[int, Name]:
        """Of older rows that texts_of gives a text of."""
        columns = self.roll.columns
        return {row: (int(columns.draw[row]), int(columns.content[row])) for row in rows if columns.table[row]}

    # ------------------------------------------------------------------ the end

    def remember_texts(self) -> None:
        """Of the new rows, for the builds to come."""
        columns, rows = self.columns, sorted(self.held)
        names = zip(columns.draw[rows].tolist(), columns.content[rows].tolist(), strict=True)
        self.twins.remember(dict(zip(rows, names, strict=True)))

    def new_bands(self) -> Bands | None:
        """The sketches of the new rows that stay."""
        rows = [row for row in sorted(self.changed) if row >= len(self.roll)]
        return bands_of(rows, [self.changed[row] for row in rows])

    def sealed(self) -> Columns:
        """The columns with the digests of the rows that have changed."""
        columns = self.columns
        columns.seal(self.changed.keys(), self.changed.values())
        return columns


def tally(columns: Columns, group: I64) -> Tally:
    """A version as counts. `group`: of each row."""
    learnt = columns.learnt
    return Tally(
        cells=_cells(columns),
        groups={
            split: len(counted(group[columns.table == code])[0])
            for split, code in zip(SPLITS, SPLIT_CODES, strict=True)
        },
        scores=_counted(columns.quality[learnt]),
    )


def _counted(values: npt.NDArray[np.float64]) -> Mapping[float, int]:
    each, counts = np.unique(values, return_counts=True)
    return dict(zip(each.tolist(), counts.tolist(), strict=True))


def _cells(columns: Columns) -> Mapping[Cell, int]:
    books: tuple[Sequence[object], ...] = (
        TABLE_NAMES, columns.domains.names, LEVEL_NAMES, columns.task_types.names, columns.reason_lists.names,
    )  # fmt: skip
    parts = (columns.table, columns.domain, columns.level, columns.task_type, columns.reasons)
    code = np.zeros(len(columns), np.int64)
    for part, book in zip(parts, books, strict=True):
        code = code * max(1, len(book)) + part
    counts: Counter[Cell] = Counter()
    values, numbers = counted(code)
    for value, count in zip(values.tolist(), numbers.tolist(), strict=True):
        names: list[object] = []
        for book in reversed(books):
            value, place = divmod(value, max(1, len(book)))
            names.append(book[place])
        counts[Cell(*reversed(names))] += count  # type: ignore[arg-type]  # a name of each book, in Cell's order
    return counts


def digest_of(columns: Columns) -> str:
    """dataset.version_digest, of the digests that are stored."""
    at = np.flatnonzero(columns.table > TABLE[""])
    words = columns.digest.view(">u8").reshape(-1, 4)
    first = words[at, 0].astype(np.uint64)
    order = order_of(first)
    ordered = first[order]
    if (ordered[1:] == ordered[:-1]).any():  # digests that are no accident: as good as never
        order = np.lexsort(tuple(words[at, place] for place in (3, 2, 1, 0)))
    return digest_of_sorted(np.take(columns.digest, at[order], axis=0).tobytes())
