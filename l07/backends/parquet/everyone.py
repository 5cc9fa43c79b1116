"""Everyone for what stands beside a version's tables: of rows that the version before knows as its files say it, of
the others as they were taken in."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from l07.backends.parquet.state import LENGTH, State, coded
from l07.backends.parquet_beside import F64, Everyone
from l07.domain.dataset import Member
from l07.pipeline.curate.columns import Book, Column, Columns


def everyone(columns: Columns, changed: Mapping[int, Member], state: State | None) -> Everyone:
    """`columns`: as they are now; `changed`: by row, of all rows without a `state`."""
    first = len(state.runs) if state else 0
    new = [changed[row] for row in range(first, len(columns))]
    keys = pa.array([member.key for member in new], pa.string())
    batch, batches = _names(state, "batch_id", [member.batch_id for member in new])
    model, models = _names(state, "model_version", [member.model_version for member in new])
    confidence = _numbers(state.standing.column("confidence") if state else None, [m.confidence for m in new])
    for row, member in changed.items():
        confidence[row] = member.confidence  # it may be scored anew
    return Everyone(
        columns=columns,
        keys=pa.concat_arrays([state.keys, keys]) if state else keys,
        difficulty=_numbers(state.runs.column("difficulty") if state else None, [m.difficulty for m in new]),
        confidence=confidence,
        length=_numbers(state.length() if state else None, [_length(member) for member in new]),
        batch=batch,
        batches=batches,
        model=model,
        models=models,
    )


def _length(member: Member) -> float:
    return member.features[LENGTH] if len(member.features) > LENGTH else 0.0


def _numbers(known: Column | None, new: Sequence[float]) -> F64:
    return np.concatenate([np.empty(0) if known is None else known, np.array(new, np.float64)])


def _names(state: State | None, column: str, new: Sequence[str]) -> tuple[Column, list[str]]:
    """Numbers and the names that they stand for."""
    known, names = coded(state.runs.column(column)) if state else (np.empty(0, "i4"), [])
    book = Book(names)
    return np.concatenate([known, np.array(book.of(new), "i4")]), book.names
