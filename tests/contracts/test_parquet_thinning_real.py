"""The same of the real runs that lie beside the checkout; without them nothing is asked."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest

from bench.real import batches, joined, real_events
from l07.backends.parquet import read_members, read_rows
from l07.backends.parquet.thinning import erased_keys
from l07.domain.quality import CurateRules
from tests.erasing import (
    a_house,
    by_columns,
    by_objects,
    contents,
    largest_cluster,
    most_of_train,
    namers,
    representatives,
    said,
    stones,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
RULES = CurateRules(contrast_ratio=0.4)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("real")
    events = real_events(root / "events.jsonl")
    if events is None:
        pytest.skip("no real runs here")
    return a_house(root, list(batches(joined(events), 200)), RULES)


def all_sources(folder: Path) -> set[str]:
    return {member["source"] for member in read_members(folder)}


Whom = Callable[[Path], Mapping[str, Collection[str]]]
ERASURES: Mapping[str, Whom] = {
    "one run": lambda folder: {"key": [read_rows(folder, "train")[7]["key"]]},
    "everyone": lambda folder: {"source": all_sources(folder)},
    "all of a cluster": lambda folder: {"key": largest_cluster(folder)},
    "who stayed of duplicates": lambda folder: {"key": representatives(folder)},
    "who gave a group its name": lambda folder: {"key": namers(folder)},
    "half of train, so that contrast rows leave": lambda folder: {"key": most_of_train(folder)},
}


@pytest.mark.parametrize("what", ERASURES)
def test_of_real_runs_an_erasure_by_columns_is_one_by_objects(real: Path, what: str, tmp_path: Path) -> None:
    erased = stones(**ERASURES[what](real))
    gone = erased_keys(real, erased)
    folder = by_columns(real, erased, tmp_path / "c", RULES)
    judged, made = said(by_objects(real, erased, tmp_path / "o", RULES)), said(folder)
    for name, value in judged.items():
        assert made[name] == value, name
    before, after = contents(real), contents(folder)
    assert gone
    assert [key for key in gone if key.encode() not in before] == []
    assert [key for key in gone if key.encode() in after] == []
