"""Choosing some rows of many: the same ones every time, small strata last to be cut."""

from hypothesis import given
from hypothesis import strategies as st

from l07.domain.selection import keyed_hash, lowest, stratified_cap

KEYS = [f"k{n:03}" for n in range(100)]


def test_a_keyed_hash_is_the_same_for_ever() -> None:
    assert keyed_hash(7, "contrast", "execution:1") == 148670010661708012
    assert len({keyed_hash(s, p, k) for s in (1, 2) for p in ("a", "b") for k in ("x", "y")}) == 8


def test_a_lone_surrogate_has_a_hash_too() -> None:
    assert keyed_hash(7, "p", "\ud800") >= 0


@given(st.integers(0, 100), st.integers(0, 100))
def test_what_few_places_take_more_places_take_too(few: int, many: int) -> None:
    few, many = sorted((few, many))
    assert lowest(KEYS, few, seed=1, purpose="p") <= lowest(KEYS[::-1], many, seed=1, purpose="p")


@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from("abc"), max_size=60), st.integers(0, 70))
def test_a_cap_is_filled_and_never_passed(strata: dict[str, str], limit: int) -> None:
    chosen = stratified_cap(strata, limit, seed=3)
    assert chosen <= strata.keys()
    assert len(chosen) == min(limit, len(strata))


def test_a_small_stratum_is_cut_last() -> None:
    strata = {key: "big" if n < 90 else "small" for n, key in enumerate(KEYS)}
    chosen = stratified_cap(strata, 40, seed=3)
    assert sum(strata[key] == "small" for key in chosen) == 10
    assert sum(strata[key] == "big" for key in chosen) == 30
