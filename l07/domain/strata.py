"""Where a gain in the mean may hide a loss: held-out rows by domain, and by difficulty in bands that can be judged."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from l07.domain.measurements import Row

BANDS = 3  # of difficulty, at most


def strata(rows: Sequence[Row], *, fewest: int) -> Mapping[str, Sequence[Row]]:
    """Each domain, and at most three bands of difficulty. Domains are given and may be small; the bands are ours, so
    each has `fewest` task groups or more where there are that many, and equal difficulties stay together."""
    domains: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        domains[f"domain {row.domain or 'unnamed'}"].append(row)
    return {**dict(sorted(domains.items())), **_bands(rows, fewest)}


def _bands(rows: Iterable[Row], fewest: int) -> dict[str, list[Row]]:
    levels: dict[float, list[Row]] = defaultdict(list)
    for row in rows:
        if row.difficulty is not None:
            levels[row.difficulty].append(row)
    height = max(fewest, math.ceil(_groups(row for level in levels.values() for row in level) / BANDS))
    bands: list[list[Row]] = []
    for level in sorted(levels):
        if not bands or _groups(bands[-1]) >= height:
            bands.append([])
        bands[-1] += levels[level]
    if len(bands) > 1 and _groups(bands[-1]) < fewest:
        bands[-2:] = [bands[-2] + bands[-1]]
    return {f"difficulty {_range(band)}": band for band in bands}


def _groups(rows: Iterable[Row]) -> int:
    return len({row.group for row in rows})


def _range(band: Sequence[Row]) -> str:
    levels = [row.difficulty for row in band if row.difficulty is not None]
    low, high = f"{min(levels):.2f}", f"{max(levels):.2f}"
    return low if low == high else f"{low}-{high}"
