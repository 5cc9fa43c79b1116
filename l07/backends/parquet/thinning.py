"""A version's folder without some of its rows, for an erasure: segments and shards that hold one are written anew, batch by
batch, all others are linked. It is no version, but what the successor is built on, and goes when that is done."""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l07.backends.heap import give_back_memory
from l07.backends.parquet.files import (
    AT_ONCE,
    MANIFEST,
    filter_table,
    link,
    read_manifest,
    read_table,
    verify,
    write_json,
    write_table,
)
from l07.backends.parquet.reading import parent_of, read_names, read_parent
from l07.backends.parquet.schema import GROUPS
from l07.backends.parquet.shards import Shard, said_of, shards_of
from l07.backends.parquet.sketches import open_bands, write_kept
from l07.backends.parquet.state import Segment, coded, forget_kept
from l07.domain.dataset import SPLITS
from l07.domain.erasure import Tombstones, is_member_erased
from l07.domain.marks import KEY, SOURCE, SUBJECT
from l07.errors import disk_errors
from l07.pipeline.curate.columns import Flags
from l07.pipeline.curate.forgetting import Erased, new_names, without
from l07.pipeline.curate.roll import Parent

Gone = Mapping[int, Flags]  # by segment's number: which of its rows


class Beginning(NamedTuple):
    """What a version is built on. `folder`: where its files are to be taken from."""

    parent: Parent
    folder: Path
    erased: Erased | None


@contextmanager
def beginning(folder: Path, *, erased: Tombstones | None, beside: Path) -> Iterator[Beginning]:
    """The version in `folder`, without whoever is `erased`. A folder beside `beside` holds what that takes until the end.

    Raises DatasetChanged (E7102), DatasetUnreadable (E7103), StoreFull (E7400), FolderNotWritable (E7402)."""
    if not erased:
        yield Beginning(read_parent(folder), folder, None)
        return
    forget_kept()
    if "segments" not in read_manifest(folder):
        parent, gone = without(read_parent(folder), erased)
        yield Beginning(parent, folder, gone)
    else:
        manifest = verify(folder)
        scratch = _a_folder(beside.parent)
        try:
            thin = scratch / folder.name  # the successor names its parent by it
            with disk_errors(beside):
                left, gone = thinned(folder, manifest, erased, thin)
            give_back_memory()
            yield Beginning(parent_of(thin, left), thin, gone)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _a_folder(beside: Path) -> Path:
    with disk_errors(beside):
        beside.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".thinned-", dir=beside))


def erased_keys(folder: Path, tombstones: Tombstones) -> list[str]:
    """Natural keys of those in a version for whom a tombstone stands. Raises DatasetUnreadable (E7103)."""
    manifest = read_manifest(folder)
    if "segments" not in manifest:
        return [
            key for key, subject, source in read_names(folder) if is_member_erased(key, subject, source, tombstones)
        ]
    segments = _segments(manifest)
    gone = _gone(folder, segments, tombstones)
    return [key for one in segments if one.number in gone for key in _keys(folder, one, gone).to_pylist()]


def thinned(
    folder: Path, manifest: Mapping[str, Any], tombstones: Tombstones, output: Path
) -> tuple[Mapping[str, Any], Erased]:
    """Fill `output` with the files of the version that hold rows, without those of whoever is erased; its manifest, which
    is that of the version but for them."""
    segments = _segments(manifest)
    gone = _gone(folder, segments, tombstones)
    left = _Leaving.of(folder, segments, gone)
    thin = _Segments(folder, output, gone, left.keys)
    kept = [one for segment in segments if (one := thin.write(segment)) is not None] or [thin.nobody(segments)]
    written = [_write_shard(folder, output, shard, left) for shard in shards_of(manifest)]
    shards = [shard for shard in written if shard is not None]
    renamed = _write_groups(folder, output, left.tasks - _tasks_left(folder, segments, gone, left.tasks))
    said = {**manifest, "segments": [asdict(one) for one in kept], "shards": said_of(shards)}
    write_json(said, output / MANIFEST)
    return said, Erased(len(left.keys), frozenset(left.learnt), renamed)


