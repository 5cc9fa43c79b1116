"""`scripts/bench distill`: the mixed policy learns from a teacher, and is measured against it, over several seeds.

`--seeds N` (3), `--first N` (1; seeds from 100 on were tuned on), `--tasks N` tasks a domain (500), `--option NAME=VALUE` of the method.
The teacher is supervised fine-tuning of the mixed policy on the good runs; the student begins at the mixed policy and is told the
teacher's answers and certainty at the same places, never a recorded turn. Held out: golden runs of the seed, whose tasks are
in no version. An exact call has the name and the arguments that were recorded, greedy. Must: 95 % of the teacher."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l07.backends.child import ChildTrainer
from l07.backends.store import FolderStore
from l07.pipeline.bases import prepare_base
from tests.bases import BASES
from tests.training.worlds import run_child, scored_rows, write_dataset, write_golden

MUST = 0.95
TEACHER, STUDENT = "tiny-policy", "tiny-policy"  # from the tiny base so few rows teach nothing: 0.01-0.07 exact


class World:
    """One seed's version and golden set."""

    def __init__(self, folder: Path, seed: int, tasks: int, bases: Mapping[str, Any]) -> None:
        self.folder, self.seed, self._bases = folder, seed, bases
        self.digest = write_dataset(folder / "dataset", scored_rows(tasks, seed))
        self.golden = write_golden(folder / "golden.jsonl", 60, seed)

    def train(self, base: str, method: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The result, and how another job names what came of it."""
        chosen, folder = self._bases[base], self.folder / f"{method}-{len(list(self.folder.iterdir()))}"
        job = {
            "kind": "train", "job_id": f"{method}-{self.seed}", "attempt": 1, "seed": self.seed, "threads": 1, "base": str(chosen.folder),
            "base_digest": chosen.digest, "dataset": str(self.folder / "dataset"), "dataset_digest": self.digest, "method": method,
            "config": {}, "canaries": {"n": 0, "seed": 0}, "output": str(folder / "out"), **more,
        }  # fmt: skip
        made = run_child(folder, job)
        named = {
            "folder": str(folder / "out"),
            "digest": made["digest"],
            "base": job["base"],
            "base_digest": job["base_digest"],
        }
        return made, named

    def exact(self, base: str, adapter: str | None) -> tuple[float, int]:
        """Share of exact calls, and of how many."""
        folder = self.folder / f"measure-{len(list(self.folder.iterdir()))}"
        job = {
            "kind": "evaluate", "threads": 1, "seed": self.seed, "dataset": str(self.folder / "nothing"), "dataset_digest": None,
            "golden": str(self.golden), "candidate": {"base": str(self._bases[base].folder), "adapter": adapter},
            "baseline": None, "rows": 10**6, "calls_per_row": 8, "canaries": None, "latency": {"pairs": 0, "new_tokens": 1},
            "output": str(folder / "out"),
        }  # fmt: skip
        run_child(folder, job)
        measured = json.loads((folder / "out" / "measurements.json").read_text("utf-8"))
        answers = [call["candidate"]["exact"] for row in measured["rows"] for call in row["calls"]]
        return sum(answers) / len(answers), len(answers)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench distill", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--option", action="append", default=[], help="several lists by commas are several students")
    args = parser.parse_args(arguments)
    bases = {name: asyncio.run(_base(name)) for name in (TEACHER, STUDENT)}
    students = args.option or [""]
    shares: dict[str, list[float]] = {asked: [] for asked in students}
    for seed in range(args.first, args.first + args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            for asked, share in _seed(World(Path(folder), seed, args.tasks, bases), students):
                shares[asked].append(share)
    for asked, found in shares.items():
        mean = sum(found) / len(found)
        print(f"{asked or 'defaults'}: {mean:.3f} of the teacher, {min(found):.3f}-{max(found):.3f}   must {MUST:.2f}")
    return int(any(sum(found) / len(found) < MUST for found in shares.values()))


def _seed(world: World, students: Sequence[str]) -> list[tuple[str, float]]:
    taught, teacher = world.train(TEACHER, "sft")
    best, n = world.exact(TEACHER, teacher["folder"])
    before, _ = world.exact(STUDENT, None)
    print(
        f"seed {world.seed}: n {n}, teacher {best:.3f} ({taught['seconds']:.0f} s), student before {before:.3f}",
        flush=True,
    )
    out = []
    for asked in students:
        options = {name: float(value) for name, _, value in (one.partition("=") for one in asked.split(",") if one)}
        made, student = world.train(STUDENT, "distill", options=options, teacher=teacher)
        after, _ = world.exact(STUDENT, student["folder"])
        out.append((asked, after / best))
        print(
            f"seed {world.seed}: {asked or 'defaults'}: {after:.3f}, {after / best:.3f} of the teacher, {made['steps']} steps, "
            f"kept {made['kept_step']}, {made['train_seconds']:.0f} s",
            flush=True,
        )
    return out


async def _base(name: str) -> Any:
    return await prepare_base(name, aliases={}, store=FolderStore(BASES), trainer=ChildTrainer(), timeout_s=1200)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
