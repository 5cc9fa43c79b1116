"""Distillation: a model learns to write what its teacher writes, and to be as sure of it, at the places where runs call a tool.

Sources: Hinton et al., "Distilling the Knowledge in a Neural Network" (2015), section 2 (the teacher's whole
distribution is learned from); Kim and Rush, "Sequence-Level Knowledge Distillation" (2016), section 3.2 (the teacher's answers are
learned from: `on_policy=0, hard_weight=1, soft_weight=0`); Agarwal et al., "On-Policy Distillation of Language Models" (2023),
equation 1 and algorithm 1 (the student's own answers, judged by the teacher token by token: `on_policy`, `beta`). Departures: the
temperature is of the student's sampling alone and softens no distribution; the teacher's answers are its likeliest
tokens one by one, no beam; which answers are learned from is drawn for each batch, not for each step; no gradient
through the sampling (as Agarwal et al.); LoRA; the weights kept are those with the lowest loss at the validation
split's places. Not TRL's GKDTrainer: it is experimental, reads chats by a collator of its own, and divides by the
tokens of the answers that it has replaced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, log_softmax
from transformers import Trainer, TrainingArguments

from l07.errors import BadJob
from l07.training import engine, feed, preferring, teacher
from l07.training.engine import Run
from l07.training.feed import Fed, Prompt, Said
from l07.training.task import Task, adapter

attach = adapter
CURVES = ("own", "divergence")


def prepare(task: Task) -> tuple[Fed, dict[str, int]]:
    """The places at which an agent is asked, of the train and validation splits.

    Raises:
        NothingToTrainOn: E7721. BadJob: E7706, no teacher is named, or both weights are 0."""
    if not task.job.get("teacher"):
        raise BadJob("a job that distils names its teacher")
    if not task.options["soft_weight"] and (not task.options["hard_weight"] or task.options["on_policy"]):
        raise BadJob("nothing is learned from a batch with soft_weight=0, and hard_weight=0 or answers of its own")
    fed = feed.prompts(task)
    return fed, fed.counts


def fit(task: Task, model: Any, data: Fed) -> dict[str, Any]:
    """Train `model` in place. Raises LossNotFinite (E7726), TeacherUnfit (E7737)."""
    run = Run.of(task, rows=len(data.train), curves=CURVES)
    length = int(task.options["completion_tokens"])
    master = teacher.load(task.job["teacher"], task.tokenizer)
    places = _Places(data.all, _answers(task, master, data.all, length), task.tokenizer)
    given = engine.arguments(
        TrainingArguments, run, remove_unused_columns=False, eval_strategy=engine.looks(data.validation),
        include_num_input_tokens_seen="no",  # what is read is known only once it is written
    )  # fmt: skip
    return engine.train(
        _Trainer,
        run,
        model=model,
        args=given,
        processing_class=task.tokenizer,
        data_collator=preferring.numbers,
        master=master,
        places=places,
        writer=teacher.Writer(task.tokenizer, length, task.options["temperature"]),
        options=task.options,
        **preferring.tables(data),
    )


def _answers(task: Task, master: Any, prompts: Sequence[Prompt], length: int) -> list[list[int]]:
    """What is learned from where the student does not write: the teacher's answers, or the turns that were recorded."""
    if task.options["teacher_answers"]:
        return teacher.Writer(task.tokenizer, length, 0).answers(master, [prompt.ids for prompt in prompts])
    return [feed.recorded(prompt, task).ids[:length] for prompt in prompts]


@dataclass(frozen=True, slots=True)
class _Places:
    prompts: Sequence[Prompt]
    answers: Sequence[list[int]]
    tokenizer: Any

    def batch(self, at: Sequence[int], written: Sequence[list[int]] | None = None) -> dict[str, torch.Tensor]:
        """With these answers, or with those that were there before."""
        answers = [self.answers[one] for one in at] if written is None else written
        rows = [
            preferring.sequences(self.prompts[one].ids, Said(answer, [1] * len(answer)))
            for one, answer in zip(at, answers, strict=True)
        ]
        return preferring.padded(rows, int(self.tokenizer.eos_token_id))


class _Trainer(Trainer):  # type: ignore[misc]  # transformers ships no types
    def __init__(self, *, master: Any, places: _Places, writer: Any, options: Mapping[str, float], **given: Any):
        super().__init__(**given)
        self._master, self._places, self._writer, self._options = master.to(self.args.device), places, writer, options
        self._own = False  # whether the batch in hand was written by the student
        self._told: dict[str, list[float]] = {name: [] for name in CURVES}

    def training_step(self, model: Any, inputs: Mapping[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        at = inputs["row"].tolist()
        self._own = float(torch.rand(())) < self._options["on_policy"]
        prompts = [self._places.prompts[one].ids for one in at]
        batch = self._places.batch(at, self._writer.answers(model, prompts) if self._own else None)
        self.state.num_input_tokens_seen += int(batch["attention_mask"].sum())
        self._told["own"].append(float(self._own))
        loss: torch.Tensor = super().training_step(model, batch, num_items_in_batch)
        return loss

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Of each answer's tokens the mean: how far the student is from the teacher, and how unlikely the answer is to it."""
        read = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        counts = inputs["completion_mask"][:, 1:].bool()
        outputs = model(**read, use_cache=False)
        student = outputs.logits[:, :-1][counts].float()
        with torch.no_grad():
            expected = self._master(**read, use_cache=False).logits[:, :-1][counts].float()
        apart = divergence(student, expected, self._options["beta"]).mean()
        if model.training:
            self._told["divergence"].append(float(apart.detach()))
        loss = self._options["soft_weight"] * apart
        if self._options["hard_weight"] and not (self._own and model.training):
            loss = loss + self._options["hard_weight"] * cross_entropy(student, inputs["input_ids"][:, 1:][counts])
        return (loss, outputs) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: Mapping[str, Any], *_: Any, **__: Any) -> tuple[Any, None, None]:
        with torch.no_grad():
            batch = self._prepare_inputs(self._places.batch(inputs["row"].tolist()))
            return self.compute_loss(model, batch).detach(), None, None

    def log(self, logs: dict[str, float], *more: Any) -> None:
        if "loss" in logs:
            logs = {**logs, **{name: sum(told) / len(told) for name, told in self._told.items() if told}}
            self._told = {name: [] for name in CURVES}
        super().log(logs, *more)


def divergence(student: torch.Tensor, expected: torch.Tensor, beta: float) -> torch.Tensor:
    """Generalised Jensen-Shannon divergence of each token, nats: 0 is the KL from the teacher, which the student covers
    whole, 1 the KL from the student, which keeps to what the teacher would say. Logits in, tokens by vocabulary."""
    q, p = log_softmax(student, -1), log_softmax(expected, -1)
    if beta == 0:
        return _kl(p, q)
    if beta == 1:
        return _kl(q, p)
    mixed = torch.logaddexp(p + torch.log(torch.tensor(beta)), q + torch.log(torch.tensor(1 - beta)))
    return beta * _kl(p, mixed) + (1 - beta) * _kl(q, mixed)


def _kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p.exp() * (p - q)).sum(-1)
