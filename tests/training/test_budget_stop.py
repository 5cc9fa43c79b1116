"""A budget that really stops a real child: its checkpoint, its code, its alert, and the way on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from l07.backends.child import ChildTrainer
from l07.domain.job import JobState
from l07.pipeline import attempts
from l07.pipeline.announce import announce
from tests.fakes import MemoryBus
from tests.training.struck import Job, a_job
from tests.training.worlds import Bench

pytestmark = [pytest.mark.training, pytest.mark.slow, pytest.mark.timeout(600)]

LONG = 100_000  # steps: more than any budget here allows
BUDGETS_S = (20, 60, 180)  # a busy machine needs longer to its first checkpoint


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def asked_again(job: Job, **training: Any) -> Job:
    """The same job under other settings, as `l07 train` would queue it."""
    settings = job.folder.settings
    folder = replace(
        job.folder, settings=settings.model_copy(update={"training": settings.training.model_copy(update=training)})
    )
    return Job(folder, replace(job.queued, key=f"{job.queued.key}#again.1"), job.trainer)


async def test_a_budget_stops_a_job_and_a_higher_one_goes_on_from_its_checkpoint(bench: Bench, tmp_path: Path) -> None:
    for budget_s in BUDGETS_S:
        async with a_job(
            bench, tmp_path / str(budget_s), ChildTrainer(), max_steps=LONG, checkpoint_steps=2, budget_s=budget_s
        ) as job:
            line = await job.work()
            assert (line.state, line.code) == (JobState.FAILED, "E7730")
            if attempts.checkpoints(job.home):
                return await goes_on(job, budget_s)
    pytest.fail(f"no checkpoint within {BUDGETS_S[-1]} s")


async def goes_on(job: Job, budget_s: float) -> None:
    (failed,) = await job.entries("training.failed")
    assert (failed["again"], failed["attempts"]) == (False, 1), "it is not tried again"
    assert failed["spent_s"] >= budget_s
    assert "training.budget_s" in failed["message"]
    assert await job.models() == []
    assert await alerts(job) == ["E7730"]
    newest = max(step for place in attempts.checkpoints(job.home) for step in place.glob("step-*"))
    again = asked_again(job, budget_s=failed["spent_s"] + 5)
    line = await again.work()
    assert (line.state, line.code) == (JobState.FAILED, "E7730"), "the control: what was spent before counts"
    started = (await job.entries("training.started"))[-1]
    assert started["job_id"] == failed["job_id"]
    assert started["resumed_from"] == int(newest.name.removeprefix("step-"))


async def alerts(job: Job) -> list[str]:
    bus = MemoryBus()
    await announce([job.folder.jobs], bus, topic="learning.events")
    told = [json.loads(record.value or b"") for record in bus.topics["learning.events"]]
    return [event["data"]["code"] for event in told if event["type"] == "learning.alert"]
