"""What a version knows of everyone, in segments: each has the runs that one write brought, or that several did which
were merged since. Runs, sketches and provenance of a segment never change; where its rows stand is a file of its own.

What is asked of all rows is in memory as columns, and stays there for the next version to be built on; digests, features
and measured scores are read from the files for the rows that somebody asks for."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l07.backends.parquet.files import read_rows, read_table
from l07.backends.parquet.schema import RUN, STANDING
from l07.backends.parquet.sketches import open_bands
from l07.backends.parquet_beside import Everyone
from l07.domain.arrays import distinct
from l07.domain.bands import Bands
from l07.domain.dataset import Member
from l07.domain.example import FEATURES, bucket
from l07.errors import DatasetUnreadable
from l07.pipeline.curate.columns import DECISION, I64, LEVEL, TABLE, Book, Column, Columns
from l07.pipeline.curate.roll import F64, Grouping, Roll
from l07.pipeline.curate.texts import COPIED

CODED = {
    "runs": ("task", "source", "domain", "task_type", "batch_id", "model_version"),
    "standing": ("decision", "table", "group", "split", "subject"),
}
ASKED_OF_ALL = {
    "runs": RUN.names,
    "standing": [name for name in STANDING.names if name not in ("group", "split", "subject", "scores")],
}
SEPARATOR = "\x1f"
FEATURE_COUNT = 13
LENGTH = FEATURES.index("trace_chars")
MOST_MEASURED = 200_000  # rows whose features stay in memory: 22 MB
MOST_RECENT = 12_000  # members that stay in memory: 2 KB each
MOST_ROWS = 1_000_000  # of states that are kept in memory, beside the newest one


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `first` to `first + rows - 1`; its files bear its number."""

    number: int
    first: int
    rows: int
    shift: int = 0  # by how much its sketches still number the rows higher: so many before them were erased since

    def file(self, kind: str) -> str:
        """`kind`: runs, standing, provenance or sketches."""
        return f"{kind}/{self.number:05}.{'bin' if kind == 'sketches' else 'parquet'}"


@dataclass(frozen=True, slots=True)
class Measured:
    """Features of rows that were asked for: a source is held against the same rows again and again."""

    rows: I64  # rising
    features: F64

    def of(self, rows: I64) -> tuple[F64, I64]:
        """Features of these rows, and the places of those that are not here."""
        out = np.empty((len(rows), FEATURE_COUNT))
        if not len(self.rows):
            return out, np.arange(len(rows))
        at = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        here = self.rows[at] == rows
        out[here] = self.features[at[here]]
        return out, np.flatnonzero(~here)

    def with_(self, rows: I64, features: F64) -> "Measured":
        """And these; without the old ones, where that are too many. None of `rows` is here."""
        if len(self.rows) + len(rows) <= MOST_MEASURED:
            rows, features = np.concatenate([self.rows, rows]), np.concatenate([self.features, features])
        if (rows[1:] > rows[:-1]).all():  # who is new is behind those before
            return Measured(rows, features)
        order = np.argsort(rows)
        return Measured(rows[order], features[order])


