"""Of which pairs texts are looked at, and what that loses."""

from collections.abc import Mapping, Sequence
from math import ceil, comb

import numpy as np
import pytest

from l07.domain.bands import Bands
from l07.domain.scheme import BANDS, PERMUTATIONS, ROWS
from l07.pipeline.curate.twins import MARGIN, Body, Name, Older, Twins

LEAST = 0.7


def lost_by_sketch(similarity: float, least: float) -> float:
    """The chance that a sketch of a pair of this similarity tells less than `least`."""
    of = PERMUTATIONS
    return sum(comb(of, n) * similarity**n * (1 - similarity) ** (of - n) for n in range(ceil(least * of)))


def lost_by_bands(similarity: float) -> float:
    return (1 - similarity**ROWS) ** BANDS


def test_sketches_lose_a_hundredth_of_what_the_bands_lose_at_the_limit() -> None:
    assert lost_by_sketch(LEAST, LEAST - MARGIN) < lost_by_bands(LEAST) / 100


def test_control_a_narrower_margin_would_lose_more() -> None:
    assert lost_by_sketch(LEAST, LEAST - MARGIN + 0.02) > lost_by_bands(LEAST) / 100


@pytest.mark.parametrize(("equal", "looked_at"), [(63, False), (64, True), (128, True)])
def test_texts_are_asked_of_pairs_within_the_margin(equal: int, *, looked_at: bool) -> None:
    """0.7 less the margin are 64 of 128 places."""
    sketch = np.arange(PERMUTATIONS, dtype=np.uint32)
    other = np.where(np.arange(PERMUTATIONS) < equal, sketch, sketch + np.uint32(1000))  # the first bands are equal
    asked: list[int] = []

    def texts(rows: Sequence[int]) -> Mapping[int, Body]:
        asked.extend(rows)
        return {}

    def names(rows: Sequence[int]) -> Mapping[int, Name]:
        return dict.fromkeys(rows, (equal, 7))

    here, there = (Bands.of(np.array([row], np.uint32), one[None, :]) for row, one in ((1, sketch), (0, other)))
    Twins().pairs(here, [there], Older(names, texts), least=LEAST)
    assert bool(asked) == looked_at
