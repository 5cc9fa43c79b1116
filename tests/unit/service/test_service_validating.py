"""A verdict in the seed's words: what is inconclusive has not passed, and says why."""

from pathlib import Path

import pytest
from service_builders import RESULT, a_base, a_dataset, a_folder, an_engine

from l07.errors import SimulatedArtifact, UnknownModel
from l07.events import outbound
from l07.pipeline.validate import validate_model
from l07.service.validating import ModelValidator, _stage
from tests.fakes import ScriptedTrainer


async def test_what_could_not_be_measured_is_for_a_person_and_nothing_has_passed(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path, RESULT))
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id=str(a_base(tmp_path / "base")))
    done = await engine.wait(job.job_id)
    validator = ModelValidator(engine.model_registry)
    result = await validator.validate(str(done.output_model_id))
    assert result.recommendation == "REVIEW"
    assert list(result.stages) == ["regression", "benchmark", "safety", "diversity", "latency"]
    assert not any(stage.passed for stage in result.stages.values())
    assert all(stage.errors for stage in result.stages.values())
    assert (result.report / "report.html").is_file()


async def test_a_model_is_judged_once(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path, RESULT))
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id=str(a_base(tmp_path / "base")))
    done = await engine.wait(job.job_id)
    validator = ModelValidator(engine.model_registry)
    first = await validator.validate(str(done.output_model_id))
    trainer = engine.dataset_curator.folder.trainer
    assert isinstance(trainer, ScriptedTrainer)
    runs = len(trainer.jobs)
    assert await validator.validate(str(done.output_model_id)) == first
    assert len(trainer.jobs) == runs


@pytest.mark.parametrize(("result", "passed"), [("PASS", True), ("FAIL", False), ("INCONCLUSIVE", False)])
def test_only_pass_has_passed(result: str, passed: bool) -> None:
    assert _stage({"stage": "latency", "result": result, "n": 3}, ()).passed is passed


def test_a_stage_has_its_own_reasons_as_its_errors() -> None:
    reasons = ["safety FAIL: memorised canaries: rank 1", "latency FAIL: seconds a token: 1.4"]
    assert _stage({"stage": "safety", "result": "FAIL", "n": 8}, reasons).errors == ("memorised canaries: rank 1",)


async def test_a_simulated_model_is_not_judged(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path), simulate=True)
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id="any")
    done = await engine.wait(job.job_id)
    with pytest.raises(SimulatedArtifact):
        await ModelValidator(engine.model_registry).validate(str(done.output_model_id))


async def test_the_loop_passes_a_simulated_model_by(tmp_path: Path) -> None:
    """`l07 run` on the same folder reads model.registered too: that must neither stop it nor judge anything."""
    engine = an_engine(a_folder(tmp_path), simulate=True)
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id="any")
    await engine.wait(job.job_id)
    folder = engine.dataset_curator.folder
    cause = outbound.from_entry((await folder.registry.entries())[0])
    assert isinstance(cause, outbound.ModelRegistered)
    await validate_model(
        cause,
        registry=folder.registry,
        store=folder.store,
        trainer=folder.trainer,
        settings=folder.settings,
        key_file=folder.key_file,
    )
    assert [entry.kind for entry in await folder.registry.entries()] == ["model.registered"]


@pytest.mark.parametrize("name", ["mine:9.0.0", "mine"])
async def test_a_model_that_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    engine = an_engine(a_folder(tmp_path))
    with pytest.raises(UnknownModel):
        await ModelValidator(engine.model_registry).validate(name)
