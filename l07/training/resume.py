"""Exact resume: a run that goes on from a checkpoint ends with the same weights, byte for byte, as one that never stopped.

A checkpoint holds the weights that move, the optimiser's tensors, the schedule's position, every generator's state now and
at the begin of the epoch (the order of the rows is drawn there), what the trainer has summed up since its last log line,
the watch's best weights, and whatever else has a state (`Part`). Departure from transformers' own checkpoints: those pickle
optimiser and generators, and draw the order of a later epoch from a generator that dropout has moved meanwhile.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback

from l07.errors import CheckpointUnfit, ChildPreempted, LossNotFinite
from l07.training import randomness, ranks
from l07.training.checkpoints import Checkpoints, State
from l07.training.watch import Watch, finite, moving

# Of a trainer, what it has summed up since the last log line; not each has all of them.
_SUMS = ("_total_loss_scalar", "_globalstep_last_logged", "_total_train_tokens")


@dataclass(frozen=True, slots=True)
class Every:
    """When a checkpoint is due: each `steps` of the optimiser, or after `seconds`; None: not for that reason.

    `stride`: only at multiples of so many steps, for a method that keeps something from one step to the next."""

    steps: int | None = None
    seconds: float | None = None
    stride: int = 1


class Part(Protocol):
    """Of a run, something with a state of its own that a checkpoint must hold: numbers, and tensors by name."""

    def keep(self) -> tuple[Mapping[str, Any], Mapping[str, torch.Tensor]]: ...

    def restore(self, kept: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None: ...


class Keeper(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Writes the checkpoints of one trainer, and puts one back. `parts`: by names of their own, what else has a state."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        watch: Watch,
        every: Every,
        *,
        parts: Mapping[str, Part] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self.checkpoints, self._watch, self._every, self._clock = checkpoints, watch, every, clock
        self._trainer: Any = None
        self._resumed: State | None = None
        self._epoch_begin: randomness.State | None = None
        self._last_s = self._begun_s = clock()
        self._spent_s = 0.0  # by the attempts before, up to the checkpoint
        self._leaving = False

    @property
    def resumed_from(self) -> int | None:
        return self._resumed.step if self._resumed else None

    @property
    def train_seconds(self) -> float:
        """In this attempt and, up to the checkpoint, in those before."""
        return self._spent_s + self._clock() - self._begun_s

    def attach(self, trainer: Any) -> Path | None:
        """Begin with this trainer; the checkpoint that it goes on from. Damaged ones are noted in `checkpoints.refused`."""
        self._trainer = trainer
        found = self.checkpoints.newest()
        (step,) = ranks.told([found[1].step if found else 0])
        if step != (found[1].step if found else 0):
            raise CheckpointUnfit(
                f"rank {ranks.rank()} does not see the checkpoint of step {step}: is its folder shared?"
            )
        self._begun_s = self._last_s = self._clock()
        if found is None:
            return None
        place, self._resumed = found
        self._spent_s = float(self._resumed.documents["run"]["train_seconds"])
        self._watch.restore(self._resumed.documents["run"]["watch"], self._resumed.tensors.get("best", {}))
        for name, part in self._parts.items():
            self._restore_part(name, part)
        return place

    def _restore_part(self, name: str, part: Part) -> None:
        assert self._resumed is not None
        part.restore(self._resumed.documents["parts"][name], self._resumed.tensors.get(f"part-{name}", {}))

    def leave(self) -> None:
        """At the end of this step: a checkpoint, then ChildPreempted (E7709)."""
        self._leaving = True

    # -------------------------------------------------------------- when

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        every, step = self._every, state.global_step
        due = every.steps is not None and step % every.steps == 0
        late = every.seconds is not None and self._clock() - self._last_s >= every.seconds
        late, self._leaving = ranks.agree(late, self._leaving)  # no rank writes, or leaves, alone
        if (due or late or self._leaving) and step % every.stride == 0:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._leaving and not control.should_training_stop:
            raise ChildPreempted(
                f"asked to leave at step {state.global_step} of {state.max_steps}; its checkpoint is kept",
                step=state.global_step,
            )

    # -------------------------------------------------------------- writing

    def save(self) -> None:
        """Where the run ends anyway nothing is written: what comes next is its result.

        Raises:
            LossNotFinite: E7726, a weight is no number: that is nothing to come back to."""
        trainer = self._trainer
        if trainer.control.should_training_stop:
            return
        if not finite(trainer.model):
            step = trainer.state.global_step
            raise LossNotFinite(f"a weight is NaN or infinite at step {step}", step=step)
        state = self._state()
        if ranks.is_first():
            self.checkpoints.save(state)
        self._last_s = self._clock()

    def _state(self) -> State:
        trainer, watched = self._trainer, self._watch.keep()
        assert self._epoch_begin is not None
        loader = trainer.callback_handler.train_dataloader
        now_tensors, now = randomness.named("now", randomness.capture(loader))
        epoch_tensors, epoch = randomness.named("epoch", self._epoch_begin)
        now_tensors = {**now_tensors, **randomness.of_ranks()}
        optimizer, values = _optimizer(trainer)
        scheduler = {"last_epoch": trainer.lr_scheduler.last_epoch, "_step_count": trainer.lr_scheduler._step_count}
        parts = {name: part.keep() for name, part in self._parts.items()}
        tensors = {
            "weights": ranks.kept(dict(moving(trainer.model))), "optimizer": ranks.kept(optimizer),
            "rng": {**now_tensors, **epoch_tensors}, **({"best": ranks.kept(watched[1])} if watched[1] else {}),
            **{f"part-{name}": kept[1] for name, kept in parts.items() if kept[1]},
        }  # fmt: skip
        run = {"sums": _sums(trainer), "watch": watched[0], "train_seconds": round(self.train_seconds, 3)}
        documents = {
            "trainer_state": _plain(asdict(trainer.state)), "optimizer": values, "scheduler": scheduler, "rng": {**now, **epoch},
            "run": run, "parts": {name: dict(kept[0]) for name, kept in parts.items()},
            **({"scaler": scaler.state_dict()} if (scaler := trainer.accelerator.scaler) else {}),
        }  # fmt: skip
        return State(trainer.state.global_step, tensors, documents)

    # -------------------------------------------------------------- putting back

    def load_weights(self) -> None:
        assert self._resumed is not None
        weights, model = self._resumed.tensors["weights"], dict(moving(self._trainer.model))
        if {name: tensor.shape for name, tensor in weights.items()} != {name: one.shape for name, one in model.items()}:
            raise CheckpointUnfit(f"the checkpoint of step {self._resumed.step} has other weights than the model")
        with torch.no_grad():
            for name, weight in model.items():
                weight.copy_(ranks.share(weights[name], weight))

    def load_optimizer(self) -> None:
        assert self._resumed is not None
        _put_back(self._trainer, self._resumed)

    def load_scaler(self) -> None:
        """Of the loss, in fp16; other formats have none."""
        assert self._resumed is not None
        if "scaler" in self._resumed.documents:
            self._trainer.accelerator.scaler.load_state_dict(self._resumed.documents["scaler"])

    def load_generators(self) -> None:
        self._restore("now")
        assert self._resumed is not None
        randomness.restore_rank(self._resumed.tensors["rng"])

    def _restore(self, which: str) -> None:
        assert self._resumed is not None
        kept = self._resumed
        state = randomness.unnamed(which, kept.tensors["rng"], kept.documents["rng"])
        randomness.restore(state, self._trainer.callback_handler.train_dataloader)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What the trainer has just set to zero."""
        if self._resumed is None:
            if ranks.rank():  # another dropout on other rows; the order of the rows is rank 0's alone
                torch.manual_seed(args.seed + 1_000_003 * ranks.rank())
            return
        trainer, sums = self._trainer, self._resumed.documents["run"]["sums"]
        trainer._tr_loss += sums["_tr_loss"]
        trainer._initial_global_step = 0  # the mean loss is over all steps
        for name in _SUMS:
            if name in sums:
                setattr(trainer, name, sums[name])
        for mode, metrics in sums.get("_metrics", {}).items():
            trainer._metrics[mode].update(metrics)
        if hasattr(
            trainer, "_step"
        ):  # TRL counts forward passes, of which each step has as many as rows are accumulated
            trainer._step = state.global_step * args.gradient_accumulation_steps

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **_: Any) -> None:
        """Before the order of the epoch's rows is drawn. In the epoch that a run comes back to, as it was drawn then."""
        if self._resumed is not None and state.global_step == self._resumed.step:
            self._restore("now" if _at_boundary(state, self._resumed) else "epoch")
        self._epoch_begin = randomness.capture(train_dataloader)


