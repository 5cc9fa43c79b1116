"""The reward follows the evaluator's score, doubted as much as the evaluator doubts it."""

import pytest

from l07.domain.preference import RewardSignal, standardised


@pytest.mark.parametrize(
    ("score", "confidence", "reward"), [(100, 1, 1.0), (50, 1, 0.0), (0, 1, -1.0), (100, 0.5, 0.5), (0, 0, 0.0)]
)
def test_a_reward_is_the_score_around_fifty_times_the_confidence(
    score: float, confidence: float, reward: float
) -> None:
    assert RewardSignal(score, confidence).reward == pytest.approx(reward)


def test_each_thing_that_went_wrong_costs_its_own() -> None:
    assert RewardSignal(50, 1, timeout=True).reward == pytest.approx(-0.5)
    assert RewardSignal(50, 1, error=True).reward == pytest.approx(-0.3)
    assert RewardSignal(50, 1, constraint_violation=True).reward == pytest.approx(-0.2)
    every = RewardSignal(100, 0.5, timeout=True, error=True, constraint_violation=True)
    assert every.reward == pytest.approx(-0.5)


@pytest.mark.parametrize(("score", "confidence"), [(101, 0.5), (-1, 0.5), (50, 1.1), (50, -0.1), (float("nan"), 0.5)])
def test_a_number_out_of_range_is_refused(score: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="a score is 0-100"):
        RewardSignal(score, confidence)


def test_rewards_are_standardised_in_their_batch_and_clipped() -> None:
    assert standardised([1.0, 3.0]) == [-1.0, 1.0]
    assert standardised([0.0] * 99 + [1.0])[-1] == 2.0
    assert standardised([0.4, 0.4]) == [0.0, 0.0]
    assert standardised([]) == []
