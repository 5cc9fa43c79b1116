"""What a step is estimated to take, and which settings would take less; no machine is asked."""

from dataclasses import replace

import pytest

from l07.domain.hardware import Plan
from l07.domain.job import JobConfig, LoRAConfig
from l07.domain.memory import BESIDE, Shape, Step, estimate, moving_of, ways_out

LAYER = ((448, 448), (224, 448), (224, 448), (448, 448), (1232, 448), (1232, 448), (448, 1232))
SMALL = Shape(18_529_728, 448, 8, 8, 4, 56, 1232, 1024, tied=True, linear=LAYER * 8)
STEP = Step(8, 160, 60)
MIB = 2**20


@pytest.mark.parametrize(
    ("config", "saved_mib"),
    [
        (JobConfig(lora_config=LoRAConfig(dropout=0.05)), 560.1),
        (JobConfig(lora_config=LoRAConfig(dropout=0.0)), 343.6),
        (JobConfig(adapter="full"), 378.6),
    ],
)
def test_what_layers_keep_is_what_autograd_was_seen_to_keep(config: JobConfig, saved_mib: float) -> None:
    """Storages under `saved_tensors_hooks`, torch 2.13 and transformers 5.23, less those of the loss."""
    found = estimate(SMALL, config, Plan(), STEP).activations / MIB
    assert found == pytest.approx(saved_mib, rel=0.03)


def test_weights_that_move_are_counted_with_their_state() -> None:
    rank = sum(4 * (out + into) for out, into in SMALL.linear)
    asked = JobConfig(lora_config=LoRAConfig(rank=4))
    assert moving_of(SMALL, asked) == rank
    assert moving_of(SMALL, replace(asked, lora_config=LoRAConfig(rank=4, embeddings=True))) == rank + 1024 * 448
    whole = estimate(SMALL, JobConfig(adapter="full"), Plan(), STEP)
    assert whole.weights == 4 * SMALL.parameters
    assert whole.optimizer == 8 * SMALL.parameters
    looking = estimate(SMALL, JobConfig(adapter="full"), Plan(), replace(STEP, looked_at=8))
    assert looking.optimizer == 12 * SMALL.parameters, "the weights of the best look are kept"


def total(config: JobConfig = JobConfig(), plan: Plan = Plan(), step: Step = STEP, method: str = "sft") -> int:  # noqa: B008
    return estimate(SMALL, config, plan, step, beside=BESIDE[method]).total


def test_what_takes_less_is_estimated_to_take_less() -> None:
    assert total(plan=Plan(gradient_checkpointing=True)) < total() / 2
    assert total(step=replace(STEP, sequences=4)) < total()
    assert total(step=replace(STEP, tokens=80)) < total()
    assert total(JobConfig(adapter="qlora"), Plan("cuda", "bf16")) < total(plan=Plan("cuda", "bf16")) < total()
    for method in ("dpo", "reward", "grpo", "distill"):
        assert total(method=method) > total(), method
    assert total(step=replace(STEP, looked_at=10_000)) > total(), "a look at very many rows is the worst moment"


def take(config: JobConfig, plan: Plan) -> int:
    micro = config.micro_batch_size or config.batch_size
    tokens = min(160, config.max_length or 160)
    return total(config, plan, Step(micro, tokens, 60, accumulated=micro < config.batch_size))


def test_ways_out_fit_and_the_least_change_comes_first() -> None:
    config, plan = JobConfig(batch_size=8), Plan()
    room = take(config, plan) - 1
    texts = [text for text, _, _ in ways_out(config, plan, take, room, longest=160)]
    assert texts[0] == "training.gradient_checkpointing = on"
    assert texts[1] == "training.micro_batch_size = 4"
    for share in (0.6, 0.3, 0.22):
        smaller = int(room * share)
        ways = ways_out(config, plan, take, smaller, longest=160)
        assert ways
        assert all(take(asked, used) <= smaller for _, asked, used in ways)
    assert ways_out(config, plan, take, 4 * SMALL.parameters, longest=160) == [], "not even the weights fit"


def test_rows_at_a_time_divide_a_step() -> None:
    assert JobConfig(batch_size=8, micro_batch_size=4).document()["micro_batch_size"] == 4
    assert "micro_batch_size" not in JobConfig().document()
    with pytest.raises(ValueError, match="micro_batch_size"):
        JobConfig(batch_size=8, micro_batch_size=3)
