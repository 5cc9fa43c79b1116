"""Pairs that no two runs make: what an accepted run did at a turn, and what the base itself would have done there.

Runs part where agents slipped, and the agent that is trained slips elsewhere. Of the generated world's pairs nine in ten part at the
first turn, and a reward model of these alone liked any text better than the right second call.

Source: Chen et al., "Self-Play Fine-Tuning" (2024), section 4: the recorded answer is preferred to the model's own. Departures: a
reward model learns from them, among the pairs of runs; the model's answer is no loser where it makes the recorded call, or
says something where something was said; there is one round, of the base that the policy begins at.
"""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from l07.errors import NothingToTrainOn
from l07.training import base, feed
from l07.training.feed import Fed, PairTokens, Prompt, Said
from l07.training.rollouts import Reader
from l07.training.task import Task
from l07.training.teacher import Writer


def beside(task: Task, pairs: Fed, ratio: float) -> Fed:
    """To each of these pairs so many of another place, where there are as many; none of a version without a turn that fits. The
    same job gives the same ones, and they draw nothing from torch's own chance."""
    try:
        places = feed.prompts(task, everywhere=True)
    except NothingToTrainOn:
        return Fed([], [], 0)
    model = base.read_model(Path(str(task.job["base"])))
    train, validation = (
        _pairs(task, model, found, math.ceil(ratio * len(like)))
        for found, like in ((places.train, pairs.train), (places.validation, pairs.validation))
    )
    return Fed(train, validation, places.too_long)


def _pairs(task: Task, model: Any, places: Sequence[Prompt], most: int) -> list[PairTokens]:
    """Twice as many places are asked: at some of them the base does what was done, or comes to no end, and to see that needs no
    reward model."""
    some = random.Random(f"own/{task.seed}").sample(places, min(len(places), 2 * most))
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(task.seed)
        answers = Writer(task.tokenizer, int(task.options["completion_tokens"]), 1.0).answers(
            model, [place.ids for place in some]
        )
    reader = Reader(task.tokenizer)
    lost = [(place, said) for place, said in zip(some, answers, strict=True) if reader.is_other(place, said)]
    return [
        PairTokens(place.ids, feed.recorded(place, task), Said(said, [1] * len(said)), 0.0)
        for place, said in lost[:most]
    ]
