"""The isolation forest: what is compiled says the same to the last bit, and it ranks rows as scikit-learn's does."""

import hashlib
import os
import random

import numpy as np
import pytest

from l07.domain import forest
from l07.domain.forest import anomaly

needed = pytest.mark.skipif(
    forest.isolate is None and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)


def a_table(seed: int, rows: int, columns: int) -> np.ndarray:
    """Skewed columns, some of few values; the last twentieth of the rows is strange in some of them."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, columns)) + rng.normal(size=(rows, 1))
    table[:, ::3] = np.round(np.exp(table[:, ::3]))
    strange = rows // 20
    table[-strange:] += rng.choice((0.0, 0.0, 3.0), (strange, columns))
    return table


def by(module: object, table: np.ndarray, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    with monkeypatch.context() as patch:
        patch.setattr(forest, "isolate", module)
        found: list[float] = anomaly(table, seed=seed).tolist()
    return found


@needed
@pytest.mark.parametrize("seed", range(24))
def test_what_is_compiled_finds_the_same_lengths(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    rows, columns = rng.choice((2, 3, 30, 32, 33, 255, 256, 257, 263, 900)), rng.choice((1, 2, 13))
    table = np.random.default_rng(seed).normal(size=(rows, columns)) * rng.choice((1, 3, 1e6))  # 1e6: beyond the ends
    table[:, : rng.choice((0, 1, 12))] = 5
    table = np.round(table, rng.choice((0, 9)))
    assert by(forest.isolate, table, seed, monkeypatch) == by(None, table, seed, monkeypatch)


@needed
@pytest.mark.parametrize(("rows", "samples", "columns"), [(600, 257, 3), (40, 41, 3), (40, 40, 0), (1, 1, 1)])
def test_tables_that_do_not_fit_are_refused(rows: int, samples: int, columns: int) -> None:
    table, total = np.zeros((rows, columns), np.int32), np.zeros(rows, np.int64)
    chance, expected = np.zeros((1, samples + 512), np.uint64), np.zeros(samples + 1, np.int64)
    with pytest.raises(ValueError, match="more rows"):
        forest.isolate.lengths(table, chance, expected, total)


@needed
@pytest.mark.parametrize(("numbers", "totals"), [(95, 40), (104, 39)])
def test_too_few_numbers_or_totals_are_refused(numbers: int, totals: int) -> None:
    table, expected = np.zeros((40, 2), np.int32), np.zeros(41, np.int64)
    with pytest.raises(ValueError, match="do not fit"):
        forest.isolate.lengths(table, np.zeros((1, numbers), np.uint64), expected, np.zeros(totals, np.int64))


def test_scores_are_the_same_on_every_machine() -> None:
    """If this goes red, ranks of stored versions come out otherwise on a rerun: say so in the changelog."""
    table = np.array(
        [[(row * 7919 + column * 104729) % 1009 % (row % 97 + 2) for column in range(5)] for row in range(700)]
    )
    scores = np.round(anomaly(table / 32, seed=7), 9)
    found = hashlib.sha256(" ".join(f"{score:.9f}" for score in scores).encode()).hexdigest()
    assert found == "3622548074bd1d6e2354b48e8fb88692667ec26fb83088f7fea295b9eaccbe16"


def test_a_search_in_a_tree_takes_what_the_paper_says() -> None:
    lengths = forest._expected(256) / forest.UNIT
    assert lengths[:3].tolist() == [0, 0, 1]
    assert lengths[256] == pytest.approx(2 * (np.log(255) + 0.5772156649) - 2 * 255 / 256, abs=0.005)


def test_a_column_of_one_value_is_not_cut() -> None:
    table = a_table(1, 300, 1)
    wide = np.column_stack([np.full(300, 3.0), table, np.full(300, 8.0)])
    assert anomaly(wide, seed=3).tolist() == anomaly(table, seed=3).tolist()


def test_rows_that_are_all_alike_are_neither_strange_nor_usual() -> None:
    assert set(anomaly(np.full((60, 4), 2.0), seed=1).tolist()) == {0.5}


def test_a_row_by_itself_is_the_first_and_another_seed_tells_other_scores() -> None:
    table = np.vstack([a_table(5, 400, 6), np.full(6, 40.0)])
    scores = anomaly(table, seed=1)
    assert int(np.argmax(scores)) == 400
    assert scores[400] > 0.7 > 0.5 > np.median(scores)
    assert scores.tolist() != anomaly(table, seed=2).tolist()


def ranks(scores: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(scores))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [200, 3000])
def test_it_ranks_as_scikit_learn_does(rows: int) -> None:
    """Held against many of its forests: one of 50 trees agrees with another of 50 by 0.91 to 0.95 only, whose ever."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    table, samples = a_table(rows, rows, 13), min(256, rows)
    theirs = [
        -ensemble.IsolationForest(n_estimators=50, max_samples=samples, random_state=n).fit(table).score_samples(table)
        for n in range(10)
    ]
    ours = [anomaly(table, seed=n) for n in range(10)]
    usual = ranks(np.mean(theirs, axis=0))

    def agreement(scores: np.ndarray) -> float:
        return float(np.corrcoef(ranks(scores), usual)[0, 1])

    def caught(scores: np.ndarray) -> float:  # area under the curve
        strange = ranks(scores)[-(rows // 20) :]
        return float((strange.mean() - (len(strange) - 1) / 2) / (rows - len(strange)))

    assert agreement(np.mean(ours, axis=0)) > 0.98
    assert np.mean([agreement(scores) for scores in ours]) > 0.93
    assert np.mean(list(map(caught, ours))) == pytest.approx(np.mean(list(map(caught, theirs))), abs=0.01)
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.01)
