"""The whole job engine on children that are killed or fail at named places: one result, one model, no lie in between."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from l07.backends.child import ChildTrainer
from l07.domain.job import JobState
from tests.training.struck import Job, a_job, struck_child
from tests.training.worlds import Bench

pytestmark = [pytest.mark.training, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


class OutOfTime(ChildTrainer):
    """Its time is over as soon as the child has told a step."""

    async def run(self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Any = None) -> Mapping[str, Any]:
        async def over(line: Mapping[str, Any]) -> None:
            if line.get("step"):  # what was found at the start comes before it has learned anything
                raise TimeoutError

        return await super().run(job_dir, timeout_s=timeout_s, on_progress=over)


async def digest(job: Job) -> str:
    (completed,) = await job.entries("training.completed")
    return str(completed["digest"])


async def test_killed_at_every_kind_of_moment_it_ends_with_the_same_weights_and_one_model(
    bench: Bench, tmp_path: Path
) -> None:
    """At a step, in the middle of a checkpoint, right after one, before and after its output appears."""
    plan = [
        {"at": "start"}, {"at": "step", "step": 10}, {"at": "half", "step": 16}, {"at": "kept", "step": 20}, {"at": "output"},
        {"at": "published"},
    ]  # fmt: skip
    async with a_job(bench, tmp_path / "data", struck_child(tmp_path, plan)) as job:
        line = await job.work()
        assert (line.state, line.attempts) == (JobState.COMPLETED, 7)
        begun = await job.entries("training.started")
        assert [one.get("resumed_from") for one in begun] == [None, None, 8, 12, 20, 28, 28]
        assert [one["code"] for one in await job.entries("training.failed")] == ["E7700"] * 6
        struck = await digest(job)
        assert len(await job.models()) == 1
        left = {path.name for own in job.home.glob("attempt-*") for path in own.iterdir()}
        assert not left & {"checkpoints", "out.partial"}
    async with a_job(bench, tmp_path / "quiet", ChildTrainer()) as job:
        await job.work()
        assert await digest(job) == struck


async def test_memory_and_nan_are_met_on_the_way_and_the_lineage_says_so(bench: Bench, tmp_path: Path) -> None:
    plan = [{"at": "memory", "step": 10}, {"at": "nan", "step": 20}]
    async with a_job(bench, tmp_path / "data", struck_child(tmp_path, plan)) as job:
        line = await job.work()
        assert (line.state, line.attempts) == (JobState.COMPLETED, 3)
        begun = await job.entries("training.started")
        assert [one.get("resumed_from") for one in begun] == [None, 8, 12]
        changes = [
            {"attempt": 2, "code": "E7701", "micro_batch_size": 4},
            {"attempt": 3, "code": "E7726", "rate_factor": 0.5, "from_step": 12},
        ]
        assert begun[-1]["changes"] == changes
        (model,) = await job.models()
        assert model["lineage"]["changes"] == changes
        (completed,) = await job.entries("training.completed")
        assert (completed["attempt"], completed["resumed_from"], completed["changes"]) == (3, 12, changes)


async def test_a_job_out_of_time_goes_on_from_the_checkpoint_that_its_child_wrote_when_asked_to_leave(
    bench: Bench, tmp_path: Path
) -> None:
    never = {"max_steps": 100_000, "checkpoint_steps": None, "checkpoint_s": None}
    async with a_job(bench, tmp_path, OutOfTime(), attempts=2, **never) as job:
        line = await job.work()
        assert (line.state, line.code) == (JobState.FAILED, "E7702")
        begun = await job.entries("training.started")
        assert begun[0].get("resumed_from") is None
        assert begun[1]["resumed_from"] > 0
        assert not await job.models()
