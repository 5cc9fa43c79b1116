"""Kills training children at random moments and lets their jobs go on to the end: are all results the same?

    python -m bench kills [--kills 50] [--per-job 5] [--seed 0] [--json FILE]

Each job is the whole job engine (ledgers, attempts, checkpoints, registry) on a tiny base, 30 steps with dropout and rows
grouped by length, a checkpoint every 2 steps. Kills are real SIGKILLs by the clock: at a random moment of the start, while
data is prepared, between steps, as soon as a checkpoint is half there, as soon as the output is half there. After each one
the folders and the ledger are looked at: a model that is half there, or a state that lies, counts as a fault.
Must: every digest equal to that of a job that nobody disturbs, no fault.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from l07.backends.child import ChildTrainer
from l07.domain.job import JobState
from l07.ports import Progress
from l07.training.files import file_digests, weights_digest
from tests.training.struck import Job, a_job
from tests.training.worlds import Bench

PHASES = ("start", "data", "steps", "checkpoint", "publish")
SPREAD_S: Mapping[str, float] = {"start": 6.0, "data": 0.3, "steps": 3.0, "checkpoint": 0.03, "publish": 0.03}
POLL_S = 0.0005
EVERY_STEPS = 2


@dataclass
class Kill:
    """One kill, as planned and as it came: where the child was, by what it had left."""

    planned: str
    at_s: float = 0.0  # after the child's start
    found: str = ""
    step: int = 0  # of its newest checkpoint


@dataclass
class Killing:
    """ports.Trainer: the real child, and somebody who kills it while there are kills left in the plan."""

    rng: random.Random
    plan: list[str]
    whole: "Output"
    kills: list[Kill] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    real: ChildTrainer = field(default_factory=ChildTrainer)

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        if not self.plan or "attempt-" not in job_dir.name:
            return await self.real.run(job_dir, timeout_s=timeout_s, on_progress=on_progress)
        kill = Kill(self.plan[0])
        killer = asyncio.create_task(self._strike(job_dir, kill))
        try:
            return await self.real.run(job_dir, timeout_s=timeout_s, on_progress=on_progress)
        finally:
            killer.cancel()
            with suppress(asyncio.CancelledError):
                await killer
            if kill.found:
                self.plan.pop(0)
                self.kills.append(kill)
                self.faults += half_there(job_dir, kill, self.whole)

    async def _strike(self, job_dir: Path, kill: Kill) -> None:
        wait_s, begun = self.rng.uniform(0, SPREAD_S[kill.planned]), time.monotonic()
        while not reached(job_dir, kill.planned):  # noqa: ASYNC110  # folders have no event
            await asyncio.sleep(POLL_S)
        await asyncio.sleep(wait_s)
        child = next((one for one in psutil.Process().children() if str(job_dir) in words_of(one)), None)
        if child is None:
            return
        child.send_signal(signal.SIGKILL)
        while not is_dead(child):  # noqa: ASYNC110  # asyncio reaps it, not we
            await asyncio.sleep(POLL_S)
        kill.at_s, kill.found = round(time.monotonic() - begun, 2), where(job_dir)
        kept = [int(path.name[5:]) for path in job_dir.glob("checkpoints/step-*")]
        kill.step = max(kept, default=0)


def words_of(process: psutil.Process) -> str:
    """Its command line; none of one that has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def is_dead(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it was there a line before
        return True


def reached(job_dir: Path, phase: str) -> bool:
    looks: Mapping[str, Callable[[], bool]] = {
        "start": lambda: True,
        "data": lambda: "PREPARING_DATA" in said(job_dir),
        "steps": lambda: '"step"' in said(job_dir),
        "checkpoint": lambda: any(job_dir.glob("checkpoints/.step-*.partial")),
        "publish": lambda: (job_dir / "out.partial" / "adapter_model.safetensors").exists(),
    }
    return looks[phase]()


def said(job_dir: Path) -> str:
    try:
        return (job_dir / "progress.jsonl").read_text("utf-8")
    except OSError:
        return ""


def where(job_dir: Path) -> str:
    """What the child was at when it died, by what it left."""
    if (job_dir / "result.json").exists():
        return "result written"
    if (job_dir / "out").exists():
        return "output there"
    if (job_dir / "out.partial" / "adapter_model.safetensors").exists():
        return "output half there"
    if any(job_dir.glob("checkpoints/.step-*.partial")):
        return "checkpoint half there"
    text = said(job_dir)
    for word, name in (
        ('"step"', "steps"),
        ("TRAINING", "before the first step"),
        ("PREPARING_DATA", "data"),
        ("INIT", "base"),
    ):
        if word in text:
            return name
    return "imports"


@dataclass(frozen=True)
class Output:
    """Names of its files, and the digest of its weights."""

    names: frozenset[str]
    digest: str

    @classmethod
    def of(cls, folder: Path) -> "Output":
        files = file_digests(folder)
        return cls(frozenset(files), weights_digest(files))


@dataclass
class Undisturbed:
    """ports.Trainer that nobody kills; it looks at what comes of its training job."""

    real: ChildTrainer = field(default_factory=ChildTrainer)
    output: Output | None = None

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        result = await self.real.run(job_dir, timeout_s=timeout_s, on_progress=on_progress)
        if "attempt-" in job_dir.name:
            self.output = Output.of(job_dir / "out")
        return result


def half_there(job_dir: Path, kill: Kill, whole: Output) -> list[str]:
    """What must never be seen: an output or a checkpoint in its place that is not whole. `whole`: of an undisturbed job."""
    out, told = job_dir / "out", []
    if out.exists() and Output.of(out) != whole:
        told.append(f"{kill.planned}: the output is there and not whole")
    for place in job_dir.glob("checkpoints/step-*"):
        manifest = json.loads((place / "manifest.json").read_text("utf-8"))
        if {path.name for path in place.iterdir()} != {*manifest["files"], "manifest.json"}:
            told.append(f"{kill.planned}: {place.name} is there and not whole")
    return told


async def one(bench: Bench, folder: Path, trainer: Any) -> tuple[str, list[str]]:
    """The digest of a job's weights, and what is wrong at its end."""
    async with a_job(bench, folder, trainer, checkpoint_steps=EVERY_STEPS) as job:
        line = await job.work()
        wrong = [f"the job is {line.state}"] if line.state is not JobState.COMPLETED else []
        wrong += await _ledger(job)
        (completed,) = await job.entries("training.completed")
        return str(completed["digest"]), wrong


async def _ledger(job: Job) -> list[str]:
    begun, failed, models = [await job.entries(f"training.{kind}") for kind in ("started", "failed")] + [
        await job.models()
    ]
    told = []
    if len(begun) != len(failed) + 1:
        told.append(f"{len(begun)} attempts were begun, {len(failed)} failed")
    if len(models) != 1:
        told.append(f"{len(models)} models are registered")
    if any("checkpoints" in {path.name for path in own.iterdir()} for own in job.home.glob("attempt-*")):
        told.append("checkpoints are left")
    return told


async def campaign(kills: int, per_job: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    rng = random.Random(f"kills/{seed}")
    plan = [PHASES[number % len(PHASES)] for number in range(kills)]
    rng.shuffle(plan)
    done: list[Kill] = []
    digests: Counter[str] = Counter()
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="l07-kills-") as place:
        root = Path(place)
        bench = Bench(root / "bench")
        quiet = Undisturbed()
        expected, faults = await one(bench, root / "quiet", quiet)
        assert quiet.output is not None
        while plan:
            mine, plan = plan[:per_job], plan[per_job:]
            trainer = Killing(rng, mine, quiet.output)
            digest, wrong = await one(bench, root / f"job-{digests.total()}", trainer)
            plan += trainer.plan  # what came too late: the child had ended
            done += trainer.kills
            faults += [*trainer.faults, *wrong]
            digests[digest] += 1
            say(
                f"{len(done):3d} kills  {'equal' if digest == expected else 'DIFFERENT'}  {', '.join(k.found for k in trainer.kills)}"
            )
    return {"expected": expected, "digests": dict(digests), "kills": [vars(kill) for kill in done], "faults": faults}


def table(kills: list[dict[str, Any]]) -> list[str]:
    counts = Counter((kill["planned"], kill["found"]) for kill in kills)
    lines = ["| planned | found | kills | seconds after the start |", "|---|---|---|---|"]
    for (planned, found), number in sorted(counts.items()):
        at = sorted(kill["at_s"] for kill in kills if (kill["planned"], kill["found"]) == (planned, found))
        lines.append(f"| {planned} | {found} | {number} | {at[0]}-{at[-1]} |")
    return lines


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench kills")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--per-job", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    told = asyncio.run(campaign(asked.kills, asked.per_job, asked.seed, lambda line: print(line, flush=True)))
    print("\n".join(table(told["kills"])))
    equal = set(told["digests"]) == {told["expected"]}
    print(
        f"{len(told['kills'])} kills, {sum(told['digests'].values())} jobs, digests {'equal' if equal else 'DIFFERENT'}, {len(told['faults'])} faults"
    )
    for fault in told["faults"]:
        print(f"fault: {fault}")
    if asked.json:
        asked.json.write_text(json.dumps(told, indent=1), "utf-8")
    return 0 if equal and not told["faults"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
