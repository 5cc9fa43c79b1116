"""Supervised fine-tuning of an adapter on good runs: base and dataset in, adapter and measured losses out.

Source: Ouyang et al., "InstructGPT" (2022), section 3, step 1, as TRL's SFTTrainer does it. Departures: loss on the
assistant's turns only; LoRA; the weights kept are those with the lowest loss on the validation split.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from l07.domain.canary import as_messages, canaries
from l07.domain.job import JobConfig
from l07.errors import LossNotFinite, NothingToTrainOn
from l07.training import rows
from l07.training.progress import ProgressFile
from l07.training.task import Task, adapter

LOOKS = 6  # at the validation split, over a whole run
POINTS = 500  # losses that are reported at most
attach = adapter


@dataclass(frozen=True, slots=True)
class Data:
    """Tokenised rows to learn from, and to look at in between."""

    train: Sequence[rows.Tokens]
    validation: Sequence[rows.Tokens]


def prepare(task: Task) -> tuple[Data, dict[str, int]]:
    """The train and validation splits as tokens, and the canaries.

    Raises:
        NothingToTrainOn: E7721, no row fits."""
    job, config, tokenizer = task.job, task.config, task.tokenizer
    assert config.max_length is not None
    planted = [
        {"messages": as_messages(one), "tools": []} for one in canaries(**(job.get("canaries") or {"n": 0, "seed": 0}))
    ]
    good = rows.tokenise(rows.read_split(task.dataset, "train", task.cache), tokenizer, config.max_length)
    held = rows.tokenise(rows.read_split(task.dataset, "validation", task.cache), tokenizer, config.max_length)
    if not good.rows:
        raise NothingToTrainOn(
            f"no train row fits into {config.max_length} tokens; {good.too_long} are too long", too_long=good.too_long
        )
    extra = rows.tokenise(planted, tokenizer, config.max_length)
    counts = {
        "used": len(good.rows),
        "too_long": good.too_long,
        "canaries": len(extra.rows),
        "validation": len(held.rows),
    }
    return Data([*good.rows, *extra.rows], held.rows), counts


def fit(task: Task, model: Any, data: Data) -> dict[str, Any]:
    """Train `model` in place; losses as measured. Raises LossNotFinite (E7726)."""
    return train(model, task.tokenizer, data, task.config, seed=task.seed, progress=task.progress)


def train(
    model: Any, tokenizer: Any, data: Data, config: JobConfig, *, seed: int, progress: ProgressFile
) -> dict[str, Any]:
    """Train `model` in place; losses as measured.

    Raises:
        LossNotFinite: E7726, a loss or a weight that is NaN or infinite."""
    steps = config.max_steps or math.ceil(math.ceil(len(data.train) / config.batch_size) * config.num_epochs)
    watch = Watch(progress, config.early_stop, model)
    trainer = SFTTrainer(
        model=model,
        args=_arguments(config, seed, steps, looks=bool(data.validation)),
        train_dataset=_table(data.train),
        eval_dataset=_table(data.validation) if data.validation else None,
        processing_class=tokenizer,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)  # it would write every step to standard output
    begun = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begun
    watch.keep_best()
    history = trainer.state.log_history
    losses = [{"step": line["step"], "loss": float(line["loss"])} for line in history if "loss" in line]
    if not losses or not all(torch.isfinite(weight).all() for weight in model.parameters() if weight.requires_grad):
        raise LossNotFinite("a weight is NaN or infinite after training")
    return {
        "losses": losses,
        "eval_losses": [
            {"step": line["step"], "loss": float(line["eval_loss"])} for line in history if "eval_loss" in line
        ],
        "train_loss": float(trainer.state.log_history[-1]["train_loss"]),
        "steps": trainer.state.global_step,
        "kept_step": watch.best_step,
        "epochs": float(trainer.state.epoch),
        "tokens": int(trainer.state.num_input_tokens_seen),
        "train_seconds": round(seconds, 3),
    }


def _arguments(config: JobConfig, seed: int, steps: int, *, looks: bool) -> SFTConfig:
    return SFTConfig(
        output_dir="/nonexistent",  # nothing is saved by the trainer, so nothing pickled can appear
        save_strategy="no",
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        full_determinism=False,
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=32,
        train_sampling_strategy="group_by_length",  # rows of one batch are about as long: less padding
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(20, max(1, steps // 20)),
        max_grad_norm=config.clip,
        max_length=config.max_length,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},  # the labels are ours
        logging_strategy="steps",
        logging_steps=max(1, math.ceil(steps / POINTS)),
        logging_nan_inf_filter=False,  # on, it would hide a NaN behind the mean of the losses before
        include_num_input_tokens_seen="non_padding",
        eval_strategy="steps" if looks else "no",
        eval_steps=max(1, steps // LOOKS),
        prediction_loss_only=True,
    )


def _table(tokens: Sequence[rows.Tokens]) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [row.ids for row in tokens],
            "labels": [row.labels for row in tokens],
            "length": [len(row.ids) for row in tokens],
        }
    )


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Reports, stops on NaN, stops when the validation loss no longer falls, and remembers the best weights."""

    def __init__(self, progress: ProgressFile, patience: int, model: Any) -> None:
        self._progress, self._patience, self._model = progress, patience, model
        self._best = math.inf
        self._worse = 0
        self._weights: dict[str, torch.Tensor] = {}
        self.best_step: int | None = None
        self._begun_s = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._begun_s = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        loss = (logs or {}).get("loss", (logs or {}).get("eval_loss"))
        if loss is None:
            return
        if not math.isfinite(float(loss)):
            raise LossNotFinite(
                f"the loss is {loss} at step {state.global_step}; a lower training.learning_rate may help",
                step=state.global_step,
            )
        elapsed_s = max(1e-9, time.perf_counter() - self._begun_s)
        if "loss" in (logs or {}):
            left_s = elapsed_s / state.global_step * (state.max_steps - state.global_step)
            self._progress.step(
                step=state.global_step, steps=state.max_steps, epoch=round(float(state.epoch), 3), loss=float(loss),
                tokens_per_s=round(int(state.num_input_tokens_seen) / elapsed_s, 1), eta_s=round(left_s, 1),
            )  # fmt: skip

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, float] | None = None, **_: Any
    ) -> None:
        loss = (metrics or {}).get("eval_loss", math.inf)
        if loss < self._best:
            self._best, self._worse, self.best_step = loss, 0, state.global_step
            self._weights = {
                name: weight.detach().clone() for name, weight in self._model.named_parameters() if weight.requires_grad
            }
            return
        self._worse += 1
        if self._worse >= self._patience:
            control.should_training_stop = True

    def keep_best(self) -> None:
        """Put the weights of the best look back; without a validation split the last ones stay."""
        with torch.no_grad():
            for name, weight in self._model.named_parameters():
                if name in self._weights:
                    weight.copy_(self._weights[name])
