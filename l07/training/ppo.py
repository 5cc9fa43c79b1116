"""Policy optimisation by PPO: a value head says what an answer is worth as far as it has come, and a batch of answers is
learned from several times, in steps that may not lead far from the policy that wrote it.

Sources: Schulman et al., "Proximal Policy Optimization Algorithms" (2017), equations 7 (the clipped ratio) and 11 (advantages,
by Schulman et al., "Generalized Advantage Estimation", 2016); Ziegler et al., "Fine-Tuning Language Models from Human
Preferences" (2019), section 2.2 (the KL to the base is taken from the reward, token by token, and its price follows a target);
Ouyang et al., "InstructGPT" (2022), section 3.5; Huang et al., "The N+ Implementation Details of RLHF with PPO" (2024)
(values are clipped like ratios, advantages are whitened in a minibatch). Departures: the KL is measured in nats a
token, as our checks have it, and not of a whole answer; no discount; the value head reads the policy's own last layer and does
not teach it; it begins at 0, not at the reward model; several answers to a prompt, as RLOO and GRPO ask for; LoRA, so
the reference is the base without its adapter; a run is stopped where its checks (`checks.py`) say so. TRL has no PPO
any more (1.16). The value head is in the checkpoints and in no artifact.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch.nn import Linear
from transformers import Trainer, TrainingArguments
from trl.trainer.utils import disable_dropout_in_model

from l07.training import engine, preferring, rollouts
from l07.training.feed import Fed, Prompt
from l07.training.rollouts import Reward, prepare
from l07.training.task import Task, adapter
from l07.training.teacher import Writer

__all__ = ["attach", "fit", "prepare"]

attach = adapter
HEAD = "value_head"
CURVES = (*rollouts.CURVES, "beta", "value_loss", "explained", "clipped")
MOST_ERROR = 0.2  # of a KL's distance to its target, as a part of it, that changes the price of one step (Ziegler)


def fit(task: Task, model: Any, data: Fed) -> dict[str, Any]:
    """Train the policy in place. Raises as `rollouts.train` does."""
    options, made = task.options, rollouts.begin(task, model, data, CURVES)
    disable_dropout_in_model(model)  # a ratio compares two looks at the same tokens
    head = Linear(model.config.get_text_config().hidden_size, 1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    model.add_module(HEAD, head)
    price = Price(options["beta"], options["target_kl"], options["kl_rate"])
    given = engine.arguments(
        TrainingArguments, made.run, per_device_train_batch_size=task.config.batch_size, gradient_accumulation_steps=1,
        remove_unused_columns=False, include_num_input_tokens_seen="no",
    )  # fmt: skip
    try:
        measured = engine.train(
            _Trainer, made.run, model=model, args=given, processing_class=task.tokenizer, data_collator=preferring.numbers,
            train_dataset=Dataset.from_dict({"row": list(range(len(data.train)))}), callbacks=[made.checks],
            asker=_Asker(data.train, Writer(task.tokenizer, int(options["completion_tokens"]), options["temperature"]), made.reward),
            price=price, options=options, most=made.run.micro_batch_size * int(options["generations"]),
            parts={"checks": made.checks, "price": price},
        )  # fmt: skip
    finally:
        delattr(model, HEAD)
    return {**measured, "looks": made.checks.looks}


class Price:
    """What a nat of KL costs: more while the policy is further from the base than `target`, less while it is nearer."""

    def __init__(self, beta: float, target: float, rate: float) -> None:
        self.beta, self._target, self._rate = beta, target, rate

    def follow(self, kl: float) -> None:
        error = min(MOST_ERROR, max(-MOST_ERROR, kl / self._target - 1))
        self.beta *= 1 + self._rate * error

    def keep(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """What a checkpoint needs of it."""
        return {"beta": self.beta}, {}

    def restore(self, kept: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        self.beta = float(kept["beta"])


@dataclass(frozen=True, slots=True)
class Answers:
    """A batch of answers: prompts padded on the left, answers on the right, so that all begin at the same place."""

    ids: torch.Tensor  # prompt and answer
    attention: torch.Tensor
    mask: torch.Tensor  # of the answer's tokens, 1 for one that was written

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], written: Sequence[Sequence[int]], pad: int) -> "Answers":
        before, after = max(map(len, prompts)), max(1, *map(len, written))
        ids = torch.full((len(prompts), before + after), pad, dtype=torch.long)
        attention = torch.zeros_like(ids)
        for row, (prompt, answer) in enumerate(zip(prompts, written, strict=True)):
            place = slice(before - len(prompt), before + len(answer))
            ids[row, place] = torch.tensor([*prompt, *answer], dtype=torch.long)
            attention[row, place] = 1
        return cls(ids, attention, attention[:, before:])

    def to(self, device: Any) -> "Answers":
        return Answers(self.ids.to(device), self.attention.to(device), self.mask.to(device))

    def __getitem__(self, rows: Any) -> "Answers":
        return Answers(self.ids[rows], self.attention[rows], self.mask[rows])

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Known:
    """Of each token of a batch of answers, before anything was learned from it."""

    logps: torch.Tensor
    values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor


def advantages(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each token the advantage, and what its value should have been (GAE, no discount). After the last token comes nothing."""
    found = torch.zeros_like(rewards)
    last = torch.zeros_like(rewards[:, 0])
    for at in range(rewards.shape[1] - 1, -1, -1):
        after = values[:, at + 1] * mask[:, at + 1] if at + 1 < rewards.shape[1] else torch.zeros_like(last)
        last = (rewards[:, at] + after - values[:, at] + lam * last) * mask[:, at]
        found[:, at] = last
    return found, found + values * mask


