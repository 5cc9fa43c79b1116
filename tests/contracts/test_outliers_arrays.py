"""Strangeness over columns is what it is over runs, one by one, as it was written first."""

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest

from l07.domain.forest import anomaly
from l07.domain.outliers import APART, MIN_ROWS, Run, Strangeness, strangeness
from l07.pipeline.curate.stages import _as_text_sorted

SEED = 7


def a_crowd(seed: int, *, width: int) -> list[Run]:
    """Sources and domains of many sizes, some rows the same, some far away, some old."""
    rng = random.Random(seed)
    runs = []
    for number in range(rng.choice((40, 300, 900))):
        source, domain = rng.choice("aab"), rng.choice("dddddef")
        values = tuple(float(rng.choice((0, 1, 1, rng.randint(0, 5), rng.expovariate(0.01)))) for _ in range(width))
        runs.append(Run(f"{rng.randint(0, 9)}{number}", source, domain, values, new=rng.random() < 0.3))
    return runs


@pytest.mark.parametrize("seed", range(12))
def test_columns_tell_of_each_run_what_runs_tell(seed: int) -> None:
    crowd = a_crowd(seed, width=4)
    found = strangeness(crowd, seed=SEED)
    assert found == one_by_one(crowd)
    assert found.keys() == {run.key for run in crowd if run.new}


def test_another_seed_is_told_apart() -> None:
    """So that the equality above means something."""
    crowds = [a_crowd(seed, width=4) for seed in range(12)]
    assert sum(strangeness(crowd, seed=SEED + 1) != one_by_one(crowd) for crowd in crowds) > 5


def test_numbers_are_in_the_order_of_their_text() -> None:
    rng = random.Random(1)
    rows = [0, 1, 9, 10, 11, 19, 90, 99, 100, 101, 999_999, 10**17, 10**18 - 1]
    rows += [rng.randrange(10 ** rng.randint(1, 9)) for _ in range(500)]
    rows = list(dict.fromkeys(rows))
    assert _as_text_sorted(np.array(rows)).tolist() == sorted(rows, key=str)
    assert sorted(rows, key=str) != sorted(rows)


def one_by_one(runs: Sequence[Run]) -> dict[str, Strangeness]:
    sources: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.key):
        sources[run.source].append(run)
    found: dict[str, Strangeness] = {}
    for members in sources.values():
        count = {run.domain: sum(run.domain == other.domain for other in members) for run in members}
        judged = [run for run in members if count[run.domain] >= MIN_ROWS]
        found |= {run.key: Strangeness(None, None) for run in members if run.new and run not in judged}
        if not any(run.new for run in judged):
            continue
        table = np.log1p(np.array([run.features for run in judged]))
        scaled = np.empty_like(table)
        of_domain = {domain: [n for n, run in enumerate(judged) if run.domain == domain] for domain in count}
        of_domain = {domain: rows for domain, rows in of_domain.items() if rows}
        for rows in of_domain.values():
            centre = np.median(table[rows], axis=0)
            spread = 1.4826 * np.median(np.abs(table[rows] - centre), axis=0)
            spread = np.where(spread > 1e-9, spread, np.std(table[rows], axis=0))
            scaled[rows] = (table[rows] - centre) / np.where(spread > 1e-9, spread, 1.0)
        scores = np.round(anomaly(scaled, seed=SEED), 9)
        for rows in of_domain.values():
            mine = scores[rows]
            centre = float(np.median(mine))
            upper = 1.4826 * float(np.median(mine[mine >= centre] - centre))
            far = np.abs(table[rows] - np.median(table[rows], axis=0)).max(axis=1) > APART
            for row, apart in zip(rows, far, strict=True):
                if judged[row].new:
                    rank = (int((mine >= scores[row]).sum()) - 1) / max(1, len(rows) - 1)
                    z = (scores[row] - centre) / (upper if upper > 1e-9 else 1.0) if apart else 0.0
                    found[judged[row].key] = Strangeness(rank, z)
    return found