class State:
    """The columns of a version's segments, and of the rows that changed last what the files say of them."""

    def __init__(
        self, folder: Path, manifest: Mapping[str, Any], grouping: Grouping, told: Everyone, placed: Column
    ) -> None:
        """`placed`: the number of the write that put each row into its table."""
        self.folder, self.manifest = folder, manifest
        self.segments = [Segment(**one) for one in manifest["segments"]]
        self.columns, self.grouping, self.told, self.placed = told.columns, grouping, told, placed
        self.measured = Measured(np.empty(0, np.int64), np.empty((0, FEATURE_COUNT)))
        self.recent: Mapping[int, Member] = {}
        self.stands: Mapping[int, pa.Table] = {}

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any]) -> "State":
        """Raises DatasetUnreadable (E7103)."""
        parts = [_Part.read(folder, Segment(**one)) for one in manifest["segments"]]
        told, placed = _joined(parts)
        grouping = _grouping(read_table(folder / "groups.parquet"), told.columns.tasks)
        return cls(folder, manifest, grouping, told, placed)

    def roll(self) -> "StoredRoll":
        return StoredRoll(
            columns=self.columns,
            grouping=self.grouping,
            bands=self.bands,
            find=self.find,
            keys=self.keys,
            members=self.members,
            features=self.features,
            state=self,
        )

    def at(self, folder: Path) -> "State":
        """The same in another folder."""
        moved = copy(self)
        moved.folder = folder
        moved.__dict__.pop("bands", None)
        return moved

    @cached_property
    def bands(self) -> list[Bands]:
        there = [(self.folder / segment.file("sketches"), segment.shift) for segment in self.segments]
        return [open_bands(path, shift) for path, shift in there if path.is_file()]

    def find(self, keys: Sequence[str]) -> list[int]:
        """Of many rows few are asked for: those are put into the table that all are held against."""
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return []
        places = pc.index_in(self.told.keys, value_set=pa.array(wanted, pa.string()))
        rows = np.flatnonzero(pc.is_valid(places).to_numpy(zero_copy_only=False))
        found = dict(
            zip((wanted[place] for place in places.take(pa.array(rows)).to_pylist()), rows.tolist(), strict=True)
        )
        return [found.get(key, -1) for key in keys]

    def keys(self, rows: Sequence[int]) -> list[str]:
        found: list[str] = self.told.keys.take(pa.array(rows, pa.int64())).to_pylist()
        return found

    def features(self, rows: I64) -> F64:
        """Of a million rows they are a hundred megabytes: only those that were asked for last are in memory."""
        out, missing = self.measured.of(rows)
        if len(missing):
            read = features_of(self.rows_in("runs", rows[missing], ["features"]).column("features"))
            self.measured, out[missing] = self.measured.with_(rows[missing], read), read
        return out

    def rows_in(self, kind: str, rows: I64, columns: Sequence[str] | None = None) -> pa.Table:
        """These rows of the files of one kind, in the order in which they are asked for."""
        found, places = [], []
        for segment in self.segments:
            mine = np.flatnonzero((rows >= segment.first) & (rows < segment.first + segment.rows))
            if len(mine):
                path = self.folder / segment.file(kind)
                found.append(read_rows(path, rows[mine] - segment.first, columns, coded=CODED[kind]))
                places.append(mine)
        if len(found) == 1:
            return found[0]
        return pa.concat_tables(found).take(pa.array(np.argsort(np.concatenate(places))))

    def members(self, rows: Sequence[int]) -> list[Member]:
        missing = [row for row in rows if row not in self.recent]
        found = dict(zip(missing, self._members_read(missing), strict=True))
        return [found[row] if row in found else self.recent[row] for row in rows]

    def standing(self, segment: Segment) -> pa.Table:
        """Where its rows stand, whole."""
        table = self.stands.get(segment.number)
        return read_table(self.folder / segment.file("standing")).cast(STANDING) if table is None else table

    def hold(self, written: Mapping[int, pa.Table]) -> None:
        """Tables of standing by segment, for the build that changes some rows of them; small ones alone."""
        there = {one.number for one in self.segments}
        self.stands = {n: table for n, table in written.items() if n in there and len(table) <= MOST_RECENT}

    def learn(self, changed: Mapping[int, Member], before: "State | None") -> None:
        """Rows that were just written stay in memory, beside what did of the version `before`."""
        recent = {row: one for row, one in (before.recent if before else {}).items() if row not in changed}
        recent.update(changed)
        self.recent = dict(islice(recent.items(), max(0, len(recent) - MOST_RECENT), None))
        self.measured = before.measured if before else self.measured
        if len(self.columns) <= MOST_MEASURED:
            rows = np.fromiter(changed, np.int64, len(changed))
            missing = self.measured.of(rows)[1]
            unknown = (np.nan,) * FEATURE_COUNT
            values = [changed[row].features or unknown for row in rows[missing].tolist()]
            self.measured = self.measured.with_(rows[missing], np.array(values).reshape(-1, FEATURE_COUNT))

    def _members_read(self, rows: Sequence[int]) -> list[Member]:
        at = np.asarray(rows, np.int64)
        if not len(at):
            return []
        runs, standing = self.rows_in("runs", at), self.rows_in("standing", at)
        features = [() if np.isnan(one[0]) else tuple(one.tolist()) for one in features_of(runs.column("features"))]
        both = zip(runs.to_pylist(), standing.to_pylist(), features, self._sketches_of(at), strict=True)
        return [_member(run, stands, values, sketch) for run, stands, values, sketch in both]

    def _sketches_of(self, rows: I64) -> list[bytes]:
        out = [b""] * len(rows)
        for bands in self.bands:
            places = bands.places(rows)
            for number in np.flatnonzero(places >= 0).tolist():
                out[number] = bands.sketches[places[number]].tobytes()
        return out


