"""A dataset version becomes a job or a reason; a job becomes a model, or training.failed with its code."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from l07.errors import BaseMissing, ChildKilled, NothingToTrainOn, TrainExtraMissing
from l07.events.outbound import DatasetCreated, DatasetCreatedData
from l07.pipeline import train
from l07.settings import Settings, load_settings
from tests.fakes import FolderFake, MemoryLedger, ScriptedTrainer

AT = "2026-01-05T09:00:00.000Z"
RESULT = {
    "status": "completed", "losses": [{"step": 1, "loss": 2.0}], "eval_losses": [], "train_loss": 2.0, "steps": 1, "epochs": 1.0, "tokens": 10,
    "seconds": 0.1, "rows": {"used": 600, "too_long": 0, "canaries": 8}, "config": {"lora": {"rank": 16}}, "versions": {}, "digest": "d",
    "files": {}, "peak_rss_bytes": 1,
}  # fmt: skip


def a_version(version: str = "1.0.0", *, train_rows: int = 600, added: int = 700, at: str = AT) -> DatasetCreated:
    data = DatasetCreatedData(
        dataset="default", version=version, digest=f"digest-{version}", uri=f"datasets/default/{version}", splits={"train": train_rows},
        domains={}, difficulties={}, task_types={}, dropped={}, added=added, removed=0,
    )  # fmt: skip
    return DatasetCreated(
        id=f"e-{version}", source="/l07/curate", subject=f"datasets/default:{version}", time=at, data=data
    )


def settings(tmp_path: Path, **overrides: Any) -> Settings:
    return load_settings(
        {}, overrides={"data_dir": tmp_path, **{name.replace("__", "."): value for name, value in overrides.items()}}
    ).settings


class Bench:
    """Everything that working the queue needs, in memory."""

    def __init__(self, tmp_path: Path, *answers: Any, **overrides: Any) -> None:
        self.jobs, self.datasets, self.registry = (
            MemoryLedger("jobs"),
            MemoryLedger("datasets"),
            MemoryLedger("registry"),
        )
        self.trainer = ScriptedTrainer(list(answers) or [RESULT])
        self.base = tmp_path / "a-base"
        self.base.mkdir(exist_ok=True)
        (self.base / "config.json").write_text("{}")
        self.settings = settings(tmp_path, tracks__default__base_model=str(self.base), **overrides)
        store = FolderFake(tmp_path / "store")
        self.ticks = iter(range(1_000_000))
        self.desk = train.Desk(
            self.jobs,
            self.registry,
            store,
            store,
            self.trainer,
            self.settings,
            now=self.now,
            publish_progress=self.progress,
            key_file=tmp_path / "keys" / "k.pem",
        )
        self.told: list[Any] = []

    def now(self) -> str:
        return f"2026-01-05T10:00:00.{next(self.ticks):03d}Z"

    async def progress(self, *line: Any) -> None:
        self.told.append(line)

    async def created(self, cause: DatasetCreated) -> None:
        names = ("dataset", "version", "digest", "uri", "added")
        body = {"data": {name: getattr(cause.data, name) for name in names}}
        await self.datasets.append("dataset.created", f"default:{cause.data.version}", body, at=cause.time)
        await train.on_dataset_created(cause, jobs=self.jobs, datasets=self.datasets, settings=self.settings)

    async def due(self) -> list[train.Queued]:
        return train.queue(await self.jobs.entries())

    async def work(self) -> None:
        for job in await self.due():
            await train.work(job, self.desk)


@pytest.mark.parametrize(("rows", "queued"), [(499, False), (500, True), (501, True)])
async def test_a_job_needs_500_train_rows(tmp_path: Path, rows: int, queued: bool) -> None:
    bench = Bench(tmp_path)
    await bench.created(a_version(train_rows=rows))
    assert bool(await bench.due()) is queued
    assert ("job.declined" in bench.jobs.kinds()) is not queued


@pytest.mark.parametrize(("added", "queued"), [(119, False), (120, True), (121, True)])
async def test_another_job_needs_a_fifth_of_new_rows(tmp_path: Path, added: int, queued: bool) -> None:
    bench = Bench(tmp_path)
    await bench.created(a_version())
    await bench.work()
    await bench.created(a_version("1.1.0", added=added))
    assert bool(await bench.due()) is queued


@pytest.mark.parametrize(("at", "queued"), [("2026-01-12T09:59:59.000Z", False), ("2026-01-12T10:00:01.000Z", True)])
async def test_or_seven_days(tmp_path: Path, at: str, queued: bool) -> None:
    bench = Bench(tmp_path)
    await bench.created(a_version())
    await bench.work()
    await bench.created(a_version("1.1.0", added=1, at=at))
    assert bool(await bench.due()) is queued


async def test_a_newer_version_replaces_a_queued_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.created(a_version("1.0.0"))
    await bench.created(a_version("1.1.0"))
    assert [job.version for job in await bench.due()] == ["1.1.0"]


async def test_a_repeated_cause_queues_nothing_new(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.created(a_version())
    await bench.work()
    await bench.created(a_version())
    assert await bench.due() == []


async def test_a_job_runs_to_a_registered_model_with_its_lineage(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.created(a_version())
    await bench.work()
    assert [k for k in bench.jobs.kinds() if k.startswith("training")] == ["training.started", "training.completed"]
    (model,) = bench.registry.lines
    assert model.kind == "model.registered"
    lineage = model.body["data"]["lineage"]
    assert (lineage["dataset"], lineage["dataset_digest"], lineage["asked_base_model"]) == (
        "datasets/default/1.0.0",
        "digest-1.0.0",
        str(bench.base),
    )
    assert await bench.due() == []
    assert len(bench.told) == 1


async def test_a_registered_model_has_a_card_with_what_was_measured_and_its_curve(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.desk = replace(bench.desk, draw=lambda folder: (folder / "loss.svg").write_text("<svg/>"))
    await bench.created(a_version())
    await bench.work()
    (model,) = bench.registry.lines
    folder = bench.desk.store.path(model.body["data"]["uri"])
    text = (folder / "README.md").read_text("utf-8")
    assert "| digest | digest-1.0.0 |" in text
    assert "| mean loss over the run | 2.0 |" in text
    assert "plots/loss.svg" in text
    assert (folder / "plots" / "loss.svg").read_text() == "<svg/>"


async def test_whole_weights_are_registered_and_described_as_what_they_are(tmp_path: Path) -> None:
    whole = {**RESULT, "config": {"adapter": "full", "lora": {"rank": 16}}}
    bench = Bench(tmp_path, whole)
    await bench.created(a_version())
    await bench.work()
    (model,) = bench.registry.lines
    assert (model.body["data"]["format"], model.body["data"]["rank"]) == ("full", None)
    text = (bench.desk.store.path(model.body["data"]["uri"]) / "README.md").read_text("utf-8")
    assert "library_name: transformers" in text
    assert "whole weights, trained from" in text
    assert "adapter: rank" not in text


async def test_a_killed_child_starts_again_as_attempt_2_under_the_same_job(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ChildKilled("SIGKILL"), RESULT)
    await bench.created(a_version())
    await bench.work()
    assert [job["attempt"] for job in bench.trainer.jobs] == [1, 2]
    assert len({job["job_id"] for job in bench.trainer.jobs}) == 1
    assert "training.completed" in bench.jobs.kinds()


async def test_a_child_that_is_always_killed_fails_after_three_attempts(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ChildKilled("SIGKILL"))
    await bench.created(a_version())
    await bench.work()
    failed = [line.body["data"] for line in bench.jobs.lines if line.kind == "training.failed"]
    assert [(one["code"], one["attempts"], one["again"]) for one in failed] == [
        ("E7700", 1, True), ("E7700", 2, True), ("E7700", 3, False),
    ]  # fmt: skip
    assert await bench.due() == []


async def test_a_child_that_says_why_is_not_run_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, NothingToTrainOn("no row fits"))
    await bench.created(a_version())
    await bench.work()
    assert len(bench.trainer.jobs) == 1
    assert "training.failed" in bench.jobs.kinds()


async def test_a_person_is_told_how_the_machine_is_used_and_nobody_else(tmp_path: Path) -> None:
    """As the child says it before it reads weights; it is no step, so no event and no curve has it."""

    class Telling(ScriptedTrainer):
        async def run(self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Any = None) -> Any:
            memory = {"total_bytes": 3 * 2**29, "room_bytes": 2**33, "weights_bytes": 2**29}
            await on_progress({"hardware": {"device": "cpu", "packing": True}, "memory": memory})
            return await super().run(job_dir, timeout_s=timeout_s, on_progress=on_progress)

    bench, said, published = Bench(tmp_path), [], []

    async def publish(job: str, attempt: int, number: int, line: Any) -> None:
        published.append(line)

    bench.desk = replace(bench.desk, tell=said.append, trainer=Telling([RESULT]), publish_progress=publish)
    await bench.created(a_version())
    await bench.work()
    told = next(one for one in said if one["phase"] == "machine")
    assert (told["device"], told["needs"], told["of"]) == ("cpu", "1.50 GiB", "8.00 GiB")
    assert [line["step"] for line in published] == [1]


async def test_a_machine_without_torch_stops_us_and_keeps_the_job(tmp_path: Path) -> None:
    bench = Bench(tmp_path, TrainExtraMissing("no torch"), RESULT)
    await bench.created(a_version())
    with pytest.raises(TrainExtraMissing):
        await bench.work()
    assert [job.attempts for job in await bench.due()] == [0]
    await bench.work()
    assert bench.trainer.jobs[-1]["attempt"] == 1


async def test_an_attempt_that_was_preempted_does_not_count(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ChildKilled("stop"))
    await bench.created(a_version())
    (job,) = await bench.due()
    bench.trainer.answers = [KeyboardInterrupt()]  # type: ignore[list-item]
    await bench.jobs.append("job.attempt", "a", {"track": "default", "queued": job.key, "job_id": "j"}, at=AT)
    assert [j.attempts for j in await bench.due()] == [1]
    await train.preempted(job, jobs=bench.jobs, at=AT)
    assert [j.attempts for j in await bench.due()] == [0]


async def test_a_child_that_had_ended_before_we_were_killed_is_not_run_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.created(a_version())
    (job,) = await bench.due()
    await train.work(job, bench.desk)
    events = len(bench.registry.lines)
    await train.work(replace(job, attempts=1), bench.desk)  # as after a crash before job.ended was written
    assert len(bench.trainer.jobs) == 1
    assert len(bench.registry.lines) == events


async def test_an_unknown_base_names_what_is_here(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.settings = settings(tmp_path, tracks__default__base_model="gpt-4-turbo-2024-04")
    bench.desk = replace(bench.desk, settings=bench.settings)
    await bench.created(a_version())
    with pytest.raises(BaseMissing, match="tiny-base"):
        await bench.work()


async def test_an_alias_is_recorded_in_the_lineage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path)
    bench.desk = replace(
        bench.desk,
        settings=settings(
            tmp_path, tracks__default__base_model="gpt-4-turbo", models__aliases={"gpt-4-turbo": str(bench.base)}
        ),
    )
    await bench.created(a_version())
    with caplog.at_level("WARNING"):
        await bench.work()
    lineage = bench.registry.lines[0].body["data"]["lineage"]
    assert (lineage["asked_base_model"], lineage["base_model"]) == ("gpt-4-turbo", str(bench.base))
    assert "base_model_alias" in caplog.text


async def test_recommended_settings_of_a_base_are_used_and_their_origin_recorded(tmp_path: Path) -> None:
    bench, said = Bench(tmp_path, training__epochs=1), []
    bench.desk = replace(bench.desk, tell=said.append)
    (bench.base / "base.json").write_text(
        json.dumps({"digest": "b", "recommended": {"learning_rate": 0.005, "epochs": 4}})
    )
    await bench.created(a_version())
    await bench.work()
    started = next(line for line in bench.jobs.lines if line.kind == "training.started").body["data"]
    assert said[0]["settings"]["learning_rate"] == "0.005 (base)"
    assert (started["config"]["learning_rate"], started["config"]["epochs"], started["config"]["batch_size"]) == (
        0.005,
        1.0,
        16,
    )
    assert (started["origins"]["learning_rate"], started["origins"]["epochs"], started["origins"]["batch_size"]) == (
        "base",
        "settings",
        "default",
    )


async def test_a_machine_without_torch_stops_us_before_the_base_is_made_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, TrainExtraMissing("no torch"))
    bench.desk = replace(bench.desk, settings=settings(tmp_path, tracks__default__base_model="tiny-base"))
    await bench.created(a_version())
    with pytest.raises(TrainExtraMissing):
        await bench.work()
    assert [job.attempts for job in await bench.due()] == [0]
    assert "training.failed" not in bench.jobs.kinds()


async def test_a_child_that_is_killed_while_it_makes_the_base_starts_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ChildKilled("SIGKILL"), RESULT)
    bench.desk = replace(bench.desk, settings=settings(tmp_path, tracks__default__base_model="tiny-base"))
    await bench.created(a_version())
    await bench.work()
    assert [job["kind"] for job in bench.trainer.jobs] == ["make_base", "make_base", "train"]
    assert "training.completed" in bench.jobs.kinds()


async def test_a_stop_before_an_attempt_takes_none_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.created(a_version())
    (job,) = await bench.due()
    await bench.jobs.append("job.attempt", "a", {"track": "default", "queued": job.key, "job_id": "j"}, at=AT)
    (cut_off,) = await bench.due()  # kill -9 cut the first attempt off, and the stop came before the second
    await train.preempted(cut_off, jobs=bench.jobs, at=AT)
    assert [job.attempts for job in await bench.due()] == [1]
