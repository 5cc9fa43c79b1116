"""A version's rows for whoever looks at it or takes it elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from l07.backends.parquet import as_said, read_members, verify
from l07.domain.difference import Side
from l07.errors import DatasetUnreadable

CHUNK = 1000  # rows in memory at once


def iter_rows(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    """As read_rows, one after the other, without the whole table in memory. Raises DatasetUnreadable (E7103)."""
    for path in sorted((folder / "data").glob(f"{table}-*.parquet")):
        for batch in _batches(path):
            for row in batch.to_pylist():
                row["messages"] = [as_said(message) for message in row["messages"]]
                row["tools"] = json.loads(row["tools"])
                yield row


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from pq.ParquetFile(path).iter_batches(batch_size=CHUNK)
    except (OSError, pa.ArrowException) as err:
        raise DatasetUnreadable(f"{path} cannot be read: {err}", path=str(path)) from err


def read_groups(folder: Path) -> list[dict[str, Any]]:
    """Every group of the version: id, tasks, split."""
    groups: list[dict[str, Any]] = json.loads((folder / "groups.json").read_text("utf-8"))
    return groups


def read_side(folder: Path) -> Side:
    """A version for a comparison, checked. Raises DatasetChanged (E7102), DatasetUnreadable (E7103)."""
    return Side(verify(folder), read_members(folder), read_groups(folder))
