"""`scripts/bench curriculum`: supervised fine-tuning in the order of the curriculum against its shuffled arm, at equal steps.

`--seeds N` (3), `--first N` (1), `--tasks N` tasks a domain (160), `--epochs X` (1), `--golden N` runs a domain (60). Both arms
begin at the mixed policy (`--base`) and differ in the option alone; from the tiny base so few rows
leave both near 0. Held out: golden runs, whose tasks are in no version, all calls; an exact call
has the name and the arguments that were recorded. The difference is paired by golden row, over all seeds, with its 95 % bootstrap
interval. There is no must: whatever it is, it is told."""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.learning import answers, base_of, trained
from l07.domain.statistics import Bootstrap
from tests.training.worlds import scored_rows, write_curriculum, write_dataset, write_golden

ARMS: Mapping[str, int] = {"curriculum": 1, "shuffled": 2}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench curriculum", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=160)
    parser.add_argument("--epochs", default="1")
    parser.add_argument("--base", default="tiny-policy")
    parser.add_argument("--golden", type=int, default=60)
    args = parser.parse_args(arguments)
    base = base_of(args.base)
    for epochs in map(float, args.epochs.split(",")):
        differences: list[float] = []
        for seed in range(args.first, args.first + args.seeds):
            with tempfile.TemporaryDirectory() as folder:
                differences += _seed(Path(folder), seed, epochs, base, args)
        told = Bootstrap(differences, resamples=10_000, seed=0).at()
        print(
            f"{epochs:g} epochs: curriculum less shuffled {told.value:+.3f} [{told.low:+.3f}, {told.high:+.3f}], {len(differences)} rows"
        )
    return 0


def _seed(folder: Path, seed: int, epochs: float, base: Any, args: argparse.Namespace) -> list[float]:
    """Of each golden row, how many more of its calls were exact with the curriculum, as a share."""
    rows = scored_rows(args.tasks, seed)
    write_dataset(folder / "dataset", rows)
    digest = write_curriculum(folder / "dataset", rows, seed)
    golden = write_golden(folder / "golden.jsonl", args.golden, seed)
    found = {}
    for arm, which in ARMS.items():
        asked = {"config": {"num_epochs": epochs, "early_stop": 1000}, "options": {"curriculum": which}}
        made, weights = trained(folder / arm, base, (folder / "dataset", digest), "sft", seed, **asked)
        shares = _exact(answers(folder / f"measure-{arm}", base, weights, golden, seed))
        found[arm] = shares
        print(
            f"seed {seed}, {epochs:g} epochs, {arm}: exact {np.mean(list(shares.values())):.3f}, {made['steps']} steps, "
            f"kept {made['kept_step']}, {made['train_seconds']:.0f} s",
            flush=True,
        )
    return [found["curriculum"][key] - found["shuffled"][key] for key in found["shuffled"]]


def _exact(rows: Sequence[Sequence[Mapping[str, Any]]]) -> dict[int, float]:
    """Of each row that has calls, the share of exact ones."""
    return {number: sum(call["exact"] for call in calls) / len(calls) for number, calls in enumerate(rows) if calls}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
