"""Everyone for what stands beside a version's tables: of rows that the version before knows as its files say it, of
the others as they were taken in."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from l07.backends.parquet.state import LENGTH, State
from l07.backends.parquet_beside import F64, Everyone
from l07.domain.dataset import Member
from l07.pipeline.curate.columns import Book, Column, Columns


def everyone(columns: Columns, changed: Mapping[int, Member], state: State | None) -> Everyone:
    """`columns`: as they are now; `changed`: by row, of all rows without a `state`."""
    known = state.told if state else None
    first = len(state.columns) if state else 0
    new = [changed[row] for row in range(first, len(columns))]
    keys = pa.array([member.key for member in new], pa.string())
    batch, batches = _names((known.batch, known.batches) if known else None, [member.batch_id for member in new])
    model, models = _names((known.model, known.models) if known else None, [member.model_version for member in new])
    confidence = _numbers(known.confidence if known else None, [member.confidence for member in new])
    for row, member in changed.items():
        confidence[row] = member.confidence  # it may be scored anew
    return Everyone(
        columns=columns,
        keys=pa.concat_arrays([known.keys, keys]) if known else keys,
        difficulty=_numbers(known.difficulty if known else None, [member.difficulty for member in new]),
        confidence=confidence,
        length=_numbers(known.length if known else None, [_length(member) for member in new]),
        batch=batch,
        batches=batches,
        model=model,
        models=models,
    )


def placed_of(placed: Mapping[int, int], rows: int, state: State | None) -> Column:
    """The number of the write that put each row into its table. `placed`: of those that have changed."""
    known = state.placed if state else np.zeros(0, "i4")
    out = np.concatenate([known, np.zeros(rows - len(known), "i4")])
    out[np.fromiter(placed.keys(), np.int64, len(placed))] = np.fromiter(placed.values(), np.int64, len(placed))
    return out


def _length(member: Member) -> float:
    return member.features[LENGTH] if len(member.features) > LENGTH else 0.0


def _numbers(known: Column | None, new: Sequence[float]) -> F64:
    return np.concatenate([np.empty(0) if known is None else known, np.array(new, np.float64)])


def _names(known: tuple[Column, Sequence[str]] | None, new: Sequence[str]) -> tuple[Column, list[str]]:
    """Numbers and the names that they stand for."""
    codes, names = known or (np.empty(0, "i4"), ())
    book = Book(names)
    return np.concatenate([codes, np.array(book.of(new), "i4")]), book.names
