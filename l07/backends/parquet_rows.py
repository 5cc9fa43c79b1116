"""A version's rows for whoever looks at it or takes it elsewhere."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from l07.backends.parquet import data_files, read_groups, read_members, verify
from l07.backends.parquet.reading import members_table
from l07.backends.parquet_beside import CURRICULUM
from l07.domain.attempts import row_as_said
from l07.domain.dataset import SPLITS
from l07.domain.difference import FIELDS, Side
from l07.errors import DatasetUnreadable

CHUNK = 1000  # rows in memory at once


def iter_rows(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    """As read_rows, one after the other, without the whole table in memory. Raises DatasetUnreadable (E7103)."""
    for path in data_files(folder, table):
        for batch in _batches(path):
            yield from map(row_as_said, batch.to_pylist())


def iter_in_order(folder: Path, rank: str) -> Iterator[dict[str, Any]]:
    """The train rows by `rank` or `rank_shuffled` of the curriculum; the packed table is in memory, not its rows as
    objects."""
    order = pq.read_table(folder / CURRICULUM, columns=["key", rank]).sort_by(rank)
    rows = pa.concat_tables([pq.read_table(path) for path in data_files(folder, "train")])
    places = pc.index_in(order["key"], rows["key"].combine_chunks()).to_numpy()
    for start in range(0, len(places), CHUNK):
        yield from map(row_as_said, rows.take(places[start : start + CHUNK]).to_pylist())


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from pq.ParquetFile(path).iter_batches(batch_size=CHUNK)
    except (OSError, pa.ArrowException) as err:
        raise DatasetUnreadable(f"{path} cannot be read: {err}", path=str(path)) from err


def read_sides(old: Path, new: Path) -> tuple[Side, Side]:
    """Two versions for a comparison, checked. Of a row that stands alike in both, which its digest tells, nothing
    becomes an object. Raises DatasetChanged (E7102), DatasetUnreadable (E7103)."""
    manifests = verify(old), verify(new)
    if not all("segments" in manifest for manifest in manifests):
        one, other = (Side(m, read_members(f), read_groups(f)) for m, f in zip(manifests, (old, new), strict=True))
        return one, other
    keys = _differing(*(members_table(folder, ("key", "digest")) for folder in (old, new)))
    one, other = (_side(m, f, keys) for m, f in zip(manifests, (old, new), strict=True))
    return one, other


def _side(manifest: Mapping[str, Any], folder: Path, keys: pa.Array) -> Side:
    members = members_table(folder, ("key", *FIELDS))
    learnt = members.filter(pc.is_in(members["table"], value_set=pa.array(SPLITS)))
    sources = learnt.group_by("source").aggregate([([], "count_all")]).to_pylist()
    rows = members.filter(pc.is_in(members["key"], value_set=keys)).to_pylist()
    return Side(manifest, rows, read_groups(folder), {row["source"]: row["count_all"] for row in sources})


def _differing(old: pa.Table, new: pa.Table) -> pa.Array:
    """Keys that only one of them knows, and those of rows that stand otherwise; a row in no table has no digest."""
    return pa.concat_arrays([_unlike(old, new), _unlike(new, old)]).unique()


def _unlike(some: pa.Table, others: pa.Table) -> pa.Array:
    at = pc.index_in(some["key"], value_set=others["key"].combine_chunks()).combine_chunks()
    mine, theirs = (table["digest"].combine_chunks().cast(pa.binary()) for table in (some, others))
    alike = pc.equal(pc.fill_null(mine, b""), pc.fill_null(theirs.take(at), b""))
    return some["key"].combine_chunks().filter(pc.or_(pc.is_null(at), pc.invert(alike)))
