"""Paired tests, intervals and sample sizes: what turns recorded measurements into a decision. Seeded, pure, numpy only.

The unit is the task group: runs of one task are not independent, so a group is one value and resampling draws groups.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95  # two-sided
POWER = 0.80  # of the sample sizes that are printed
FEWEST = 10  # groups; with fewer a percentile bootstrap has no 95 % interval worth the name
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; `sd` is the spread of the single values, what a sample size is computed from."""

    value: float
    low: float
    high: float
    n: int
    sd: float


class Bootstrap:
    """Resampled means of one sample; any number of levels can be read from the same resamples.

    `extremes`: the two most extreme values that one group could have; each is added once before resampling. Without
    them a sample that shows no change at all would have an interval of no width, however few groups it holds.

    Source: Bonett and Price (2012), the adjusted interval for paired proportions, carried over to group means; the
    levels are widened for small samples as in Hesterberg (2015), "expanded percentile"."""

    def __init__(
        self, values: Sequence[float], *, resamples: int, seed: int, extremes: tuple[float, float] | None = None
    ) -> None:
        plain = np.asarray(values, dtype=np.float64)
        drawn = np.concatenate([plain, np.asarray(extremes or (), dtype=np.float64)])
        rng = np.random.default_rng(seed)
        self.n = len(plain)
        self.value = float(plain.mean())
        self.sd = float(drawn.std(ddof=1)) if len(drawn) > 1 else 0.0
        self._means: Floats = drawn[rng.integers(0, len(drawn), (resamples, len(drawn)))].mean(axis=1)

    def at(self, level: float = LEVEL) -> Estimate:
        low, high = quantiles(self._means, n=self.n, level=level)
        return Estimate(self.value, low, high, self.n, self.sd)

    def p_below(self, limit: float) -> float:
        """One-sided p-value of "the mean is not below `limit`"."""
        return float((1 + (self._means >= limit).sum()) / (1 + len(self._means)))


def quantiles(resampled: Floats, *, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a resampled figure that came from `n` groups, widened as Student's t widens the normal."""
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * _t(1 - (1 - level) / 2, n - 1)) if n > 1 else 0.0
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return float(low), float(high)


def ratio_of_quantiles(
    over: Floats, under: Floats, *, q: float, resamples: int, seed: int, level: float = LEVEL
) -> Estimate:
    """`q`-quantile of `over` by that of `under`. Both have one line a pair; drawing pairs, drift hits both alike."""
    counts = _draws(len(over), resamples=resamples, seed=seed)
    ratios = _drawn_quantiles(over, counts, q) / _drawn_quantiles(under, counts, q)
    value = quantile(over, q) / quantile(under, q)
    low, high = quantiles(ratios, n=len(over), level=level)
    return Estimate(value, low, high, len(over), float(ratios.std(ddof=1)) * math.sqrt(len(over)))


def ratio_of_sums(
    over: Sequence[float], under: Sequence[float], *, resamples: int, seed: int, level: float = LEVEL
) -> Estimate:
    """Sum by sum; one value a group in both."""
    counts = _draws(len(over), resamples=resamples, seed=seed)
    above, below = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
    ratios = (counts @ above) / (counts @ below)
    low, high = quantiles(ratios, n=len(above), level=level)
    value = float(above.sum() / below.sum())
    return Estimate(value, low, high, len(above), float(ratios.std(ddof=1)) * math.sqrt(len(above)))


def mcnemar(better: int, worse: int) -> float:
    """Exact two-sided p-value of `better` against `worse` among the pairs that differ; only with one row a group."""
    n = better + worse
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(min(better, worse) + 1))
    return min(1.0, 2 * tail / (1 << n))


def holm(p_values: Sequence[float], *, alpha: float = 1 - LEVEL) -> tuple[float, ...]:
    """The share of `alpha` at which each hypothesis is tested, in the order given: alpha by what is left.

    Stepping down is the caller's: one that is not rejected keeps all with larger p from being rejected."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    shares = {index: alpha / (len(order) - rank) for rank, index in enumerate(order)}
    return tuple(shares[index] for index in range(len(p_values)))


def wilson(hits: int, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a share; of nothing it is the whole range."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1 - (1 - level) / 2)
    share, z2 = hits / n, z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def needed_n(sd: float, gap: float, *, level: float = LEVEL, power: float = POWER) -> int | None:
    """Groups with which a true distance of `gap` from the limit is seen in `power` of the cases; None: no n would."""
    if gap == 0.0:
        return None
    z = NormalDist().inv_cdf(1 - (1 - level) / 2) + NormalDist().inv_cdf(power)
    return max(FEWEST, math.ceil((z * sd / gap) ** 2))


def least_n(margin: float, *, level: float = LEVEL) -> int:
    """Groups without any change from which a change of `margin` can be excluded: below this no result could pass.

    The "rule of three" (Hanley and Lippman-Hand 1983) with the two-sided level."""
    return max(FEWEST, math.ceil(math.log((1 - level) / 2) / math.log(1 - margin)))


def quantile(values: Floats, q: float) -> float:
    """A value that was measured, never one between two."""
    return float(np.quantile(values, q, method="inverted_cdf"))


def _draws(n: int, *, resamples: int, seed: int) -> Floats:
    """How often each of n groups is in each resample."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def _drawn_quantiles(values: Floats, counts: Floats, q: float) -> Floats:
    """The q-quantile of each resample without building it: walk the sorted values until enough weight is behind."""
    flat = values.ravel()
    order = np.argsort(flat, kind="stable")
    weight = np.cumsum(counts[:, np.repeat(np.arange(len(values)), values.shape[1])[order]], axis=1)
    at = (weight >= q * weight[:, -1:] - 1e-9).argmax(axis=1)
    chosen: Floats = flat[order][at]
    return chosen


def _t(p: float, df: int) -> float:
    """Student's quantile, good to 0.1 % from nine degrees of freedom on (Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(p)
    return (
        z
        + (z**3 + z) / (4 * df)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)
    )
