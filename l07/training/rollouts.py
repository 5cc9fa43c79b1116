"""What a policy is asked, how it is rewarded, and how the trainers of TRL are told: shared by RLOO, GRPO and PPO.

A policy is asked for one turn at a time, at places of the version's accepted runs where the agent called a tool. Its reward
is a reward model's score between -1 and 1, less a penalty for a turn that is no call that the row offers or does not end in time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from l07.errors import BadJob
from l07.training import engine, feed, scoring
from l07.training.checks import Checks
from l07.training.engine import Run
from l07.training.feed import Fed, Prompt
from l07.training.measure.answers import json_equal, read_call
from l07.training.measure.model import call_mark
from l07.training.preferring import REFERENCE
from l07.training.scoring import Judge
from l07.training.task import Task

CURVES = ("reward", "kl", "entropy", "valid", "score", "completions/mean_length")


@dataclass(frozen=True, slots=True)
class Turn:
    """What a policy wrote at one place: `valid`, a call to a tool that is offered there, ended in time; `exact`, the call
    that was recorded there."""

    valid: bool
    exact: bool


class Reader:
    """Reads a policy's tokens as the validator does."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self._mark = tokenizer, call_mark(tokenizer)

    def read(self, prompt: Prompt, ids: Sequence[int]) -> Turn:
        ended = self._ended(ids)
        recorded = (prompt.row["messages"][prompt.at].get("tool_calls") or [None])[0]
        if recorded is None:  # a turn without a call: anything that ends
            return Turn(ended, False)
        call = read_call(self._tokenizer.decode(list(ids)), self._mark)
        if call is None:
            return Turn(False, False)
        wanted = recorded["function"]
        exact = call[0] == wanted["name"] and json_equal(call[1], wanted["arguments"])
        return Turn(ended and call[0] in offered(prompt), ended and exact)

    def is_other(self, prompt: Prompt, ids: Sequence[int]) -> bool:
        """Whether it ends, and is something else than what was recorded there: another call or none, or a call where there was
        none."""
        if not self._ended(ids):
            return False
        recorded = prompt.row["messages"][prompt.at].get("tool_calls")
        if not recorded:
            return read_call(self._tokenizer.decode(list(ids)), self._mark) is not None
        return not self.read(prompt, ids).exact

    def _ended(self, ids: Sequence[int]) -> bool:
        return bool(ids) and ids[-1] == self._tokenizer.eos_token_id


class Reward:
    """The function that TRL calls; what it is made of is told as curves."""

    __name__ = "reward"

    def __init__(self, prompts: Sequence[Prompt], reader: Reader, judge: Judge | None, options: Mapping[str, float]):
        self._prompts, self._reader, self._judge, self._options = prompts, reader, judge, options

    def __call__(self, completion_ids: Sequence[Sequence[int]], row: Sequence[int], **told: Any) -> list[float]:
        asked = [self._prompts[number] for number in row]
        valid = [self._reader.read(prompt, ids).valid for prompt, ids in zip(asked, completion_ids, strict=True)]
        scores = self.scores(asked, completion_ids)
        told["log_metric"]("valid", sum(valid) / len(valid))
        told["log_metric"]("score", sum(scores) / len(scores))
        return [self.of(score, is_valid) for score, is_valid in zip(scores, valid, strict=True)]

    def scores(self, prompts: Sequence[Prompt], completions: Sequence[Sequence[int]]) -> list[float]:
        """The reward model's, -1 to 1; 0 where there is none. What it is sure of already pays no more.

        Source: Fu et al., "Reward Shaping to Mitigate Reward Hacking" (2025), section 4. Departure: the middle is 0, around
        which the reward model was trained to score, not a reference answer's score."""
        if self._judge is None:
            return [0.0] * len(prompts)
        found = self._judge.scores([[*prompt.ids, *ids] for prompt, ids in zip(prompts, completions, strict=True)])
        return [math.tanh(score / 2) for score in found]

    def of(self, score: float, is_valid: bool) -> float:
        return self._options["reward_weight"] * score - self._options["valid_weight"] * (not is_valid)


class Asking:
    """A TRL trainer of a policy whose prompts are tokens already."""

    def _tokenize_prompts(self, prompts: Sequence[Sequence[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [list(prompt) for prompt in prompts], None, {}


def prepare(task: Task) -> tuple[Fed, dict[str, int]]:
    """The places at which the policy is asked, of the train and validation splits.

    Raises:
        NothingToTrainOn: E7721. BadJob: E7706, neither a reward model nor a penalty: nothing would be rewarded."""
    if not task.job.get("reward_model") and not task.options["valid_weight"]:
        raise BadJob("a policy needs a reward: name a reward model, or set valid_weight above 0")
    fed = feed.prompts(task)
    return fed, fed.counts


@dataclass(frozen=True, slots=True)
class Begun:
    """What every policy trainer is made of."""

    run: Run
    reward: Reward
    checks: Checks


def begin(task: Task, model: Any, data: Fed, curves: Sequence[str] = CURVES) -> Begun:
    """The run of a policy, its reward and its checks. Raises RewardModelUnfit (E7310)."""
    named, tokenizer = task.job.get("reward_model"), task.tokenizer
    reader, judge = Reader(tokenizer), scoring.load(named, tokenizer) if named else None
    reward = Reward(data.train, reader, judge, task.options)
    run = Run.of(task, rows=len(data.train), curves=curves)  # `training.batch_size` counts prompts of a step
    return Begun(run, reward, Checks(task, model, data.validation, reader, reward, run.steps))


def train(task: Task, model: Any, data: Fed, kind: type, arguments: type, **own: Any) -> dict[str, Any]:
    """Train the policy in place by a trainer of TRL, checked while it trains (`checks.py`).

    Raises:
        LossNotFinite: E7726. RewardModelUnfit: E7310. PolicyOutOfBounds: E7312. RewardHacked: E7313."""
    options, tokenizer = task.options, task.tokenizer
    made = begin(task, model, data)
    group = int(options["generations"])
    given = engine.arguments(
        arguments, made.run, per_device_train_batch_size=made.run.micro_batch_size * group, num_generations=group,
        max_completion_length=int(options["completion_tokens"]), temperature=options["temperature"], beta=options["beta"],
        include_num_input_tokens_seen="no", log_completions=False, disable_dropout=True, **own,
    )  # fmt: skip
    measured = engine.train(
        kind, made.run, model=model, args=given, reward_funcs=[made.reward], processing_class=tokenizer,
        train_dataset=_table(data), callbacks=[made.checks], parts={"checks": made.checks},
    )  # fmt: skip
    if REFERENCE in model.peft_config:
        model.delete_adapter(REFERENCE)
    return {**measured, "looks": made.checks.looks}


def _table(data: Fed) -> Dataset:
    return Dataset.from_dict({"prompt": [prompt.ids for prompt in data.train], "row": list(range(len(data.train)))})


def offered(prompt: Prompt) -> frozenset[str]:
    """Names of the tools that the row offers; where it offers none, of those that it calls."""
    names = {str((tool.get("function") or tool).get("name")) for tool in prompt.row["tools"]}
    calls = (call for message in prompt.row["messages"] for call in message.get("tool_calls") or ())
    return frozenset(names or {call["function"]["name"] for call in calls})
