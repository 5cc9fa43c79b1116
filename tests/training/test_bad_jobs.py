"""Bad input of a training, each met by a job with the real ledgers and the real child: a code, an honest end, nothing lost.

`docs/training.md` has the same table; a test compares.
"""

import fcntl
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from l07.backends import child
from l07.backends.child import LOCK, ChildTrainer
from l07.errors import BaseDiffers, ChildDiskFull, ChildKilled
from l07.ports import Progress, Trainer
from l07.training.measure import model as measured
from tests.training.struck import Job, a_job, struck_child
from tests.training.worlds import Bench, rows_of_world, write_dataset

pytestmark = [pytest.mark.training, pytest.mark.slow, pytest.mark.timeout(300)]

DOCS = Path(__file__).parents[2] / "docs" / "training.md"
QUICK = {"max_steps": 3, "attempts": 1, "canaries": 0}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


class Spoiled(Bench):
    """A copy of a bench, to be spoilt."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.folder, self.base, self.dataset = folder, folder / "base", folder / "dataset"
        shutil.copytree(bench.base, self.base)
        shutil.copytree(bench.dataset, self.dataset)
        (self.base / "base.json").unlink()  # as one that somebody else made: its digest follows from its files
        self.base_digest, self.digest = "", bench.digest


def silent(bench: Spoiled) -> None:
    """In no row the assistant says anything."""
    shutil.rmtree(bench.dataset)
    rows = rows_of_world(6, 7)
    for row in rows:
        row["messages"] = [
            {"role": m["role"], "content": ""} if m["role"] == "assistant" else m for m in row["messages"]
        ]
    bench.digest = write_dataset(bench.dataset, rows)


def no_padding(bench: Spoiled) -> None:
    _change(bench.base / "tokenizer_config.json", pad_token=None, eos_token=None)


def failing_template(bench: Spoiled) -> None:
    path = bench.base / "chat_template.jinja"
    path.write_text("{{ raise_exception('roles must alternate') }}" + path.read_text("utf-8"), "utf-8")


def lacking_weights(bench: Spoiled) -> None:
    (bench.base / "model.safetensors").unlink()


def changed_dataset(bench: Spoiled) -> None:
    with (bench.dataset / "data" / "train-00000-of-00001.parquet").open("ab") as file:
        file.write(b"x")


def nothing(bench: Spoiled) -> None:
    """What is wrong is in the settings, or in the machine."""


def _change(path: Path, **values: Any) -> None:
    found = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**found, **values}), "utf-8")


def hanging(folder: Path) -> Trainer:
    script = folder / "hangs.py"
    script.write_text("import time\ntime.sleep(600)\n", "ascii")
    return ChildTrainer(command=[sys.executable, str(script)], grace_s=0.2)


@dataclass(frozen=True)
class Case:
    name: str  # as the docs have it
    code: str
    says: str
    spoil: Callable[[Spoiled], None] = nothing
    training: Mapping[str, Any] = field(default_factory=dict)
    trainer: Callable[[Path], Trainer] = lambda folder: ChildTrainer()


CASES = [
    Case("a dataset in which the assistant says nothing", "E7721", "say nothing", silent),
    Case("a tokenizer with neither a pad token nor an end token", "E7723", "neither a pad token", no_padding),
    Case("a chat template that fails", "E7725", "the chat template fails with", failing_template),
    Case("a base that lacks a file", "E7723", r"lacks \*.safetensors", lacking_weights),
    Case("a dataset whose digest does not fit", "E7722", "does not fit", changed_dataset),
    Case("NaN in the loss", "E7726", "", training={"learning_rate": 1e30, "clip": 1e30}),
    Case("QLoRA without a GPU", "E7735", "a CUDA GPU", training={"adapter": "qlora"}),
    Case("a child that hangs", "E7702", "longer than 1 s", training={"timeout_s": 1.0}, trainer=hanging),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_bad_input_fails_the_job_under_its_code_and_loses_nothing(
    bench: Bench, tmp_path: Path, case: Case
) -> None:
    spoilt = Spoiled(bench, tmp_path / "spoilt")
    case.spoil(spoilt)
    before = digests(spoilt.folder)
    async with a_job(spoilt, tmp_path / "data", case.trainer(tmp_path), **{**QUICK, **case.training}) as job:
        line = await job.work()
        assert (line.standing, line.code) == ("FAILED", case.code)
        (failed,) = await job.entries("training.failed")
        assert (failed["code"], failed["again"]) == (case.code, False)
        assert re.search(case.says, failed["message"]), failed["message"]
        await nothing_lost(job, before, spoilt.folder)


async def nothing_lost(job: Job, before: Mapping[str, str], folder: Path) -> None:
    """What went in is as it was, no model came of it, no output looks done, and the ledger's chain holds."""
    assert digests(folder) == before
    assert not await job.models()
    assert not await job.entries("training.completed")
    assert not list(job.folder.settings.data_dir.glob("jobs/*/attempt-*/out"))
    assert not list(job.folder.settings.data_dir.glob("jobs/*/result.json"))
    assert await job.folder.jobs.entries(), "and its chain holds"


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ------------------------------------------------------------------ where the job goes on, or waits


