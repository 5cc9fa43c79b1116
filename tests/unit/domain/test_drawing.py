"""Choosing some rows of many: the same ones every time, small strata last to be cut."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from l07.domain.drawing import I64, U64, draw_of, lowest, mixed, reservoir, stratified_cap

DRAWS = np.array([draw_of(f"k{n:03}") for n in range(100)], np.uint64)


def some(count: int) -> U64:
    return DRAWS[:count]


def coded(strata: str) -> I64:
    return np.array([ord(letter) for letter in strata], np.int64)


def test_a_draw_is_the_same_for_ever_and_every_purpose_has_its_order() -> None:
    assert draw_of("execution:1") == 8161998963806985596
    orders = {tuple(np.argsort(mixed(DRAWS, seed=s, purpose=p))) for s in (1, 2) for p in ("a", "b")}
    assert len(orders) == 4


@given(st.integers(0, 100), st.integers(0, 100))
def test_what_few_places_take_more_places_take_too(few: int, many: int) -> None:
    few, many = sorted((few, many))
    assert set(lowest(DRAWS, few, seed=1, purpose="p")) <= set(lowest(DRAWS, many, seed=1, purpose="p"))
    assert len(lowest(DRAWS, many, seed=1, purpose="p")) == many


def test_the_order_of_rows_does_not_show_in_what_is_chosen() -> None:
    turned = DRAWS[::-1]
    chosen = DRAWS[lowest(DRAWS, 30, seed=1, purpose="p")]
    assert set(turned[lowest(turned, 30, seed=1, purpose="p")]) == set(chosen)


@given(st.text("abc", max_size=60), st.integers(0, 70))
def test_a_cap_is_filled_and_never_passed(strata: str, limit: int) -> None:
    chosen = stratified_cap(some(len(strata)), coded(strata), limit, seed=3)
    assert len(set(chosen)) == len(chosen) == min(limit, len(strata))


def test_a_small_stratum_is_cut_last() -> None:
    strata = coded("b" * 90 + "s" * 10)
    chosen = stratified_cap(DRAWS, strata, 40, seed=3)
    assert np.bincount(strata[chosen]).tolist()[-18:] == [30, *[0] * 16, 10]


def test_a_reservoir_has_all_of_a_small_domain_and_no_more_of_a_source_than_it_may() -> None:
    sources, domains = np.array([1] * 90 + [2] * 10), np.array([5] * 84 + [6] * 6 + [5] * 10)
    chosen = reservoir(DRAWS, sources, domains, 40, seed=3)
    assert np.bincount(sources[chosen]).tolist() == [0, 40, 10]
    assert (domains[chosen] == 6).sum() == 6
    assert len(reservoir(DRAWS[:0], sources[:0], domains[:0], 40, seed=3)) == 0
