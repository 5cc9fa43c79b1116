"""Rows that are objects, and groups, as the tables that are written of them."""

from collections.abc import Sequence
from typing import Any

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
