"""Jobs begin in the background and tell how they stand; a simulated one leaves nothing that looks like a model."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from service_builders import RESULT, a_base, a_dataset, a_folder, an_engine

from l07.domain.job import JobConfig, JobState, LoRAConfig
from l07.domain.registry import Stage
from l07.errors import BaseMissing, ChildKilled, NothingByThatName, NothingToTrainOn, SimulatedArtifact
from l07.events import outbound
from l07.ports import Progress
from l07.service.fine_tuning import FineTuningEngine
from tests.fakes import ScriptedTrainer


class Waiting(ScriptedTrainer):
    """A trainer that answers once it is let go."""

    def __init__(self) -> None:
        super().__init__([RESULT])
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        self.begun.set()
        await self.go.wait()
        return await super().run(job_dir, timeout_s=timeout_s, on_progress=on_progress)


def trainer_of(engine: FineTuningEngine) -> ScriptedTrainer:
    trainer = engine.dataset_curator.folder.trainer
    assert isinstance(trainer, ScriptedTrainer)
    return trainer


async def test_a_job_is_there_at_once_and_ends_with_a_model(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path))
    base = str(a_base(tmp_path / "base"))
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id=base)
    assert (job.status, job.is_terminal(), job.output_model_id) == (JobState.PENDING, False, None)
    done = await engine.wait(job.job_id)
    assert (done.status, done.output_model_id, done.error_message) == (JobState.COMPLETED, "mine:1.0.0", None)
    assert done == await engine.get_job_status(done.job_id)
    model = await engine.model_registry.get_model("mine:1.0.0")
    assert (model.stage, model.metrics and model.metrics["train_loss"]) == (Stage.DEVELOPMENT, 2.0)
    assert engine.progress(job.job_id) == {
        "step": 1,
        "steps": 2,
        "epoch": 0.5,
        "loss": 2.0,
        "tokens_per_s": 10.0,
        "eta_s": 1.0,
    }


async def test_the_ledger_tells_the_job_by_the_id_that_it_ends_with(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path))
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id=str(a_base(tmp_path / "base")))
    done = await engine.wait(job.job_id)
    jobs = engine.dataset_curator.folder.jobs
    assert await jobs.find("training.completed", done.job_id)
    assert engine.statistics() == {"total_jobs": 1, "jobs_by_state": {"COMPLETED": 1}}


async def test_a_job_can_be_watched_while_it_trains(tmp_path: Path) -> None:
    trainer = Waiting()
    folder = a_folder(tmp_path)
    object.__setattr__(folder, "trainer", trainer)
    engine = an_engine(folder)
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id=str(a_base(tmp_path / "base")))
    await trainer.begun.wait()
    assert (await engine.get_job_status(job.job_id)).status is JobState.INITIALIZING
    trainer.go.set()
    assert (await engine.wait(job.job_id)).status is JobState.COMPLETED


async def test_the_same_job_asked_for_twice_is_one(tmp_path: Path) -> None:
    trainer = Waiting()
    folder = a_folder(tmp_path)
    object.__setattr__(folder, "trainer", trainer)
    engine = an_engine(folder)
    dataset, base = await a_dataset(engine), str(a_base(tmp_path / "base"))
    one = await engine.train_model(dataset_id=dataset, base_model_id=base)
    await trainer.begun.wait()
    two = await engine.train_model(dataset_id=dataset, base_model_id=base)
    assert (two.job_id, two.status) == (one.job_id, JobState.INITIALIZING)
    trainer.go.set()
    await engine.wait(one.job_id)
    assert len(trainer.jobs) == 1


async def test_a_given_config_is_trained_exactly(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path, **{"training.learning_rate": 0.5, "training.max_steps": 3}))
    config = JobConfig(
        learning_rate=1e-3, batch_size=4, num_epochs=1, clip=0.5, lora_config=LoRAConfig(rank=2, embeddings=True)
    )
    dataset, base = await a_dataset(engine), str(a_base(tmp_path / "base"))
    job = await engine.train_model(dataset_id=dataset, base_model_id=base, config=config)
    await engine.wait(job.job_id)
    assert trainer_of(engine).jobs[0]["config"] == config.document()


async def test_without_a_config_the_settings_count(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path, **{"training.max_steps": 3}))
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id=str(a_base(tmp_path / "base")))
    await engine.wait(job.job_id)
    assert trainer_of(engine).jobs[0]["config"]["max_steps"] == 3


async def test_a_job_that_fails_says_why_and_can_be_asked_for_again(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path, NothingToTrainOn("no row fits"), RESULT))
    dataset, base = await a_dataset(engine), str(a_base(tmp_path / "base"))
    job = await engine.train_model(dataset_id=dataset, base_model_id=base)
    failed = await engine.wait(job.job_id)
    assert (failed.status, failed.error_code, failed.error_message) == (JobState.FAILED, "E7721", "no row fits")
    again = await engine.train_model(dataset_id=dataset, base_model_id=base)
    assert (await engine.wait(again.job_id)).status is JobState.COMPLETED
    ends = [e.body["state"] for e in await engine.dataset_curator.folder.jobs.entries() if e.kind == "job.ended"]
    assert ends == ["FAILED", "COMPLETED"]


async def test_a_killed_child_starts_again(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path, ChildKilled("killed"), RESULT))
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id=str(a_base(tmp_path / "base")))
    done = await engine.wait(job.job_id)
    assert done.status is JobState.COMPLETED
    assert [job["attempt"] for job in trainer_of(engine).jobs] == [1, 2]


async def test_closing_ends_what_runs_and_counts_no_attempt(tmp_path: Path) -> None:
    trainer = Waiting()
    folder = a_folder(tmp_path)
    object.__setattr__(folder, "trainer", trainer)
    engine = an_engine(folder)
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id=str(a_base(tmp_path / "base")))
    await trainer.begun.wait()
    await engine.close()
    entries = await folder.jobs.entries()
    assert [e.kind for e in entries] == ["job.attempt", "training.started", "job.preempted"]
    assert (await engine.get_job_status(job.job_id)).status is JobState.PENDING
    trainer.go.set()
    again = await engine.train_model(dataset_id=job.dataset, base_model_id=job.base_model)
    assert (await engine.wait(again.job_id)).status is JobState.COMPLETED
    assert [job["attempt"] for job in trainer.jobs] == [1]


async def test_an_alias_is_said_and_stands_in_the_lineage(tmp_path: Path) -> None:
    base = str(a_base(tmp_path / "base"))
    engine = an_engine(a_folder(tmp_path, **{"models.aliases": {"gpt-4-turbo-2024-04": base}}))
    dataset = await a_dataset(engine)
    with pytest.warns(UserWarning, match="gpt-4-turbo-2024-04 is not here"):
        job = await engine.train_model(dataset_id=dataset, base_model_id="gpt-4-turbo-2024-04")
    done = await engine.wait(job.job_id)
    model = await engine.model_registry.get_model(str(done.output_model_id))
    assert (model.lineage["asked_base_model"], model.base_model) == ("gpt-4-turbo-2024-04", base)


async def test_an_unknown_base_is_refused_at_once_with_what_is_here(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path))
    with pytest.raises(BaseMissing, match="tiny-base"):
        await engine.train_model(dataset_id=await a_dataset(engine), base_model_id="gpt-4-turbo-2024-04")


async def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path))
    with pytest.raises(NothingByThatName, match="no dataset"):
        await engine.train_model(dataset_id="mine:1.0.0", base_model_id="tiny-base")
    with pytest.raises(NothingByThatName, match="no job"):
        await engine.get_job_status("job-1")


# ------------------------------------------------------------------ simulated


async def simulated(tmp_path: Path) -> tuple[FineTuningEngine, str]:
    engine = an_engine(a_folder(tmp_path), simulate=True)
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id="gpt-4-turbo-2024-04")
    done = await engine.wait(job.job_id)
    return engine, str(done.output_model_id)


async def test_a_simulated_job_walks_through_every_state(tmp_path: Path) -> None:
    engine = an_engine(a_folder(tmp_path), simulate=True)
    job = await engine.train_model(dataset_id=await a_dataset(engine), base_model_id="gpt-4-turbo-2024-04")
    seen = [job.status]
    while not job.is_terminal():
        await asyncio.sleep(0)
        job = await engine.get_job_status(job.job_id)
        seen += [job.status] if job.status is not seen[-1] else []
    names = ["PENDING", "INITIALIZING", "PREPARING_DATA", "TRAINING", "VALIDATING", "COMPLETED"]
    assert seen == [JobState(name) for name in names]


async def test_a_simulated_model_has_no_figure_and_says_what_it_is(tmp_path: Path) -> None:
    engine, model_id = await simulated(tmp_path)
    model = await engine.model_registry.get_model(model_id)
    assert (model.simulated, model.metrics, model.verdict) == (True, None, None)
    assert trainer_of(engine).jobs == []
    assert sorted(path.name for path in model.folder.iterdir()) == ["manifest.json", "manifest.sig", "simulated.json"]


async def test_no_gate_lets_a_simulated_model_pass(tmp_path: Path) -> None:
    engine, model_id = await simulated(tmp_path)
    with pytest.raises(SimulatedArtifact):
        await engine.model_registry.transition_stage(model_id, Stage.STAGING, by="me", reason="it looks good")
    archived = await engine.model_registry.transition_stage(model_id, Stage.ARCHIVED, by="me", reason="it is nothing")
    assert archived.stage is Stage.ARCHIVED


async def test_a_simulated_job_announces_no_training(tmp_path: Path) -> None:
    engine, _ = await simulated(tmp_path)
    folder = engine.dataset_curator.folder
    announced = [outbound.from_entry(entry) for entry in await folder.jobs.entries()]
    assert announced == [None]
    registered = outbound.from_entry((await folder.registry.entries())[0])
    assert isinstance(registered, outbound.ModelRegistered)
    assert registered.data.format == "simulated"
