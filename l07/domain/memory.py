"""How much memory a training step takes, from the base's shape, before a weight is read; and which settings would take less.

Counted is what lives at the same time: weights, the optimiser's state and the weights of the best look all along, and at
the worst moment of a step what autograd keeps of each layer and the logits (begin of the way back), or the gradients (its
end). What a layer keeps is that of a Llama block as transformers writes it (RMSNorm, rotary positions, grouped heads, gated
MLP); other architectures are taken for one of the same sizes. Not counted: what allocators lose between blocks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from l07.domain.hardware import Plan
from l07.domain.job import JobConfig

FULL, HALF = 4, 2  # bytes of a number in float32, and in bf16 or fp16
NF4 = 0.5 + 0.127 / 8  # bytes of a weight: 4 bits, and its block's scale quantised twice (Dettmers et al., section 3)
Block = tuple[int, int]  # of a linear layer: what comes out, what goes in


@dataclass(frozen=True, slots=True)
class Shape:
    """A base, as its config.json and the headers of its safetensors have it. `linear`: of all blocks together."""

    parameters: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    linear: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What is learned from at a time: `sequences` of `tokens`, of each of which `places` have logits. `accumulated`: a step has
    several of them. `looked_at`: sequences of a look at the validation split."""

    sequences: int
    tokens: int
    places: int
    accumulated: bool = False
    looked_at: int = 0


@dataclass(frozen=True, slots=True)
class Beside:
    """What a method has beside the model that learns: `bases`, whole models as large as it; `logits`, how often there are
    logits of the same tokens."""

    bases: float = 0
    logits: int = 1


