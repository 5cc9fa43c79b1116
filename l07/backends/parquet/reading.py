"""A version's folder, read: as the next version's beginning, or row by row for whoever looks at it."""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from l07.backends.parquet.files import batches_of, read_manifest, read_table, verify
from l07.backends.parquet.schema import RUN, STANDING
from l07.backends.parquet.shards import shards_of
from l07.backends.parquet.state import State, state_of
from l07.domain.attempts import as_said, row_as_said
from l07.domain.dataset import TABLES, Group, Member
from l07.domain.scheme import SCHEME
from l07.errors import DatasetUnreadable
from l07.pipeline.curate.columns import TABLE_NAMES
from l07.pipeline.curate.roll import Parent, Roll
from l07.pipeline.curate.twins import Body

SEARCHED = 1000  # rows that are objects at one time

_HIDDEN = ("draw", "features", "sketched", "placed", "digest")


def data_files(folder: Path, table: str) -> list[Path]:
    """The files of one table, in the order in which `datasets` reads them."""
    return sorted((folder / "data").glob(f"{table}-*.parquet"))


def read_parent(folder: Path) -> Parent:
    """A published version as the next one's beginning, checked. Raises DatasetChanged, DatasetUnreadable."""
    manifest = verify(folder)
    if manifest["sketch"] != SCHEME:
        raise DatasetUnreadable(f"{folder}: its sketches are made by {manifest['sketch']}, this release makes {SCHEME}")
    return parent_of(folder, manifest, state_of)


def parent_of(
    folder: Path, manifest: Mapping[str, Any], read: Callable[[Path, Mapping[str, Any]], State] = State.read
) -> Parent:
    """The same of files that nobody has to check, and that need not be what the manifest says of them."""
    if "segments" not in manifest:
        roll, find = _unsegmented(folder), partial(_scan, folder)
    else:
        state = read(folder, manifest)
        roll, find = state.roll(), partial(_bodies_of, state)
    return Parent(version=manifest["version"], roll=roll, meaning=manifest["meaning"], bodies=find)


def _unsegmented(folder: Path) -> Roll:
    """Of a version of schema 2, or of the first days of schema 3."""
    groups = [
        Group(one["id"], tuple(one["tasks"]), one["split"])
        for one in json.loads((folder / "groups.json").read_text("utf-8"))
    ]
    rows = read_table(folder / "members.parquet").to_pylist()
    return Roll.of((Member(**row | _lists(row)) for row in rows), groups)


def _lists(row: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: tuple(row[name]) for name in ("reasons", "features")}
    return named | {"scores": dict(row.get("scores") or ())}


def _bodies_of(state: State, rows: Mapping[str, int]) -> dict[str, Body]:
    """Of the shards only those that have one of these rows, and of a shard only the row groups with one."""
    found: dict[str, list[str]] = defaultdict(list)
    where = {(shard.table, write): shard.file for shard in shards_of(state.manifest) for write in shard.writes}
    for key, row in sorted(rows.items()):
        if table := TABLE_NAMES[state.columns.table[row]]:
            found[where[table, int(state.placed[row])]].append(key)
    return {key: body for file, here in sorted(found.items()) for key, body in _texts(state.folder / file, here)}


def _texts(path: Path, keys: Sequence[str]) -> Iterator[tuple[str, Body]]:
    """`keys`: sorted."""
    for group in _groups_with(path, keys):
        yield from ((row["key"], _body(row)) for row in group.to_pylist())


def _groups_with(path: Path, keys: Sequence[str]) -> Iterator[pa.Table]:
    """Of each row group that has some of these keys, their rows. Texts are read of no other group, and keys of none that
    by its statistics has nobody between its first and its last."""
    wanted = pa.array(keys, pa.string())
    try:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                if _may_have(file.metadata.row_group(number), keys):
                    has = pc.is_in(file.read_row_group(number, ["key"]).column("key"), value_set=wanted)
                    if pc.any(has).as_py():
                        yield file.read_row_group(number, ["key", "goal", "messages"]).filter(has)
    except (OSError, pa.ArrowException) as err:
        raise DatasetUnreadable(f"{path} cannot be read: {err}", path=str(path)) from err


def _may_have(group: Any, keys: Sequence[str]) -> bool:
    """`group`: metadata. `keys`: sorted, as the statistics are, for UTF-8's order is that of code points."""
    first = group.column(0)
    said = first.statistics if first.path_in_schema == "key" else None
    if said is None or not said.has_min_max:
        return True
    at = bisect_left(keys, said.min)
    return at < len(keys) and keys[at] <= said.max


def _scan(folder: Path, keys: Iterable[str]) -> dict[str, Body]:
    paths = [path for table in TABLES for path in data_files(folder, table)]
    return {key: body for path in paths for key, body in _texts(path, sorted(keys))}


def _body(row: Mapping[str, Any]) -> Body:
    return Body(row["goal"], [as_said(message) for message in row["messages"]])


# ------------------------------------------------------------------ row by row


