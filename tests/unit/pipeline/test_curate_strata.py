"""Of each group the stratum of most of its rows; strata by their names."""

import numpy as np

from l07.pipeline.curate.columns import LEVEL, LEVEL_NAMES, Book, Columns
from l07.pipeline.curate.placing import _by_owner, _largest

RNG = np.random.default_rng(5)


def test_the_largest_count_of_each_owner_is_the_first_by_count_and_stratum() -> None:
    for cells in (0, 1, 5, 400):
        owner = np.sort(RNG.integers(0, 40, cells))
        stratum = np.arange(cells)  # rising within an owner, as they come
        counts = RNG.integers(1, 4, cells)
        order = np.lexsort((stratum, -counts, owner))
        owners, at = np.unique(owner[order], return_index=True)
        found, first, total = _by_owner(owner, counts)
        assert found.tolist() == owners.tolist()
        assert _largest(counts, first).tolist() == order[at].tolist()
        assert total.tolist() == [counts[owner == one].sum() for one in owners]


def test_strata_rise_with_their_names() -> None:
    columns = Columns().grown(60)
    columns.domains = Book(["sql", "airline", "unused", "bank"])
    columns.domain = RNG.choice([0, 1, 3], 60).astype("i4")
    columns.level = RNG.integers(0, len(LEVEL), 60).astype("u1")
    rows = np.arange(5, 55)
    codes, names = columns.strata(rows)
    assert names == sorted(set(names))
    wanted = [f"{columns.domains.names[columns.domain[row]]}/{LEVEL_NAMES[columns.level[row]]}" for row in rows]
    assert [names[code] for code in codes] == wanted
    assert columns.strata(rows[:0])[1] == []