BESIDE: Mapping[str, Beside] = {
    "sft": Beside(),
    "dpo": Beside(logits=2),
    "kto": Beside(logits=2),
    "reward": Beside(
        bases=1, logits=1
    ),  # the base is read once more, with another head; its own looks at the chosen turns
    "rloo": Beside(bases=1, logits=2),  # the reward model
    "grpo": Beside(bases=1, logits=2),
    "ppo": Beside(bases=1, logits=2),
    "distill": Beside(bases=1, logits=2),  # the teacher, of its own base
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes, by what takes them."""

    weights: int
    optimizer: int
    gradients: int
    activations: int
    logits: int
    process: int  # what is there before: libraries, the data

    @property
    def total(self) -> int:
        return self.process + self.weights + self.optimizer + self.gradients + self.activations + self.logits

    def document(self) -> dict[str, int]:
        names = ("weights", "optimizer", "gradients", "activations", "logits", "process", "total")
        return {f"{name}_bytes": int(getattr(self, name)) for name in names}


def estimate(
    shape: Shape, config: JobConfig, plan: Plan, step: Step, *, beside: Beside = BESIDE["sft"], process: int = 0
) -> Estimate:
    """At the worst moment of a step, or of a look where that takes more."""
    moving = moving_of(shape, config)
    weights = int(_weights(shape, config, plan) * (1 + beside.bases)) + (
        0 if config.adapter == "full" else FULL * moving
    )
    if config.adapter == "full" and plan.precision != "fp32":
        weights += HALF * sum(out * into for out, into in shape.linear)  # autocast's copies
    tokens = step.sequences * step.tokens
    kept = _kept(shape, config, plan, step.tokens) * tokens
    activations = int(kept * shape.layers)
    if plan.gradient_checkpointing:
        activations = int(kept + _number(plan) * shape.hidden * tokens * shape.layers)
    logits = _logits(shape, plan, beside) * step.sequences * step.places
    # a look keeps nothing of a layer; of its logits there is one copy less
    look = 2 * FULL * shape.vocabulary * step.looked_at * step.places * min(1, beside.logits)
    gradients = FULL * moving
    forward = max(activations + logits, look)
    if not step.accumulated:  # those of the step before are gone when this one is at its fullest
        gradients = max(0, gradients - forward)
    if look > activations + logits:
        activations, logits = 0, look
    state = (3 if step.looked_at else 2) * FULL * moving  # two moments; the weights of the best look
    return Estimate(weights, state, gradients, activations, logits, process)


def moving_of(shape: Shape, config: JobConfig) -> int:
    """Numbers that training may change."""
    if config.adapter == "full":
        return shape.parameters
    lora = config.lora_config
    rank = sum(lora.rank * (out + into) for out, into in shape.linear)
    whole = shape.vocabulary * shape.hidden * (1 if shape.tied else 2) if lora.embeddings else 0
    return rank + whole + (sum(out for out, _ in shape.linear) if lora.kind == "dora" else 0)


def _number(plan: Plan) -> int:
    return FULL if plan.precision == "fp32" else HALF


def _weights(shape: Shape, config: JobConfig, plan: Plan) -> float:
    if config.adapter == "full":
        return FULL * shape.parameters
    if config.adapter == "qlora":
        linear = sum(out * into for out, into in shape.linear)
        return NF4 * linear + _number(plan) * (shape.parameters - linear)
    return _number(plan) * shape.parameters


def _kept(shape: Shape, config: JobConfig, plan: Plan, tokens: int) -> float:
    """Bytes that one layer keeps of a token for the way back."""
    number, h, f = _number(plan), shape.hidden, shape.intermediate
    query = shape.heads * shape.head_dim
    norms = 2 * FULL * h  # both norms compute in float32, and keep what goes in
    attention = (
        number * 4 * query + FULL * shape.heads
    )  # query, key and value of each head, what comes out; sums of exponents
    gated = number * 3 * f  # the gate before and after its activation, and what it is multiplied with
    # before the norms' weights, and of each linear layer
    whole = float(2 * FULL * h + number * (2 * h + f))
    inputs = whole if config.adapter == "full" else _of_adapters(config, plan, h, query, f)
    mask = FULL * tokens if plan.attention == "sdpa" and plan.device != "cuda" else 0
    return norms + attention + gated + inputs + mask + (number * query if plan.attention == "eager" else 0)


def _of_adapters(config: JobConfig, plan: Plan, h: int, query: int, f: int) -> float:
    """What seven adapters keep of a token: their inputs, one for all that read the same unless dropout makes each its own, and
    what lies between their halves."""
    number = _number(plan)
    between = number * 7 * config.lora_config.rank
    if config.lora_config.dropout:
        mask = 1 if plan.device == "cuda" else number  # what dropout left out
        return (number + mask) * (5 * h + query + f) + between
    return number * (2 * h + f) + between


def _logits(shape: Shape, plan: Plan, beside: Beside) -> int:
    """Bytes of a place: the logits, in float32 where they were not, their softmax, and its gradient."""
    once = FULL * 3 if plan.precision == "fp32" else HALF * 2 + FULL * 3
    return shape.vocabulary * once * beside.logits


# ------------------------------------------------------------------ what would fit


def ways_out(
    config: JobConfig, plan: Plan, take: Callable[[JobConfig, Plan], int], room: int, *, longest: int
) -> list[tuple[str, JobConfig, Plan]]:
    """Settings that fit into `room`, the least change first: each as text, config and plan. `take`: what a config and a plan
    take; `longest`: tokens of the longest sequence."""
    found = []
    for text, asked, used in _tries(config, plan, longest):
        if take(asked, used) <= room:
            found.append((text, asked, used))
    return found


def _tries(config: JobConfig, plan: Plan, longest: int) -> list[tuple[str, JobConfig, Plan]]:
    batch = config.micro_batch_size or config.batch_size
    smaller = [size for size in range(batch - 1, 0, -1) if config.batch_size % size == 0]
    again = replace(plan, gradient_checkpointing=True)
    out = [] if plan.gradient_checkpointing else [("training.gradient_checkpointing = on", config, again)]
    ways = (
        [("", plan)]
        if plan.gradient_checkpointing
        else [("", plan), (" with training.gradient_checkpointing = on", again)]
    )
    for more, used in ways:
        for size in smaller:
            out.append((f"training.micro_batch_size = {size}{more}", replace(config, micro_batch_size=size), used))
    least = replace(config, micro_batch_size=1)
    if config.adapter == "lora" and plan.device == "cuda":
        out.append(("training.adapter = qlora", replace(config, adapter="qlora"), plan))
        text = "training.adapter = qlora with training.micro_batch_size = 1 and training.gradient_checkpointing = on"
        out.append((text, replace(least, adapter="qlora"), again))
    if config.adapter == "full":
        out.append(("training.adapter = lora with training.micro_batch_size = 1", replace(least, adapter="lora"), plan))
    length = longest // 2
    while length >= 16:
        text = f"training.max_length = {length} with training.micro_batch_size = 1 and training.gradient_checkpointing = on"
        out.append((text, replace(least, max_length=length), again))
        length //= 2
    return out
