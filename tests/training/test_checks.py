"""What a policy is held against while it trains: bounds of each measure, and calls that are lost at held-out places."""

from collections.abc import Mapping

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from l07.domain.methods import effective_options
from l07.training import checks

pytestmark = pytest.mark.training

OPTIONS = effective_options("rloo", {})
WELL = {"kl": 0.1, "entropy": 0.2, "valid": 0.9, checks.LENGTH: 20.0}


@pytest.mark.parametrize(
    ("now", "breach"),
    [
        ({}, None),
        ({"kl": OPTIONS["most_kl"] + 0.1}, "kl is 1.1"),
        ({"kl": -0.2}, None),
        ({"entropy": 0.001}, "entropy is 0.001"),
        ({"valid": 0.5}, "valid is 0.5, its bounds are 0.63"),
        ({checks.LENGTH: 41.0}, "mean_length is 41"),
        ({checks.LENGTH: 9.0}, "mean_length is 9"),
    ],
)
def test_each_measure_of_a_step_has_its_bounds(now: Mapping[str, float], breach: str | None) -> None:
    told = checks.out_of_bounds(WELL, {**WELL, **now}, OPTIONS)
    assert told is None if breach is None else breach in str(told)


def test_held_out_calls_are_lost_when_more_go_than_luck_takes() -> None:
    first = [True] * 50 + [False] * 50
    assert not checks.lost(first, first)
    assert not checks.lost(first, [*first[3:], True, True, True])
    assert checks.lost(first, [False] * 12 + first[12:])
    assert not checks.lost(first, [True] * 100)