def policy_loss(logps: torch.Tensor, known: torch.Tensor, gained: torch.Tensor, clip: float) -> torch.Tensor:
    """Of each token; the worse of ratio and clipped ratio, so that nothing is won by going further."""
    ratio = torch.exp(logps - known)
    return torch.maximum(-gained * ratio, -gained * ratio.clamp(1 - clip, 1 + clip))


def value_loss(values: torch.Tensor, known: torch.Tensor, returns: torch.Tensor, clip: float) -> torch.Tensor:
    """Of each token; the worse of value and clipped value."""
    near = known + (values - known).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2)


@dataclass(frozen=True, slots=True)
class _Asker:
    """The places where a policy is asked, how it writes there, and what it is paid."""

    prompts: Sequence[Prompt]
    writer: Writer
    reward: Reward

    def written(self, model: Any, at: Sequence[int], most: int) -> list[list[int]]:
        prompts = [self.prompts[row].ids for row in at]
        return [ids for part in _parts(len(at), most) for ids in self.writer.answers(model, [prompts[n] for n in part])]

    def answers(self, at: Sequence[int], written: Sequence[Sequence[int]]) -> Answers:
        return Answers.of([self.prompts[row].ids for row in at], written, int(self.writer.tokenizer.eos_token_id))


class _Trainer(Trainer):  # type: ignore[misc]  # transformers ships no types
    """A step of this trainer asks a batch of prompts, and takes several steps of the optimiser, the last one by Trainer."""

    def __init__(self, *, asker: _Asker, price: Price, options: Mapping[str, float], most: int, **given: Any) -> None:
        super().__init__(**given)
        self._asker, self._price, self._options, self._most = asker, price, options, most
        self._metrics: dict[str, dict[str, list[float]]] = {"train": {}}  # the name that TRL has, so it is kept

    def training_step(self, model: Any, inputs: Mapping[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        at = [row for row in inputs["row"].tolist() for _ in range(int(self._options["generations"]))]
        written = self._asker.written(model, at, self._most)
        answers = self._asker.answers(at, written).to(self.args.device)
        self.state.num_input_tokens_seen += int(answers.attention.sum())
        paid = self._asker.reward(written, row=at, log_metric=self._note)
        known = self._known(model, answers, torch.tensor(paid, device=self.args.device))
        losses = []
        for number, rows in enumerate(self._minibatches(len(answers))):
            if number:
                self._clip_grad_norm(model)
                self.optimizer.step()
                model.zero_grad()
            losses.append(self._learn(model, answers, known, rows))
        return torch.stack(losses).mean()

    def _minibatches(self, count: int) -> Iterator[torch.Tensor]:
        """Rows of each; every answer once in an epoch."""
        for _ in range(int(self._options["epochs"])):
            yield from torch.randperm(count).tensor_split(min(count, int(self._options["minibatches"])))

    def _known(self, model: Any, answers: Answers, paid: torch.Tensor) -> Known:
        """What the policy, its value head and the base say of the answers, and what follows; told as curves."""
        parts = [answers[part.start : part.stop] for part in _parts(len(answers), self._most)]
        with torch.no_grad():
            seen = [self._look(model, part) for part in parts]
            with self.accelerator.unwrap_model(model).disable_adapter():
                base = torch.cat([self._look(model, part)[0] for part in parts])
        logps, values, entropy = (torch.cat(found) for found in zip(*seen, strict=True))
        mask = answers.mask.float()
        apart = (logps - base) * mask
        rewards = -self._price.beta * apart
        last = mask.sum(1).long().clamp(min=1) - 1
        rewards[torch.arange(len(answers)), last] += paid
        values = values * mask
        gained, returns = advantages(rewards, values, mask, self._options["gae_lambda"])
        kl = float(apart.sum() / mask.sum())
        told = {"reward": float(paid.mean()), "kl": kl, "entropy": float((entropy * mask).sum() / mask.sum())}
        told |= {"completions/mean_length": float(mask.sum(1).mean()), "beta": self._price.beta}
        told["explained"] = _explained(values[mask > 0], returns[mask > 0])
        for name, value in told.items():
            self._note(name, value)
        self._price.follow(kl)
        return Known(logps, values, gained, returns)

    def _learn(self, model: Any, answers: Answers, known: Known, rows: torch.Tensor) -> torch.Tensor:
        """The gradient of one minibatch, in parts that fit into memory; its loss."""
        counts = answers.mask[rows].float()
        tokens = counts.sum()
        gained = known.advantages[rows]
        gained = _whitened(gained, counts)
        clip, loss = self._options["clip"], torch.zeros((), device=self.args.device)
        told = {"value_loss": 0.0, "clipped": 0.0}
        for part in _parts(len(rows), self._most):
            here, mask = rows[part.start : part.stop], counts[part.start : part.stop]
            logps, values, _ = self._look(model, answers[here])
            surrogate = policy_loss(logps, known.logps[here], gained[part.start : part.stop], clip)
            missed = value_loss(values, known.values[here], known.returns[here], self._options["value_clip"])
            whole = ((surrogate + self._options["value_weight"] * missed) * mask).sum() / tokens
            self.accelerator.backward(whole)
            loss += whole.detach()
            told["value_loss"] += float((missed.detach() * mask).sum() / tokens)
            moved = torch.exp(logps.detach() - known.logps[here])
            told["clipped"] += float((((moved - 1).abs() > clip) * mask).sum() / tokens)
        for name, value in told.items():
            self._note(name, value)
        return loss

    def _look(self, model: Any, answers: Answers) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of each of the answers' tokens: how likely the policy finds it, what it is worth there, how sure the policy is."""
        width = answers.mask.shape[1]
        out = model(
            input_ids=answers.ids, attention_mask=answers.attention, logits_to_keep=width + 1, output_hidden_states=True,
            use_cache=False,
        )  # fmt: skip
        logits = out.logits[:, -width - 1 : -1].float() / self._options["temperature"]
        all_logps = torch.log_softmax(logits, -1)
        logps = all_logps.gather(-1, answers.ids[:, -width:, None])[..., 0]
        entropy = -(all_logps.detach().exp() * all_logps.detach()).sum(-1)
        hidden = out.hidden_states[-1][:, -width - 1 : -1].detach().float()
        values = getattr(self.accelerator.unwrap_model(model), HEAD)(hidden)[..., 0]
        return logps, values, entropy

    def _note(self, name: str, value: float) -> None:
        self._metrics["train"].setdefault(name, []).append(float(value))

    def log(self, logs: dict[str, float], *more: Any) -> None:
        told = self._metrics["train"]
        if "loss" in logs:
            logs = {**logs, **{name: sum(values) / len(values) for name, values in told.items()}}
            told.clear()
        super().log(logs, *more)


def _parts(count: int, most: int) -> Iterator[range]:
    return (range(start, min(start + most, count)) for start in range(0, count, most))


def _whitened(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean 0 and deviation 1 over the tokens that count."""
    count = mask.sum()
    mean = (values * mask).sum() / count
    spread = (((values - mean) ** 2) * mask).sum() / count
    return (values - mean) * torch.rsqrt(spread + 1e-8) * mask


def _explained(values: torch.Tensor, returns: torch.Tensor) -> float:
    """Share of the returns' variance that the values foresaw; below 0: worse than their mean."""
    spread = float(returns.var(unbiased=False))
    return 1 - float((returns - values).var(unbiased=False)) / spread if spread > 0 and math.isfinite(spread) else 0.0
