"""Who may write about a job: the last that claimed its track, until it is cancelled."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from l07.errors import JobMoveRefused, JobTaken, NothingByThatName
from l07.pipeline import train
from l07.ports import Entry
from tests.fakes import MemoryLedger
from tests.unit.pipeline.test_train import AT, Bench, a_version


async def taken(bench: Bench, fence: int = 1) -> train.Queued:
    job = await train.take("default", fence=fence, owner=f"trainer {fence}", jobs=bench.jobs, at=AT)
    assert job is not None
    return job


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    await bench.created(a_version())
    return bench


async def test_a_claim_stands_in_the_ledger_with_its_fence(bench: Bench) -> None:
    job = await taken(bench, fence=3)
    assert (job.version, job.fence) == ("1.0.0", 3)
    assert bench.jobs.lines[-1].body == {
        "track": "default",
        "queued": "default:1.0.0",
        "fence": 3,
        "owner": "trainer 3",
    }
    assert train.fence_of(bench.jobs.lines, "default") == 3
    assert train.fence_of(bench.jobs.lines, "other") == 0


async def test_an_older_fence_takes_nothing(bench: Bench) -> None:
    await taken(bench, fence=3)
    for fence in (2, 3):
        assert await train.take("default", fence=fence, owner="late", jobs=bench.jobs, at=AT) is None


async def test_what_is_done_is_not_taken(bench: Bench) -> None:
    await train.work(await taken(bench), bench.desk)
    assert await train.take("default", fence=2, owner="late", jobs=bench.jobs, at=AT) is None


async def test_whoever_was_taken_over_writes_nothing_more(bench: Bench) -> None:
    zombie, successor = await taken(bench, 1), await taken(bench, 2)
    before = list(bench.jobs.lines)
    with pytest.raises(JobTaken, match="taken over"):
        await train.work(zombie, bench.desk)
    with pytest.raises(JobTaken):
        await train.check(zombie, jobs=bench.jobs)
    assert bench.jobs.lines == before
    await train.work(successor, bench.desk)
    assert bench.jobs.kinds().count("training.completed") == 1
    assert [line.kind for line in bench.registry.lines] == ["model.registered"]


async def test_taken_over_between_its_look_and_its_write_it_is_refused(bench: Bench) -> None:
    """It saw the ledger in which the job was its own, stood still, and then appends."""
    zombie = await taken(bench, 1)
    real, paused = bench.jobs.append_after, []

    async def after_a_pause(number: int, *words: Any, at: str) -> Entry | None:
        if not paused:
            paused.append(number)
            bench.jobs.append_after = real  # type: ignore[method-assign]
            await taken(bench, 2)
        return await real(number, *words, at=at)

    bench.jobs.append_after = after_a_pause  # type: ignore[method-assign, assignment]
    with pytest.raises(JobTaken):
        await train.work(zombie, bench.desk)
    assert paused
    assert not [line for line in bench.jobs.lines if line.kind.startswith("training") or line.kind == "job.attempt"]


async def test_a_child_of_a_trainer_that_was_taken_over_leaves_no_second_result(bench: Bench) -> None:
    """Both children end well; the late one finds the result of the other."""
    zombie = await taken(bench, 1)

    async def successor_meanwhile(job: str, attempt: int, number: int, line: object) -> None:
        if not successors:
            successors.append(await taken(bench, 2))
            await train.work(successors[0], bench.desk)

    successors: list[train.Queued] = []
    bench.desk = replace(bench.desk, publish_progress=successor_meanwhile)
    with pytest.raises(JobTaken):
        await train.work(zombie, bench.desk)
    assert [job["attempt"] for job in bench.trainer.jobs] == [1, 2]
    assert len({job["output"] for job in bench.trainer.jobs}) == 2, "each works in a folder of its own"
    assert bench.jobs.kinds().count("training.completed") == 1
    assert [line.kind for line in bench.registry.lines] == ["model.registered"]


async def test_a_preempted_attempt_of_a_lost_job_is_not_taken_back(bench: Bench) -> None:
    zombie = await taken(bench, 1)
    await bench.jobs.append("job.attempt", "a", {"track": "default", "queued": zombie.key, "job_id": "j"}, at=AT)
    await taken(bench, 2)
    with pytest.raises(JobTaken):
        await train.preempted(zombie, jobs=bench.jobs, at=AT)
    assert [job.attempts for job in await bench.due()] == [1]


async def test_a_job_whose_trainers_die_again_and_again_fails_with_a_code(bench: Bench) -> None:
    for number in range(3):
        await bench.jobs.append(
            "job.attempt", f"a{number}", {"track": "default", "queued": "default:1.0.0", "job_id": "j"}, at=AT
        )
    await train.work(await taken(bench), bench.desk)
    failed = next(line for line in bench.jobs.lines if line.kind == "training.failed")
    assert (failed.body["data"]["code"], failed.body["data"]["attempts"]) == ("E7708", 3)
    assert bench.trainer.jobs == []
    assert await bench.due() == []


# ------------------------------------------------------------------ cancel


async def test_a_cancelled_job_is_not_due_and_its_trainer_writes_nothing_more(bench: Bench) -> None:
    job = await taken(bench)
    entry = await train.cancel("default:1.0.0", jobs=bench.jobs, by="ann", at=AT)
    assert (entry.kind, entry.body["by"]) == ("job.cancelled", "ann")
    assert await bench.due() == []
    with pytest.raises(JobTaken, match="cancelled"):
        await train.work(job, bench.desk)
    assert await train.take("default", fence=2, owner="x", jobs=bench.jobs, at=AT) is None


async def test_a_job_is_cancelled_by_its_id_and_twice_is_once(bench: Bench) -> None:
    await bench.jobs.append(
        "job.attempt", "a", {"track": "default", "queued": "default:1.0.0", "job_id": "job-7"}, at=AT
    )
    first = await train.cancel("job-7", jobs=bench.jobs, by="ann", at=AT)
    assert await train.cancel("job-7", jobs=bench.jobs, by="bob", at=AT) == first


async def test_what_has_its_result_cannot_be_cancelled(bench: Bench) -> None:
    await train.work(await taken(bench), bench.desk)
    with pytest.raises(JobMoveRefused):
        await train.cancel("default:1.0.0", jobs=bench.jobs, by="ann", at=AT)


async def test_a_name_that_no_job_has_is_said() -> None:
    with pytest.raises(NothingByThatName, match="none yet"):
        await train.cancel("job-9", jobs=MemoryLedger("jobs"), by="ann", at=AT)


async def test_a_repeated_cause_decides_nothing_again(bench: Bench) -> None:
    await train.work(await taken(bench), bench.desk)
    await bench.created(a_version())
    assert "job.declined" not in bench.jobs.kinds()
