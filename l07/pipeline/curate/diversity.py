"""How unlike each other the rows of a version's splits are, in numbers that its columns tell: a set of one task run a
thousand times teaches one thing, however large it is."""

from typing import Any

import numpy as np

from l07.domain.arrays import counted, distinct
from l07.pipeline.curate.columns import I64, Column, Columns


def diversity(columns: Columns) -> dict[str, Any]:
    """Of the rows in the splits; {} where there are none.

    `tasks`: `effective` is the number of equally frequent tasks with the same entropy (Hill, 1973, order 1). `deeds`: of
    rows whose calls say what was asked, the share of different calls. `strata`: the (source, domain, task type, difficulty)
    that have a row, of all that the names in use could make, and how evenly they are filled, 0-1."""
    learnt = np.flatnonzero(columns.learnt)
    if not len(learnt):
        return {}
    tasks = _counts(columns.task[learnt])
    deeds = columns.deeds[learnt]
    deeds = deeds[deeds > 0]
    return {
        "tasks": {
            "different": len(tasks),
            "effective": round(float(np.exp(_entropy(tasks))), 3),
            "largest_share": round(int(tasks.max()) / len(learnt), 6),
        },
        "deeds": {
            "rows": len(deeds),
            "different_share": round(len(distinct(deeds)) / len(deeds), 6) if len(deeds) else None,
        },
        "strata": _strata(
            [part[learnt] for part in (columns.source, columns.domain, columns.task_type, columns.level)]
        ),
    }


def _strata(parts: list[Column]) -> dict[str, Any]:
    code, possible = np.zeros(len(parts[0]), np.int64), 1
    for part in parts:
        names, numbers = _numbered(part)
        code, possible = code * names + numbers, possible * names
    filled = _counts(code)
    evenness = _entropy(filled) / float(np.log(len(filled))) if len(filled) > 1 else None
    return {
        "filled": len(filled),
        "possible": possible,
        "coverage": round(len(filled) / possible, 6),
        "evenness": None if evenness is None else round(evenness, 6),
    }


def _numbered(part: Column) -> tuple[int, Column]:
    """How many numbers there are, and the same ones without gaps."""
    there = np.bincount(part) > 0
    return int(there.sum()), (np.cumsum(there) - 1)[part]


def _counts(values: Column) -> I64:
    """Sorted: a sum of floats depends on its order."""
    return np.sort(counted(values)[1])


def _entropy(counts: I64) -> float:
    """In nats."""
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())
