import math
import random

import numpy as np
import pytest
from scipy import stats

from l07.domain.statistics import (
    FEWEST,
    Bootstrap,
    _t,
    holm,
    least_n,
    mcnemar,
    needed_n,
    quantile,
    ratio_of_quantiles,
    ratio_of_sums,
    wilson,
)

WIDEST = (-1.0, 1.0)


def changes(n: int, p: float, *, seed: int, effect: float = 0.0) -> list[float]:
    """Paired differences: a share `p` of groups differs, `effect` of all in favour."""
    rng = random.Random(seed)
    return [rng.choices((1.0, -1.0, 0.0), (p / 2 + effect / 2, p / 2 - effect / 2, 1 - p))[0] for _ in range(n)]


def test_the_same_seed_gives_the_same_interval():
    values = changes(50, 0.4, seed=1)
    assert Bootstrap(values, resamples=500, seed=3).at() == Bootstrap(values, resamples=500, seed=3).at()
    assert Bootstrap(values, resamples=500, seed=3).at() != Bootstrap(values, resamples=500, seed=4).at()


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 40, 150])
def test_the_interval_holds_the_truth_in_95_of_100_samples(n):
    held = 0
    for seed in range(600):
        at = Bootstrap(changes(n, 0.4, seed=seed), resamples=500, seed=seed, extremes=WIDEST).at()
        held += at.low <= 0.0 <= at.high
    assert wilson(held, 600)[1] > 0.95  # not fewer than promised
    assert held < 600 or n < 40  # and not so wide that it says nothing


def test_groups_that_never_change_still_have_an_interval_of_some_width():
    at = Bootstrap([0.0] * 20, resamples=2000, seed=1, extremes=WIDEST).at()
    assert at.value == 0.0
    assert at.low < -0.05
    assert at.high > 0.05


def test_without_extremes_no_change_has_no_width():
    at = Bootstrap([0.1] * 30, resamples=500, seed=1).at()
    assert (at.low, at.high) == pytest.approx((0.1, 0.1))


def test_five_wins_of_five_are_too_few_and_ten_of_ten_are_not():
    assert Bootstrap([1.0] * 5, resamples=4000, seed=1, extremes=WIDEST).at().low < 0
    assert Bootstrap([1.0] * 10, resamples=4000, seed=1, extremes=WIDEST).at().low > 0


def test_a_higher_level_has_a_wider_interval():
    drawn = Bootstrap(changes(60, 0.5, seed=2), resamples=4000, seed=1)
    assert drawn.at(0.99).low < drawn.at(0.95).low < drawn.at(0.95).high < drawn.at(0.99).high


def test_p_below_is_small_only_when_the_mean_is_below():
    assert Bootstrap(changes(100, 0.6, seed=3, effect=-0.4), resamples=999, seed=1).p_below(0.0) == pytest.approx(0.001)
    assert Bootstrap(changes(100, 0.6, seed=3, effect=0.4), resamples=999, seed=1).p_below(0.0) > 0.99


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (3, 0), (10, 2), (7, 7), (40, 21)])
def test_mcnemar_is_the_exact_binomial_test(better, worse):
    n = better + worse
    expected = stats.binomtest(min(better, worse), n).pvalue if n else 1.0
    assert mcnemar(better, worse) == pytest.approx(expected)


def test_mcnemar_of_many_pairs_does_not_overflow():
    assert mcnemar(3000, 2900) == pytest.approx(stats.binomtest(2900, 5900).pvalue)


def test_holm_gives_the_smallest_p_the_smallest_share_and_keeps_the_order():
    assert holm([0.04, 0.001, 0.02], alpha=0.06) == pytest.approx((0.06, 0.02, 0.03))
    assert holm([]) == ()


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (5, 10), (10, 10), (37, 120)])
def test_wilson_equals_the_textbook(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_of_nothing_is_everything():
    assert wilson(0, 0) == (0.0, 1.0)


def test_needed_n_gives_the_promised_power():
    n = needed_n(math.sqrt(0.4), 0.15)
    assert n is not None
    seen = sum(
        Bootstrap(changes(n, 0.4, seed=seed, effect=0.15), resamples=400, seed=seed).at().low > 0 for seed in range(200)
    )
    low, high = wilson(seen, 200)
    assert low < 0.80 < high + 0.03


def test_no_n_shows_a_difference_that_is_not_there():
    assert needed_n(0.5, 0.0) is None


def test_least_n_is_the_rule_of_three():
    assert least_n(0.03) == 122  # two-sided 95 %: ln(0.025) / ln(0.97)
    assert least_n(0.9) == FEWEST


def test_the_ratio_of_quantiles_holds_a_known_ratio_and_uses_measured_values():
    rng = np.random.default_rng(4)
    under = 1 + rng.random((40, 16))
    at = ratio_of_quantiles(under * 1.5, under, q=0.95, resamples=500, seed=1)
    assert at.value == pytest.approx(1.5)
    assert (at.low, at.high) == pytest.approx((1.5, 1.5))
    assert quantile(under, 0.95) in under


def test_the_weighted_quantile_equals_the_quantile_of_the_resample():
    rng = np.random.default_rng(5)
    over, under = rng.random((12, 5)), rng.random((12, 5))
    counts = np.random.default_rng(9).multinomial(12, np.full(12, 1 / 12), size=200)
    direct = [quantile(np.repeat(over, c, axis=0), 0.9) / quantile(np.repeat(under, c, axis=0), 0.9) for c in counts]
    at = ratio_of_quantiles(over, under, q=0.9, resamples=200, seed=9)
    assert at.sd == pytest.approx(float(np.std(direct, ddof=1)) * math.sqrt(12))


def test_the_ratio_of_sums_weighs_groups_by_their_size():
    assert ratio_of_sums([1.0, 30.0], [2.0, 20.0], resamples=300, seed=1).value == pytest.approx(31 / 22)


@pytest.mark.parametrize("df", [9, 29, 199])
@pytest.mark.parametrize("p", [0.9, 0.975, 0.999])
def test_the_t_quantile_is_good_to_a_thousandth(df, p):
    assert _t(p, df) == pytest.approx(stats.t.ppf(p, df), rel=2e-3)
