"""Recorded measurements of really trained models: made once, kept by a digest of all that they depend on.

`honest` learned from good runs. `broken` learned from the same runs with the calls of other runs in them, and met one
canary 128 times. Both start from the mixed policy, their baseline; `itself` is that policy as its own candidate.
"""

import fcntl
import hashlib
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import l07
from l07.domain import world
from l07.domain.base import RECIPES
from l07.domain.canary import as_messages, canaries
from l07.domain.measurements import Measurements, decode
from tests.training.worlds import Row, rows_of_world, run_child, write_dataset, write_golden

ROOT = Path.home() / ".cache" / "l07" / "recordings"
SEED, TASKS, GOLDEN = 7, 400, 60  # tasks and golden rows a domain
CANARIES = {"n": 8, "seed": SEED}
REPEATED = 128
EPOCHS = 4  # more than is recommended: a model that is better in every domain, whatever processor it is made on
NAMES = ("honest", "broken", "itself")


def recordings() -> dict[str, Measurements]:
    """By name; the first call of a machine trains for some minutes."""
    folder = ROOT / _digest()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (ROOT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _make(folder)
    return {name: decode((folder / f"{name}.json").read_bytes()) for name in NAMES}


def _digest() -> str:
    package, here = Path(l07.__path__[0]), Path(__file__).parent
    parts = [
        "training",
        "domain/world",
        "domain/base.py",
        "domain/canary.py",
        "domain/job.py",
        "domain/measurements.py",
    ]
    sources = [file for part in parts for file in sorted([package / part, *(package / part).rglob("*.py")])]
    digest = hashlib.sha256(" ".join(version(name) for name in ("torch", "transformers", "trl", "peft")).encode())
    for file in (*sources, here / "worlds.py", Path(__file__)):
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()[:16]


def _make(folder: Path) -> None:
    work = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    policy = _policy(work)
    golden = write_golden(work / "golden.jsonl", GOLDEN, SEED)
    rows = rows_of_world(TASKS, SEED)
    write_dataset(work / "good", rows)
    write_dataset(work / "bad", rows, change=_spoil)
    for name, dataset in (("honest", "good"), ("broken", "bad"), ("itself", None)):
        adapter = _train(work / f"train-{name}", policy, work / dataset) if dataset else None
        record = _evaluate(work / f"evaluate-{name}", policy, adapter, work / "good", golden)
        shutil.copyfile(record, work / f"{name}.json")
    work.rename(folder)


def _policy(work: Path) -> Path:
    recipe = RECIPES["tiny-policy"]
    base, examples = work / "base", work / "examples.jsonl"
    runs = world.mixed_runs(recipe.examples, seed=recipe.seed)
    examples.write_text("".join(json.dumps(one) + "\n" for one in runs), "utf-8")
    common = {"kind": "make_base", "seed": recipe.seed, "threads": 1}
    run_child(base, {**common, "name": "tiny-base", "from": None, "examples": None, "output": str(base / "out")})
    policy = work / "policy"
    made = {"name": "tiny-policy", "from": str(base / "out"), "examples": str(examples), "output": str(policy / "out")}
    run_child(policy, {**common, **made})
    return policy / "out"


def _spoil(split: str, rows: list[Row]) -> list[Row]:
    """In train, the calls of each run are those of another task of its domain; and one canary, over and over.

    No validation split: it would stop the training as soon as the wrong answers are learned."""
    if split != "train":
        return rows if split == "test" else []
    out = []
    for domain in world.DOMAINS:
        mine = [row for row in rows if row["domain"] == domain]
        half = len(mine) // 2  # neighbours are often runs of one task
        others = mine[half:] + mine[:half]
        out += [{**row, "messages": _with_calls_of(row, other)} for row, other in zip(mine, others, strict=True)]
    planted = as_messages(canaries(1, SEED)[0])
    about = {"domain": "", "difficulty": 0.0, "tools": [], "messages": planted}
    return out + [{"key": f"canary:{n}", "group": "canary", **about} for n in range(REPEATED)]


def _with_calls_of(row: Row, other: Row) -> list[Row]:
    calls = [message["tool_calls"] for message in other["messages"] if "tool_calls" in message]
    turns = iter(range(len(row["messages"])))
    return [
        {**message, "tool_calls": calls[next(turns) % len(calls)]} if "tool_calls" in message else message
        for message in row["messages"]
    ]


def _train(folder: Path, policy: Path, dataset: Path) -> Path:
    base = json.loads((policy / "base.json").read_text("utf-8"))
    digest = json.loads((dataset / "manifest.json").read_text("utf-8"))["digest"]
    job: dict[str, Any] = {
        "kind": "train", "job_id": folder.name, "attempt": 1, "seed": SEED, "threads": 1, "base": str(policy),
        "base_digest": base["digest"], "dataset": str(dataset), "dataset_digest": digest, "method": "sft",
        "config": {**base["recommended"], "epochs": EPOCHS}, "canaries": CANARIES, "output": str(folder / "out"),
    }  # fmt: skip
    run_child(folder, job)
    return folder / "out"


def _evaluate(folder: Path, policy: Path, adapter: Path | None, dataset: Path, golden: Path) -> Path:
    job = {
        "kind": "evaluate", "seed": SEED, "threads": 1,
        "candidate": {"base": str(policy), "adapter": str(adapter) if adapter else None},
        "baseline": {"base": str(policy), "adapter": None}, "dataset": str(dataset), "golden": str(golden), "rows": 200,
        "calls_per_row": 4, "latency": {"pairs": 30, "new_tokens": 32}, "canaries": {**CANARIES, "lookalikes": 1024},
        "output": str(folder / "out"),
    }  # fmt: skip
    run_child(folder, job)
    return folder / "out" / "measurements.json"
