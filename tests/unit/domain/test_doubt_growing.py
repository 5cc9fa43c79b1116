"""Trees in whole numbers: they learn, and what is compiled says the same to the last bit."""

import math
import os
import random

import numpy as np
import pytest

from l07.domain.doubt import growing
from l07.domain.doubt.growing import BINS, Growth, codes_of, cuts_of, grown, log_odds

needed = pytest.mark.skipif(
    growing.grow is None and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)


def a_table(seed: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of whole and of other numbers; what is said follows from two of them."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, columns))
    table[:, : columns // 3] = np.round(table[:, : columns // 3])
    return table, table[:, 0] + table[:, -1] + rng.normal(size=rows) * 0.3 > 0.8


def slowly(codes: np.ndarray, says: np.ndarray, asked: np.ndarray, growth: Growth) -> np.ndarray:
    found = np.full(len(asked), 100, np.int64)
    grown(codes, says, asked, found, growth)
    return found


@needed
@pytest.mark.parametrize("seed", range(12))
def test_what_is_compiled_grows_the_same_trees(seed: int) -> None:
    rng = random.Random(seed)
    rows, columns = rng.choice((12, 21, 60, 300, 700)), rng.choice((1, 3, 9))
    table, says = a_table(seed, rows, columns)
    codes = codes_of(table, cuts_of(table[: rows // 2]))
    growth = Growth(rng.choice((1, 8)), rng.choice((0.05, 0.9)), rng.choice((2, 15)), rng.choice((1, 10)))
    fast = np.full(rows, 100, np.int64)
    growing.grow.grown(codes, says, codes, fast, growth, growing.CHANCE, growing.WEIGHT)
    assert fast.tolist() == slowly(codes, says, codes, growth).tolist()
    assert len(set(fast.tolist())) > 1 or rows < 2 * growth.least_rows or growth.least_rows > 1


@needed
def test_more_rows_than_the_sums_have_bits_for_are_refused() -> None:
    codes = np.zeros((growing.MOST_ROWS + 1, 1), np.uint8)
    says, found = np.zeros(len(codes), bool), np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="bits"):
        growing.grow.grown(codes, says, codes[:1], found, Growth(1), growing.CHANCE, growing.WEIGHT)


@needed
def test_the_most_rows_have_exact_sums() -> None:
    codes = (np.arange(growing.MOST_ROWS) % 2).astype(np.uint8)[:, None]
    says, growth = codes[:, 0] == 1, Growth(6, 0.9)
    fast = np.full(2, 100, np.int64)
    growing.grow.grown(codes, says, codes[:2], fast, growth, growing.CHANCE, growing.WEIGHT)
    assert fast.tolist() == slowly(codes, says, codes[:2], growth).tolist()


def test_trees_tell_what_they_have_not_seen() -> None:
    table, says = a_table(1, 900, 6)
    codes = codes_of(table, cuts_of(table[:600]))
    scores = log_odds(codes[:600], says[:600], codes[600:], Growth(30))
    assert ((scores > 0) == says[600:]).mean() > 0.85
    assert scores[says[600:]].mean() > 2 > -2 > scores[~says[600:]].mean()


def test_codes_are_few_and_rise_with_the_values() -> None:
    table = np.column_stack([np.arange(500) // 100, np.sort(np.random.default_rng(1).normal(size=500))])
    codes = codes_of(table, cuts_of(table))
    assert codes[:, 0].tolist() == (np.arange(500) // 100).tolist()
    assert len(set(codes[:, 1].tolist())) == BINS
    assert (np.diff(codes[:, 1].astype(int)) >= 0).all()
    assert codes_of(np.array([[0.4, -99.0], [0.6, 99.0]]), cuts_of(table)).tolist() == [[0, 0], [1, BINS - 1]]


def test_of_one_kind_alone_half_says_nothing() -> None:
    codes = np.zeros((40, 2), np.uint8)
    scores = log_odds(codes, np.arange(40) < 10, codes[:3], Growth(5))
    assert scores == pytest.approx(np.log(10 / 30), abs=1e-4)


def test_a_chance_is_the_logistic_function_of_its_score() -> None:
    """As Python's exponential tells it, to the last part."""
    chance = [1 / (1 + math.exp(-number / 1024)) for number in range(-8192, 8193)]
    assert growing.CHANCE.tolist() == [round(p * 4096) for p in chance]
    assert growing.WEIGHT.tolist() == [max(1, round(p * (1 - p) * 4096)) for p in chance]
