"""The fast ways give what the plain ones give; and figures that are counted are those that are listed."""

import math
from collections import Counter

import numpy as np
import pytest

from l07.domain import arrays, curriculum, drawing
from l07.domain.dataset.version import mean_and_deviation

RNG = np.random.default_rng(11)


def words(count: int, different: int = 2**63) -> np.ndarray:
    return RNG.integers(0, different, count).astype(np.uint64)


@pytest.mark.parametrize(("count", "different"), [(0, 9), (1, 9), (400, 9), (400, 2**63)])
def test_distinct_order_and_membership_are_those_of_numpy(count: int, different: int) -> None:
    values = words(count, different)
    asked = np.concatenate([values[::7], words(5)])
    assert arrays.distinct(values).tolist() == np.unique(values).tolist()
    assert arrays.order_of(values).tolist() == np.argsort(values, kind="stable").tolist()
    assert arrays.is_among(values, asked).tolist() == np.isin(values, asked).tolist()
    counts = Counter(values.tolist())
    frequent = {value for value, number in counts.items() if number >= 3}
    found = set(values[arrays.is_frequent(values, 3)].tolist())
    assert frequent <= found
    assert len(found) <= len(frequent) + count // 10, "or it would be of no use"


def test_an_order_is_that_of_numpy_where_some_are_equal_and_others_differ_in_few_bits() -> None:
    for _ in range(20):
        values = RNG.integers(0, 4, 200).astype(np.uint64) << np.uint64(60) | RNG.integers(0, 9, 200).astype(np.uint64)
        assert arrays.order_of(values).tolist() == np.argsort(values, kind="stable").tolist()
    top = np.array([2**64 - 1, 0, 2**64 - 1, 2**63], np.uint64)
    assert arrays.order_of(top).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("most", [1, 9, 400, 2**40])
@pytest.mark.parametrize("kind", ["i4", "i8", "u1"])
def test_counts_are_those_of_numpy_and_an_inverse_finds_each_place(most: int, kind: str) -> None:
    values = RNG.integers(0, min(most, np.iinfo(kind).max), 300).astype(kind)
    for some in (values, values[:0]):
        found, wanted = arrays.counted(some), np.unique(some, return_counts=True)
        assert [part.tolist() for part in found] == [part.tolist() for part in wanted]
        assert found[0].dtype == wanted[0].dtype
    order = RNG.permutation(50)
    assert order[arrays.inverse(order)].tolist() == [*range(50)]


def test_numbers_that_share_their_low_bits_are_told_apart() -> None:
    asked = np.array([5, 7 << 40], np.uint64)
    values = np.array([5, 5 + (1 << 40), 0, 7 << 40], np.uint64)
    assert arrays.is_among(values, asked).tolist() == [True, False, False, True]


def test_a_mean_of_counted_values_is_that_of_the_list_to_the_last_bit() -> None:
    for size in (1, 7, 5000):
        listed = np.round(RNG.random(size) * 100, int(RNG.integers(1, 15))).tolist()
        mean = math.fsum(listed) / size
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in listed) / size)
        assert mean_and_deviation(Counter(listed)) == (mean, deviation)
    assert mean_and_deviation({}) == (None, None)


def test_a_reservoir_is_what_all_rows_in_order_give() -> None:
    """The meaning before only the lowest of each domain were looked at."""
    for _ in range(30):
        count = int(RNG.integers(0, 300))
        sources, domains = RNG.integers(0, 3, count), RNG.integers(0, 4, count) ** 2
        draws, size = words(count), int(RNG.integers(0, 60))
        order = np.lexsort((drawing.mixed(draws, seed=4, purpose="reservoir"), domains, sources))
        first = np.ones(count, bool)
        first[1:] = (np.diff(sources[order]) != 0) | (np.diff(domains[order]) != 0)
        turn = np.empty(count, np.int64)
        turn[order] = np.arange(count) - np.maximum.accumulate(np.where(first, np.arange(count), 0))
        wanted = drawing.lowest_of_each(sources, turn, size)
        assert drawing.reservoir(draws, sources, domains, size, seed=4).tolist() == wanted.tolist()


def test_stages_are_the_shares_of_the_rows_in_order() -> None:
    for count in (0, 1, 2, 9, 10, 500):
        for different in (1, 3, 1000):
            hard, structural = RNG.integers(0, different, count) / 7, RNG.integers(0, 4, count) / 3
            draws = words(count)
            ends = np.round(np.cumsum(list(curriculum.SHARES.values())) * count).astype(np.int64)
            wanted = np.empty(count, np.int64)
            order = np.lexsort((draws, structural, hard))
            wanted[order] = np.searchsorted(ends[:-1], np.arange(count), side="right")
            assert curriculum._stages(hard, structural, draws).tolist() == wanted.tolist()