@dataclass(frozen=True, slots=True)
class StoredRoll(Roll):
    """A roll of a version that lies in files."""

    state: State


# ------------------------------------------------------------------ from one version to the next

_KEPT: list[State] = []  # the newest last


def keep(state: State, *, instead_of: State | None) -> None:
    """For the version that is built on this one; its parent will hardly be asked for again."""
    _KEPT[:] = [one for one in _KEPT if instead_of is None or one.manifest != instead_of.manifest]
    _KEPT.append(state)
    while len(_KEPT) > 1 and sum(len(one.columns) for one in _KEPT[:-1]) > MOST_ROWS:
        del _KEPT[0]


def forget_kept() -> None:
    """Somebody is erased: nobody who was in a version before is to stay in memory."""
    _KEPT.clear()
    COPIED.clear()


def state_of(folder: Path, manifest: Mapping[str, Any]) -> State:
    """Of a version whose files are what the manifest says: as it was left by the build that wrote it, or read from the
    files. Raises DatasetUnreadable (E7103)."""
    known = next((state for state in _KEPT if state.manifest == manifest), None)
    return State.read(folder, manifest) if known is None else known.at(folder)


# ------------------------------------------------------------------ read


@dataclass(frozen=True, slots=True)
class _Part:
    """A segment: what is asked of all rows."""

    columns: Columns
    runs: pa.Table
    length: F64
    confidence: F64
    placed: Column

    @classmethod
    def read(cls, folder: Path, segment: Segment) -> "_Part":
        runs, standing = (
            read_table(folder / segment.file(kind), names, coded=CODED[kind]).combine_chunks()
            for kind, names in ASKED_OF_ALL.items()
        )
        if not len(runs) == len(standing) == segment.rows:
            raise DatasetUnreadable(
                f"{folder}: segment {segment.number} has {len(runs)} runs and {len(standing)} that stand somewhere, "
                f"the manifest says {segment.rows}"
            )
        return cls(
            columns=_columns(runs, standing),
            runs=runs.select(["key", "batch_id", "model_version", "difficulty"]),
            length=_length(runs.column("features")),
            confidence=standing.column("confidence").to_numpy(),
            placed=standing.column("placed").to_numpy(),
        )


def _joined(parts: Sequence[_Part]) -> tuple[Everyone, Column]:
    batches, models = Book[str](), Book[str]()
    empty = np.empty(0)
    told = Everyone(
        columns=Columns.joined([part.columns for part in parts]),
        keys=pa.concat_arrays([pa.array([], pa.string()), *(_whole(part.runs.column("key")) for part in parts)]),
        difficulty=np.concatenate([empty, *(part.runs.column("difficulty").to_numpy() for part in parts)]),
        confidence=np.concatenate([empty, *(part.confidence for part in parts)]),
        length=np.concatenate([empty, *(part.length for part in parts)]),
        batch=np.concatenate([np.empty(0, "i4"), *(batches.as_here(*coded(p.runs.column("batch_id"))) for p in parts)]),
        batches=batches.names,
        model=np.concatenate(
            [np.empty(0, "i4"), *(models.as_here(*coded(p.runs.column("model_version"))) for p in parts)]
        ),
        models=models.names,
    )
    return told, np.concatenate([np.empty(0, "i4"), *(part.placed for part in parts)])


