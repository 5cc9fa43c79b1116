"""The parts of PPO against what the papers say, on numbers that can be told by hand."""

import math

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from l07.training import ppo

pytestmark = pytest.mark.training


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values])


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95, 1.0])
def test_advantages_are_the_sum_of_what_every_later_token_was_better_than_expected(lam: float) -> None:
    """Equation 11, written out; a token that was not written neither has nor gives any."""
    rewards, values, mask = row(0.1, -0.2, 1.0, 9.0), row(0.5, 0.25, -0.5, 7.0), row(1, 1, 1, 0)
    found, returns = ppo.advantages(rewards, values, mask, lam)
    missed = [0.1 + 0.25 - 0.5, -0.2 - 0.5 - 0.25, 1.0 + 0.5]
    wanted = [sum(lam**later * one for later, one in enumerate(missed[at:])) for at in range(3)]
    assert found[0].tolist() == pytest.approx([*wanted, 0.0], abs=1e-6)
    assert returns[0, :3].tolist() == pytest.approx(
        [a + v for a, v in zip(wanted, (0.5, 0.25, -0.5), strict=True)], abs=1e-6
    )


def test_with_lambda_1_what_a_value_should_have_been_is_what_came() -> None:
    _, returns = ppo.advantages(row(0.0, 0.0, 1.0), row(0.3, -0.4, 0.9), row(1, 1, 1), 1.0)
    assert returns[0].tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)


@pytest.mark.parametrize(
    ("ratio", "gained", "slope"),
    [
        (1.0, 1.0, True), (1.19, 1.0, True), (1.3, 1.0, False), (0.5, 1.0, True),
        (1.0, -1.0, True), (0.81, -1.0, True), (0.7, -1.0, False), (1.5, -1.0, True),
    ],
)  # fmt: skip
def test_nothing_is_won_by_going_further_than_the_clip(ratio: float, gained: float, slope: bool) -> None:
    """Equation 7: beyond the clip there is no slope, except back."""
    known = row(-1.0)
    logps = (known + math.log(ratio)).requires_grad_()
    loss = ppo.policy_loss(logps, known, row(gained), 0.2).sum()
    loss.backward()
    assert logps.grad is not None
    assert bool(logps.grad.abs().sum() > 0) is slope
    if slope:
        assert torch.sign(logps.grad).item() == -math.copysign(1, gained)


def test_a_value_is_held_near_what_it_was() -> None:
    known, returns = row(0.0), row(1.0)
    told = {value: ppo.value_loss(row(value), known, returns, 0.2).item() for value in (0.1, 0.2, 0.9)}
    assert told[0.1] == pytest.approx(0.5 * 0.81)
    assert told[0.9] == pytest.approx(told[0.2]), "further than the clip counts as the clip"


def test_the_price_of_kl_follows_its_target() -> None:
    """Ziegler: at most a fifth of the error counts, so that a step moves it by at most a fiftieth at 0.1."""
    price = ppo.Price(0.05, 0.2, 0.1)
    price.follow(0.2)
    assert price.beta == pytest.approx(0.05)
    price.follow(2.0)
    assert price.beta == pytest.approx(0.05 * 1.02)
    price.follow(0.0)
    assert price.beta == pytest.approx(0.05 * 1.02 * 0.98)
    still = ppo.Price(0.05, 0.2, 0.0)
    still.follow(2.0)
    assert still.beta == 0.05


def test_answers_begin_at_one_place_whatever_is_before_and_after() -> None:
    answers = ppo.Answers.of([[1, 2, 3], [4]], [[5], [6, 7]], pad=0)
    assert answers.ids.tolist() == [[1, 2, 3, 5, 0], [0, 0, 4, 6, 7]]
    assert answers.attention.tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert answers.mask.tolist() == [[1, 0], [1, 1]]
