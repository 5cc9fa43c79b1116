"""Policy optimisation by REINFORCE: each answer's reward is compared with the mean of its siblings'.

Source: Ahmadian et al., "Back to Basics: Revisiting REINFORCE Style Optimization" (2024), section 3.2, as TRL's
RLOOTrainer does it, the KL to the base taken from the reward of a whole answer. Departures: one turn at a time instead
of a dialogue (`rollouts.py`); LoRA, so the reference is the base without its adapter; a run is stopped where its checks
(`checks.py`) say that the policy no longer does what it is for.
"""

from typing import Any

from trl import RLOOConfig, RLOOTrainer

from l07.training import rollouts
from l07.training.feed import Fed
from l07.training.rollouts import prepare
from l07.training.task import Task, adapter

__all__ = ["attach", "fit", "prepare"]

attach = adapter


def fit(task: Task, model: Any, data: Fed) -> dict[str, Any]:
    """Train the policy in place. Raises as `rollouts.train` does."""
    return rollouts.train(task, model, data, _Trainer, RLOOConfig)


class _Trainer(rollouts.Asking, RLOOTrainer):  # type: ignore[misc]  # trl ships no types that hold
    pass
