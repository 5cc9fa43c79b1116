"""Runs a Trainer of transformers or TRL, whatever its method: what all of them share, and what every run measures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from transformers import PrinterCallback

from l07.domain import checkpoint
from l07.domain.hardware import Plan
from l07.domain.job import JobConfig
from l07.errors import ChildError, LossNotFinite
from l07.training import ranks
from l07.training.checkpoints import Checkpoints
from l07.training.progress import ProgressFile
from l07.training.resume import Every, Keeper, Part, exact, leaving_on_sigterm
from l07.training.task import Task
from l07.training.watch import Watch, finite

LOOKS = 6  # at the validation split, over a whole run
POINTS = 500  # losses that are reported at most


@dataclass(frozen=True, slots=True)
class Run:
    """How long and how. `best_by`: the value of a look that is to be small; `curves`: values of a log line that a method
    reports beside its loss ("rewards/margins"); they are told while it trains, too."""

    config: JobConfig
    seed: int
    steps: int  # of the optimiser
    progress: ProgressFile
    checkpoints: Checkpoints
    every: Every = field(default_factory=Every)
    best_by: str = "eval_loss"
    curves: Sequence[str] = ()
    plan: Plan = field(default_factory=Plan)

    @classmethod
    def of(cls, task: Task, *, rows: int, curves: Sequence[str] = (), stride: int = 1) -> "Run":
        """The run of a task that learns from so many rows. `stride`: see `Every`.

        A method with the option `rate_scale` learns at that part of the config's rate, one with `steps` takes no more."""
        asked = task.job.get("checkpoints") or {}
        kept = Checkpoints(
            task.job_dir / checkpoint.FOLDER,
            checkpoint.identity(task.job),
            changes=task.job.get("changes") or (),
            earlier=[Path(folder) for folder in asked.get("earlier") or ()],
        )
        every = Every(asked.get("steps"), asked.get("seconds"), stride)
        rate = task.config.learning_rate * task.options.get("rate_scale", 1)
        config = replace(task.config, learning_rate=rate)
        count = int(min(steps(config, rows), task.options.get("steps", math.inf)))
        return cls(config, task.seed, count, task.progress, kept, every, curves=curves, plan=task.plan)

    @property
    def micro_batch_size(self) -> int:
        """Rows that are learned from at a time; fewer than a step has once memory ran out."""
        return checkpoint.micro_batch_size(
            self.config.batch_size, self.checkpoints.changes, self.config.micro_batch_size
        )

    @property
    def learning_rate(self) -> float:
        """That of the config, or a part of it once the loss was no number."""
        return self.config.learning_rate * checkpoint.rate_factor(self.checkpoints.changes)


def steps(config: JobConfig, rows: int) -> int:
    """Steps of the optimiser in all epochs, `max_steps` at most."""
    return config.max_steps or math.ceil(math.ceil(rows / config.batch_size) * config.num_epochs)


def arguments(kind: type, run: Run, **own: Any) -> Any:
    """Training arguments of the class `kind` ("SFTConfig"): what all methods share; `own` is added, or stands in its place."""
    config, micro, plan = run.config, run.micro_batch_size, run.plan
    rows = ranks.rows_at_a_time(config.batch_size, micro)
    shared: dict[str, Any] = {
        "output_dir": "/nonexistent",  # nothing is saved by transformers, so nothing pickled can appear
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": plan.device == "cpu",
        "bf16": plan.precision == "bf16",
        "fp16": plan.precision == "fp16",
        "gradient_checkpointing": plan.gradient_checkpointing,
        **({"gradient_checkpointing_kwargs": {"use_reentrant": False}} if plan.gradient_checkpointing else {}),
        "torch_compile": plan.compile,
        "dataloader_pin_memory": plan.device == "cuda",
        "disable_tqdm": True,
        "seed": run.seed,
        "data_seed": run.seed,
        "full_determinism": False,
        "max_steps": run.steps,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": config.batch_size // (rows * ranks.count()),
        "per_device_eval_batch_size": max(1, 32 * micro // config.batch_size),
        "learning_rate": run.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": min(20, max(1, run.steps // 20)),
        "max_grad_norm": config.clip,
        "logging_strategy": "steps",
        "logging_steps": max(1, math.ceil(run.steps / POINTS)),
        "logging_nan_inf_filter": False,  # on, it would hide a NaN behind the mean of the losses before
        "include_num_input_tokens_seen": "non_padding",
        "eval_steps": max(1, run.steps // LOOKS),
        "prediction_loss_only": True,
    }
    return kind(**{**shared, **own})


def looks(rows: Sequence[Any]) -> str:
    """`eval_strategy`: regular looks where there is something to look at."""
    return "steps" if rows else "no"


def train(
    kind: type, run: Run, *, model: Any, parts: Mapping[str, Part] = MappingProxyType({}), **given: Any
) -> dict[str, Any]:
    """Train `model` in place by a trainer of the class `kind`, made of `given`; what was measured. `parts`: what else has a
    state that a checkpoint must hold.

    Raises:
        LossNotFinite: E7726, a loss, a gradient or a weight that is NaN or infinite. ChildPreempted: E7709, SIGTERM came.
        Of any ChildError `context["checkpoints"]` says of which steps there are checkpoints."""
    watch = Watch(run.progress, model, patience=run.config.early_stop, best_by=run.best_by, names=run.curves)
    keeper = Keeper(run.checkpoints, watch, run.every, parts=parts)
    ranks.shard(model)
    callbacks = [*given.pop("callbacks", ()), watch, keeper]
    trainer = exact(kind)(model=model, callbacks=callbacks, **given)
    trainer.remove_callback(PrinterCallback)  # it would write every step to standard output
    trainer.keeper = keeper
    try:
        _run(trainer, keeper)
    except ChildError as err:
        err.context["checkpoints"] = run.checkpoints.steps()
        raise
    watch.keep_best()
    if not finite(model):
        raise LossNotFinite("a weight is NaN or infinite after training", checkpoints=run.checkpoints.steps())
    ranks.gather(model)
    return {
        **measured(trainer, run),
        "kept_step": watch.best_step,
        "train_seconds": round(keeper.train_seconds, 3),
        "resumed_from": keeper.resumed_from,
        "refused": run.checkpoints.refused,
        "changes": [dict(change) for change in run.checkpoints.changes],
    }


def _run(trainer: Any, keeper: Keeper) -> None:
    place = keeper.attach(trainer)
    with leaving_on_sigterm(keeper):
        trainer.train(resume_from_checkpoint=None if place is None else str(place))


def measured(trainer: Any, run: Run) -> dict[str, Any]:
    """What the trainer's log says. Raises LossNotFinite (E7726) where there is no loss."""
    history, state = trainer.state.log_history, trainer.state
    losses = [_point(line, "loss", "learning_rate", "grad_norm") for line in history if "loss" in line]
    if not losses:
        raise LossNotFinite("no step has told a loss")
    return {
        "losses": losses,
        "eval_losses": [
            {"step": line["step"], "loss": float(line["eval_loss"])} for line in history if "eval_loss" in line
        ],
        "curves": {name: [_point(line, name) for line in history if name in line] for name in run.curves},
        "train_loss": float(history[-1]["train_loss"]),
        "steps": state.global_step,
        "epochs": float(state.epoch),
        "tokens": int(state.num_input_tokens_seen),
    }


def _point(line: dict[str, Any], *names: str) -> dict[str, Any]:
    return {"step": line["step"], **{name: float(line[name]) for name in names if line.get(name) is not None}}
