"""The service as one object: what it opens and counts, and an honest word for each step that could not be done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from service_builders import RESULT, a_base, settings_for, some_runs

from l07 import LearningService
from l07.backends import open as backends
from l07.backends.lock import DataLock
from l07.errors import ChildOutOfMemory, FolderInUse, L07Error, ServiceNotOpen
from tests.fakes import ScriptedTrainer


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> ScriptedTrainer:
    answers: list[Mapping[str, Any] | L07Error] = [RESULT]
    told = ScriptedTrainer(answers)
    monkeypatch.setattr(backends, "open_trainer", lambda settings: told)
    return told


def a_service(tmp_path: Path, **overrides: Any) -> LearningService:
    return LearningService(settings=settings_for(tmp_path / "data", **overrides))


async def test_the_storage_path_is_the_data_folder(tmp_path: Path, trainer: ScriptedTrainer) -> None:
    async with LearningService(str(tmp_path / "here"), settings=settings_for(tmp_path / "there")) as service:
        assert (tmp_path / "here" / "lock").is_file()
        assert service.settings.data_dir == tmp_path / "here"
    assert not (tmp_path / "there").exists()


async def test_the_folder_is_held_until_cleanup(tmp_path: Path, trainer: ScriptedTrainer) -> None:
    service = a_service(tmp_path)
    await service.initialize()
    await service.initialize()
    with pytest.raises(FolderInUse):
        await a_service(tmp_path).initialize()
    await service.cleanup()
    await service.cleanup()
    with DataLock(tmp_path / "data"):
        pass


async def test_a_step_that_needs_the_folder_says_that_it_is_not_open(tmp_path: Path, trainer: ScriptedTrainer) -> None:
    service = a_service(tmp_path)
    with pytest.raises(ServiceNotOpen) as refused:
        await service.validate_model("mine:1.0.0")
    assert refused.value.code == "E7302"
    await service.initialize()
    await service.cleanup()
    with pytest.raises(ServiceNotOpen):
        service.get_statistics()
    await service.initialize()
    assert service.get_statistics()["curator"]["total_datasets"] == 0
    await service.cleanup()


async def test_the_statistics_count_what_happened(tmp_path: Path, trainer: ScriptedTrainer) -> None:
    async with a_service(tmp_path) as service:
        result = await service.end_to_end_pipeline(some_runs(12), "mine", str(a_base(tmp_path / "base")))
        stats = service.get_statistics()
    assert (stats["extractor"]["total_extracted"], stats["filter"]["accepted_count"]) == (12, 12)
    assert (stats["curator"]["total_datasets"], stats["registry"]["total_models"]) == (1, 1)
    assert stats["fine_tuning"]["total_jobs"] == 1
    assert (result["status"], result["model_id"]) == ("completed", "mine:1.0.0")
    async with a_service(tmp_path) as later:
        stats = later.get_statistics()
    folder = (stats["curator"]["total_datasets"], stats["registry"]["total_models"], stats["fine_tuning"]["total_jobs"])
    assert folder == (1, 1, 1)
    assert stats["extractor"]["total_extracted"] == 0


async def test_no_bus_and_no_buffer_is_opened(tmp_path: Path, trainer: ScriptedTrainer) -> None:
    async with a_service(tmp_path) as service:
        await service.end_to_end_pipeline(some_runs(12), "mine", str(a_base(tmp_path / "base")))
    assert not (tmp_path / "data" / "bus.db").exists()
    assert not (tmp_path / "data" / "buffer").exists()


# ------------------------------------------------------------------ the pipeline's honest words


async def test_the_pipeline_ends_with_a_verdict(tmp_path: Path, trainer: ScriptedTrainer) -> None:
    async with a_service(tmp_path) as service:
        result = await service.end_to_end_pipeline(some_runs(12), "mine", str(a_base(tmp_path / "base")))
    assert result["validation_recommendation"] == "REVIEW"
    assert (result["code"], result["message"], result["dataset_id"]) == (None, None, "mine:1.0.0")


async def test_too_few_runs_are_no_dataset(tmp_path: Path, trainer: ScriptedTrainer) -> None:
    async with a_service(tmp_path) as service:
        result = await service.end_to_end_pipeline(some_runs(3), "mine", "tiny-base")
    assert (result["status"], result["code"], result["model_id"]) == ("dataset_refused", "E7101", None)
    assert result["validation_recommendation"] is None


async def test_an_unknown_base_is_no_training(tmp_path: Path, trainer: ScriptedTrainer) -> None:
    async with a_service(tmp_path) as service:
        result = await service.end_to_end_pipeline(some_runs(12), "mine", "gpt-4-turbo-2024-04")
    assert (result["status"], result["code"], result["dataset_id"]) == ("training_refused", "E7710", "mine:1.0.0")


async def test_a_training_that_failed_has_no_model(tmp_path: Path, trainer: ScriptedTrainer) -> None:
    trainer.answers[:] = [ChildOutOfMemory("no memory left")]
    async with a_service(tmp_path) as service:
        result = await service.end_to_end_pipeline(some_runs(12), "mine", str(a_base(tmp_path / "base")))
    assert (result["status"], result["code"], result["model_id"]) == ("training_failed", "E7701", None)
    assert result["message"] == "no memory left"
