"""Equal hashes of two sketches' bands, by either way: all that there are, up to a crowd."""

import numpy as np
import pytest

from l07.domain.bands import CROWD, equal, equal_places


@pytest.mark.parametrize(
    ("asked", "here", "most"),
    [(0, 5, 9), (5, 0, 9), (1, 1, 2), (300, 5000, 2000), (5000, 300, 2000), (900, 900, 2), (700, 700, 2**32)],
)
def test_equal_hashes_are_found_whoever_has_more(asked: int, here: int, most: int) -> None:
    rng = np.random.default_rng(asked + here)
    one, other = (np.sort(rng.integers(0, most, count, np.uint64).astype(np.uint32)) for count in (asked, here))
    pairs = [(at, place) for at, value in enumerate(one) for place in np.flatnonzero(other == value)[:CROWD].tolist()]
    for way in (equal, equal_places):
        assert list(zip(*(part.tolist() for part in way(one, other)), strict=True)) == pairs


def test_of_a_crowd_the_first_are_met() -> None:
    one, other = equal(np.array([3], np.uint32), np.full(CROWD + 9, 3, np.uint32))
    assert one.tolist() == [0] * CROWD
    assert other.tolist() == list(range(CROWD))