def _at_boundary(state: Any, resumed: State) -> bool:
    """Whether the checkpoint was the last thing in its epoch: then the next order is drawn from where it left off."""
    epoch = float(resumed.documents["trainer_state"]["epoch"])
    return math.isclose(epoch, round(epoch), abs_tol=1e-9)


class Exact:
    """Stands before a trainer's class: in place of transformers' checkpoints, those of `keeper`."""

    keeper: Keeper

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        own: Any = self
        inner = super()._get_train_sampler(train_dataset)  # type: ignore[misc]  # of the trainer that stands behind
        if ranks.count() == 1:
            return inner
        step = own.args.train_batch_size * own.args.gradient_accumulation_steps * ranks.count()
        return ranks.one_order(inner, rows=len(own.train_dataset) - 1, step=step)

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        return norm if norm is None else ranks.whole(norm)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.keeper.save()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.keeper.load_weights()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.keeper.load_optimizer()

    def _load_scaler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.keeper.load_scaler()

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.keeper.load_generators()


def exact(kind: type) -> type:
    """The trainer's class `kind`, with our checkpoints."""
    return type(f"Exact{kind.__name__}", (Exact, kind), {})


@contextmanager
def leaving_on_sigterm(keeper: Keeper) -> Iterator[None]:
    """SIGTERM: a checkpoint, then leave. Outside of this it ends the process at once, as there is nothing to keep."""
    before = signal.signal(signal.SIGTERM, lambda *_: keeper.leave())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ------------------------------------------------------------------ parts of a state


