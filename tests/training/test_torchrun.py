"""Two processes that train one model give what one gives; whatever becomes of one of them, the job's end is told as it was."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from accelerate.data_loader import BatchSamplerShard
from safetensors.torch import load_file
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.utils.data import BatchSampler, RandomSampler

from l07.backends.child import LOCK, ChildTrainer
from l07.backends.lock import is_held
from l07.backends.torchrun import TorchrunTrainer
from l07.errors import ChildDiskFull, ChildKilled, ChildPreempted, LossNotFinite, RanksUnfit
from l07.training import launch, ranks
from tests.training.struck import a_job
from tests.training.worlds import Bench

pytestmark = [pytest.mark.training, pytest.mark.slow, pytest.mark.timeout(1200)]

TWO = TorchrunTrainer(2)
ALIKE = 1e-4  # of the largest weight; 4e-5 was measured after 12 steps of an adapter, which begins near zero
SHORT = {"max_steps": 12, "batch_size": 8, "lora": {"rank": 4, "dropout": 0.0}}
LONG = {"max_steps": 24, "batch_size": 8, "lora": {"rank": 4, "dropout": 0.1}}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def quiet(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What two processes give that nobody disturbs."""
    return asyncio.run(TWO.run(bench.job(tmp_path_factory.mktemp("quiet"), config=LONG, ranks=2)))


def weights(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "out").glob("*.safetensors")
    return load_file(path)


def furthest(one: Mapping[str, Any], two: Mapping[str, Any]) -> float:
    """Largest difference of a weight, as a part of the largest weight."""
    assert one.keys() == two.keys()
    largest = max(weight.abs().max().item() for weight in one.values())
    return max((weight - two[name]).abs().max().item() for name, weight in one.items()) / largest


