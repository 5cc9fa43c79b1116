"""Policy optimisation relative to a group: each answer's reward is standardised among its siblings'.

Source: Shao et al., "DeepSeekMath" (2024), section 4.1, as TRL's GRPOTrainer does it. Departures: a KL to the base is
always in the loss, without which the tiny base's calls fell apart; rewards are not divided by their deviation in a group
(Liu et al., "Dr. GRPO", 2025: it favours prompts that are nearly solved); one turn at a time (`rollouts.py`); LoRA, so
the reference is the base without its adapter; a run is stopped where its checks (`checks.py`) say so.
"""

from typing import Any

from trl import GRPOConfig, GRPOTrainer

from l07.training import rollouts
from l07.training.feed import Fed
from l07.training.rollouts import prepare
from l07.training.task import Task, adapter

__all__ = ["attach", "fit", "prepare"]

attach = adapter


def fit(task: Task, model: Any, data: Fed) -> dict[str, Any]:
    """Train the policy in place. Raises as `rollouts.train` does."""
    return rollouts.train(task, model, data, _Trainer, GRPOConfig, scale_rewards="none")


class _Trainer(rollouts.Asking, GRPOTrainer):  # type: ignore[misc]  # trl ships no types that hold
    pass
