"""Chance: the same for ever."""

import os
import random

import pytest

from l07.domain import selection
from l07.domain.selection import Keyed, keyed_hash, lowest, shares

needed = pytest.mark.skipif(
    selection.compiled is None and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)


def test_a_keyed_hash_is_the_same_for_ever() -> None:
    assert keyed_hash(7, "contrast", "execution:1") == 148670010661708012
    assert len({keyed_hash(s, p, k) for s in (1, 2) for p in ("a", "b") for k in ("x", "y")}) == 8


def test_a_lone_surrogate_has_a_hash_too() -> None:
    assert keyed_hash(7, "p", "\ud800") >= 0


def test_what_a_small_stratum_leaves_goes_to_the_larger_ones() -> None:
    assert shares({"a": 2, "b": 50, "c": 50}, 20) == {"a": 2, "b": 9, "c": 9}
    assert shares({"a": 2}, -1) == {"a": 0}


def test_the_lowest_are_those_with_the_smallest_hashes_whatever_their_order() -> None:
    keys = [f"execution:{n}" for n in range(300)]
    ranked = sorted(keys, key=lambda key: keyed_hash(3, "p", key))
    assert lowest(keys, 40, seed=3, purpose="p") == lowest(keys[::-1], 40, seed=3, purpose="p") == set(ranked[:40])
    assert lowest(keys, 300, seed=3, purpose="p") == set(keys)
    assert lowest(keys, -1, seed=3, purpose="p") == set()


@needed
@pytest.mark.parametrize("size", [*range(12), 63, 64, *range(120, 136), *range(250, 262), 1000])
def test_what_is_compiled_has_the_hash_that_the_library_says(size: int) -> None:
    rng = random.Random(size)
    for letters in ("a", "az09:-", "\u00e9\u4e2d\U0001f600", "x\ud800"):
        for key in (b"7/faulty", b"k", rng.randbytes(64)):
            name = "".join(rng.choices(letters, k=size))
            assert selection.compiled.Keyed(key).of(name) == Keyed(key).of(name)


@needed
@pytest.mark.parametrize("key", [b"", bytes(65)])
def test_a_key_that_is_none_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match=f"a key of {len(key)} bytes"):
        selection.compiled.Keyed(key)
