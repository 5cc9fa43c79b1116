"""Boosted trees on small whole numbers: the same rows give the same scores on every machine, to the last bit.

Source: Friedman, 2001 (gradient boosting); Ke et al., 2017 (histograms, best leaf first); Shi et al., 2022 (quantised
gradients). Departures: gradients are multiples of 1/4096 and scores of 1/65536, so sums depend on no order; a column's
cuts are taken once, from all folds' rows. `grow.pyx` does the same, twenty times as fast.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

try:
    from l07.domain.doubt import grow
except ImportError:  # no C compiler where this was installed
    grow = None  # type: ignore[assignment]

Codes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

BINS = 64  # of a column
GRADIENT = 4096  # parts of one
SCORE = 65536  # parts of a unit of log odds
REACH = 8  # log odds; beyond, a probability does not change
STEP = SCORE // 1024  # of a score, to the next probability
MOST_ROWS = 8191  # that are learnt from: their gradients' sum has 26 bits


@dataclass(frozen=True, slots=True)
class Growth:
    """How trees grow."""

    trees: int
    rate: float = 0.16
    leaves: int = 15
    least_rows: int = 10  # of a leaf
    ridge: int = 1  # rows of full weight that say nothing, in each leaf


class Split(NamedTuple):
    """The best one of a node: rows whose code is at most `code` go left."""

    gain: float
    column: int
    code: int


def _probabilities() -> tuple[I64, I64]:
    """None is within 8e-6 of a half: an exponential that differs in its last bit rounds to the same."""
    chance = 1 / (1 + np.exp(-np.arange(-REACH * 1024, REACH * 1024 + 1) / 1024))
    weight = np.maximum(1, np.rint(chance * (1 - chance) * GRADIENT))
    return np.rint(chance * GRADIENT).astype(np.int64), weight.astype(np.int64)


CHANCE, WEIGHT = _probabilities()  # by score


def cuts_of(table: F64) -> list[F64]:
    """Of each column the limits between codes, half way between two values: each of few values has its own code, of
    many each code has as many rows."""
    rows = np.sort(table, axis=0)
    places = (np.arange(1, BINS) * len(rows)) // BINS
    found = []
    for column in rows.T:
        values = column[np.append(True, column[1:] != column[:-1])]  # each once, as they are sorted
        starts = np.arange(1, len(values))
        if len(values) > BINS:
            starts = np.unique(np.searchsorted(values, column[places]))
            starts = starts[starts > 0]
        found.append((values[starts - 1] + values[starts]) / 2)
    return found


def codes_of(table: F64, cuts: list[F64]) -> Codes:
    columns = [np.searchsorted(of, column, "right") for of, column in zip(cuts, table.T, strict=True)]
    return np.ascontiguousarray(np.array(columns, np.uint8).T)


def log_odds(codes: Codes, says: Flags, asked: Codes, growth: Growth) -> F64:
    """Of `says`, for each asked row, learnt from the others; of these both kinds must be there."""
    yes = int(says.sum())
    found = np.full(len(asked), round(math.log(yes / (len(says) - yes)) * SCORE), np.int64)
    if grow is None:
        grown(codes, says, asked, found, growth)
    else:
        grow.grown(codes, says, asked, found, growth, CHANCE, WEIGHT)
    return found / SCORE


def grown(codes: Codes, says: Flags, asked: Codes, found: I64, growth: Growth) -> None:
    """Adds to `found`, which is equal everywhere, what the trees say of the asked rows."""
    scores = np.resize(found, len(codes))
    for _ in range(growth.trees):
        place = (np.clip(scores, -REACH * SCORE, REACH * SCORE) + REACH * SCORE) // STEP
        tree = _Tree(codes, CHANCE[place] - says * GRADIENT, WEIGHT[place], growth)
        for rows, value in tree.leaves():
            scores[rows] += value
        found += tree.values(asked)


class _Tree:
    """One tree, best leaf first. Nodes are numbers; the children of the n-th that is split are 2n+1 and 2n+2."""

    def __init__(self, codes: Codes, gradients: I64, weights: I64, growth: Growth) -> None:
        self._codes, self._gradients, self._weights, self._growth = codes, gradients, weights, growth
        self._places = codes + np.arange(codes.shape[1]) * BINS
        self._rows = [np.arange(len(codes))]
        self._children: dict[int, tuple[Split, int]] = {}
        open_ = {0: self._best(0)}
        while len(self._children) + 1 < growth.leaves:
            node = max(open_, key=lambda one: (open_[one].gain, -one))
            split = open_.pop(node)
            if split.gain <= 0:
                break
            left = len(self._rows)
            self._children[node] = (split, left)
            rows = self._rows[node]
            goes = codes[rows, split.column] <= split.code
            self._rows += [rows[goes], rows[~goes]]
            open_ |= {left: self._best(left), left + 1: self._best(left + 1)}

    def _best(self, node: int) -> Split:
        rows, least = self._rows[node], self._growth.least_rows
        if len(rows) < 2 * least:
            return Split(0.0, 0, 0)
        ridge = self._growth.ridge * GRADIENT
        gradient, weight, count = (self._sums(rows, values) for values in (self._gradients, self._weights, None))
        whole, heavy = gradient[0, -1], weight[0, -1]
        gains = gradient * gradient / (weight + ridge) + (whole - gradient) * (whole - gradient) / (
            heavy - weight + ridge
        )
        gains[(count < least) | (count > len(rows) - least)] = -1.0
        column, code = divmod(int(np.argmax(gains)), BINS)
        return Split(float(gains[column, code] - whole * whole / (heavy + ridge)), column, code)

    def _sums(self, rows: I64, values: I64 | None) -> F64:
        """[column, code]: over the rows with at most this code. Whole numbers, and so exact."""
        places = self._places[rows]
        each = None if values is None else np.repeat(values[rows], places.shape[1])
        size = places.shape[1] * BINS
        return np.cumsum(np.bincount(places.ravel(), each, size).reshape(-1, BINS), axis=1, dtype=np.float64)

    def _value(self, node: int) -> int:
        rows = self._rows[node]
        gradient, weight = int(self._gradients[rows].sum()), int(self._weights[rows].sum())
        return math.floor(-self._growth.rate * SCORE * gradient / (weight + self._growth.ridge * GRADIENT) + 0.5)

    def leaves(self) -> list[tuple[I64, int]]:
        return [(rows, self._value(n)) for n, rows in enumerate(self._rows) if n not in self._children]

    def values(self, codes: Codes) -> I64:
        """What the tree says of rows that it need not have seen."""
        found = np.zeros(len(codes), np.int64)
        waiting = [(0, np.arange(len(codes)))]
        while waiting:
            node, rows = waiting.pop()
            if node not in self._children:
                found[rows] = self._value(node)
                continue
            (_, column, code), left = self._children[node]
            goes = codes[rows, column] <= code
            waiting += [(left, rows[goes]), (left + 1, rows[~goes])]
        return found
