"""Runs that are built unlike the others of their source: an isolation forest on structural features.

Departures from forest.py's source: features are scaled robustly within (source, domain), so that a rare domain
is not an outlier for being rare; a score is read as a rank within (source, domain), since a score of 0.15
means nothing; and a rank alone decides nothing: some run is always the strangest. There is no share of outliers to
set: a fixed one would throw that share away from perfect data.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from l07.domain.forest import anomaly

F64 = npt.NDArray[np.float64]

MIN_ROWS = 30  # fewer of a (source, domain) have no median worth the name: no judgement
APART = 0.05  # on the scale of log(1 + feature): nothing nearer to the median is strange, however alike the others are
RESERVOIR = 10_000  # older rows of a source that new ones are held against at most


class Run(NamedTuple):
    """One run as this stage sees it. `new` runs are judged; the others are what is normal."""

    key: str
    source: str
    domain: str
    features: tuple[float, ...]
    new: bool


@dataclass(frozen=True, slots=True)
class Strangeness:
    """How strange a run is among those of its (source, domain). None: too few to tell."""

    rank: float | None  # share of the others that are at least as strange; small is strange
    z: (
        float | None
    )  # robust z of the forest's score, measured against the upper half; 0: no feature is APART from the median

    @property
    def scores(self) -> dict[str, float]:
        """What is kept with the row."""
        return {} if self.rank is None or self.z is None else {"outlier_rank": self.rank, "outlier_z": self.z}

    def reasons(self, *, max_probability: float, max_z: float) -> tuple[str, ...]:
        if self.rank is None or self.z is None:
            return ("outlier_not_judged",)
        ranked, far = self.rank <= max_probability, self.z > max_z
        return ("outlier_rank", "outlier_z") if ranked and far else ("outlier_rank",) if ranked else ()


def strangeness(runs: Iterable[Run], *, seed: int) -> dict[str, Strangeness]:
    """Every new run's strangeness. Runs in any order; the result follows from their set and the seed."""
    sources: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.key):
        sources[run.source].append(run)
    found: dict[str, Strangeness] = {}
    for members in sources.values():
        found |= _of_source(members, seed=seed)
    return found


def _of_source(runs: Sequence[Run], *, seed: int) -> dict[str, Strangeness]:
    domains: dict[str, list[int]] = defaultdict(list)
    for number, run in enumerate(runs):
        domains[run.domain].append(number)
    judged = {domain: rows for domain, rows in domains.items() if len(rows) >= MIN_ROWS}
    found = {run.key: Strangeness(None, None) for run in runs if run.new and run.domain not in judged}
    rows = sorted(row for members in judged.values() for row in members)
    if not any(runs[row].new for row in rows):
        return found
    table = np.log1p(np.array([run.features for run in runs], dtype=np.float64))
    scores = _scores(table, judged, rows, seed=seed)
    for members in judged.values():
        apart = np.abs(table[members] - np.median(table[members], axis=0)).max(axis=1) > APART
        found |= _ranked(runs, members, scores[members], apart)
    return found


def _scores(features: F64, judged: Mapping[str, Sequence[int]], rows: Sequence[int], *, seed: int) -> F64:
    table = features.copy()
    for members in judged.values():
        table[members] = _robust(table[members])
    scores = np.full(len(table), np.nan)
    scores[rows] = np.round(anomaly(table[rows], seed=seed), 9)
    return scores


def _robust(table: F64) -> F64:
    """Distance from the median in units of the scaled median absolute deviation; a feature that hardly varies falls
    back to its deviation."""
    centre = np.median(table, axis=0)
    spread = 1.4826 * np.median(np.abs(table - centre), axis=0)
    spread = np.where(spread > 1e-9, spread, np.std(table, axis=0))
    return np.asarray((table - centre) / np.where(spread > 1e-9, spread, 1.0))


def _ranked(
    runs: Sequence[Run], members: Sequence[int], scores: F64, apart: npt.NDArray[np.bool_]
) -> dict[str, Strangeness]:
    ordered = np.sort(scores)
    z = np.where(apart, _upper_z(scores), 0.0)
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left") - 1
    share = at_least / max(1, len(ordered) - 1)
    pairs = zip(members, share.tolist(), z.tolist(), strict=True)
    return {runs[row].key: Strangeness(rank, far) for row, rank, far in pairs if runs[row].new}


def _upper_z(scores: F64) -> F64:
    """Distance above the median in units of the upper half's own median deviation. A forest's scores are skewed:
    against the deviation of both halves 128 of the first 1,000 clean SQL runs were beyond 3.5, against the upper one
    none."""
    centre = float(np.median(scores))
    spread = 1.4826 * float(np.median(scores[scores >= centre] - centre))
    return np.asarray((scores - centre) / (spread if spread > 1e-9 else 1.0))
