"""What packing gains: tokens a second of `sft` with the rows of a step behind each other, and one a line, padded.

    python -m bench packing [--rounds 3] [--steps 6] [--only tiny|20m] [--json FILE]

Rows: runs of the generated world (about equally long), and `mixed`, one to three of them as one row (114 to 512 tokens),
by length (the sampler puts rows of about one length into a step) and in their order, as a curriculum has them. `lines` is
what SDPA is given, `one line` what flash attention is given, here by SDPA. No must: the default follows from it.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from transformers.utils import logging as transformers_logging

from bench.overhead import THREADS, twenty_million
from l07.domain.hardware import Plan
from l07.domain.job import JobConfig, LoRAConfig
from l07.training import base, engine, lora, rows, sft
from l07.training.checkpoints import Checkpoints
from l07.training.progress import ProgressFile
from tests.training.worlds import Bench, rows_of_world

WAYS = {
    "padded": Plan(),
    "lines": Plan(packing=True),
    "one line": Plan(packing=True, attention="flash (laid out as for it)"),
}


def mixed(data: Sequence[rows.Tokens]) -> list[rows.Tokens]:
    """One to three rows as one, 512 tokens at most."""
    rng, out, at = random.Random(0), [], 0
    while at < len(data):
        part = data[at : at + rng.choice([1, 1, 1, 2, 2, 3])]
        at += len(part)
        out.append(rows.Tokens([t for row in part for t in row.ids], [t for row in part for t in row.labels]))
    return [row for row in out if len(row.ids) <= 512]


def once(
    net: Any, tokenizer: Any, data: Sequence[rows.Tokens], plan: Plan, steps: int, *, in_order: bool
) -> tuple[float, float]:
    """Tokens a second, and the last loss."""
    torch.manual_seed(0)
    config = JobConfig(
        batch_size=8, max_steps=steps, max_length=512, lora_config=LoRAConfig(rank=16, alpha=32, dropout=0.0)
    )
    model = lora.attach(deepcopy(net), config.lora_config, base_name="base", base_digest="")
    with tempfile.TemporaryDirectory() as place:
        kept = Checkpoints(Path(place) / "kept", "job")
        run = engine.Run(config, 0, steps, ProgressFile(Path(place)), kept, plan=plan)
        told = sft.train(model, tokenizer, sft.Data(data, [], in_order=in_order), run)
    return told["tokens"] / told["train_seconds"], told["losses"][-1]["loss"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", choices=["tiny", "20m"])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    transformers_logging.set_verbosity_error()
    disable_progress_bars()
    found = []
    with tempfile.TemporaryDirectory() as place:
        tiny, tokenizer = base.load(Bench(Path(place)).base)
        nets = {"tiny": tiny, "20m": twenty_million(tokenizer)}
        world = rows.tokenise([rows.chat(row) for row in rows_of_world(40, 7)], tokenizer, 512).rows
        for shape, net in nets.items():
            for name, data in {"mixed": mixed(world), "world": world}.items():
                if asked.only not in (None, shape) or (name, shape) == ("world", "20m"):
                    continue
                for in_order in (False, True):
                    told: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
                    for _ in range(asked.rounds):
                        for way, plan in WAYS.items():
                            told[way].append(once(net, tokenizer, data, plan, asked.steps, in_order=in_order))
                    speeds = {way: statistics.median(speed for speed, _ in ones) for way, ones in told.items()}
                    losses = {way: ones[-1][1] for way, ones in told.items()}
                    order = "in order" if in_order else "by length"
                    line = ", ".join(
                        f"{way} {speed:.0f} ({speed / speeds['padded']:.2f})" for way, speed in speeds.items()
                    )
                    print(f"{shape}, {name}, {order}: tokens/s {line}; last loss {json.dumps(losses)}", flush=True)
                    found.append({"shape": shape, "rows": name, "order": order, "speed": speeds, "loss": losses})
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
