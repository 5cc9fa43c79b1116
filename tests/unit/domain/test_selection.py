"""Chance: the same for ever."""

from l07.domain.selection import keyed_hash, shares


def test_a_keyed_hash_is_the_same_for_ever() -> None:
    assert keyed_hash(7, "contrast", "execution:1") == 148670010661708012
    assert len({keyed_hash(s, p, k) for s in (1, 2) for p in ("a", "b") for k in ("x", "y")}) == 8


def test_a_lone_surrogate_has_a_hash_too() -> None:
    assert keyed_hash(7, "p", "\ud800") >= 0


def test_what_a_small_stratum_leaves_goes_to_the_larger_ones() -> None:
    assert shares({"a": 2, "b": 50, "c": 50}, 20) == {"a": 2, "b": 9, "c": 9}
    assert shares({"a": 2}, -1) == {"a": 0}
