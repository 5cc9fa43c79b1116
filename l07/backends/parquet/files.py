"""A version's files: written, linked from the version before, and told from what the manifest says of them.

No file of a version is ever written in place: it may be linked into the folders of later ones, and a change of one
would be a change of all."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from l07.domain.dataset import SCHEMA
from l07.errors import DatasetChanged, DatasetUnreadable

MANIFEST = "manifest.json"
READ = (2, SCHEMA)  # what schema 2 lacks has its default
FRESH_NS = 100_000_000  # so soon a second change may leave the time of the first: such a file is hashed again
ROW_GROUP = 1024  # rows that are read for the text of one
NUMBERS_GROUP = 2048  # the same of a file without texts
AT_ONCE = 65_536  # rows in memory of a file that is written anew without some

_HASHED: dict[tuple[int, int, int, int], str] = {}  # device, inode, bytes, time of the last change -> sha256


def write_table(table: pa.Table, path: Path, *, repeated: Sequence[str] | None = None) -> None:
    """`repeated`: columns whose values come again and again, where it is known; the others are not looked through for any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coded = True if repeated is None else list(repeated)
    with pq.ParquetWriter(path, table.schema, use_dictionary=coded, compression="zstd", compression_level=3) as file:
        if table.num_rows:  # an empty row group breaks readers that take its size for a batch
            file.write_table(table, row_group_size=ROW_GROUP if "messages" in table.column_names else NUMBERS_GROUP)


def read_table(path: Path, columns: Sequence[str] | None = None, *, coded: Sequence[str] = ()) -> pa.Table:
    """`coded`: columns of text with few values, which stay numbers and their names.

    Raises DatasetUnreadable (E7103)."""
    with _opened(path, coded) as file:
        return file.read(columns and list(columns), use_threads=False)


def read_rows(
    path: Path, rows: npt.NDArray[np.int64], columns: Sequence[str] | None = None, *, coded: Sequence[str] = ()
) -> pa.Table:
    """These rows, in the order in which they are asked for; only the row groups that have one are read.

    Raises DatasetUnreadable (E7103)."""
    with _opened(path, coded) as file:
        sizes = np.array([file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)])
        ends = np.cumsum(sizes)
        of_row = np.searchsorted(ends, rows, side="right")
        groups, place = np.unique(of_row, return_inverse=True)
        table = file.read_row_groups(groups.tolist(), columns and list(columns), use_threads=False)
        starts = np.cumsum(sizes[groups]) - sizes[groups]
        return table.take(pa.array(rows - (ends - sizes)[of_row] + starts[place]))


@contextmanager
def _opened(path: Path, coded: Sequence[str]) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, read_dictionary=list(coded) or None) as file:
            yield file
    except (OSError, pa.ArrowException) as err:
        raise DatasetUnreadable(f"{path} cannot be read: {err}", path=str(path)) from err


def filter_table(old: Path, new: Path, keep: npt.NDArray[np.bool_]) -> None:
    """The rows of `old` that are flagged, in their order, with at most AT_ONCE of them in memory; the file is linked where
    these are all. Raises DatasetUnreadable (E7103)."""
    if keep.all():
        link(old, new)
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    at = 0
    with pq.ParquetWriter(new, pq.read_schema(old), compression="zstd", compression_level=3) as file:
        for batch in batches_of(old):
            left = batch.filter(pa.array(keep[at : at + len(batch)]))
            at += len(batch)
            if len(left):
                file.write_batch(left)


def batches_of(path: Path, rows: int = AT_ONCE) -> Iterator[pa.RecordBatch]:
    """At most `rows` at a time, none of two row groups. Raises DatasetUnreadable (E7103)."""
    try:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                yield from file.iter_batches(rows, row_groups=[number])
    except (OSError, pa.ArrowException) as err:
        raise DatasetUnreadable(f"{path} cannot be read: {err}", path=str(path)) from err


def write_json(value: Any, path: Path) -> None:
    """One blank a level. `json` indents in Python, which takes ten times as long."""
    path.write_bytes(
        msgspec.json.format(json.dumps(value, sort_keys=True, ensure_ascii=False).encode(), indent=1) + b"\n"
    )


def link(old: Path, new: Path) -> None:
    """The same bytes in another folder; a copy where the file system has no links."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def names_in(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST
    )


def file_entry(path: Path) -> dict[str, Any]:
    """What the manifest says of a file. A file that this process has hashed, and that is of the same inode, size and
    time since, is not read again: of a new version only what is new costs."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        known = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        found = _HASHED.get(known) or hashlib.file_digest(file, "sha256").hexdigest()
    if time.time_ns() - stat.st_mtime_ns > FRESH_NS:
        _HASHED[known] = found
    return {"sha256": found, "bytes": stat.st_size}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, unchecked against the files. Raises DatasetUnreadable (E7103)."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise DatasetUnreadable(f"{path} cannot be read: {err}", path=str(path)) from err
    if not isinstance(manifest, dict) or manifest.get("schema") not in READ:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise DatasetUnreadable(
            f"{path} is of schema {found!r}; this release reads {READ[0]} to {READ[-1]}. Send the runs again into a new --data-dir",
            path=str(path),
        )
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """The manifest, once every file in the folder is what it says. Raises DatasetChanged (E7102) with the file's
    name, DatasetUnreadable."""
    manifest = read_manifest(folder)
    files: Mapping[str, Mapping[str, Any]] = manifest["files"]
    there = names_in(folder)
    for name in sorted(files.keys() ^ set(there)):
        raise DatasetChanged(
            f"{folder / name} {'is missing' if name in files else 'was not there when the version was made'}", file=name
        )
    for name, said in files.items():
        if file_entry(folder / name) != dict(said):
            raise DatasetChanged(f"{folder / name} is not what the manifest says", file=name)
    return manifest
