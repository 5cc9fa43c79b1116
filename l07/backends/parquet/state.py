"""What a version knows of everyone, in segments: each has the runs that one write brought, or that several did which
were merged since. Runs, sketches and provenance of a segment never change; where its rows stand is a file of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l07.backends.parquet.files import read_table
from l07.backends.parquet.schema import GROUPS, RUN, STANDING
from l07.backends.parquet.sketches import open_bands
from l07.domain.bands import Bands
from l07.domain.dataset import Member
from l07.domain.example import FEATURES, bucket
from l07.errors import DatasetUnreadable
from l07.pipeline.curate.columns import DECISION, I64, LEVEL, TABLE, Book, Column, Columns
from l07.pipeline.curate.roll import F64, Grouping, Roll

CODED = (
    "task", "source", "domain", "task_type", "batch_id", "model_version", "decision", "table", "group", "split", "subject",
)  # fmt: skip
SEPARATOR = "\x1f"
FEATURE_COUNT = 13
LENGTH = FEATURES.index("trace_chars")


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


class State:
    """The columns of a version's segments, in memory but for features and sketches."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.segments = [Segment(**one) for one in manifest["segments"]]
        names = [name for name in RUN.names if name != "features"]
        self.runs = _joined([read_table(folder / s.file("runs"), names, coded=CODED) for s in self.segments])
        self.standing = _joined([read_table(folder / s.file("standing"), coded=CODED) for s in self.segments])
        if len(self.runs) != len(self.standing) or len(self.runs) != sum(s.rows for s in self.segments):
            raise DatasetUnreadable(f"{folder}: its segments have other numbers of rows than the manifest says")
        self._length: dict[int, F64] = {}  # by segment

    def roll(self) -> "StoredRoll":
        columns = _columns(self.runs, self.standing)
        return StoredRoll(
            columns=columns,
            grouping=_grouping(read_table(self.folder / "groups.parquet"), columns.tasks),
            bands=self.bands,
            find=self.find,
            members=self.members,
            features=self.features,
            state=self,
        )

    @cached_property
    def bands(self) -> list[Bands]:
        there = [(self.folder / segment.file("sketches"), segment.shift) for segment in self.segments]
        return [open_bands(path, shift) for path, shift in there if path.is_file()]

    @cached_property
    def keys(self) -> pa.Array:
        return self.runs.column("key").combine_chunks()

    @cached_property
    def placed(self) -> Column:
        return np.asarray(self.standing.column("placed").to_numpy())

    def find(self, keys: Sequence[str]) -> list[int]:
        """Of many rows few are asked for: those are put into the table that all are held against."""
        wanted = list(dict.fromkeys(keys))
        places = pc.index_in(self.keys, value_set=pa.array(wanted, pa.string()))
        rows = np.flatnonzero(pc.is_valid(places).to_numpy(zero_copy_only=False))
        found = dict(
            zip((wanted[place] for place in places.take(pa.array(rows)).to_pylist()), rows.tolist(), strict=True)
        )
        return [found.get(key, -1) for key in keys]

    def features(self, rows: I64) -> F64:
        """Read segment by segment: of a million rows they are a hundred megabytes."""
        out = np.empty((len(rows), FEATURE_COUNT))
        for segment in self.segments:
            mine = np.flatnonzero((rows >= segment.first) & (rows < segment.first + segment.rows))
            if len(mine):
                out[mine] = _features(self._features_in(segment).take(pa.array(rows[mine] - segment.first)))
        return out

    def length(self) -> F64:
        """Characters of each run; 0 where it was never measured."""
        for segment in self.segments:
            if segment.number not in self._length:
                self._features_in(segment)
        return np.concatenate([np.empty(0), *(self._length[segment.number] for segment in self.segments)])

    def _features_in(self, segment: Segment) -> pa.Array:
        """Who reads them learns the runs' lengths by the way: they are wanted at the end, and reading costs more."""
        column = read_table(self.folder / segment.file("runs"), ["features"]).column("features").combine_chunks()
        sizes = pc.list_value_length(column).to_numpy()
        self._length[segment.number] = length = np.zeros(len(column))
        known = sizes > LENGTH
        length[known] = column.flatten().to_numpy()[(np.cumsum(sizes) - sizes)[known] + LENGTH]
        return column

    def members(self, rows: Sequence[int]) -> list[Member]:
        at = np.asarray(rows, np.int64)
        runs, standing = self.runs.take(pa.array(at)), self.standing.take(pa.array(at))
        features, sketches = self._features_of(at), self._sketches_of(at)
        both = zip(runs.to_pylist(), standing.to_pylist(), features, sketches, strict=True)
        return [_member(run, stands, values, sketch) for run, stands, values, sketch in both]

    def _features_of(self, rows: I64) -> list[tuple[float, ...]]:
        return [() if np.isnan(values[0]) else tuple(values.tolist()) for values in self.features(rows)]

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


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def _features(column: pa.Array) -> F64:
    """[n, 13]; a run of which nothing was measured is a line of nan."""
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


def coded(column: pa.ChunkedArray) -> tuple[Column, list[str]]:
    """Numbers and the names that they stand for."""
    array = column.combine_chunks()
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    return encoded.indices.to_numpy().astype("i4"), encoded.dictionary.to_pylist()


def _numbered(column: pa.ChunkedArray, numbers: Mapping[str, int]) -> Column:
    codes, names = coded(column)
    return np.array([numbers[name] for name in names] or [0], "u1")[codes]


def _levels(difficulty: F64) -> Column:
    """bucket() of each, asked once a value."""
    values, codes = np.unique(difficulty, return_inverse=True)
    return np.array([LEVEL[bucket(value)] for value in values.tolist()] or [0], "u1")[codes.reshape(-1)]


def _words(column: pa.ChunkedArray) -> Any:
    """Digests as four big-endian words a line; none is zeros."""
    array = pc.fill_null(column, bytes(32)).combine_chunks()
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


def groups_table(columns: Columns, grouping: Grouping) -> pa.Table:
    """One line a task that has a group: sorted, so that the same groups give the same bytes."""
    names = np.array(columns.tasks.names, object)
    order = np.argsort(names)
    splits = np.array(["", "train", "validation", "test"], object)
    parts = [names[order], names[grouping.group[order]], splits[grouping.split[order]]]
    return pa.table([pa.array(part, pa.string()) for part in parts], schema=GROUPS)


def runs_table(members: Sequence[Member], draws: Column) -> pa.Table:
    """What never changes of these rows."""
    columns: dict[str, Any] = {name: [getattr(m, name) for m in members] for name in RUN.names if name != "draw"}
    for name in ("content", "exact", "deeds"):
        columns[name] = [bytes.fromhex(digest) if digest else None for digest in columns[name]]
    columns["draw"] = draws
    return pa.table([pa.array(columns[name], RUN.field(name).type) for name in RUN.names], schema=RUN)


def standing_table(members: Sequence[Member], placed: Sequence[int], digests: Column) -> pa.Table:
    """Where these rows stand."""
    beside = ("placed", "digest", "sketched", "scores")
    columns: dict[str, Any] = {
        name: [getattr(m, name) for m in members] for name in STANDING.names if name not in beside
    }
    columns["scores"] = [list(m.scores.items()) for m in members]
    columns["sketched"] = [bool(m.sketch) for m in members]
    columns["placed"] = placed
    columns["digest"] = [digest.tobytes() if m.table else None for m, digest in zip(members, digests, strict=True)]
    return pa.table([pa.array(columns[name], STANDING.field(name).type) for name in STANDING.names], schema=STANDING)
