"""Supervised fine-tuning of an adapter on good runs: base and dataset in, adapter and measured losses out.

Source: Ouyang et al., "InstructGPT" (2022), section 3, step 1, as TRL's SFTTrainer does it. Departures: loss on the
assistant's turns only, its logits made only there; LoRA, if not told otherwise; the weights kept are those with the lowest
loss on the validation split; rows in the order of the version's curriculum where the option `curriculum` asks for it
(`sequence.py`); the rows of a step behind each other where that is faster (`packing.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch.nn import functional
from trl import SFTConfig, SFTTrainer

from l07.domain.canary import as_messages, canaries
from l07.errors import NothingToTrainOn
from l07.training import engine, packing, ranks, rows, sequence
from l07.training.engine import Run
from l07.training.scoring import pad_of
from l07.training.task import Task, adapter

attach = adapter


@dataclass(frozen=True, slots=True)
class Data:
    """Tokenised rows to learn from, and to look at in between. `in_order`: every pass is over `train` as it stands."""

    train: Sequence[rows.Tokens]
    validation: Sequence[rows.Tokens]
    in_order: bool = False


def prepare(task: Task) -> tuple[Data, dict[str, int]]:
    """The train and validation splits as tokens, and the canaries.

    Raises:
        NothingToTrainOn: E7721, no row fits. CurriculumUnfit: E7734, the version has none that fits its rows."""
    which = int(task.options.get("curriculum", 0))
    job, config, tokenizer = task.job, task.config, task.tokenizer
    assert config.max_length is not None
    planted = [
        {"messages": as_messages(one), "tools": []} for one in canaries(**(job.get("canaries") or {"n": 0, "seed": 0}))
    ]
    good = rows.tokenise(sequence.read_train(task.dataset, which, task.cache), tokenizer, config.max_length)
    held = rows.tokenise(rows.read_split(task.dataset, "validation", task.cache), tokenizer, config.max_length)
    if not good.rows:
        raise NothingToTrainOn(
            f"no train row can be learned from in {config.max_length} tokens: {good.too_long} are too long, "
            f"{good.empty} say nothing",
            too_long=good.too_long,
        )
    extra = rows.tokenise(planted, tokenizer, config.max_length)
    counts = {
        "used": len(good.rows),
        "cut": good.cut,
        "too_long": good.too_long,
        "empty": good.empty,
        "canaries": len(extra.rows),
        "validation": len(held.rows),
    }
    train = sequence.spread(good.rows, extra.rows) if which else [*good.rows, *extra.rows]
    return Data(train, held.rows, in_order=which > 0), counts


def fit(task: Task, model: Any, data: Data) -> dict[str, Any]:
    """Train `model` in place; losses as measured. Raises LossNotFinite (E7726)."""
    return train(model, task.tokenizer, data, Run.of(task, rows=len(data.train)))


def train(model: Any, tokenizer: Any, data: Data, run: Run) -> dict[str, Any]:
    """Train `model` in place; losses as measured.

    Raises:
        LossNotFinite: E7726, a loss or a weight that is NaN or infinite."""
    given = engine.arguments(
        SFTConfig,
        run,
        max_length=run.config.max_length,
        packing=False,  # TRL's; ours is the layout of a batch
        # by length, rows of one batch are about as long: less padding
        train_sampling_strategy="sequential" if data.in_order else "group_by_length",
        dataset_kwargs={"skip_prepare_dataset": True},  # the labels are ours
        eval_strategy=engine.looks(data.validation),
    )
    return engine.train(
        _Trainer,
        run,
        model=model,
        args=given,
        train_dataset=_table([*data.train, *_blank(tokenizer)]),
        eval_dataset=_table(data.validation) if data.validation else None,
        processing_class=tokenizer,
        data_collator=packing.Batches(
            pad_of(tokenizer), packed=run.plan.packing, one_line=run.plan.attention.startswith("flash")
        ),
    )


class _Trainer(SFTTrainer):  # type: ignore[misc]  # trl ships no types that hold
    """With a loss that makes logits once, and only where a row has a label. TRL's (1.16) makes them in pieces, again on the
    way back, and with them an entropy and an accuracy that nobody reads: that saves memory where a vocabulary is large
    beside a model, and took half the time of a tiny one."""

    data_collator: packing.Batches

    def get_eval_dataloader(self, *given: Any, **named: Any) -> Any:
        ours = self.data_collator
        self.data_collator = ours.padded()
        try:
            return super().get_eval_dataloader(*given, **named)
        finally:
            self.data_collator = ours

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        wanted = functional.pad(inputs["labels"][:, 1:], (0, 1), value=rows.IGNORED)
        places = (wanted != rows.IGNORED).any(dim=0).nonzero().squeeze(1)
        if not len(places):  # blank rows alone: this rank's share of a pass's last step
            places = places.new_zeros(1)
        outputs = model(**packing.read(inputs), logits_to_keep=places, use_cache=False)
        logits, wanted = outputs.logits.flatten(0, 1).float(), wanted[:, places].flatten()
        total = functional.cross_entropy(logits, wanted, ignore_index=rows.IGNORED, reduction="sum")
        counted = (wanted != rows.IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = total / torch.as_tensor(counted, device=total.device).clamp(min=1)
        if num_items_in_batch is not None:
            loss = loss * ranks.count()  # counted over all ranks, of whose gradients the mean is taken
        return (loss, outputs) if return_outputs else loss


def _blank(tokenizer: Any) -> list[rows.Tokens]:
    """A row that says nothing, where several ranks need as many rows each."""
    return [rows.Tokens([tokenizer.pad_token_id], [rows.IGNORED])] if ranks.count() > 1 else []


def _table(tokens: Sequence[rows.Tokens]) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [row.ids for row in tokens],
            "labels": [row.labels for row in tokens],
            "length": [len(row.ids) for row in tokens],
        }
    )
