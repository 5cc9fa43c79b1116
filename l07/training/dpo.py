"""Direct preference optimisation: an adapter learns from pairs of runs which is preferred, with no reward model between.

Source: Rafailov et al., "Direct Preference Optimization" (2023), section 4, as TRL's DPOTrainer does it; the chosen
runs' own likelihood beside it: Pang et al., "Iterative Reasoning Preference Optimization" (2024), equation 2.
Departures: pairs are compared where two runs part (`l07.domain.preference`); only tokens that the assistant wrote are
in the sums, never a tool's output; LoRA, so the reference is the base without its adapter; the weights kept are those
with the lowest loss on the validation split's pairs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from trl import DPOConfig, DPOTrainer

from l07.training import feed, preferring
from l07.training.feed import Fed, PairTokens
from l07.training.scoring import pad_of
from l07.training.task import Task, adapter

attach = adapter


def prepare(task: Task) -> tuple[Fed, dict[str, int]]:
    """The pairs of the train and validation splits. Raises NothingToTrainOn (E7721)."""
    fed = feed.pairs(task)
    return fed, fed.counts


def fit(task: Task, model: Any, data: Fed) -> dict[str, Any]:
    """Train `model` in place; losses and implicit rewards as measured. Raises LossNotFinite (E7726)."""
    weight = task.options["sft_weight"]
    own = {
        "beta": task.options["beta"],
        "loss_type": ["sigmoid", "sft"] if weight else ["sigmoid"],
        "loss_weights": [1.0, weight] if weight else [1.0],
    }
    batches = Batches(data.all, pad_of(task.tokenizer))
    return preferring.train(task, _Trainer, DPOConfig, model, data, batches, **own)


class _Trainer(preferring.Prepared, DPOTrainer):  # type: ignore[misc]  # trl ships no types that hold
    pass


class Batches:
    """Pairs as TRL's loss takes them: all chosen runs, then all rejected ones."""

    def __init__(self, rows: Sequence[PairTokens], pad: int) -> None:
        self._rows, self._pad = rows, pad

    def __call__(self, numbers: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
        pairs = [self._rows[number["row"]] for number in numbers]
        sides = [(pair.prompt, pair.chosen) for pair in pairs] + [(pair.prompt, pair.rejected) for pair in pairs]
        return preferring.padded([preferring.sequences(*side) for side in sides], self._pad)
