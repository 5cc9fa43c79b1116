"""The examples of a call become a version of a track by the curator's own functions."""

from dataclasses import replace
from pathlib import Path

import pytest
from service_builders import NOW, a_folder, a_score, a_trace, examples_of, some_runs

from l07.backends.parquet import read_lineage
from l07.errors import BadArtifactName, NothingByThatName, TooFewGroups
from l07.service.curating import DatasetCurator
from l07.service.extracting import TrainingDataExtractor


async def test_a_dataset_has_a_version_splits_and_a_folder(tmp_path: Path) -> None:
    curator = DatasetCurator(a_folder(tmp_path))
    made = await curator.create_dataset(name="mine", examples=examples_of(some_runs(12)), now=NOW)
    assert (made.dataset_id, made.version, sum(made.splits.values())) == ("mine:1.0.0", "1.0.0", 12)
    assert (made.folder / "manifest.json").is_file()
    assert await curator.get_dataset("mine:1.0.0") == made
    assert curator.statistics() == {"total_datasets": 1}


async def test_the_events_behind_the_examples_are_its_provenance(tmp_path: Path) -> None:
    extractor = TrainingDataExtractor()
    curator = DatasetCurator(a_folder(tmp_path), extractor)
    examples = extractor.extract(some_runs(12), now=NOW)
    made = await curator.create_dataset(name="mine", examples=examples, now=NOW)
    lines = read_lineage(made.folder)
    assert {line["trace_event"] for line in lines} == {f"trace-{number}" for number in range(12)}
    assert {line["trace_at"] for line in lines} == {f"process_events_batch:0:{2 * number}" for number in range(12)}


async def test_the_same_examples_again_are_the_same_version(tmp_path: Path) -> None:
    folder = a_folder(tmp_path)
    curator, examples = DatasetCurator(folder), examples_of(some_runs(12))
    made = await curator.create_dataset(name="mine", examples=examples, now=NOW)
    assert await curator.create_dataset(name="mine", examples=examples, now=NOW) == made
    assert (
        await curator.create_dataset(name="mine", examples=examples[:11], now=NOW) == made
    )  # a part of it changes nothing
    assert len(folder.datasets.lines) == 1  # type: ignore[attr-defined]


async def test_more_examples_are_the_next_minor_version(tmp_path: Path) -> None:
    curator = DatasetCurator(a_folder(tmp_path))
    await curator.create_dataset(name="mine", examples=examples_of(some_runs(12)), now=NOW)
    made = await curator.create_dataset(name="mine", examples=examples_of(some_runs(13)), now=NOW)
    assert (made.version, sum(made.splits.values())) == ("1.1.0", 13)


@pytest.mark.parametrize("count", [0, 9])
async def test_fewer_than_ten_groups_are_refused_and_nothing_waits(tmp_path: Path, count: int) -> None:
    folder = a_folder(tmp_path)
    curator = DatasetCurator(folder)
    with pytest.raises(TooFewGroups, match=f"{count} groups") as refused:
        await curator.create_dataset(name="mine", examples=examples_of(some_runs(count)), now=NOW)
    assert refused.value.code == "E7101"
    assert folder.datasets.lines == []  # type: ignore[attr-defined]
    made = await curator.create_dataset(name="mine", examples=examples_of(some_runs(10)), now=NOW)
    assert made.version == "1.0.0"


async def test_an_example_below_a_gate_goes_beside_the_splits(tmp_path: Path) -> None:
    events = [*some_runs(11), a_trace(11), a_score(11, quality=20)]
    made = await DatasetCurator(a_folder(tmp_path)).create_dataset(name="mine", examples=examples_of(events), now=NOW)
    assert sum(made.splits.values()) == 11
    assert made.data["tables"]["contrast"] == 1


async def test_a_changed_example_is_taken_as_it_was_given(tmp_path: Path) -> None:
    extractor = TrainingDataExtractor()
    examples = extractor.extract(some_runs(12), now=NOW)
    examples[3] = replace(examples[3], quality_score=10.0)
    curator = DatasetCurator(a_folder(tmp_path), extractor)
    made = await curator.create_dataset(name="mine", examples=examples, now=NOW)
    assert sum(made.splits.values()) == 11


async def test_a_name_that_is_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArtifactName):
        await DatasetCurator(a_folder(tmp_path)).create_dataset(name="../mine", examples=[], now=NOW)


async def test_a_dataset_that_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    curator = DatasetCurator(a_folder(tmp_path))
    await curator.create_dataset(name="mine", examples=examples_of(some_runs(12)), now=NOW)
    with pytest.raises(NothingByThatName, match=r"mine:1\.0\.0"):
        await curator.get_dataset("yours:1.0.0")
