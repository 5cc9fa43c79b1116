"""`scripts/bench distill`: the mixed policy learns from a teacher, and is measured against it, over several seeds.

`--seeds N` (3), `--first N` (1; seeds from 100 on were tuned on), `--tasks N` tasks a domain (500), `--option NAME=VALUE` of the method.
The teacher is the mixed policy after `kto`, which gets more calls right than supervised fine-tuning does on some seeds (0.48 to
0.72); the student begins at the mixed policy and is told the teacher's answers and certainty at the same places, never a
recorded turn. Held out: golden runs of the seed, whose tasks are in no version. An exact call has the name and the
arguments that were recorded, greedy. Must: 95 % of a teacher that has at least half of the calls right; the share of one
that learnt nothing says nothing."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.learning import answers, base_of, mixed_policy, named, trained
from tests.training.worlds import scored_rows, write_dataset, write_golden

MUST, LEAST_TEACHER = 0.95, 0.5
TEACHER = "kto"


class World:
    """One seed's version and golden set."""

    def __init__(self, folder: Path, seed: int, tasks: int, base: Any) -> None:
        self.folder, self.seed, self._base = folder, seed, base
        self.digest = write_dataset(folder / "dataset", scored_rows(tasks, seed))
        self.golden = write_golden(folder / "golden.jsonl", 60, seed)

    def train(self, method: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The result, and how another job names what came of it."""
        folder = self.folder / f"{method}-{len(list(self.folder.iterdir()))}"
        dataset = self.folder / "dataset", self.digest
        made, weights = trained(folder, self._base, dataset, method, self.seed, **more)
        return made, named(made, weights, self._base)

    def exact(self, weights: str | None) -> tuple[float, int]:
        """Share of exact calls, and of how many."""
        folder = self.folder / f"measure-{len(list(self.folder.iterdir()))}"
        said = answers(folder, self._base, Path(weights) if weights else None, self.golden, self.seed)
        exact = [call["exact"] for calls in said for call in calls]
        return sum(exact) / len(exact), len(exact)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench distill", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--option", action="append", default=[], help="several lists by commas are several students")
    args = parser.parse_args(arguments)
    base = mixed_policy(base_of("tiny-base").folder, None)
    students = args.option or [""]
    shares: dict[str, list[float]] = {asked: [] for asked in students}
    for seed in range(args.first, args.first + args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            for asked, share in _seed(World(Path(folder), seed, args.tasks, base), students):
                shares[asked].append(share)
    for asked, found in shares.items():
        mean = sum(found) / len(found)
        print(f"{asked or 'defaults'}: {mean:.3f} of the teacher, {min(found):.3f}-{max(found):.3f}   must {MUST:.2f}")
    return int(any(sum(found) / len(found) < MUST for found in shares.values()))


def _seed(world: World, students: Sequence[str]) -> list[tuple[str, float]]:
    taught, teacher = world.train(TEACHER)
    best, n = world.exact(teacher["folder"])
    if best < LEAST_TEACHER:
        raise SystemExit(
            f"seed {world.seed}: the teacher has {best:.3f} of {n} calls right, {LEAST_TEACHER} are needed: nothing measured"
        )
    before, _ = world.exact(None)
    print(
        f"seed {world.seed}: n {n}, teacher {best:.3f} ({taught['seconds']:.0f} s), student before {before:.3f}",
        flush=True,
    )
    out = []
    for asked in students:
        options = {name: float(value) for name, _, value in (one.partition("=") for one in asked.split(",") if one)}
        made, student = world.train("distill", options=options, teacher=teacher)
        after, _ = world.exact(student["folder"])
        out.append((asked, after / best))
        print(
            f"seed {world.seed}: {asked or 'defaults'}: {after:.3f}, {after / best:.3f} of the teacher, {made['steps']} steps, "
            f"kept {made['kept_step']}, {made['train_seconds']:.0f} s",
            flush=True,
        )
    return out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
