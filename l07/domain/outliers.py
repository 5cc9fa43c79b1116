"""Runs that are built unlike the others of their source: an isolation forest on structural features.

Departures from forest.py's source: features are scaled robustly within (source, domain), so that a rare domain
is not an outlier for being rare; a score is read as a rank within (source, domain), since a score of 0.15
means nothing; and a rank alone decides nothing: some run is always the strangest. There is no share of outliers to
set: a fixed one would throw that share away from perfect data.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from l07.domain.arrays import distinct
from l07.domain.forest import anomaly

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

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


class Table(NamedTuple):
    """Runs as columns; numbers stand for the names of sources and domains."""

    source: I64
    domain: I64
    features: F64  # [n, k]
    new: Flags


def strangeness(runs: Iterable[Run], *, seed: int) -> dict[str, Strangeness]:
    """Every new run's strangeness. Runs in any order; the result follows from their set and the seed."""
    ordered = sorted(runs, key=lambda run: run.key)
    if not ordered:
        return {}
    table = Table(
        source=_numbers([run.source for run in ordered]),
        domain=_numbers([run.domain for run in ordered]),
        features=np.array([run.features for run in ordered], np.float64),
        new=np.array([run.new for run in ordered]),
    )
    return {ordered[row].key: one for row, one in strangeness_of(table, seed=seed).items()}


def _numbers(names: Sequence[str]) -> I64:
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names])


def strangeness_of(table: Table, *, seed: int) -> dict[int, Strangeness]:
    """The same of columns, by row. The order of the rows is part of what follows from the seed."""
    found: dict[int, Strangeness] = {}
    for source in distinct(table.source[table.new]).tolist():
        rows = np.flatnonzero(table.source == source)
        mine = Table(table.source[rows], table.domain[rows], table.features[rows], table.new[rows])
        found |= _of_source(rows, mine, seed=seed)
    return found


def _of_source(rows: I64, table: Table, *, seed: int) -> dict[int, Strangeness]:
    domains = [np.flatnonzero(table.domain == domain) for domain in distinct(table.domain).tolist()]
    judged = [members for members in domains if len(members) >= MIN_ROWS]
    few = np.concatenate([np.empty(0, np.int64), *(members for members in domains if len(members) < MIN_ROWS)])
    found = {row: Strangeness(None, None) for row in rows[few[table.new[few]]].tolist()}
    if not any(table.new[members].any() for members in judged):
        return found
    features = np.log1p(table.features)
    scores = _scores(features, judged, seed=seed)
    for members in judged:
        new = table.new[members]
        if new.any():
            apart = np.abs(features[members[new]] - np.median(features[members], axis=0)).max(axis=1) > APART
            found |= _ranked(rows[members[new]], scores[members[new]], scores[members], apart)
    return found


def _scores(features: F64, judged: Sequence[I64], *, seed: int) -> F64:
    table = features.copy()
    for members in judged:
        table[members] = _robust(table[members])
    rows = np.sort(np.concatenate(judged))
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


def _ranked(rows: I64, scores: F64, all_scores: F64, apart: Flags) -> dict[int, Strangeness]:
    """Of these rows, among all of their domain."""
    ordered = np.sort(all_scores)
    z = np.where(apart, _upper_z(scores, ordered), 0.0)
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left") - 1
    share = at_least / max(1, len(ordered) - 1)
    return {row: Strangeness(*found) for row, *found in zip(rows.tolist(), share.tolist(), z.tolist(), strict=True)}


def _upper_z(scores: F64, ordered: F64) -> F64:
    """Distance above the median in units of the upper half's own median deviation. A forest's scores are skewed:
    against the deviation of both halves 128 of the first 1,000 clean SQL runs were beyond 3.5, against the upper one
    none."""
    centre = float(np.median(ordered))
    spread = 1.4826 * float(np.median(ordered[ordered >= centre] - centre))
    return np.asarray((scores - centre) / (spread if spread > 1e-9 else 1.0))
