"""A version's rows for whoever looks at it or takes it elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from l07.backends.parquet import as_said, data_files, read_groups, read_members, verify
from l07.backends.parquet_beside import CURRICULUM
from l07.domain.difference import Side
from l07.errors import DatasetUnreadable

CHUNK = 1000  # rows in memory at once


def iter_rows(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    """As read_rows, one after the other, without the whole table in memory. Raises DatasetUnreadable (E7103)."""
    for path in data_files(folder, table):
        for batch in _batches(path):
            yield from map(_row, batch.to_pylist())


def iter_in_order(folder: Path, rank: str) -> Iterator[dict[str, Any]]:
    """The train rows by `rank` or `rank_shuffled` of the curriculum; the packed table is in memory, not its rows as
    objects."""
    order = pq.read_table(folder / CURRICULUM, columns=["key", rank]).sort_by(rank)
    rows = pa.concat_tables([pq.read_table(path) for path in data_files(folder, "train")])
    places = pc.index_in(order["key"], rows["key"].combine_chunks()).to_numpy()
    for start in range(0, len(places), CHUNK):
        yield from map(_row, rows.take(places[start : start + CHUNK]).to_pylist())


def _row(row: dict[str, Any]) -> dict[str, Any]:
    row["messages"] = [as_said(message) for message in row["messages"]]
    row["tools"] = json.loads(row["tools"])
    return row


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from pq.ParquetFile(path).iter_batches(batch_size=CHUNK)
    except (OSError, pa.ArrowException) as err:
        raise DatasetUnreadable(f"{path} cannot be read: {err}", path=str(path)) from err


def read_side(folder: Path) -> Side:
    """A version for a comparison, checked. Raises DatasetChanged (E7102), DatasetUnreadable (E7103)."""
    return Side(verify(folder), read_members(folder), read_groups(folder))