def _segments(manifest: Mapping[str, Any]) -> list[Segment]:
    return [Segment(**one) for one in manifest["segments"]]


# ------------------------------------------------------------------ who goes


def _gone(folder: Path, segments: Sequence[Segment], tombstones: Tombstones) -> Gone:
    """Of the segments with any."""
    found = {segment.number: _erased_in(folder, segment, tombstones) for segment in segments if segment.rows}
    return {number: rows for number, rows in found.items() if rows.any()}


def _erased_in(folder: Path, segment: Segment, tombstones: Tombstones) -> Flags:
    """As domain/erasure.is_member_erased, which is asked of each key, and once of each source and subject."""
    stones = tombstones.stones
    gone = np.zeros(segment.rows, bool)
    if stones.get(SUBJECT):
        gone |= _named(folder / segment.file("standing"), "subject", stones[SUBJECT].__contains__)
    if stones.get(SOURCE):
        gone |= _named(folder / segment.file("runs"), "source", lambda name: tombstones.stands_for(SOURCE, name))
    if stones.get(KEY):
        keys = read_table(folder / segment.file("runs"), ["key"]).column("key").combine_chunks()
        for at in range(0, len(keys), AT_ONCE):
            some = keys.slice(at, AT_ONCE).to_pylist()
            gone[at : at + len(some)] |= np.fromiter((tombstones.stands_for(KEY, key) for key in some), bool, len(some))
    return gone


def _named(path: Path, column: str, is_erased: Any) -> Flags:
    codes, names = coded(read_table(path, [column], coded=[column]).column(column))
    return np.array([bool(name) and is_erased(name) for name in names] or [False], bool)[codes]


def _keys(folder: Path, segment: Segment, gone: Gone) -> pa.Array:
    return _column(folder / segment.file("runs"), "key", gone[segment.number])


def _column(path: Path, column: str, rows: Flags) -> pa.Array:
    return read_table(path, [column]).column(column).combine_chunks().filter(pa.array(rows))


@dataclass(slots=True)
class _Leaving:
    """What is to be known of those who go; they are few, or the whole of a source."""

    keys: set[str] = field(default_factory=set)
    learnt: set[str] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)
    places: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))  # by table and write

    @classmethod
    def of(cls, folder: Path, segments: Sequence[Segment], gone: Gone) -> "_Leaving":
        left = cls()
        for segment in segments:
            if segment.number in gone:
                rows = gone[segment.number]
                runs, standing = folder / segment.file("runs"), folder / segment.file("standing")
                parts = [(runs, "key"), (runs, "task"), (standing, "table"), (standing, "placed")]
                columns = [_column(path, name, rows).to_pylist() for path, name in parts]
                for key, task, table, placed in zip(*columns, strict=True):
                    left.add(key, task, table, placed)
        return left

    def add(self, key: str, task: str, table: str, placed: int) -> None:
        self.keys.add(key)
        self.tasks.add(task)
        if table:
            self.places[table, placed].add(key)
        if table in SPLITS:
            self.learnt.add(key)


def _tasks_left(folder: Path, segments: Sequence[Segment], gone: Gone, tasks: Collection[str]) -> set[str]:
    """Of these tasks those of which a run stays."""
    found: set[str] = set()
    for segment in segments:
        if segment.rows and tasks:
            codes, names = coded(read_table(folder / segment.file("runs"), ["task"], coded=["task"]).column("task"))
            if segment.number in gone:
                codes = codes[~gone[segment.number]]
            found.update(names[code] for code in np.unique(codes).tolist() if names[code] in tasks)
    return found


# ------------------------------------------------------------------ files