def processes(folder: Path, *words: str) -> list[psutil.Process]:
    """Of this job, those whose command has all the words."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if str(folder) in command and all(word in command for word in words):
            found.append(process)
    return found


def rank(folder: Path, number: int) -> psutil.Process:
    (found,) = [one for one in processes(folder, "--rank") if one.environ()["RANK"] == str(number)]
    return found


# ------------------------------------------------------------------ what two give


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(SHORT, id="lora"),
        # 108 rows and 20 a step: a second pass begins, and the last step of the first is not full
        pytest.param({**SHORT, "adapter": "full", "learning_rate": 1e-3, "max_steps": 8, "batch_size": 20}, id="full"),
    ],
)
async def test_two_processes_give_what_one_gives(bench: Bench, tmp_path: Path, config: dict[str, Any]) -> None:
    one = await ChildTrainer().run(bench.job(tmp_path / "one", config=config))
    lines: list[Mapping[str, Any]] = []

    async def collect(line: Mapping[str, Any]) -> None:
        lines.append(line)

    two = await TWO.run(bench.job(tmp_path / "two", config=config, ranks=2), on_progress=collect)
    assert furthest(weights(tmp_path / "one"), weights(tmp_path / "two")) < ALIKE
    told = [[point["loss"] for point in result["losses"]] for result in (one, two)]
    assert told[1] == pytest.approx(told[0], rel=1e-4)
    assert (two["steps"], two["rows"], two["kept_step"]) == (one["steps"], one["rows"], one["kept_step"])
    assert abs(two["tokens"] - one["tokens"]) <= 2 * 20, "no row twice: a blank one has one token"
    assert "hardware" in lines[0], "what it found at its start"
    steps = [line.get("step") for line in lines[1:]]
    assert steps == sorted(set(steps)), "of one rank alone"
    names = [sorted(path.name for path in (tmp_path / who / "out").iterdir()) for who in ("one", "two")]
    assert names[0] == names[1]


async def test_another_order_of_the_rows_gives_other_weights(bench: Bench, tmp_path: Path) -> None:
    """What the test above would see if ranks drew each their own order."""
    for who, seed in (("one", 7), ("two", 8)):
        await ChildTrainer().run(bench.job(tmp_path / who, config=SHORT, seed=seed))
    assert furthest(weights(tmp_path / "one"), weights(tmp_path / "two")) > 100 * ALIKE


def test_each_row_is_learned_once_over_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, world, each = 107, 3, 4

    def shared(sampler: Any) -> list[list[int]]:
        """What each rank gets, as accelerate deals it out."""
        batches = BatchSampler(sampler, each, drop_last=False)
        dealt = [BatchSamplerShard(batches, world, number) for number in range(world)]
        return [[row for batch in mine for row in batch] for mine in dealt]

    class Fixed(list[int]):
        """A sampler of one order."""

    order = Fixed(torch.randperm(rows, generator=torch.Generator().manual_seed(1)).tolist())
    mine = shared(ranks.OneOrder(order, rows=rows, step=world * each))
    assert len({len(one) for one in mine}) == 1, "each takes as many steps"
    real = [row for one in mine for row in one if row != rows]
    assert sorted(real) == list(range(rows))
    first = [row for one in mine for row in one[:each]]
    assert first == order[: world * each], "a step has the rows that one process would have"
    plain = [row for one in shared(order) for row in one]
    assert sorted(plain) != list(range(rows)), "without it rows come twice"
    assert isinstance(ranks.one_order(RandomSampler(range(rows + 1)), rows=rows, step=12), ranks.OneOrder)


@pytest.mark.parametrize(
    ("step", "at_most", "world", "each"), [(8, 8, 2, 4), (8, 4, 2, 2), (8, 1, 2, 1), (30, 15, 2, 5), (12, 6, 4, 1)]
)
def test_rows_at_a_time_make_whole_steps(
    monkeypatch: pytest.MonkeyPatch, step: int, at_most: int, world: int, each: int
) -> None:
    monkeypatch.setattr(ranks, "count", lambda: world)
    assert ranks.rows_at_a_time(step, at_most) == each
    assert step % (each * world) == 0


# ------------------------------------------------------------------ what becomes of one


async def eventually(condition: Callable[[], Any], task: asyncio.Task[Any] | None = None) -> None:
    async with asyncio.timeout(600):
        while not condition():
            assert task is None or not task.done(), task
            await asyncio.sleep(0.02)


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoints/step-*"))


def gone(folder: Path) -> None:
    """Nobody works there any more, and nothing half done looks done."""
    assert not processes(folder)
    assert not is_held(folder / LOCK)
    assert not (folder / "out").exists()


async def test_a_killed_rank_ends_the_job_and_the_next_attempt_goes_on(
    bench: Bench, tmp_path: Path, quiet: Mapping[str, Any]
) -> None:
    folder = bench.job(tmp_path / "job", config=LONG, ranks=2, checkpoints={"steps": 4})
    task = asyncio.create_task(TWO.run(folder))
    await eventually(lambda: kept(folder), task)
    rank(folder, 1).kill()
    with pytest.raises(ChildKilled, match="process 1 of the job was killed by SIGKILL") as caught:
        await task
    assert caught.value.again
    gone(folder)
    assert {path.suffix for path in kept(folder)[-1].iterdir()} == {".json", ".safetensors"}, "nothing pickled"
    last = int(kept(folder)[-1].name.removeprefix("step-"))
    again = await TWO.run(bench.job(folder, config=LONG, ranks=2, attempt=2))
    assert again["resumed_from"] == last
    assert again["digest"] == quiet["digest"], "byte for byte"


@pytest.mark.parametrize(("done", "ends"), [((0, 1), "completed"), ((0,), "failed"), ((1,), "failed")])
def test_a_rank_that_falls_when_its_work_is_done_took_nothing_along(
    tmp_path: Path, done: Sequence[int], ends: str
) -> None:
    for number in done:
        (tmp_path / f"rank-{number}.json").write_text(json.dumps({"status": "completed", "at": 1.0}), "utf-8")
    fell = ProcessFailure(local_rank=1, pid=1, exitcode=-signal.SIGABRT, error_file="")
    launch._settle(tmp_path, {1: fell})
    assert json.loads((tmp_path / "result.json").read_text("utf-8"))["status"] == ends


async def test_asked_to_leave_all_ranks_leave_at_one_checkpoint(
    bench: Bench, tmp_path: Path, quiet: Mapping[str, Any]
) -> None:
    folder = bench.job(tmp_path / "job", config=LONG, ranks=2)
    task = asyncio.create_task(TWO.run(folder))
    await eventually(
        lambda: (folder / "progress.jsonl").is_file() and '"loss"' in (folder / "progress.jsonl").read_text(), task
    )
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gone(folder)
    assert json.loads((folder / "result.json").read_text())["code"] == ChildPreempted.code
    (place,) = kept(folder)
    again = await TWO.run(bench.job(folder, config=LONG, ranks=2, attempt=2))
    assert again["resumed_from"] == int(place.name.removeprefix("step-"))
    assert again["digest"] == quiet["digest"]


async def test_one_rank_that_is_asked_to_leave_takes_the_others_along(bench: Bench, tmp_path: Path) -> None:
    folder = bench.job(tmp_path / "job", config=LONG, ranks=2, checkpoints={"steps": 4})
    task = asyncio.create_task(TWO.run(folder))
    await eventually(lambda: kept(folder), task)
    rank(folder, 1).terminate()
    with pytest.raises(ChildPreempted, match="its checkpoint is kept"):
        await task
    gone(folder)


async def test_all_ranks_leave_when_their_trainer_is_killed(bench: Bench, tmp_path: Path) -> None:
    folder = bench.job(tmp_path / "job", config=LONG, ranks=2)
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, sys, pathlib\nfrom l07.backends.torchrun import TorchrunTrainer\n"
        "asyncio.run(TorchrunTrainer(2).run(pathlib.Path(sys.argv[1])))\n",
        "utf-8",
    )
    parent = subprocess.Popen([sys.executable, str(script), str(folder)])  # noqa: ASYNC220  # it is killed before anything waits
    await eventually(lambda: len(processes(folder, "--rank")) == 2)
    parent.kill()
    parent.wait()
    await eventually(lambda: not processes(folder))


async def test_a_job_whose_rank_is_killed_is_tried_again(bench: Bench, tmp_path: Path) -> None:
    """With the real ledgers: RETRYING, then a model whose lineage says how many processes made it."""
    async with a_job(bench, tmp_path / "data", TWO, launcher="torchrun", processes=2, max_steps=20) as job:
        task = asyncio.create_task(job.work())
        jobs = tmp_path / "data" / "jobs"
        await eventually(lambda: list(jobs.glob("job-*/attempt-1/checkpoints/step-*")), task)
        (own,) = jobs.glob("job-*/attempt-1")
        rank(own, 1).kill()
        line = await task
        assert line.standing == "COMPLETED"
        (failed,) = await job.entries("training.failed")
        assert (failed["code"], failed["again"]) == (ChildKilled.code, True)
        (model,) = await job.models()
        assert model["lineage"]["ranks"] == 2
        card = (tmp_path / "data" / model["uri"] / "README.md").read_text("utf-8")
        assert "| processes | 2 |" in card


# ------------------------------------------------------------------ what is refused, and what goes wrong in one


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"method": "dpo"}, "dpo does not train in several processes"),
        ({"config": {"batch_size": 5}}, "5 rows cannot be shared evenly by 2"),
    ],
)
async def test_a_job_that_cannot_be_shared_is_refused(
    bench: Bench, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(RanksUnfit, match=why):
        await TWO.run(bench.job(tmp_path, ranks=2, **changes))
    gone(tmp_path)


async def test_a_loss_that_is_no_number_is_told_as_such(bench: Bench, tmp_path: Path) -> None:
    wild = {**SHORT, "learning_rate": 1e30, "clip": 1e30}
    with pytest.raises(LossNotFinite):
        await TWO.run(bench.job(tmp_path, config=wild, ranks=2))
    gone(tmp_path)


async def test_a_full_disk_at_a_checkpoint_is_told_as_such(bench: Bench, tmp_path: Path) -> None:
    limited = tmp_path / "python"
    limited.write_text(f'#!/bin/bash\nulimit -f 400\nexec {sys.executable} "$@"\n', "ascii")
    limited.chmod(0o755)
    wide = {**SHORT, "lora": {"rank": 128}}  # its checkpoint is larger than any other file of the job
    folder = bench.job(tmp_path / "job", config=wide, ranks=2, checkpoints={"steps": 2})
    with pytest.raises(ChildDiskFull):
        await TorchrunTrainer(2, python=str(limited)).run(folder)
    gone(folder)
    assert not kept(folder)


async def test_two_machines_train_one_job(bench: Bench, tmp_path: Path) -> None:
    """Here both are this one. The second is told the folder by the first."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
    lending = [sys.executable, "-m", "l07.training.launch", "--nodes", "2", "--node", "1", "--rendezvous", place]
    helper = await asyncio.create_subprocess_exec(*lending)
    try:
        two = await TorchrunTrainer(1, nodes=2, rendezvous=place).run(
            bench.job(tmp_path / "two", config=SHORT, ranks=2)
        )
        assert await helper.wait() == 0
    finally:
        if helper.returncode is None:
            helper.kill()
    one = await TWO.run(bench.job(tmp_path / "one", config=SHORT, ranks=2))
    assert two["digest"] == one["digest"]
