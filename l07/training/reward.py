"""A reward model: from pairs of turns, a score for what an agent does next.

Source: Ouyang et al., "InstructGPT" (2022), section 3.5, equation 1, as TRL's RewardTrainer does it; scores around zero:
Eisenstein et al., "Helping or Herding?" (2023), section 2; margins: Touvron et al., "Llama 2" (2023), section 3.2.2; the
likelihood of the chosen turn by the base's own head beside it: Yang et al., "Regularizing Hidden States Enables Learning
Generalizable Reward Model for LLMs" (2024), section 3.2, with that head frozen.
Departures: what is compared is always the one turn in which two runs part (`l07.domain.preference`), because a policy
is asked for one turn at a time; beside the pairs of runs stand some of a recorded turn and what else could be done there
(`own.py`); few pairs are passed through many times, in small steps; the score is read at the turn's last token, by a linear head on the base with an
adapter; the weights kept are those with the lowest loss on the validation split's pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from trl import RewardConfig, RewardTrainer

from l07.domain.statistics import wilson
from l07.training import engine, feed, lora, own, preferring, scoring
from l07.training.engine import Run
from l07.training.feed import Fed, PairTokens
from l07.training.task import Task

FEW = 2_000_000  # numbers of an embedding
CURVES = ("accuracy", "margin", "language", "eval_accuracy", "eval_margin")
LANGUAGE = "language_head"  # the base's own, frozen, at the scorer while it learns


def prepare(task: Task) -> tuple[Fed, dict[str, int]]:
    """The pairs of the train and validation splits. Raises NothingToTrainOn (E7721)."""
    fed = feed.pairs(task, compare="turn")
    return fed, fed.counts


def ask(task: Task, model: Any, data: Fed) -> tuple[Fed, dict[str, int]]:
    """With pairs that `model`, the base, lost to what was recorded."""
    ratio = task.options["own_answers"]
    if not ratio:
        return data, data.counts
    before = model.device
    if before.type != task.plan.device:
        model.to(task.plan.device)
    found = own.beside(task, model, data, ratio)
    if model.device != before:
        model.to(before)  # it is done with, and the scorer needs the room
    widened = Fed([*data.train, *found.train], [*data.validation, *found.validation], data.too_long + found.too_long)
    return widened, {**widened.counts, "own": len(found.train)}


def attach(task: Task, model: Any) -> Any:
    """The base with a scoring head in the place of its language head. Embeddings of a small base are trained whole: without,
    training stands still early on some seeds, and what a reward model memorises it tells nobody."""
    scorer = scoring.with_head(task.job["base"], task.tokenizer)
    few = scorer.get_input_embeddings().weight.numel() <= FEW
    config = task.config.lora_config
    if task.options["language_weight"]:
        head = model.get_output_embeddings().weight.detach()
        scorer.register_buffer(LANGUAGE, head, persistent=False)
    return lora.attach(
        scorer,
        replace(config, embeddings=config.embeddings or few),
        base_name=task.base_name,
        base_digest=str(task.job["base_digest"]),
        head=scoring.HEAD,
    )


def fit(task: Task, model: Any, data: Fed) -> dict[str, Any]:
    """Train `model` in place; `pair_accuracy` is that of the validation split's pairs of runs, `own_accuracy` of those beside
    them (`own.py`). Raises LossNotFinite (E7726)."""
    run = Run.of(_longer(task, len(data.train)), rows=len(data.train), curves=CURVES)
    batches = Batches(data.all, scoring.pad_of(task.tokenizer), task.options["margin"])
    center = task.options["center"]
    measured = engine.train(
        _Trainer,
        run,
        model=model,
        args=preferring.arguments(RewardConfig, run, data, center_rewards_coefficient=center or None),
        processing_class=task.tokenizer,
        data_collator=batches,
        language_weight=task.options["language_weight"],
        **preferring.tables(data),
    )
    judge = scoring.Judge(model, scoring.pad_of(task.tokenizer))
    of_runs, own_pairs = ([pair for pair in data.validation if pair.own == which] for which in (False, True))
    return {
        **measured,
        "pair_accuracy": pair_accuracy(judge, of_runs),
        "own_accuracy": pair_accuracy(judge, own_pairs),
    }


def _longer(task: Task, rows: int) -> Task:
    """Few pairs are passed through more often than `training.epochs` says, unless somebody set `max_steps`, and to the end: a
    reward model stands still for hundreds of steps before it tells later turns apart."""
    least = int(task.options["least_steps"])
    if task.config.max_steps or engine.steps(task.config, rows) >= least:
        return task
    return replace(task, config=replace(task.config, max_steps=least, early_stop=engine.LOOKS))


def pair_accuracy(judge: scoring.Judge, pairs: Sequence[PairTokens]) -> dict[str, float] | None:
    """Share of pairs of which the chosen side scores more, with its interval; None where there are none."""
    if not pairs:
        return None
    chosen, rejected = (
        judge.scores([[*pair.prompt, *getattr(pair, side).ids] for pair in pairs]) for side in ("chosen", "rejected")
    )
    hits = sum(one > other for one, other in zip(chosen, rejected, strict=True))
    low, high = wilson(hits, len(pairs))
    return {"hits": hits, "n": len(pairs), "share": round(hits / len(pairs), 4), "low": low, "high": high}


class _Trainer(preferring.Prepared, RewardTrainer):  # type: ignore[misc]  # trl ships no types that hold
    def __init__(self, *, language_weight: float, **given: Any) -> None:
        super().__init__(**given)
        self._language_weight = language_weight

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's, and while it learns how unlikely the chosen turns are to the base's own head."""
        inputs = dict(inputs)
        said = inputs.pop("completion_mask")
        if not self._language_weight or not model.training:
            return super().compute_loss(model, inputs, return_outputs)
        loss, outputs = super().compute_loss(model, {**inputs, "output_hidden_states": True}, True)
        head = getattr(self.accelerator.unwrap_model(model).get_base_model(), LANGUAGE)
        unlikely = _unlikely(outputs.hidden_states[-1], inputs["input_ids"], said, head)
        self._metrics["train"]["language"].append(float(unlikely.detach()))
        loss = loss + self._language_weight * unlikely
        return (loss, outputs) if return_outputs else loss


def _unlikely(hidden: torch.Tensor, ids: torch.Tensor, said: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Nats a token of the chosen turns, which are the first half of a batch."""
    chosen = len(ids) // 2
    places = said[:chosen, 1:].bool()
    logits = hidden[:chosen, :-1][places].to(head.dtype) @ head.T
    return cross_entropy(logits.float(), ids[:chosen, 1:][places])


class Batches:
    """Pairs as TRL's loss takes them: all chosen turns, then all rejected ones, each after its prompt."""

    def __init__(self, rows: Sequence[PairTokens], pad: int, margin: float) -> None:
        self._rows, self._pad, self._margin = rows, pad, margin

    def __call__(self, numbers: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
        pairs = [self._rows[number["row"]] for number in numbers]
        sides = [(pair.prompt, pair.chosen) for pair in pairs] + [(pair.prompt, pair.rejected) for pair in pairs]
        batch = preferring.padded([preferring.sequences(*side) for side in sides], self._pad)
        if self._margin:
            batch["margin"] = torch.tensor([self._margin * pair.margin for pair in pairs])
        return batch
