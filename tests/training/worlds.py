"""Dataset folders, golden sets and job folders for tests that really train: the generated world without the loop."""

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from l07.domain import world
from l07.domain.curriculum import Runs, curriculum
from l07.domain.drawing import draw_of, mixed
from l07.domain.example import difficulty, measure

Row = dict[str, Any]
SPLITS = ("train",) * 8 + ("validation", "test")


def rows_of_world(tasks_per_domain: int, seed: int) -> list[Row]:
    """Runs that kept the policy, as the curator would write them."""
    out = []
    for done in world.demo_runs(tasks_per_domain, seed):
        if done.success:
            about = {"key": f"execution:{done.agent}-{done.task.task_id}", "group": done.task.task_id}
            where = {
                "domain": done.task.domain,
                "difficulty": 0.1 + 0.2 * sum("tool_calls" in m for m in done.messages),
            }
            out.append({**about, **where, "messages": [dict(m) for m in done.messages], "tools": done.tools})
    return out


def scored_rows(tasks_per_domain: int, seed: int) -> list[Row]:
    """All runs of the stream, as the filter would leave them: a score around the run's real outcome, and a decision."""
    rng = random.Random(f"scores/{seed}")
    out = []
    for done in world.demo_runs(tasks_per_domain, seed):
        score = min(100.0, max(0.0, rng.gauss(92, 4) if done.success else rng.gauss(35, 12)))
        confidence = min(1.0, max(0.0, rng.gauss(0.85, 0.08)))
        said = {"messages": [dict(m) for m in done.messages], "tools": done.tools}
        about = {
            "key": f"execution:{done.agent}-{done.task.task_id}", "group": done.task.task_id, "task_id": done.task.task_id,
            "domain": done.task.domain, "difficulty": 0.5, "quality_score": score, "confidence": confidence,
            "decision": "ACCEPT" if score >= 70 and confidence >= 0.6 else "REJECT",
            "reasons": ["low_score"] * (score < 70) + ["low_confidence"] * (confidence < 0.6),
        }  # fmt: skip
        out.append({**about, **said})
    return out


def write_dataset(
    folder: Path, rows: Iterable[Row], change: Callable[[str, list[Row]], list[Row]] | None = None
) -> str:
    """80/10/10 by task in each domain, rejected rows beside them; `change` may alter a table before it is written.
    Returns the digest."""
    (folder / "data").mkdir(parents=True)
    splits: dict[str, list[Row]] = {name: [] for name in (*SPLITS, "contrast")}
    members = sorted(rows, key=lambda row: hashlib.sha256(row["group"].encode()).hexdigest())
    place: dict[tuple[str, str], str] = {}
    count: dict[str, int] = {}
    for row in members:
        if (row["domain"], row["group"]) not in place:
            number = count[row["domain"]] = count.get(row["domain"], -1) + 1
            place[row["domain"], row["group"]] = SPLITS[number % 10]
        split = place[row["domain"], row["group"]]
        splits[split if row.get("decision", "ACCEPT") == "ACCEPT" else "contrast"].append({**row, "split": split})
    files = {}
    for name, chosen in splits.items():
        path = folder / "data" / f"{name}-00000-of-00001.parquet"
        changed = change(name, chosen) if change else chosen
        if not changed:
            continue
        Dataset.from_list([_flat(row) for row in changed]).to_parquet(str(path))
        files[f"data/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"digest": digest, "files": files}), "utf-8")
    return digest


def _flat(row: Row) -> Row:
    messages = [
        {
            "role": message["role"],
            "content": message.get("content", ""),
            "tool_calls": [_call(call) for call in message.get("tool_calls", ())] or None,
            "tool_call_id": message.get("tool_call_id"),
            "name": message.get("name"),
        }
        for message in row["messages"]
    ]
    return {**row, "messages": messages, "tools": json.dumps(row["tools"])}


def _call(call: Mapping[str, Any]) -> Row:
    function = {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}
    return {**call, "function": function}


def write_golden(path: Path, per_domain: int, seed: int) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in world.golden(per_domain, seed)), "utf-8")
    return path


def run_child(folder: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Runs a job folder to its end in another process; the content of result.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps(job), "utf-8")
    command = [sys.executable, "-m", "l07.training", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    path = folder / "result.json"
    assert path.is_file(), done.stderr[-2000:]
    result: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert result["status"] == "completed", (result, done.stderr[-2000:])
    return result


# A base of four steps of pretraining: it knows nothing, but it is whole.
FOUR_STEPS = {
    "kind": "make_base", "name": "tiny-base", "seed": 0, "threads": 1, "from": None, "examples": None, "steps": 4,
}  # fmt: skip


class Bench:
    """A small base and a small dataset, and jobs on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.base, self.dataset = folder, folder / "base" / "out", folder / "dataset"
        self.base_digest = run_child(folder / "base", {**FOUR_STEPS, "output": str(self.base)})["digest"]
        self.digest = write_dataset(self.dataset, rows_of_world(40, 7))

    def job(self, folder: Path, **changes: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        config = {"max_steps": 6, "batch_size": 4, **changes.pop("config", {})}
        job = {
            "kind": "train", "job_id": "job-1", "attempt": 1, "seed": 7, "threads": 1, "base": str(self.base), "base_digest": self.base_digest,
            "dataset": str(self.dataset), "dataset_digest": self.digest, "method": "sft", "config": config,
            "canaries": {"n": 2, "seed": 7}, "output": str(folder / "out"),
        }  # fmt: skip
        (folder / "job.json").write_text(json.dumps({**job, **changes}), "utf-8")
        return folder


def write_curriculum(folder: Path, rows: Iterable[Row], seed: int) -> str:
    """curriculum.parquet of a folder that `write_dataset` wrote, as the curator would write it of these scored runs; the
    folder's new digest."""
    known = list(rows)
    learnt = set(
        Dataset.from_parquet(str(folder / "data" / "train-00000-of-00001.parquet"), keep_in_memory=True)["key"]
    )
    draws = np.array([draw_of(row["key"]) for row in known], np.uint64)
    runs = Runs(
        task=np.unique([row["group"] for row in known], return_inverse=True)[1].astype(np.int64),
        kind=np.unique([row["domain"] for row in known], return_inverse=True)[1].astype(np.int64),
        judged=np.ones(len(known), bool),
        failed=np.array([row.get("decision", "ACCEPT") != "ACCEPT" for row in known]),
        structural=np.array([difficulty(measure(row["messages"], _goal(row))) for row in known]),
        learnt=np.array([row["key"] in learnt for row in known]),
    )
    order, control = (mixed(draws, seed=seed, purpose=purpose) for purpose in ("curriculum", "control"))
    made = curriculum(runs, order, control, pacing="buckets")
    keys = [known[place]["key"] for place in made.place.tolist()]
    table = {"key": keys, "rank": made.rank, "rank_shuffled": made.rank_shuffled}
    Dataset.from_dict(table).to_parquet(str(folder / "curriculum.parquet"))
    return sign(folder)


def _goal(row: Row) -> str:
    return next(str(m["content"]) for m in row["messages"] if m["role"] == "user")


def sign(folder: Path) -> str:
    """A manifest of the files as they are now; its digest."""
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"digest": digest, "files": files}), "utf-8")
    return digest
