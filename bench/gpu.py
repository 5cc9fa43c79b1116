"""What a job does on a CUDA GPU: model FLOPs utilisation, and peak memory against the estimate.

    python -m bench gpu [--steps 20] [--length 1024] [--batch 8] [--peak-tflops 989] [--json FILE]

A Llama shape of about 0.7 billion parameters with random weights, bf16, LoRA and full, rows of one length, of whose tokens half are
labelled. MFU: FLOPs that the model needs (6 a weight and token where all move, 4 where they stay and only adapters learn; 12 * layers * heads' width *
length a token for attention), over seconds and the GPU's peak (`--peak-tflops`, bf16 without sparsity; default: H100 and H200). Must: estimate within
10 % of the peak that torch allocated. Goal: MFU 0.5. Without a GPU it says that nothing was measured.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from l07.domain import world
from l07.domain.hardware import choose
from l07.domain.job import JobConfig, LoRAConfig
from l07.domain.memory import Shape, Step, estimate
from l07.training import engine, hardware, lora, rows, sft, tiny
from l07.training.checkpoints import Checkpoints
from l07.training.progress import ProgressFile

MUST, GOAL = 0.10, 0.5
NOT_MEASURED = 3  # status
VOCABULARY, HIDDEN, LAYERS, HEADS, KV_HEADS, INTERMEDIATE = 32_000, 1536, 20, 12, 12, 5376


def measured(adapter: str, asked: argparse.Namespace) -> dict[str, Any]:
    config = JobConfig(
        batch_size=asked.batch, max_steps=asked.steps, max_length=asked.length, learning_rate=1e-5, adapter=adapter,
        lora_config=LoRAConfig(dropout=0.0),
    )  # fmt: skip
    tokenizer = tiny.make_tokenizer(
        [json.dumps(one) for one in world.documents(20, 1)]
    )  # only its pad token is asked for
    machine = hardware.detect()
    plan = choose(config, machine)
    torch.manual_seed(0)
    net = LlamaForCausalLM._from_config(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
            num_key_value_heads=KV_HEADS, intermediate_size=INTERMEDIATE, max_position_embeddings=asked.length, tie_word_embeddings=True,
        ),
        attn_implementation=plan.attention, dtype=hardware.frozen_type(plan, adapter),
    )  # fmt: skip
    linear = [tuple(one.weight.shape) for name, one in net.named_modules() if name.endswith("_proj")]
    count = sum(weight.numel() for weight in net.parameters())
    shape = Shape(
        count,
        HIDDEN,
        LAYERS,
        HEADS,
        KV_HEADS,
        HIDDEN // HEADS,
        INTERMEDIATE,
        VOCABULARY,
        tied=True,
        linear=tuple(linear),
    )
    model = net if adapter == "full" else lora.attach(net, config.lora_config, base_name="random", base_digest="")
    half = asked.length // 2
    told = [
        rows.Tokens([1 + n % 31_000 for n in range(asked.length)], [rows.IGNORED] * half + [5] * half)
    ] * asked.batch
    torch.cuda.reset_peak_memory_stats()
    seconds = 0.0
    with tempfile.TemporaryDirectory() as place:
        run = engine.Run(
            config, 0, asked.steps, ProgressFile(Path(place)), Checkpoints(Path(place) / "kept", "job"), plan=plan
        )
        begun = time.perf_counter()
        result = sft.train(model, tokenizer, sft.Data(told, []), run)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - begun
    tokens = result["tokens"]
    per_token = (6 if adapter == "full" else 4) * count + 12 * LAYERS * HIDDEN * asked.length
    mfu = tokens * per_token / seconds / (asked.peak_tflops * 1e12)
    peak = torch.cuda.max_memory_allocated()
    needed = estimate(shape, config, plan, Step(asked.batch, asked.length, half))
    return {
        "adapter": adapter, "machine": machine.name, "plan": plan.document(), "parameters": count, "tokens_per_s": tokens / seconds,
        "mfu": mfu, "goal_mfu": GOAL, "peak_bytes": peak, "estimate": needed.document(), "off": needed.total / peak - 1,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--peak-tflops", type=float, default=989.0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("not measured: there is no CUDA GPU here")
        return NOT_MEASURED
    found = [measured(adapter, asked) for adapter in ("lora", "full")]
    for one in found:
        print(
            f"{one['adapter']} on {one['machine']}, {one['parameters']:,} parameters, {one['plan']['precision']}, {one['plan']['attention']}: "
            f"{one['tokens_per_s']:.0f} tokens/s, MFU {one['mfu']:.3f} (goal {GOAL}), peak {one['peak_bytes'] / 2**30:.2f} GiB, "
            f"estimate {one['off']:+.1%} (must within {MUST:.0%})"
        )
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), "utf-8")
    return 0 if all(abs(one["off"]) <= MUST for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