class _Segments:
    """The segments one after the other; a row's number falls by those that went before it."""

    def __init__(self, folder: Path, output: Path, gone: Gone, keys: Collection[str]) -> None:
        self._folder, self._output, self._gone = folder, output, gone
        self._keys = pa.array(sorted(keys), pa.string())
        self._first = 0

    def write(self, old: Segment) -> Segment | None:
        """None: nothing is left of it."""
        gone = self._gone.get(old.number)
        rows = old.rows if gone is None else int((~gone).sum())
        new = Segment(old.number, self._first, rows, shift=old.shift + old.first - self._first)
        lines = self._write_provenance(old)
        if not rows and not lines:
            return None
        if gone is None:
            for kind in ("runs", "standing", "sketches"):
                if (self._folder / old.file(kind)).is_file():
                    link(self._folder / old.file(kind), self._output / old.file(kind))
        else:
            new = replace(new, shift=0)
            self._write_rows(old, new, ~gone)
        self._first += rows
        return new

    def nobody(self, segments: Sequence[Segment]) -> Segment:
        """A version of nobody has a segment all the same, which says what columns there are."""
        last = segments[-1]
        for kind in ("runs", "standing", "provenance"):
            empty = read_table(self._folder / last.file(kind)).slice(0, 0)
            write_table(empty, self._output / last.file(kind))
        return Segment(last.number, 0, 0)

    def _write_provenance(self, old: Segment) -> int:
        """The lines that stay: a run's may be in any segment, since each score that came later has one."""
        name = old.file("provenance")
        of = read_table(self._folder / name, ["key"]).column("key")
        keep = ~np.asarray(pc.is_in(of, value_set=self._keys).to_numpy())
        filter_table(self._folder / name, self._output / name, keep)
        return int(keep.sum())

    def _write_rows(self, old: Segment, new: Segment, keep: Flags) -> None:
        for kind in ("runs", "standing"):
            filter_table(self._folder / old.file(kind), self._output / old.file(kind), keep)
        path = self._folder / old.file("sketches")
        if path.is_file():
            bands = open_bands(path, old.shift)
            at = bands.rows.astype(np.int64) - old.first
            rows = np.cumsum(keep) - 1 + new.first
            write_kept(bands, keep[at], rows[at][keep[at]], self._output / old.file("sketches"))


def _write_shard(folder: Path, output: Path, shard: Shard, left: _Leaving) -> Shard | None:
    """None: nobody is left in it."""
    keys = [key for write in shard.writes for key in left.places.get((shard.table, write), ())]
    if not keys:
        link(folder / shard.file, output / shard.file)
        return shard
    of = read_table(folder / shard.file, ["key"]).column("key")
    keep = ~np.asarray(pc.is_in(of, value_set=pa.array(keys, pa.string())).to_numpy())
    filter_table(folder / shard.file, output / shard.file, keep)
    return replace(shard, rows=int(keep.sum())) if keep.any() else None


def _write_groups(folder: Path, output: Path, alone: Collection[str]) -> frozenset[str]:
    """Without these tasks; returns the others of groups that bore one's name."""
    groups: dict[str, list[str]] = defaultdict(list)
    table = read_table(folder / "groups.parquet")
    table = table.filter(pc.invert(pc.is_in(table.column("task"), value_set=pa.array(sorted(alone), pa.string()))))
    theirs = table.filter(pc.is_in(table.column("group"), value_set=pa.array(sorted(alone), pa.string())))
    for task, group in zip(theirs.column("task").to_pylist(), theirs.column("group").to_pylist(), strict=True):
        groups[group].append(task)
    named = new_names(groups, alone)
    codes, names = coded(table.column("group"))
    group = pa.array([named.get(name, name) for name in names], pa.string()).take(pa.array(codes))
    write_table(pa.table([table.column("task"), group, table.column("split")], GROUPS), output / "groups.parquet")
    return frozenset(task for tasks in groups.values() for task in tasks)
