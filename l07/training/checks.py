"""Looks after a policy while it trains: is it still an agent, and does its reward mean what it should?

A reward is a stand-in for what is wanted, and a policy finds where the two part (Gao et al., "Scaling Laws for Reward Model
Overoptimization", 2023: the proxy rises on while the gold score falls, as a function of the KL distance). So each step's
KL, entropy, length and share of valid calls have bounds, and a few times a run the policy is asked at held-out places for
the calls that were recorded there, which its reward knows nothing of.
"""

import math
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from l07.domain.checkpoint import LAST_GOOD
from l07.domain.statistics import mcnemar
from l07.errors import L07Error, PolicyOutOfBounds, RewardHacked
from l07.training import lora
from l07.training.feed import Prompt
from l07.training.measure.answers import generate
from l07.training.measure.model import Model, left_padded
from l07.training.task import Task, about
from l07.training.watch import moving

if TYPE_CHECKING:
    from l07.training.rollouts import Reader, Reward

LOOKS = 4  # at held-out places, over a whole run, beside the first
PLACES = 96  # at most, that are asked in a look
STEPS = 5  # of which a measure is the mean, so that one odd batch stops nothing
SURE = 0.01  # chance at which as many calls would get lost by luck


LENGTH = "completions/mean_length"
WATCHED = ("kl", "entropy", "valid", LENGTH)


def out_of_bounds(first: Mapping[str, float], now: Mapping[str, float], options: Mapping[str, float]) -> str | None:
    """Which measure of a step left its bounds, with value and bounds; None: none did. `first`: the same measures at the
    start, of which lengths and valid calls are a multiple."""
    bounds = {
        "kl": (-math.inf, options["most_kl"]),
        "entropy": (options["least_entropy"], math.inf),
        "valid": (options["least_valid"] * first.get("valid", 0.0), math.inf),
        LENGTH: (first.get(LENGTH, 0.0) / options["most_drift"], first.get(LENGTH, math.inf) * options["most_drift"]),
    }
    for name, (least, most) in bounds.items():
        if name in now and not least <= now[name] <= most:
            return f"{name} is {now[name]:.4g}, its bounds are {least:.4g} to {most:.4g}"
    return None


def lost(first: Sequence[bool], now: Sequence[bool]) -> bool:
    """Whether fewer held-out calls are right than at the start, by more than luck (exact McNemar test)."""
    better = sum(new and not old for old, new in zip(first, now, strict=True))
    worse = sum(old and not new for old, new in zip(first, now, strict=True))
    return worse > better and mcnemar(better, worse) < SURE


class Checks(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Stops a run whose policy leaves the bounds of its options; the weights of the last good look are kept beside it."""

    def __init__(
        self, task: Task, model: Any, held: Sequence[Prompt], reader: "Reader", reward: "Reward", steps: int
    ) -> None:
        self._task, self._model, self._reader, self._reward = task, model, reader, reward
        self._held = held[:: max(1, math.ceil(len(held) / PLACES))]
        self._every = max(1, steps // LOOKS)
        self._recent: dict[str, deque[float]] = {}
        self._first: dict[str, float] = {}
        self._exact: list[bool] = []
        self._good: tuple[int, dict[str, torch.Tensor]] = (0, {})
        self.looks: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.looks:  # a run that comes back is held against its own start
            self._look(state.global_step)

    def keep(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """What a checkpoint needs of it."""
        step, weights = self._good
        recent = {name: list(values) for name, values in self._recent.items()}
        kept = {"first": self._first, "recent": recent, "exact": self._exact, "looks": self.looks, "good": step}
        return kept, weights

    def restore(self, kept: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        device = {name: weight.device for name, weight in moving(self._model)}
        self._first, self._exact, self.looks = dict(kept["first"]), list(kept["exact"]), list(kept["looks"])
        self._recent = {name: deque(values, maxlen=STEPS) for name, values in kept["recent"].items()}
        self._good = int(kept["good"]), {name: weight.to(device[name]) for name, weight in tensors.items()}

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        told = {name: float(value) for name in WATCHED if (value := (logs or {}).get(name)) is not None}
        for name, value in told.items():
            self._recent.setdefault(name, deque(maxlen=STEPS)).append(value)
        means = {name: sum(values) / STEPS for name, values in self._recent.items() if len(values) == STEPS}
        if not told or not means:
            return
        self._first = self._first or means
        breach = out_of_bounds(self._first, means, self._task.options)
        if breach:
            self._stop(PolicyOutOfBounds, state.global_step, breach)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._every == 0 or state.global_step == state.max_steps:
            self._look(state.global_step)

    def _look(self, step: int) -> None:
        exact, reward, valid = self._asked()
        now = {"step": step, "exact": _mean(exact), "reward": reward, "valid": valid, "n": len(exact)}
        before = self.looks[0] if self.looks else now
        self.looks.append(now)
        self._task.progress.look(**now)
        self._exact = self._exact or exact
        if lost(self._exact, exact):
            text = f"exact calls at {len(exact)} held-out places went from {before['exact']:.3f} to {now['exact']:.3f}"
            hacked = reward > before["reward"]
            kind = RewardHacked if hacked else PolicyOutOfBounds
            self._stop(kind, step, f"{text}, the reward there from {before['reward']:.3f} to {reward:.3f}")
        self._good = step, {name: weight.detach().clone() for name, weight in moving(self._model)}

    def _asked(self) -> tuple[list[bool], float, float]:
        """Whether each held-out call is right, and the mean reward and share of valid calls there."""
        if not self._held:
            return [], 0.0, 0.0
        self._model.eval()
        written = generate(self._net(), [prompt.ids for prompt in self._held], self._room())
        self._model.train()
        turns = [self._reader.read(prompt, ids) for prompt, ids in zip(self._held, written, strict=True)]
        scores = self._reward.scores(self._held, written)
        rewards = [self._reward.of(score, turn.valid) for score, turn in zip(scores, turns, strict=True)]
        return [turn.exact for turn in turns], _mean(rewards), _mean([turn.valid for turn in turns])

    def _net(self) -> Model:
        return Model(self._model, left_padded(self._task.tokenizer), self._task.config.max_length or 0, "")

    def _room(self) -> int:
        return int(self._task.options["completion_tokens"])

    def _stop(self, kind: type[L07Error], step: int, what: str) -> None:
        """Raises `kind`; the weights of the last good look lie beside job.json."""
        good, weights = self._good
        with torch.no_grad():
            for name, weight in moving(self._model):
                weight.copy_(weights[name])
        folder = self._task.job_dir / LAST_GOOD
        shutil.rmtree(folder, ignore_errors=True)
        lora.save(self._model, folder, {**about(self._task), "step": good})
        raise kind(f"{what} (step {step}); the weights of step {good} are in {folder.name}", step=step, last_good=good)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
