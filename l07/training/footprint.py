"""Whether a job fits into its machine's memory, before a weight is read: what its base's files, its data and its plan say.

`l07/domain/memory.py` has the counting. The data are tokens already, so a step is as large as its longest rows, not as
large as `training.max_length` would allow.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from l07.domain.hardware import Machine, Plan
from l07.domain.job import JobConfig
from l07.domain.memory import BESIDE, Beside, Estimate, Shape, Step, estimate, ways_out
from l07.errors import BaseIncomplete, DoesNotFit
from l07.training.feed import Fed, LabelTokens, PairTokens, Prompt
from l07.training.rows import IGNORED, Tokens
from l07.training.task import Task

GIB = 2**30
CONTEXT = GIB // 2  # what CUDA itself takes on a GPU
LOOK = 32  # rows of a look at the validation split, where a step is learned from at once (`engine.arguments`)
OUTSIDE = ("embed", "wte", "wpe", "lm_head", "head", "score")  # names of matrices that are no linear layer of a block


def shape_of(folder: Path, config: Any) -> Shape:
    """`config`: as transformers reads it, by whose names it goes. Raises BaseIncomplete (E7723): a header that cannot be read."""
    tensors: dict[str, list[int]] = {}
    try:
        for path in sorted(folder.glob("*.safetensors")):
            tensors.update(_header(path))
    except (OSError, ValueError, KeyError, TypeError, MemoryError) as err:
        raise BaseIncomplete(
            f"the base {folder} cannot be loaded: it does not say how large it is ({type(err).__name__})"
        ) from err
    hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    return Shape(
        parameters=sum(math.prod(one) for one in tensors.values()),
        hidden=hidden,
        layers=int(config.num_hidden_layers),
        heads=heads,
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(config, "head_dim", None) or hidden // heads),
        intermediate=int(getattr(config, "intermediate_size", None) or 4 * hidden),
        vocabulary=int(config.vocab_size),
        tied=bool(config.tie_word_embeddings),
        linear=tuple(
            (one[0], one[1])
            for name, one in tensors.items()
            if len(one) == 2 and not any(word in name for word in OUTSIDE)
        ),
    )


def _header(path: Path) -> dict[str, list[int]]:
    with path.open("rb") as file:
        told = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: one["shape"] for name, one in told.items() if name != "__metadata__"}


# ------------------------------------------------------------------ what a step is


@dataclass(frozen=True, slots=True)
class Sizes:
    """The longest sequences of a job, longest first: tokens, and which of them have logits. `a_row`: sequences of a row."""

    longest: Sequence[tuple[int, frozenset[int]]]
    a_row: int = 1
    looks: bool = True

    def step(self, config: JobConfig) -> Step:
        """With rows that are no longer than the config's `max_length`, where it has one."""
        micro = config.micro_batch_size or config.batch_size
        most = config.max_length or self.longest[0][0]
        rows = self.longest[:micro]
        places = {place for _, marked in rows for place in marked if place < most}
        looked_at = max(1, LOOK * micro // config.batch_size) if self.looks else 0
        return Step(
            min(micro, len(self.longest)) * self.a_row,
            min(rows[0][0], most),
            len(places),
            accumulated=micro < config.batch_size,
            looked_at=min(looked_at, len(self.longest)) * self.a_row,
        )


def sizes_of(task: Task, data: Any) -> Sizes:
    """`data`: what the method's `prepare` gave."""
    held = bool(data.validation)
    told = data.all if isinstance(data, Fed) else [*data.train, *data.validation]
    if isinstance(told[0], Tokens):
        return Sizes(_first([(len(row.ids), row.labels) for row in told]), looks=held)
    longest = sorted(told, key=lambda one: -_tokens(one, task.options))
    a_row = 2 if isinstance(told[0], PairTokens | LabelTokens) else int(task.options.get("generations", 1))
    return Sizes([(_tokens(one, task.options), _with_logits(one, task)) for one in longest], a_row, held)


def _with_logits(one: PairTokens | LabelTokens | Prompt, task: Task) -> frozenset[int]:
    """Places of the tokens from which a loss is made: of an answer, of a pair's chosen turn where the loss is a score's, else all."""
    whole = _tokens(one, task.options)
    if isinstance(one, Prompt):
        return frozenset(range(len(one.ids), whole))
    if isinstance(one, PairTokens) and "language_weight" in task.options:
        chosen = len(one.chosen.ids) if task.options["language_weight"] else 0
        return frozenset(range(len(one.prompt), len(one.prompt) + chosen))
    return frozenset(range(whole))


def _first(rows: Sequence[tuple[int, Sequence[int]]]) -> list[tuple[int, frozenset[int]]]:
    """Longest first; a label is learned from the token before it."""
    ordered = sorted(rows, key=lambda row: -row[0])
    return [
        (length, frozenset(at - 1 for at, label in enumerate(labels) if at and label != IGNORED))
        for length, labels in ordered
    ]


def _tokens(one: PairTokens | LabelTokens | Prompt, options: Mapping[str, float]) -> int:
    if isinstance(one, PairTokens):
        return one.longest
    if isinstance(one, LabelTokens):
        return len(one.prompt) + len(one.completion.ids)
    return len(one.ids) + int(options["completion_tokens"])


# ------------------------------------------------------------------ does it fit


def fitted(
    task: Task, data: Any, shape: Shape, plan: Plan, machine: Machine, *, micro: int | None = None
) -> tuple[Plan, Estimate]:
    """The plan, with gradient checkpointing where nobody decided on it and it takes that to fit, and what it will take.
    `micro`: rows at a time that an earlier attempt came down to.

    Raises:
        DoesNotFit: E7740, and the settings that would."""
    config = replace(task.config, micro_batch_size=micro) if micro else task.config
    sizes, beside = sizes_of(task, data), BESIDE.get(str(task.job.get("method") or "sft"), Beside(1, 2))
    process = CONTEXT if plan.device == "cuda" else resident()

    def of(asked: JobConfig, used: Plan) -> Estimate:
        return estimate(shape, asked, used, sizes.step(asked), beside=beside, process=process)

    found, room = of(config, plan), machine.memory_bytes
    if room is None or found.total <= room:
        return plan, found
    again = replace(plan, gradient_checkpointing=True)
    if config.gradient_checkpointing == "auto" and of(config, again).total <= room:
        return again, of(config, again)
    ways = ways_out(config, plan, lambda *one: of(*one).total, room, longest=sizes.longest[0][0])
    raise DoesNotFit(_text(found, room, machine, ways[0][0] if ways else ""), **found.document(), room_bytes=room)


def _text(found: Estimate, room: int, machine: Machine, way: str) -> str:
    parts = [
        f"{name} {size / GIB:.2f}"
        for name in ("weights", "optimizer", "gradients", "activations", "logits", "process")
        if (size := getattr(found, name)) > GIB / 200
    ]
    end = f"{way} fits" if way else "no setting fits it: take a smaller base, or a larger machine"
    return f"the job needs about {found.total / GIB:.2f} GiB ({', '.join(parts)}), {machine.name} has {room / GIB:.2f}; {end}"


def resident() -> int:
    """Bytes of this process that are in memory now."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return GIB // 2
