"""Kahneman-Tversky optimisation: an adapter learns from single runs, each with a thumb up or down; no pairs are needed.

Source: Ethayarajh et al., "KTO" (2024), section 4.1, as TRL's KTOTrainer does it. Departures: only tokens that the
assistant wrote are in the sums, never a tool's output; the mismatched completions from which the KL term is estimated
are the neighbours' in the same batch, and a batch is drawn from all rows rather than in their order; LoRA, so the
reference is the base without its adapter; the weights kept are those with the lowest loss on the validation split.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from trl import KTOConfig, KTOTrainer

from l07.training import feed, preferring
from l07.training.feed import Fed, LabelTokens
from l07.training.scoring import pad_of
from l07.training.task import Task, adapter

attach = adapter


def prepare(task: Task) -> tuple[Fed, dict[str, int]]:
    """Labelled runs of the train and validation splits. Raises NothingToTrainOn (E7721)."""
    fed = feed.labels(task)
    order = random.Random(f"kto/{task.seed}")  # TRL takes rows in their order, which is that of the keys
    train, held = (order.sample(rows, len(rows)) for rows in (fed.train, fed.validation))
    return replace(fed, train=train, validation=held), fed.counts


def fit(task: Task, model: Any, data: Fed) -> dict[str, Any]:
    """Train `model` in place; losses and implicit rewards as measured. Raises LossNotFinite (E7726)."""
    own = {name: task.options[name] for name in ("beta", "desirable_weight", "undesirable_weight")}
    batches = Batches(data.all, pad_of(task.tokenizer))
    return preferring.train(task, _Trainer, KTOConfig, model, data, batches, **own)


class _Trainer(preferring.Prepared, KTOTrainer):  # type: ignore[misc]  # trl ships no types that hold
    pass


class Batches:
    """Labelled runs as TRL's loss takes them, and each prompt with its neighbour's completion for the KL term."""

    def __init__(self, rows: Sequence[LabelTokens], pad: int) -> None:
        self._rows, self._pad = rows, pad

    def __call__(self, numbers: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
        rows = [self._rows[number["row"]] for number in numbers]
        matched = [preferring.sequences(row.prompt, row.completion) for row in rows]
        turned = [rows[-1], *rows[:-1]]
        other = [preferring.sequences(one.prompt, two.completion) for one, two in zip(rows, turned, strict=True)]
        return {
            **preferring.padded(matched, self._pad),
            **preferring.padded(other, self._pad, "KL_"),
            "label": torch.tensor([row.desirable for row in rows]),
        }
