"""Jobs that are really trained and really struck: a child that is killed, or fails, at a named place of each attempt."""

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l07.backends.child import ChildTrainer
from l07.domain.job_ledger import JobLine, fold
from l07.pipeline import train
from l07.ports import Trainer
from l07.service.folder import DataFolder
from l07.service.ingesting import now_text
from l07.settings import load_settings
from tests.training.worlds import Bench

# A child that does what the plan says of its attempt, and else what every child does.
CHILD = """
import json, os, pathlib, re, signal, sys
folder = pathlib.Path(sys.argv[1])
plan = json.loads(pathlib.Path({plan!r}).read_text("utf-8"))
number = int(re.search(r"attempt-(\\d+)", folder.name)[1])
todo = plan[number - 1] if number <= len(plan) else {{}}
at, step = todo.get("at"), todo.get("step")
def strike(): os.kill(os.getpid(), signal.SIGKILL)
if at == "start": strike()
import torch
from l07.training import checkpoints, course, engine, resume
on_step_end = resume.Keeper.on_step_end
def ending(self, args, state, control, **more):
    if state.global_step == step:
        if at == "step": strike()
        if at == "memory": raise MemoryError
        if at == "nan":
            with torch.no_grad(): resume.moving(self._trainer.model)[0][1].fill_(float("nan"))
    on_step_end(self, args, state, control, **more)
resume.Keeper.on_step_end = ending
keep, publish = checkpoints.publish, course.publish
def keeping(partial, place):
    mine = place.name == "step-%08d" % (step or 0)
    if at == "disk" and mine: raise OSError(28, "No space left on device")
    if at == "half" and mine: (partial / "rng.safetensors").write_bytes(b"x"); strike()
    keep(partial, place)
    if at == "kept" and mine: strike()
checkpoints.publish = keeping
def publishing(partial, output):
    if at == "output": strike()
    publish(partial, output)
    if at == "published": strike()
course.publish = publishing
from l07.training.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def struck_child(folder: Path, plan: Sequence[dict[str, Any]]) -> ChildTrainer:
    """The trainer whose nth attempt meets plan[n - 1]."""
    script, what = folder / "child.py", folder / "plan.json"
    what.write_text(json.dumps(plan), "utf-8")
    script.write_text(CHILD.format(plan=str(what)), "utf-8")
    return ChildTrainer(command=[sys.executable, str(script)])


@dataclass
class Job:
    """One job in a data folder of its own, with the real ledgers."""

    folder: DataFolder
    queued: train.Queued
    trainer: Trainer

    async def work(self) -> JobLine:
        """To its end, or until it goes back into the queue; as the ledger has it then."""
        at, f = now_text(), self.folder
        names = ("track", "version", "uri", "digest", "cause", "correlationid")
        await f.jobs.append("job.queued", self.queued.key, {name: getattr(self.queued, name) for name in names}, at=at)

        async def progress(*_: Any) -> None:
            pass

        desk = train.Desk(
            f.jobs, f.registry, f.store, f.bases, self.trainer, f.settings, now=now_text, publish_progress=progress,
            key_file=f.key_file,
        )  # fmt: skip
        await train.work(self.queued, desk)
        return await self.line()

    async def line(self) -> JobLine:
        return fold(await self.folder.jobs.entries())[self.queued.key]

    async def entries(self, kind: str) -> list[dict[str, Any]]:
        return [dict(entry.body["data"]) for entry in await self.folder.jobs.entries() if entry.kind == kind]

    async def models(self) -> list[dict[str, Any]]:
        return [
            dict(entry.body["data"])
            for entry in await self.folder.registry.entries()
            if entry.kind == "model.registered"
        ]

    @property
    def home(self) -> Path:
        """The folder of its attempts, once one was begun."""
        (found,) = (self.folder.settings.data_dir / "jobs").glob("job-*")
        return found


@asynccontextmanager
async def a_job(
    bench: Bench, data_dir: Path, trainer: Trainer, *, base_model: str = "", **training: Any
) -> AsyncIterator[Job]:
    """A job on the bench's dataset and base: 30 steps of 8 rows, dropout, a checkpoint every 4 steps."""
    place = data_dir / "datasets" / "default"
    place.mkdir(parents=True)
    (place / "1.0.0").symlink_to(bench.dataset)
    asked = {
        "max_steps": 30, "batch_size": 8, "checkpoint_steps": 4, "attempts": 10, "canaries": 2, "threads": 1,
        "lora": {"rank": 4, "dropout": 0.1}, **training,
    }  # fmt: skip
    overrides = {
        "data_dir": data_dir,
        "seed": 7,
        "tracks": {"default": {"base_model": base_model or str(bench.base)}},
        "training": asked,
    }
    settings = load_settings({}, overrides=overrides).settings
    queued = train.Queued(
        "default:1.0.0", "default", "1.0.0", "datasets/default/1.0.0", bench.digest, cause="bench", correlationid=None
    )  # fmt: skip
    async with DataFolder.open(settings) as folder:
        yield Job(folder, queued, trainer)
