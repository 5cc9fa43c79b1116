"""How soon random cuts part a row from the others: an isolation forest in whole numbers, the same to the last bit
everywhere.

Source: Liu, Ting, Zhou, 2008: 256 rows a tree, cuts uniform between a column's ends, depth log2 of the rows, c(n) for
what is left at a leaf. Departures: a column that has one value in a node is not drawn (nor is it by scikit-learn);
values are multiples of 1/65536, harmonic numbers are added up instead of estimated, and chance is a keyed hash.
`isolate.pyx` does the same, thirteen times as fast.
"""

import numpy as np
import numpy.typing as npt

from l07.domain.drawing import mixed

try:
    from l07.domain import isolate
except ImportError:  # no C compiler where this was installed
    isolate = None  # type: ignore[assignment]

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

TREES, SAMPLES = 50, 256
UNIT = 65536  # parts of one, in values and in lengths
MOST = 2**31 - 1  # no value is above: nobody goes right of it


def anomaly(table: F64, *, seed: int) -> F64:
    """Of each of at least two rows, 0-1: near 1 it is soon alone, below 0.5 it is as the others. 0.5 where all are
    equal. The order of rows is part of what follows from the seed."""
    samples = min(SAMPLES, len(table))
    expected, chance = _expected(samples), _chance(samples, seed)
    total = np.zeros(len(table), np.int64)
    if isolate is None:
        lengths(_whole(table), chance, expected, total)
    else:
        isolate.lengths(_whole(table), chance, expected, total)
    return np.asarray(np.exp2(total / -float(TREES * expected[-1])))


def _whole(table: F64) -> I32:
    return np.ascontiguousarray(np.rint(np.clip(table * UNIT, -MOST, MOST)), np.int32)


def _expected(samples: int) -> I64:
    """c(n) of the paper by n, in units: how long an unsuccessful search in a random tree of n takes."""
    rows = np.arange(1, samples + 1)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / rows[:-1])])
    return np.concatenate([[0], np.rint(2 * (harmonic - (rows - 1) / rows) * UNIT)]).astype(np.int64)


def _chance(samples: int, seed: int) -> U64:
    """64 bits for each tree's choices: `samples` of rows, and one for each node."""
    draws = np.arange(samples + 2 ** (samples - 1).bit_length(), dtype=np.uint64)
    return np.array([mixed(draws, seed=seed, purpose=f"isolation tree {tree}") for tree in range(TREES)])


def lengths(table: I32, chance: U64, expected: I64, total: I64) -> None:
    """Adds to `total` each row's path, in units, over trees of `len(expected) - 1` rows."""
    samples = len(expected) - 1
    depth = (samples - 1).bit_length()
    flat, starts = table.ravel(), np.arange(len(table)) * table.shape[1]
    order = np.arange(len(table))
    for numbers in chance:
        _shuffle(order, numbers[:samples])
        columns, limits, paths = _tree(table[order[:samples]], numbers[samples:], expected, depth)
        node = np.ones(len(table), np.int64)
        for _ in range(depth):
            node = 2 * node + (flat[starts + columns[node]] > limits[node])
        total += paths[node - 2**depth]


def _shuffle(order: I64, numbers: U64) -> None:
    """The first places of `order` become a draw without replacement (Fisher, Yates)."""
    for at, number in enumerate((numbers >> np.uint64(32)).tolist()):
        other = at + (number * (len(order) - at) >> 32)
        order[at], order[other] = order[other], order[at]


def _tree(rows: I32, numbers: U64, expected: I64, depth: int) -> tuple[I64, I64, I64]:
    """A full tree, of which node n has the children 2n and 2n+1: each node's column and limit, and the paths of the
    lowest. Where a branch ends early all go left."""
    columns, limits = np.zeros(2**depth, np.int64), np.full(2**depth, MOST, np.int64)
    paths = np.zeros(2**depth, np.int64)
    waiting = [(1, rows)]
    while waiting:
        node, rows = waiting.pop()
        level = node.bit_length() - 1
        least, span = rows.min(axis=0), np.ptp(rows.astype(np.int64), axis=0)
        varies = np.flatnonzero(span) if level < depth else ()
        if len(varies) == 0:
            paths[(node << (depth - level)) - 2**depth] = level * UNIT + expected[len(rows)]
            continue
        high, low = divmod(int(numbers[node]), 2**32)
        column = int(varies[high * len(varies) >> 32])
        columns[node], limits[node] = column, int(least[column]) + (low * int(span[column]) >> 32)
        right = rows[:, column] > limits[node]
        waiting += [(2 * node, rows[~right]), (2 * node + 1, rows[right])]
    return columns, limits, paths
