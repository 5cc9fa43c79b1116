"""Looks on while a model trains: tells each step, stops on NaN, stops when looks no longer get better, keeps the best weights."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import TrainerCallback

from l07.errors import LossNotFinite
from l07.training import ranks
from l07.training.progress import ProgressFile


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """`best_by`: the value of a look that is to be small. `names`: of a log line, what is told beside the loss."""

    def __init__(
        self,
        progress: ProgressFile,
        model: Any,
        *,
        patience: int,
        best_by: str = "eval_loss",
        names: Sequence[str] = (),
    ) -> None:
        self._progress, self._model, self._patience = progress, model, patience
        self._best_by, self._names = best_by, ("learning_rate", "grad_norm", *names)
        self._best = math.inf
        self._worse = 0
        self._weights: dict[str, torch.Tensor] = {}
        self.best_step: int | None = None
        self._begun_s = 0.0
        self._begun_at = (0, 0)  # step and tokens

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._begun_s = time.perf_counter()
        self._begun_at = state.global_step, int(state.num_input_tokens_seen)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        told = logs or {}
        for name in ("loss", "grad_norm", "eval_loss"):
            if name in told and not math.isfinite(float(told[name])):
                raise LossNotFinite(
                    f"{name} is {told[name]} at step {state.global_step}; a lower training.learning_rate may help",
                    step=state.global_step,
                )
        if "loss" in told:
            self._tell(state, told)

    def _tell(self, state: Any, told: Mapping[str, Any]) -> None:
        elapsed_s = max(1e-9, time.perf_counter() - self._begun_s)
        done, tokens = state.global_step - self._begun_at[0], int(state.num_input_tokens_seen) - self._begun_at[1]
        left_s = elapsed_s / max(1, done) * (state.max_steps - state.global_step)
        measured = {name: float(told[name]) for name in self._names if told.get(name) is not None}
        self._progress.step(
            step=state.global_step, steps=state.max_steps, epoch=round(float(state.epoch), 3), loss=float(told["loss"]), **measured,
            tokens_per_s=round(tokens / elapsed_s, 1), eta_s=round(left_s, 1),
        )  # fmt: skip

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, float] | None = None, **_: Any
    ) -> None:
        value = (metrics or {}).get(self._best_by, math.inf)
        if value < self._best:
            self._best, self._worse, self.best_step = value, 0, state.global_step
            self._weights = {name: weight.detach().clone() for name, weight in moving(self._model)}
            return
        self._worse += 1
        if self._worse >= self._patience:
            control.should_training_stop = True

    def keep(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """What a checkpoint needs of it."""
        best = self._best if math.isfinite(self._best) else None
        return {"best": best, "worse": self._worse, "best_step": self.best_step}, self._weights

    def restore(self, kept: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> None:
        self._best = math.inf if kept["best"] is None else float(kept["best"])
        self._worse, self.best_step = int(kept["worse"]), kept["best_step"]
        place = dict(moving(self._model))
        self._weights = {
            name: ranks.share(weight.to(place[name].device), place[name]) for name, weight in weights.items()
        }

    def keep_best(self) -> None:
        """Put the weights of the best look back; without a look the last ones stay."""
        with torch.no_grad():
            for name, weight in moving(self._model):
                if name in self._weights:
                    weight.copy_(self._weights[name])


def moving(model: Any) -> list[tuple[str, torch.Tensor]]:
    """The weights that training may change, by name; tied ones once. Of several ranks each has its share of them."""
    ranks.reshard(model)
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def finite(model: Any) -> bool:
    """Whether each weight that moves is a number, on all ranks."""
    bad = not all(torch.isfinite(ranks.local(weight)).all() for _, weight in moving(model))
    return not ranks.agree(bad)[0]
