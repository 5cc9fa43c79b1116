"""What numpy says of arrays, in the way that is fast for a million numbers: numpy 2.4 finds distinct numbers by a hash
table, at a hundred times the price of a sort, and sorts stably at five times the price of a sort."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
I64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_BITS = np.uint64(0xFFFFF)  # of a number, by which most of those that are not asked for are told


def distinct(values: Array) -> Array:
    """np.unique: each once, rising."""
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def order_of(values: Array) -> I64:
    """np.argsort(values, kind="stable"), where hardly any two are equal."""
    order = np.argsort(values)
    ordered = values[order]
    return np.argsort(values, kind="stable") if (ordered[1:] == ordered[:-1]).any() else order


def counted(values: Array) -> tuple[Array, I64]:
    """np.unique(values, return_counts=True), of numbers of 0 and more; without a sort where they are not many more than there
    are values."""
    if not len(values) or int(values.max()) > 4 * len(values) + 65_536:
        return np.unique(values, return_counts=True)
    counts = np.bincount(values)
    there = np.flatnonzero(counts)
    return there.astype(values.dtype), counts[there]


def inverse(order: Array) -> I64:
    """Of a permutation: where each number stands in it."""
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def is_among(values: Array, asked: Array) -> Flags:
    """np.isin, of unsigned 64-bit numbers that are spread over all of them; `asked` are few."""
    maybe = np.zeros(int(_BITS) + 1, bool)
    maybe[(asked & _BITS).astype(np.int64)] = True
    found = maybe[(values & _BITS).astype(np.int64)]
    at = np.flatnonzero(found)
    found[at] = np.isin(values[at], asked)
    return found


def is_frequent(values: Array, least: int) -> Flags:
    """Which of unsigned 64-bit numbers may be there `least` times or more: all that are, and a few others."""
    bits = np.uint64((4 << len(values).bit_length()) - 1)  # so many counts that two numbers seldom share one
    places = (values & bits).astype(np.int64)
    return (np.bincount(places) >= least)[places] if len(places) else np.zeros(0, bool)