def _sums(trainer: Any) -> dict[str, Any]:
    sums = {name: getattr(trainer, name) for name in _SUMS if hasattr(trainer, name)}
    metrics = getattr(trainer, "_metrics", None)
    if isinstance(metrics, Mapping):
        sums["_metrics"] = {mode: {name: list(values) for name, values in one.items()} for mode, one in metrics.items()}
    return {**dict(_plain(sums)), "_tr_loss": ranks.mean(trainer._tr_loss.item())}


def _optimizer(trainer: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Its tensors as "<weight>/<name>", and what is no tensor."""
    order, tensors, values = _order(trainer), {}, {}
    for index, kept in _inner(trainer).state_dict()["state"].items():
        name = order[index]
        tensors.update({f"{name}/{key}": one for key, one in kept.items() if isinstance(one, torch.Tensor)})
        values[name] = {key: one for key, one in kept.items() if not isinstance(one, torch.Tensor)}
    return tensors, {"order": order, "values": values}


def _put_back(trainer: Any, state: State) -> None:
    """The learning rate follows from the schedule's position and from this attempt's own rate, which may be a smaller one."""
    document, tensors, order = state.documents["optimizer"], state.tensors["optimizer"], _order(trainer)
    if document["order"] != order:
        raise CheckpointUnfit(f"the checkpoint of step {state.step} has another optimiser's state")
    kept: dict[int, dict[str, Any]] = {order.index(name): dict(values) for name, values in document["values"].items()}
    weights = dict(moving(trainer.model))
    for name, tensor in tensors.items():
        weight, _, key = name.rpartition("/")
        like = weights[weight]
        kept[order.index(weight)][key] = ranks.share(tensor, like) if tensor.shape == like.shape else tensor
    inner, scheduler = _inner(trainer), trainer.lr_scheduler
    inner.load_state_dict({"state": kept, "param_groups": inner.state_dict()["param_groups"]})
    assert isinstance(scheduler, LambdaLR)
    scheduler.__dict__.update(state.documents["scheduler"])
    rates = [
        rate * pace(scheduler.last_epoch) for rate, pace in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate in zip(inner.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates


def _order(trainer: Any) -> list[str]:
    names = {id(weight): name for name, weight in moving(trainer.model)}
    return [names[id(weight)] for group in _inner(trainer).param_groups for weight in group["params"]]


def _inner(trainer: Any) -> Any:
    """The optimiser without what accelerate puts around it."""
    return getattr(trainer.optimizer, "optimizer", trainer.optimizer)


def _plain(value: Any) -> Any:
    """As JSON has it: what is not finite becomes null, what is a number becomes one."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None
