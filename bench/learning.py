"""What the benches of training share: bases, and children that train and that are asked, as the product runs them."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from l07.backends.child import ChildTrainer
from l07.backends.store import FolderStore
from l07.domain import world
from l07.pipeline.bases import prepare_base
from tests.bases import BASES
from tests.training.worlds import run_child

MIXED = 1200  # runs that the mixed policy learned from, good and bad


def base_of(name: str) -> Any:
    """A tiny base by its name; made where it is not there yet. It has a `folder` and a `digest`."""
    return asyncio.run(prepare_base(name, aliases={}, store=FolderStore(BASES), trainer=ChildTrainer(), timeout_s=1200))


def mixed_policy(base: Path, there: Path | None) -> SimpleNamespace:
    """The policy to improve: of more runs than the demo's (1,200, not 400), which gets 5 % of another world's calls right
    and leaves a policy method nothing to reward."""
    folder = there or BASES / "bench" / f"{base.name}-{MIXED}" / "out"
    if not (folder / "base.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        runs = folder.parent / "mixed.jsonl"
        runs.write_text("".join(json.dumps(run) + "\n" for run in world.mixed_runs(MIXED, seed=0)), "utf-8")
        made = {"kind": "make_base", "name": "mixed", "seed": 0, "threads": 1, "from": str(base), "examples": str(runs)}
        run_child(folder.parent, {**made, "output": str(folder)})
    about = json.loads((folder / "base.json").read_text("utf-8"))
    return SimpleNamespace(folder=folder, digest=about["digest"])


def trained(
    folder: Path, base: Any, dataset: tuple[Path, str], method: str, seed: int, **more: Any
) -> tuple[dict[str, Any], Path]:
    """The result of a job in `folder`, and where its weights are. `dataset`: folder and digest; `more`: of the job.json."""
    job = {
        "kind": "train", "job_id": f"{folder.name}-{seed}", "attempt": 1, "seed": seed, "threads": 1, "base": str(base.folder),
        "base_digest": base.digest, "dataset": str(dataset[0]), "dataset_digest": dataset[1], "method": method, "config": {},
        "options": {}, "canaries": {"n": 0, "seed": 0}, "output": str(folder / "out"), **more,
    }  # fmt: skip
    return run_child(folder, job), folder / "out"


def named(made: dict[str, Any], weights: Path, base: Any) -> dict[str, Any]:
    """How another job's job.json names what came of a job: its reward model, its teacher."""
    return {
        "folder": str(weights), "digest": made["digest"], "base": str(base.folder), "base_digest": base.digest,
    }  # fmt: skip


def answers(folder: Path, base: Any, weights: Path | None, golden: Path, seed: int) -> list[list[dict[str, Any]]]:
    """Of each golden row, what was said at its calls, greedy: `exact`, and whether the call is `known`."""
    job = {
        "kind": "evaluate", "threads": 1, "seed": seed, "dataset": str(folder / "nothing"), "dataset_digest": None,
        "golden": str(golden), "candidate": {"base": str(base.folder), "adapter": str(weights) if weights else None},
        "baseline": None, "rows": 10**6, "calls_per_row": 8, "canaries": None, "latency": {"pairs": 0, "new_tokens": 1},
        "output": str(folder / "out"),
    }  # fmt: skip
    run_child(folder, job)
    measured = json.loads((folder / "out" / "measurements.json").read_text("utf-8"))
    return [[call["candidate"] for call in row["calls"]] for row in measured["rows"]]
