"""What DPO and KTO share: arguments, batches, and the trainer's reference adapter."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset

from l07.training import engine
from l07.training.engine import Run
from l07.training.feed import Fed, Said
from l07.training.task import Task

REFERENCE = "ref"  # TRL's copy of the adapter as it was at the start


def sequences(prompt: Sequence[int], said: Said) -> tuple[list[int], list[int]]:
    """Token ids of prompt and completion, and 1 for each token that counts."""
    return [*prompt, *said.ids], [0] * len(prompt) + said.mask


def padded(rows: Sequence[tuple[list[int], list[int]]], pad: int, prefix: str = "") -> dict[str, torch.Tensor]:
    """Sequences and their masks as one batch, padded on the right, under the names that TRL's losses look for."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    attention, counts = torch.zeros_like(ids), torch.zeros_like(ids)
    for number, (tokens, mask) in enumerate(rows):
        ids[number, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
        attention[number, : len(tokens)] = 1
        counts[number, : len(tokens)] = torch.tensor(mask, dtype=torch.long)
    return {f"{prefix}input_ids": ids, f"{prefix}attention_mask": attention, f"{prefix}completion_mask": counts}


CURVES = tuple(
    f"{look}rewards/{name}" for look in ("", "eval_") for name in ("accuracies", "margins", "chosen", "rejected")
)


def arguments(kind: type, run: Run, data: Fed, **own: Any) -> Any:
    """A preference trainer's arguments: rows come as numbers, so no column of them is unused."""
    looks = engine.looks(data.validation)
    length = run.config.max_length
    return engine.arguments(kind, run, max_length=length, remove_unused_columns=False, eval_strategy=looks, **own)


def tables(data: Fed) -> dict[str, Any]:
    """Numbers of rows, validation after train: a batch looks the tokens up in `data.all`, so a data set never copies
    them and TRL has nothing left to tokenise."""
    train, whole = len(data.train), len(data.all)
    held = Dataset.from_dict({"row": list(range(train, whole))}) if whole > train else None
    return {"train_dataset": Dataset.from_dict({"row": list(range(train))}), "eval_dataset": held}


def numbers(rows: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
    """A batch as numbers of rows: its tokens are known only when it is learned from."""
    return {"row": torch.tensor([one["row"] for one in rows])}


class Prepared:
    """A TRL trainer whose rows are tokens already. TRL's own preparation would count a tool's output as the agent's, and
    its warning about templates quotes a prompt in the log."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


def train(
    task: Task, kind: type, arguments_of: type, model: Any, data: Fed, batches: Any, **own: Any
) -> dict[str, Any]:
    """Train `model` in place by a trainer of the class `kind`; losses and implicit rewards as measured, without TRL's copy
    of the adapter as it was: the reference is the base as it is. `own`: arguments of the method.

    Raises:
        LossNotFinite: E7726."""
    run = Run.of(task, rows=len(data.train), curves=CURVES)
    measured = engine.train(
        kind, run, model=model, args=arguments(arguments_of, run, data, **own), processing_class=task.tokenizer,
        data_collator=batches, **tables(data),
    )  # fmt: skip
    if REFERENCE in model.peft_config:
        model.delete_adapter(REFERENCE)
    return measured