LONGER = {"max_steps": 12, "checkpoint_steps": 4}


async def test_a_full_disk_at_a_checkpoint_stops_the_trainer_and_the_job_waits(bench: Bench, tmp_path: Path) -> None:
    before = digests(bench.folder)
    full = struck_child(tmp_path, [{"at": "disk", "step": 8}])
    async with a_job(bench, tmp_path / "data", full, **LONGER) as job:
        with pytest.raises(ChildDiskFull) as caught:
            await job.work()
        assert caught.value.code == "E7705"
        line = await job.line()
        assert (line.standing, line.attempts) == ("PENDING", 0)
        await nothing_lost(job, before, bench.folder)
        assert [path.name for path in job.home.glob("attempt-1/checkpoints/*")] == ["step-00000004"]
        job.trainer = ChildTrainer()
        assert (await job.work()).standing == "COMPLETED"
        (completed,) = await job.entries("training.completed")
        assert completed["resumed_from"] == 4


class Cutting(ChildTrainer):
    """After a child was killed its newest checkpoint is half there."""

    def __init__(self, inner: ChildTrainer) -> None:
        super().__init__()
        self._inner = inner

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        try:
            return await self._inner.run(job_dir, timeout_s=timeout_s, on_progress=on_progress)
        except ChildKilled:
            newest = sorted(job_dir.glob("checkpoints/step-*"))[-1] / "weights.safetensors"
            newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
            raise


async def test_a_checkpoint_cut_in_half_is_refused_and_the_one_before_is_taken(bench: Bench, tmp_path: Path) -> None:
    killed = struck_child(tmp_path, [{"at": "step", "step": 10}])
    async with a_job(bench, tmp_path / "data", Cutting(killed), **LONGER) as job:
        assert (await job.work()).standing == "COMPLETED"
        assert (await job.entries("training.started"))[-1]["resumed_from"] == 4
        (completed,) = await job.entries("training.completed")
        assert [(one["step"], one["code"]) for one in completed["refused"]] == [(8, "E7727")]


class Taken(ChildTrainer):
    """Another child works in the folder that the attempt is given."""

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        with (job_dir / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return await super().run(job_dir, timeout_s=timeout_s, on_progress=on_progress)


async def test_two_jobs_on_one_folder_are_told_apart(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "FREE_WITHIN_S", 0.0)
    before = digests(bench.folder)
    async with a_job(bench, tmp_path / "data", Taken(), **QUICK) as job:
        line = await job.work()
        assert (line.standing, line.code) == ("FAILED", "E7733")
        (failed,) = await job.entries("training.failed")
        assert failed["code"] == "E7733"
        await nothing_lost(job, before, bench.folder)


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::UserWarning"
)  # of peft, about what the product does not use
async def test_an_adapter_for_another_base_is_put_upon_none(bench: Bench, tmp_path: Path) -> None:
    """Of the same shapes it would fit; without its own word the shapes are all that tell."""
    await ChildTrainer().run(bench.job(tmp_path / "job", config={"max_steps": 1}))
    adapter, other = tmp_path / "job" / "out", Spoiled(bench, tmp_path / "other").base
    measured.load({"base": str(bench.base), "adapter": str(adapter)})
    path = other / "chat_template.jinja"
    path.write_text(path.read_text("utf-8") + "{# another one #}", "utf-8")
    with pytest.raises(BaseDiffers, match="was trained on a base with digest"):
        measured.load({"base": str(other), "adapter": str(adapter)})
    config = json.loads((other / "config.json").read_text("utf-8"))
    assert config["hidden_size"] > 0
    (adapter / "l07.json").unlink()
    settings = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    (adapter / "adapter_config.json").write_text(json.dumps({**settings, "r": settings["r"] * 2}), "utf-8")
    with pytest.raises(BaseDiffers, match="does not load upon"):
        measured.load({"base": str(bench.base), "adapter": str(adapter)})


def test_the_docs_have_each_of_these() -> None:
    text = DOCS.read_text("utf-8")
    missing = [case.name for case in CASES if f"| {case.name} | {case.code} |" not in text]
    assert not missing
