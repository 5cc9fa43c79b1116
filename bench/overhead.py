"""What the engine costs beside the model: its tokens a second against a loop of torch written by hand, on the same batches.

    python -m bench overhead [--rounds 5] [--steps 20] [--only tiny|20m] [--json FILE]

The loop has what a person would write: AdamW, clipping, the same learning rates, the same padded tensors, a loss over the
labelled positions of all logits, no look at validation, no checkpoint, no log. The engine trains `sft` as a job does, with its log, its
watch and its count of tokens. Both start from the same weights and take turns, round after round; a ratio is made in each
round, the median counts. Then a child process trains one step: from its start to that step's end in seconds.
Must: 0.97 of the loop's tokens a second with 20 M parameters, 0.90 with the tiny base; 8 s to the first step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from l07.domain.job import JobConfig, LoRAConfig
from l07.training import base, engine, lora, packing, rows, sft
from l07.training.checkpoints import Checkpoints
from l07.training.progress import ProgressFile
from tests.training.worlds import Bench, rows_of_world

MUST = {"tiny": 0.90, "20m": 0.97}
MUST_START_S = 8.0
THREADS = 1


def twenty_million(tokenizer: Any) -> Any:
    """A Llama of 20 million parameters with random weights, for the tiny base's tokenizer."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=448, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4,
        intermediate_size=1232, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(shape)


def by_engine(
    model: Any, tokenizer: Any, data: Sequence[rows.Tokens], config: JobConfig, folder: Path
) -> tuple[float, int]:
    """Seconds and tokens."""
    run = engine.Run(
        config, 0, engine.steps(config, len(data)), ProgressFile(folder), Checkpoints(folder / "kept", "job")
    )
    told = sft.train(model, tokenizer, sft.Data(data, []), run)
    return told["train_seconds"], told["tokens"]


def by_hand(model: Any, batches: Sequence[Any], rates: Sequence[float], clip: float) -> tuple[float, int]:
    """Seconds and tokens."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    model.train()
    begun, tokens = time.perf_counter(), 0
    optimiser = torch.optim.AdamW(weights, lr=rates[0], weight_decay=0.0, fused=True)
    for batch, rate in zip(batches, rates, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(weights, clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        tokens += int(batch["attention_mask"].sum())
    return time.perf_counter() - begun, tokens


def batches_of(
    tokenizer: Any, data: Sequence[rows.Tokens], model: Any, config: JobConfig, folder: Path
) -> tuple[Any, Any]:
    """The tensors that the engine's run is fed, in order, and its rates: taken from a run of it."""
    collate, batches = packing.Batches.__call__, []

    def recorded(self: Any, examples: Any) -> Any:
        batch = collate(self, examples)
        batches.append({name: tensor.clone() for name, tensor in batch.items()})
        return batch

    packing.Batches.__call__ = recorded  # type: ignore[method-assign]
    try:
        run = engine.Run(config, 0, config.max_steps or 1, ProgressFile(folder), Checkpoints(folder / "kept", "job"))
        told = sft.train(model, tokenizer, sft.Data(data, []), run)
    finally:
        packing.Batches.__call__ = collate  # type: ignore[method-assign]
    rates = [point["learning_rate"] for point in told["losses"]]
    return batches[: len(rates)], rates


def race(name: str, net: Any, tokenizer: Any, data: Sequence[rows.Tokens], asked: Any, folder: Path) -> dict[str, Any]:
    config = JobConfig(
        batch_size=8, max_steps=asked.steps, max_length=512, lora_config=LoRAConfig(rank=16, alpha=32, dropout=0.0)
    )

    def fresh() -> Any:
        torch.manual_seed(0)
        return lora.attach(deepcopy(net), config.lora_config, base_name=name, base_digest="")

    batches, rates = batches_of(tokenizer, data, fresh(), config, folder)
    ratios, ours, theirs = [], [], []
    for _ in range(asked.rounds):
        model, hand = fresh(), fresh()
        seconds, tokens = by_engine(model, tokenizer, data, config, folder)
        bare_seconds, bare_tokens = by_hand(hand, batches, rates, config.clip)
        assert tokens == bare_tokens, (tokens, bare_tokens)
        apart = max(
            float((one - other).detach().abs().max())
            for one, other in zip(model.parameters(), hand.parameters(), strict=True)
        )
        ours.append(tokens / seconds)
        theirs.append(tokens / bare_seconds)
        ratios.append(ours[-1] / theirs[-1])
        print(
            f"  {name}: engine {ours[-1]:.0f} tokens/s, by hand {theirs[-1]:.0f}, ratio {ratios[-1]:.3f}; "
            f"weights apart {apart:.1e}; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    middle = statistics.median(ratios)
    parameters = sum(weight.numel() for weight in net.parameters())
    print(
        f"{name} ({parameters:,} parameters): ratio {middle:.3f} ({min(ratios):.3f}-{max(ratios):.3f}), must {MUST[name]}"
    )
    return {"name": name, "parameters": parameters, "ratios": ratios, "median": middle, "must": MUST[name]}


def start(bench: Bench, folder: Path) -> dict[str, Any]:
    """From the child's start to the end of its first step."""
    seconds = []
    for number in range(3):
        job = bench.job(folder / str(number), config={"max_steps": 1, "batch_size": 8}, canaries={"n": 0, "seed": 0})
        begun = time.perf_counter()
        child = subprocess.Popen([sys.executable, "-m", "l07.training", str(job)], stderr=subprocess.DEVNULL)
        progress = job / "progress.jsonl"
        while not (progress.is_file() and '"step"' in progress.read_text("utf-8")) and child.poll() is None:
            time.sleep(0.005)
        seconds.append(time.perf_counter() - begun)
        child.wait()
    print(f"start to first step: {min(seconds):.1f} s (of {len(seconds)}, to {max(seconds):.1f}), must {MUST_START_S}")
    return {"name": "start", "seconds": seconds, "median": statistics.median(seconds), "must": MUST_START_S}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", choices=[*MUST, "start"])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bench = Bench(folder)
        tiny, tokenizer = base.load(bench.base)
        told = [rows.chat(row) for row in rows_of_world(40, 7)]
        data = rows.tokenise(told, tokenizer, 512).rows
        nets = {"tiny": lambda: tiny, "20m": lambda: twenty_million(tokenizer)}
        for name, made in nets.items():
            if asked.only in (None, name):
                found.append(race(name, made(), tokenizer, data, asked, folder))
        if asked.only in (None, "start"):
            found.append(start(bench, folder / "starts"))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), "utf-8")
    met = [one["median"] <= one["must"] if one["name"] == "start" else one["median"] >= one["must"] for one in found]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