def read_rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """The rows of one table as they were taken in: arguments and tools as objects, absent fields of a message left
    out. Unverified."""
    return [row_as_said(row) for path in data_files(folder, table) for row in read_table(path).to_pylist()]


def read_members(folder: Path, keys: pa.Array | None = None) -> list[dict[str, Any]]:
    """Everyone whom the version knows, or those of `keys`: where the row is, why, and of which group. Without the
    sketches."""
    if not _segmented(folder):
        rows = read_table(folder / "members.parquet").drop_columns(["sketch", "features"]).to_pylist()
        return [{"model_version": "", "subject": "", **row, "scores": dict(row.get("scores") or ())} for row in rows]
    columns = [name for name in (*RUN.names, *STANDING.names) if name not in _HIDDEN]
    table = members_table(folder, columns)
    return [_told(row) for row in (table if keys is None else _where(table, "key", keys)).to_pylist()]


def read_about(folder: Path, keys: Collection[str]) -> list[dict[str, Any]]:
    """These members, each with its lines of provenance as `events`, and the tasks (`group_tasks`) and the number of rows
    (`group_rows`) of its group; only what is asked for becomes Python."""
    wanted = pa.array(sorted(keys), pa.string())
    found = [member for member in read_members(folder, wanted) if member["key"] in keys]
    lines = read_lines(folder) if found else None
    groups = {group["id"]: group["tasks"] for group in (read_groups(folder) if found else ())}
    return [
        member
        | {
            "events": _where(lines, "key", pa.array([member["key"]])).to_pylist(),
            "group_tasks": groups.get(member["group"] or "", []),
            "group_rows": _rows_in(folder, member["group"]),
        }
        for member in found
    ]


def _where(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table.column(column), value_set=values))


def _rows_in(folder: Path, group: str | None) -> int:
    """Rows of the group that are in a table: only those have one."""
    if not group:
        return 0
    table = (
        members_table(folder, ["group"]) if _segmented(folder) else read_table(folder / "members.parquet", ["group"])
    )
    return int(_where(table, "group", pa.array([group])).num_rows)


def members_table(folder: Path, columns: Sequence[str]) -> pa.Table:
    """Everyone as a table; `columns` of RUN and STANDING. Its manifest need not be there yet."""
    found: dict[str, pa.Array] = {}
    for kind, schema in (("runs", RUN), ("standing", STANDING)):
        for name in schema.names:
            if name in columns:  # one after the other, so that no more than one is there twice
                found[name] = _parts(folder, kind, [name]).column(name).combine_chunks()
    return pa.table(found)


def read_names(folder: Path) -> Iterable[tuple[str, str, str]]:
    """Natural key, mark of the subject and source of everyone whom a version without segments knows."""
    names = ("key", "subject", "source")
    table = read_table(folder / "members.parquet")
    empty = [""] * table.num_rows  # a release that knew of no subjects
    columns = [table.column(name).to_pylist() if name in table.column_names else empty for name in names]
    return zip(*columns, strict=True)


def bytes_of(path: Path) -> bytes:
    """Everything that stands in a table, for a search."""
    return b"".join(pieces_of(path))


def pieces_of(path: Path) -> Iterator[bytes]:
    """The same, whole rows at a time."""
    for batch in batches_of(path, SEARCHED):
        yield repr(batch.to_pylist()).encode("utf-8", "surrogateescape")


def _segmented(folder: Path) -> bool:
    return "segments" in read_manifest(folder)


def _parts(folder: Path, kind: str, columns: Sequence[str] | None = None) -> pa.Table:
    paths = sorted((folder / kind).glob("*.parquet"))
    return pa.concat_tables([read_table(path, columns) for path in paths])


def _told(row: dict[str, Any]) -> dict[str, Any]:
    digests = {name: row[name].hex() if row[name] is not None else "" for name in ("content", "exact", "deeds")}
    return row | digests | {"scores": dict(row["scores"])}


def read_groups(folder: Path) -> list[dict[str, Any]]:
    """Every group of the version: id, tasks, split."""
    if not _segmented(folder):
        groups: list[dict[str, Any]] = json.loads((folder / "groups.json").read_text("utf-8"))
        return groups
    found: dict[str, dict[str, Any]] = {}
    for row in read_table(folder / "groups.parquet").to_pylist():
        found.setdefault(row["group"], {"id": row["group"], "tasks": [], "split": row["split"]})["tasks"].append(
            row["task"]
        )
    return [found[name] for name in sorted(found)]


def read_lineage(folder: Path) -> list[dict[str, Any]]:
    """Events and offsets behind every row, one line a row and batch, sorted."""
    lines: list[dict[str, Any]] = read_lines(folder).to_pylist()
    return lines


def read_lines(folder: Path) -> pa.Table:
    """The same as a table."""
    single = folder / "provenance.parquet"
    if single.is_file():
        return read_table(single)
    return _parts(folder, "provenance").sort_by([("key", "ascending"), ("batch_id", "ascending")])
