"""`scripts/bench methods`: each training method on the generated world, over several seeds, in children as the product runs them.

`--seeds N` (3), `--only sft,dpo,...`, `--tasks N` tasks a domain (500), `--steps N` of a policy, `--json FILE`. `sft` begins at
the tiny base, as its musts do; the others at the mixed policy, whose own figure is told first. Held out: golden runs of the
seed, whose tasks are in no version; for the reward model, pairs of runs of another world, and as `own` those that the
policy lost there. An exact call is one whose name and
arguments are those that were recorded, greedy. A machine at work shows in the seconds, not in the other figures."""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.learning import answers, base_of, mixed_policy, named, trained
from tests.training.worlds import scored_rows, write_dataset, write_golden

METHODS = ("sft", "dpo", "kto", "reward", "rloo", "grpo", "ppo")
POLICIES = ("rloo", "grpo", "ppo")
# exact calls at least, of reward: share of held-out pairs
MUSTS: Mapping[str, float] = {
    "sft": 0.70,
    "dpo": 0.60,
    "kto": 0.60,
    "reward": 0.90,
    "rloo": 0.67,
    "grpo": 0.60,
    "ppo": 0.60,
}
GOLDEN = 60  # runs a domain


class World:
    """One seed's version, golden set, and bases."""

    def __init__(self, folder: Path, seed: int, tasks: int, bases: Mapping[str, Any]) -> None:
        self.folder, self.seed, self._bases = folder / str(seed), seed, bases
        self.dataset = self.folder / "dataset"
        self.digest = write_dataset(self.dataset, scored_rows(tasks, seed))
        self.golden = write_golden(self.folder / "golden.jsonl", GOLDEN, seed)
        self.judge: dict[str, Any] | None = None

    def train(self, method: str, options: Mapping[str, float]) -> tuple[dict[str, Any], Path]:
        more = {"reward_model": self.reward_model()} if method in POLICIES else {}
        dataset = self.dataset, self.digest
        base = self._bases[_base_of(method)]
        return trained(self.folder / method, base, dataset, method, self.seed, options=dict(options), **more)

    def reward_model(self) -> dict[str, Any]:
        if self.judge is None:
            made, weights = self.train("reward", {})
            told = named(made, weights, self._bases[_base_of("reward")])
            self.judge = {**told, "pair_accuracy": made["pair_accuracy"], "seconds": made["seconds"]}
        return self.judge

    def measure(self, base: str, weights: Path | None, name: str) -> dict[str, float]:
        folder = self.folder / f"measure-{name}"
        said = [call for calls in answers(folder, self._bases[base], weights, self.golden, self.seed) for call in calls]
        return {
            "n": len(said),
            "exact": sum(call["exact"] for call in said) / len(said),
            "valid": sum(call["known"] for call in said) / len(said),
        }


def _base_of(method: str) -> str:
    return "tiny-base" if method == "sft" else "tiny-policy"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench methods", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1, help="the first seed; 100 and above were tuned on")
    parser.add_argument("--only", default=",".join(METHODS))
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--policy", help="folder of the mixed policy; made anew where none is named")
    parser.add_argument("--json")
    args = parser.parse_args(arguments)
    base = base_of("tiny-base")
    bases = {"tiny-base": base, "tiny-policy": mixed_policy(base.folder, Path(args.policy) if args.policy else None)}
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.first, args.first + args.seeds):
            place = World(Path(folder), seed, args.tasks, bases)
            found.setdefault("(policy)", []).append(place.measure("tiny-policy", None, "policy"))
            _tell("(policy)", seed, found["(policy)"][-1])
            for method in args.only.split(","):
                found.setdefault(method, []).append(_one(place, method, args.steps))
                _tell(method, seed, found[method][-1])
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1), "utf-8")
    return _table(found)


def _one(place: World, method: str, steps: int) -> dict[str, float]:
    if method == "reward":
        made = place.reward_model()
        of_runs, beside = _held_out_pairs(made, place)
        return {
            "n": of_runs["n"],
            "share": of_runs["share"],
            "own_n": beside["n"],
            "own": beside["share"],
            "seconds": made["seconds"],
        }
    made, weights = place.train(method, {"steps": steps} if method in POLICIES else {})
    return {
        **place.measure(_base_of(method), weights, method),
        "seconds": made["seconds"],
        "train_seconds": made["train_seconds"],
    }


def _held_out_pairs(made: Mapping[str, Any], place: World) -> Sequence[Mapping[str, float]]:
    """Of a world that nothing was trained on, because the validation split of one version has too few: pairs of runs, and those
    that the policy lost, which say more of what a policy gets from it."""
    from l07.domain.job import JobConfig
    from l07.domain.methods import effective_options
    from l07.training import base, feed, own, reward, scoring
    from l07.training.progress import ProgressFile
    from l07.training.task import Task

    folder = place.folder / "other"
    write_dataset(folder, scored_rows(400, place.seed + 1000))
    model, tokenizer = base.load(Path(made["base"]))
    job = {"dataset": str(folder), "seed": place.seed}
    config = JobConfig(max_length=512)
    task = Task(job, place.folder, config, effective_options("reward", {}), tokenizer, "", ProgressFile(place.folder))
    judge, of_runs = scoring.load(made, tokenizer), feed.pairs(task, compare="turn")
    beside = own.beside(task, model, of_runs, 1)
    told = [reward.pair_accuracy(judge, fed.all) for fed in (of_runs, beside)]
    assert all(told)
    return [one for one in told if one]


def _tell(method: str, seed: int, told: Mapping[str, float]) -> None:
    print(f"{method} seed {seed}: " + ", ".join(f"{name} {value:.3g}" for name, value in told.items()), flush=True)


def _table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> int:
    missed = False
    print(f"{'method':<10}{'n':>6}{'figure':>9}{'range':>16}{'valid':>8}{'seconds':>9}   must")
    for method, rows in found.items():
        values = [row.get("exact", row.get("share", 0.0)) for row in rows]
        valid, seconds = ([row[name] for row in rows if name in row] for name in ("valid", "seconds"))
        must = MUSTS.get(method)
        mean = sum(values) / len(values)
        missed |= must is not None and mean < must
        print(
            f"{method:<10}{min(row['n'] for row in rows):>6}{mean:>9.3f}{min(values):>9.3f}-{max(values):<6.3f}"
            f"{sum(valid) / len(valid) if valid else float('nan'):>8.3f}{sum(seconds) / len(seconds) if seconds else float('nan'):>9.1f}"
            f"   {'' if must is None else f'{must:.2f}'}"
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
