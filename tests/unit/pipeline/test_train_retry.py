"""RETRYING: what each way to fail changes in the next attempt, and that whoever makes that attempt knows it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from l07 import errors
from l07.domain import checkpoint
from l07.domain.job import JobState
from l07.domain.job_ledger import fold
from l07.errors import (
    AttemptsUsedUp,
    BadJob,
    ChildDiskFull,
    ChildError,
    ChildKilled,
    ChildOutOfMemory,
    ChildPreempted,
    ChildTimedOut,
    Fatal,
    HubUnreachable,
    LossNotFinite,
)
from l07.pipeline import attempts, train
from l07.pipeline.train import retry
from tests.unit.pipeline.test_train import RESULT, Bench, a_version

CONFIG = {"batch_size": 8}


def checkpoint_in(place: Path, step: int, job: str, changes: list[Any] | None = None, *, whole: bool = True) -> Path:
    folder = place / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"w" * step)
    files = {"weights.safetensors": hashlib.sha256(b"w" * step).hexdigest() if whole else "0"}
    about = {"schema": 1, "job": job, "step": step, "changes": changes or [], "files": files}
    (folder / "manifest.json").write_text(json.dumps(about), "utf-8")
    return folder


# ------------------------------------------------------------------ the rules


AGAIN: dict[type[ChildError], Any] = {
    ChildKilled: {}, HubUnreachable: {}, ChildPreempted: {}, ChildTimedOut: {}, ChildOutOfMemory: {"code": "E7701", "micro_batch_size": 4},
    LossNotFinite: {"code": "E7726", "rate_factor": 0.5, "from_step": 0},
}  # fmt: skip
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ChildError) and kind.code and not issubclass(kind, Fatal)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_each_way_to_fail_changes(kind: type[ChildError]) -> None:
    assert retry.after(kind("so it was"), CONFIG, []) == AGAIN.get(kind)


@pytest.mark.parametrize(("batch", "sizes"), [(16, [8, 4, 2, 1]), (12, [6, 3, 1]), (7, [1]), (10, [5, 2, 1]), (1, [])])
def test_memory_runs_out_again_and_again_until_one_row_is_too_much(batch: int, sizes: list[int]) -> None:
    """As many rows a step as before: each size divides the batch."""
    changes: list[Any] = []
    while (change := retry.after(ChildOutOfMemory("oom"), {"batch_size": batch}, changes)) is not None:
        changes.append(change)
    assert [change["micro_batch_size"] for change in changes] == sizes


def test_of_several_processes_none_has_less_than_a_row() -> None:
    changes: list[Any] = []
    while (change := retry.after(ChildOutOfMemory("oom"), {"batch_size": 16}, changes, ranks=4)) is not None:
        changes.append(change)
    assert [change["micro_batch_size"] for change in changes] == [8, 4]


@pytest.mark.parametrize(("kept", "back_to"), [([], 0), ([20], 0), ([20, 40], 20), ([40, 20, 60], 40)])
def test_nan_goes_back_to_the_checkpoint_before_the_last(kept: list[int], back_to: int) -> None:
    change = retry.after(LossNotFinite("nan", checkpoints=kept), CONFIG, [])
    assert change is not None
    assert (change["from_step"], change["rate_factor"]) == (back_to, 0.5)


def test_changes_add_up() -> None:
    changes = [{"rate_factor": 0.5, "from_step": 8}, {"micro_batch_size": 4}, {"rate_factor": 0.5, "from_step": 4}]
    assert (checkpoint.rate_factor(changes), checkpoint.micro_batch_size(8, changes)) == (0.25, 4)
    assert (checkpoint.rate_factor([]), checkpoint.micro_batch_size(8, [])) == (1.0, 8)


HALF, FEWER = {"rate_factor": 0.5, "from_step": 8}, {"micro_batch_size": 4}


@pytest.mark.parametrize(
    ("made", "step", "changes", "goes_on"),
    [
        ([], 12, [], True), ([], 12, [FEWER], True), ([], 12, [HALF], False), ([], 8, [HALF], True), ([], 8, [HALF, FEWER], True),
        ([HALF], 12, [HALF], True), ([HALF], 12, [HALF, FEWER], True), ([HALF], 12, [], False), ([FEWER], 4, [HALF], False),
    ],
)  # fmt: skip
def test_from_which_checkpoints_an_attempt_may_go_on(
    made: list[Any], step: int, changes: list[Any], goes_on: bool
) -> None:
    assert checkpoint.goes_on({"step": step, "changes": made}, changes) is goes_on


@pytest.mark.parametrize(
    "name", ["seed", "config", "dataset_digest", "base_digest", "job_id", "method", "anything_new"]
)
def test_a_checkpoint_is_of_another_job_where_anything_differs_that_counts(name: str) -> None:
    job = {
        "job_id": "j",
        "seed": 7,
        "config": {"batch_size": 8},
        "dataset_digest": "d",
        "base_digest": "b",
        "method": "sft",
    }
    assert checkpoint.identity({**job, name: "x"}) != checkpoint.identity(job)


@pytest.mark.parametrize("name", ["attempt", "output", "base", "dataset", "changes", "checkpoints", "origins"])
def test_and_not_where_only_its_place_or_its_attempt_does(name: str) -> None:
    assert checkpoint.identity({"job_id": "j", name: "x"}) == checkpoint.identity({"job_id": "j"})


# ------------------------------------------------------------------ the job


def started(bench: Bench) -> list[dict[str, Any]]:
    return [line.body["data"] for line in bench.jobs.lines if line.kind == "training.started"]


def again(bench: Bench) -> list[dict[str, Any]]:
    return [line.body["data"] for line in bench.jobs.lines if line.kind == "training.failed"]


async def test_out_of_memory_is_tried_again_with_half_the_rows_at_a_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ChildOutOfMemory("no memory"), RESULT)
    await bench.created(a_version())
    await bench.work()
    change = {"attempt": 2, "code": "E7701", "micro_batch_size": 8}
    assert [job["changes"] for job in bench.trainer.jobs] == [[], [change]]
    assert [one.get("changes") for one in started(bench)] == [None, [change]]
    assert [(one["code"], one["again"]) for one in again(bench)] == [("E7701", True)]
    assert fold(bench.jobs.lines)["default:1.0.0"].state is JobState.COMPLETED


async def test_nan_is_tried_again_from_before_at_half_the_rate_and_the_model_says_so(tmp_path: Path) -> None:
    change = {"attempt": 2, "code": "E7726", "rate_factor": 0.5, "from_step": 20}
    bench = Bench(tmp_path, LossNotFinite("nan", checkpoints=[20, 40]), {**RESULT, "changes": [change], "attempt": 2})
    await bench.created(a_version())
    await bench.work()
    assert bench.trainer.jobs[-1]["changes"] == [change]
    (completed,) = [line.body["data"] for line in bench.jobs.lines if line.kind == "training.completed"]
    assert (completed["changes"], completed["attempt"]) == ([change], 2)
    assert bench.registry.lines[0].body["data"]["lineage"]["changes"] == [change]


async def test_out_of_time_is_tried_again_as_it_was_three_times_at_most(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ChildTimedOut("too slow"))
    await bench.created(a_version())
    await bench.work()
    assert [(job["attempt"], job["changes"]) for job in bench.trainer.jobs] == [(1, []), (2, []), (3, [])]
    assert [(one["code"], one["again"], one["attempts"]) for one in again(bench)] == [
        ("E7702", True, 1), ("E7702", True, 2), ("E7702", False, 3),
    ]  # fmt: skip
    assert fold(bench.jobs.lines)["default:1.0.0"].state is JobState.FAILED


async def test_while_it_is_tried_again_it_is_retrying(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ChildTimedOut("too slow"), RESULT)
    await bench.created(a_version())
    await bench.work()
    at = next(n for n, line in enumerate(bench.jobs.lines) if line.kind == "training.failed")
    job = fold(bench.jobs.lines[: at + 1])["default:1.0.0"]
    assert (job.state, job.code, job.attempts) == (JobState.RETRYING, "E7702", 1)


async def test_a_job_that_cannot_be_helped_fails_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, BadJob("no such thing"))
    await bench.created(a_version())
    await bench.work()
    assert [(one["code"], one["again"]) for one in again(bench)] == [("E7706", False)]


async def test_another_trainer_goes_on_with_what_was_changed(tmp_path: Path) -> None:
    """The first one was killed in attempt 2: its ledger is all that is left of it."""
    bench = Bench(tmp_path, ChildOutOfMemory("no memory"), KeyboardInterrupt())  # type: ignore[arg-type]

    async def dies(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    await bench.created(a_version())
    run, calls = bench.trainer.run, iter([bench.trainer.run, dies])
    bench.trainer.run = lambda *a, **k: next(calls)(*a, **k)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await bench.work()
    bench.trainer.run, bench.trainer.answers = run, [RESULT]  # type: ignore[method-assign]
    (job,) = await bench.due()
    await train.work(job, bench.desk)
    assert [(one["attempt"], len(one.get("changes") or [])) for one in started(bench)] == [(1, 0), (2, 1), (3, 1)]


async def test_a_child_that_was_asked_to_leave_goes_back_into_the_queue_and_counts_no_attempt(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ChildPreempted("left"), RESULT)
    await bench.created(a_version())
    with pytest.raises(ChildPreempted):
        await bench.work()
    assert fold(bench.jobs.lines)["default:1.0.0"].state is JobState.PENDING
    assert [job.attempts for job in await bench.due()] == [0]
    await bench.work()
    assert [job["attempt"] for job in bench.trainer.jobs] == [1, 1]


async def test_a_full_disk_waits_for_a_person_and_counts_no_attempt(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ChildDiskFull("full"))
    await bench.created(a_version())
    with pytest.raises(ChildDiskFull):
        await bench.work()
    assert [job.attempts for job in await bench.due()] == [0]


async def test_trainers_that_are_killed_use_the_attempts_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.created(a_version())
    (job,) = await bench.due()
    for number in range(3):
        body = {"track": "default", "queued": job.key, "job_id": "j"}
        await bench.jobs.append("job.attempt", f"a{number}", body, at=bench.now())
    await bench.work()
    assert [one["code"] for one in again(bench)] == [AttemptsUsedUp.code]


# ------------------------------------------------------------------ checkpoints


async def test_the_next_attempt_says_from_which_step_it_goes_on_and_the_child_is_told_where(tmp_path: Path) -> None:
    """The newest is damaged, as is found by its digest: the one before it counts."""
    bench = Bench(tmp_path, ChildKilled("SIGKILL"), RESULT)
    await bench.created(a_version())
    run, places = bench.trainer.run, []

    async def leaves_checkpoints(job_dir: Path, **more: Any) -> Any:
        if not places:
            places.append(job_dir / "checkpoints")
            job = checkpoint.identity(json.loads((job_dir / "job.json").read_text("utf-8")))
            for step, whole in ((20, True), (40, True), (60, False)):
                checkpoint_in(places[0], step, job, whole=whole)
        return await run(job_dir, **more)

    bench.trainer.run = leaves_checkpoints  # type: ignore[method-assign]
    await bench.work()
    assert [one.get("resumed_from") for one in started(bench)] == [None, 40]
    assert bench.trainer.jobs[-1]["checkpoints"]["earlier"] == [str(places[0])]
    assert not places[0].exists(), "the job has its result"


def test_before_an_attempt_begins_only_what_it_can_go_on_from_is_kept(tmp_path: Path) -> None:
    one, two = tmp_path / "attempt-1" / "checkpoints", tmp_path / "attempt-10" / "checkpoints"
    for step in (10, 20, 30):
        checkpoint_in(one, step, "j")
    checkpoint_in(two, 40, "j", [HALF])
    foreign = checkpoint_in(two, 99, "other")
    assert attempts.newest_checkpoint(tmp_path, "j", []) == 30
    assert [path.name for path in sorted(one.iterdir())] == ["step-00000020", "step-00000030"]
    assert (two / "step-00000040").exists() is False, "made at half the rate, which nobody asks for"
    assert foreign.exists(), "nobody knows what that is: the child refuses it"


def test_no_checkpoint_is_the_beginning(tmp_path: Path) -> None:
    assert attempts.newest_checkpoint(tmp_path / "nothing", "j", []) is None
