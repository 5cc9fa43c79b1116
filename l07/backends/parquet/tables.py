"""Rows that are objects, and groups, as the tables that are written of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l07.backends.parquet.schema import GROUPS, RUN, STANDING
from l07.domain.dataset import Member
from l07.pipeline.curate.columns import TABLE_NAMES, Column, Columns
from l07.pipeline.curate.roll import Grouping


def groups_table(columns: Columns, grouping: Grouping) -> pa.Table:
    """One line a task that has a group: sorted, so that the same groups give the same bytes."""
    names = pa.array(columns.tasks.names, pa.string())
    order = pc.sort_indices(names)
    at = order.to_numpy()
    splits = pa.array(TABLE_NAMES).take(pa.array(grouping.split[at]))
    return pa.table([names.take(order), names.take(pa.array(grouping.group[at])), splits], schema=GROUPS)


def columns_of(members: Sequence[Member]) -> Mapping[str, Sequence[Any]]:
    """The fields of all by name, in one pass."""
    names = Member.__struct_fields__
    columns = zip(*map(msgspec.structs.astuple, members), strict=True) if members else ((),) * len(names)
    return dict(zip(names, columns, strict=True))


def runs_table(members: Sequence[Member], draws: Column) -> pa.Table:
    """What never changes of these rows."""
    columns: dict[str, Any] = {**columns_of(members)}
    for name in ("content", "exact", "deeds"):
        columns[name] = [bytes.fromhex(digest) if digest else None for digest in columns[name]]
    columns["draw"] = draws
    return pa.table([pa.array(columns[name], RUN.field(name).type) for name in RUN.names], schema=RUN)


def standing_table(members: Sequence[Member], placed: Sequence[int], digests: Column) -> pa.Table:
    """Where these rows stand."""
    columns: dict[str, Any] = {**columns_of(members)}
    columns["scores"] = [list(scores.items()) for scores in columns["scores"]]
    columns["sketched"] = list(map(bool, columns["sketch"]))
    columns["placed"] = placed
    raw = np.ascontiguousarray(digests).tobytes()
    columns["digest"] = [raw[32 * n : 32 * n + 32] if table else None for n, table in enumerate(columns["table"])]
    return pa.table([pa.array(columns[name], STANDING.field(name).type) for name in STANDING.names], schema=STANDING)
