"""Which registered models a base comes from, and what follows of it: a job's lineage, a base.json of one's own."""

import json
from pathlib import Path

import pytest
from test_train import Bench, a_version

from l07.domain.registry import ModelVersion, fold
from l07.pipeline.bases import folder_digest
from l07.pipeline.parentage import parents_of
from tests.fakes import FolderFake


def a_model(store: FolderFake, version: str) -> ModelVersion:
    uri = f"models/mine/{version}"
    write(store.path(uri) / "adapter_model.safetensors", f"weights of {version}")
    return ModelVersion("mine", version, "d", uri, "tiny-base", {}, "", 1)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


@pytest.fixture
def store(tmp_path: Path) -> FolderFake:
    return FolderFake(tmp_path / "store")


def found(base: Path, store: FolderFake) -> list[str]:
    return parents_of(base, [a_model(store, "1.0.0"), a_model(store, "2.0.0")], store)


def test_a_base_of_its_own_has_none(store, tmp_path) -> None:
    write(tmp_path / "b" / "config.json", "{}")
    assert found(tmp_path / "b", store) == []
    assert found(tmp_path / "gone", store) == []


def test_a_merged_base_says_it_itself(store, tmp_path) -> None:
    write(tmp_path / "b" / "base.json", json.dumps({"parents": ["mine:2.0.0", "elsewhere:1.0.0"]}))
    assert found(tmp_path / "b", store) == ["elsewhere:1.0.0", "mine:2.0.0"]


@pytest.mark.parametrize("text", ["", "[]", '{"parents": 3}', '{"parents": [3]}', "\xff"])
def test_a_base_json_that_nobody_can_read_names_nobody(store, tmp_path, text) -> None:
    write(tmp_path / "b" / "base.json", text)
    assert found(tmp_path / "b", store) == []


def test_a_models_folder_and_a_copy_of_its_adapter_are_known(store, tmp_path) -> None:
    assert found(a_place(store, "1.0.0"), store) == ["mine:1.0.0"]
    write(tmp_path / "copy" / "adapter_model.safetensors", "weights of 2.0.0")
    assert found(tmp_path / "copy", store) == ["mine:2.0.0"]


def a_place(store: FolderFake, version: str) -> Path:
    return store.path(f"models/mine/{version}")


def test_an_adapters_base_counts_too_however_many_there_are(store, tmp_path) -> None:
    write(tmp_path / "top" / "adapter_config.json", json.dumps({"base_model_name_or_path": str(tmp_path / "mid")}))
    write(tmp_path / "mid" / "adapter_config.json", json.dumps({"base_model_name_or_path": str(tmp_path / "top")}))
    write(tmp_path / "mid" / "base.json", json.dumps({"parents": ["mine:1.0.0"]}))
    assert found(tmp_path / "top", store) == ["mine:1.0.0"]


async def test_a_job_upon_a_merged_model_names_it_in_its_lineage(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.created(a_version())
    await bench.work()
    [first] = fold(bench.registry.lines).models.values()
    assert first.parents == ()
    write(bench.base / "base.json", json.dumps({"parents": [first.id]}))
    await bench.created(a_version("1.1.0"))
    await bench.work()
    assert [model.parents for model in fold(bench.registry.lines).models.values()] == [(), (first.id,)]


def test_what_a_base_says_of_itself_is_no_part_of_its_digest(tmp_path: Path) -> None:
    """The child that trains leaves base.json out too: it would refuse the base else (E7724)."""
    write(tmp_path / "config.json", "{}")
    before = folder_digest(tmp_path)
    write(tmp_path / "base.json", json.dumps({"parents": ["mine:1.0.0"]}))
    assert folder_digest(tmp_path) == before
    write(tmp_path / "sub" / "base.json", "{}")
    assert folder_digest(tmp_path) != before