def _length(features: pa.ChunkedArray) -> F64:
    """Characters of each run; 0 where it was never measured."""
    column = _whole(features)
    sizes = pc.list_value_length(column).to_numpy()
    length = np.zeros(len(column))
    known = sizes > LENGTH
    length[known] = column.flatten().to_numpy()[(np.cumsum(sizes) - sizes)[known] + LENGTH]
    return length


def features_of(features: pa.ChunkedArray) -> F64:
    """[n, 13]; a run of which nothing was measured is a line of nan."""
    column = _whole(features)
    lengths = pc.list_value_length(column).to_numpy()
    out = np.full((len(column), FEATURE_COUNT), np.nan)
    out[lengths == FEATURE_COUNT] = column.flatten().to_numpy().reshape(-1, FEATURE_COUNT)
    return out


def _member(run: Mapping[str, Any], stands: Mapping[str, Any], features: tuple[float, ...], sketch: bytes) -> Member:
    said = {**run, **stands, "features": features, "sketch": sketch if stands["sketched"] else b""}
    for name in ("draw", "sketched", "placed", "digest"):
        said.pop(name)
    digests = {name: said[name].hex() if said[name] is not None else "" for name in ("content", "exact", "deeds")}
    return Member(**said | digests | {"reasons": tuple(said["reasons"]), "scores": dict(said["scores"])})


def _columns(runs: pa.Table, standing: pa.Table) -> Columns:
    named = {name: coded(runs.column(name)) for name in ("task", "source", "domain", "task_type")}
    reasons, lists = coded(pc.binary_join(standing.column("reasons"), SEPARATOR))
    return Columns(
        table=_numbered(standing.column("table"), TABLE),
        decision=_numbered(standing.column("decision"), DECISION),
        level=_levels(runs.column("difficulty").to_numpy()),
        task=named["task"][0],
        source=named["source"][0],
        domain=named["domain"][0],
        task_type=named["task_type"][0],
        reasons=reasons,
        quality=standing.column("quality_score").to_numpy(),
        content=_words(runs.column("content"))[:, 0].astype("u8"),
        exact=_words(runs.column("exact"))[:, 0].astype("u8"),
        deeds=_words(runs.column("deeds"))[:, 0].astype("u8"),
        draw=runs.column("draw").to_numpy(),
        cluster=standing.column("cluster").to_numpy(),
        sketched=standing.column("sketched").to_numpy(),
        digest=_words(standing.column("digest")).view("u1").reshape(-1, 32),
        tasks=Book(named["task"][1]),
        sources=Book(named["source"][1]),
        domains=Book(named["domain"][1]),
        task_types=Book(named["task_type"][1]),
        reason_lists=Book(tuple(text.split(SEPARATOR)) if text else () for text in lists),
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def coded(column: pa.ChunkedArray) -> tuple[Column, list[str]]:
    """Numbers and the names that they stand for."""
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    array = _whole(column)
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    return encoded.indices.to_numpy().astype("i4"), encoded.dictionary.to_pylist()


def _numbered(column: pa.ChunkedArray, numbers: Mapping[str, int]) -> Column:
    codes, names = coded(column)
    return np.array([numbers[name] for name in names] or [0], "u1")[codes]


def _levels(difficulty: F64) -> Column:
    """bucket() of each, asked once a value."""
    values = distinct(difficulty)
    return np.array([LEVEL[bucket(value)] for value in values.tolist()] or [0], "u1")[values.searchsorted(difficulty)]


def _words(column: pa.ChunkedArray) -> Any:
    """Digests as four big-endian words a line; none is zeros."""
    array = _whole(pc.fill_null(column, bytes(32)))
    raw = np.frombuffer(array.buffers()[1], ">u8", count=4 * len(array), offset=32 * array.offset)
    return raw.reshape(-1, 4)


def _grouping(table: pa.Table, tasks: Book[str]) -> Grouping:
    """Tasks that no row names any more keep their group."""
    at = [tasks.number(task) for task in table.column("task").to_pylist()]
    names = [tasks.number(group) for group in table.column("group").to_pylist()]
    grouping = Grouping().grown(len(tasks))
    grouping.group[at] = names
    grouping.split[at] = _numbered(table.column("split"), TABLE)
    return grouping
