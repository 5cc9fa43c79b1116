"""Pairs that no two runs make: what an accepted run did at a turn, and what else could be done there.

Runs part where agents slipped, and the agent that is trained slips elsewhere. Of the generated world's pairs nine in ten part at the
first turn; a reward model of these alone told nothing apart at the second one, and a policy that it rewarded learned to make its
first call again.

Source: Chen et al., "Self-Play Fine-Tuning" (2024), section 4: the recorded answer is preferred to the model's own. Departures: a
reward model learns from them, among the pairs of runs; the model's answer is no loser where it makes the recorded call, or
says something where something was said; answers are drawn, or the likeliest; what the run itself did earlier loses, too, and
the recorded call by another tool's name; there is one round, of the base that the policy begins at.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch

from l07.errors import NothingToTrainOn
from l07.training import feed
from l07.training.feed import Fed, PairTokens, Prompt, Said
from l07.training.rollouts import Reader, offered
from l07.training.task import Task
from l07.training.teacher import Writer

# What loses, by the share of the pairs: drawn at temperature 1, the likeliest, an earlier turn of the run, the call by another name.
DRAWN, LIKELIEST, EARLIER, RENAMED = 0.25, 0.25, 0.25, 0.25
LATER = 0.75  # of the places, those that are not a run's first turn, at which most pairs of runs part
AT_ONCE = 8  # prompts asked, to each row that a step learns from: what they keep takes less than what a step does
_Lost = tuple[Prompt, Sequence[int]]  # a place, and what loses there


def beside(task: Task, model: Any, pairs: Fed, ratio: float) -> Fed:
    """To each of these pairs so many of another place, as far as there are any; none of a version without a turn that fits.
    `model`: the base, which is asked. The same job gives the same ones, and they draw nothing from torch's own chance."""
    try:
        places = feed.prompts(task, everywhere=True)
    except NothingToTrainOn:
        return Fed([], [], 0)
    asking = _Asking(task, model)
    train, validation = (
        asking.pairs(found, ratio * len(like))
        for found, like in ((places.train, pairs.train), (places.validation, pairs.validation))
    )
    return Fed(train, validation, places.too_long + asking.too_long)


class _Asking:
    def __init__(self, task: Task, model: Any) -> None:
        self._task, self._model, self._reader = task, model, Reader(task.tokenizer)
        self._chance = random.Random(f"own/{task.seed}")
        self.too_long = 0

    def pairs(self, places: Sequence[Prompt], most: float) -> list[PairTokens]:
        lost = [
            *self._answers(places, round(most * DRAWN), temperature=1.0),
            *self._answers(places, round(most * LIKELIEST), temperature=0.0),
            *self._earlier(places, round(most * EARLIER)),
            *self._renamed(places, round(most * RENAMED)),
        ]
        made = [
            PairTokens(place.ids, feed.recorded(place, self._task), Said(list(said), [1] * len(said)), 0.0, own=True)
            for place, said in lost
        ]
        fit = [pair for pair in made if pair.longest <= feed.most(self._task)]
        self.too_long += len(made) - len(fit)  # a recorded turn may be longer than the room that an answer has
        return fit

    def _answers(self, places: Sequence[Prompt], most: int, *, temperature: float) -> list[_Lost]:
        """Twice as many places are asked: at some of them the base does what was done, or comes to no end, and to see that
        needs no reward model."""
        config, room = self._task.config, int(self._task.options["completion_tokens"])
        some = self._some(places, 2 * most)
        at_once = AT_ONCE * (config.micro_batch_size or config.batch_size)
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(self._task.seed)
            writer = Writer(self._task.tokenizer, room, temperature, at_once)
            answers = writer.answers(self._model, [place.ids for place in some])
        found: list[_Lost] = list(zip(some, answers, strict=True))
        return [one for one in found if self._reader.is_other(*one)][:most]

    def _earlier(self, places: Sequence[Prompt], most: int) -> list[_Lost]:
        """Of each place one earlier one of its run; places of a run follow each other."""
        runs = (list(run) for _, run in groupby(places, lambda place: id(place.row)))
        later = [(place, self._chance.choice(run[:at])) for run in runs for at, place in enumerate(run) if at]
        some = self._chance.sample(later, min(len(later), 2 * most))
        found: list[_Lost] = [(place, feed.recorded(before, self._task).ids) for place, before in some]
        return [one for one in found if self._reader.is_other(*one)][:most]

    def _renamed(self, places: Sequence[Prompt], most: int) -> list[_Lost]:
        """The recorded call, by the name of another tool that is offered there."""
        some = [
            place for place in places if len(offered(place)) > 1 and place.row["messages"][place.at].get("tool_calls")
        ]
        return [(place, self._by_another_name(place)) for place in self._some(some, most)]

    def _some(self, places: Sequence[Prompt], most: int) -> list[Prompt]:
        sides: tuple[list[Prompt], list[Prompt]] = ([], [])
        for place in places:
            sides[any(one["role"] == "assistant" for one in place.row["messages"][: place.at])].append(place)
        first, later = sides
        count = min(len(later), max(round(LATER * most), most - len(first)))
        return self._chance.sample(later, count) + self._chance.sample(first, min(len(first), most - count))

    def _by_another_name(self, place: Prompt) -> list[int]:
        said = place.row["messages"][place.at]
        first, *more = said["tool_calls"]
        other = self._chance.choice(sorted(offered(place) - {first["function"]["name"]}))
        calls = [{**first, "function": {**first["function"], "name": other}}, *more]
        messages = [*place.row["messages"][: place.at], {**said, "tool_calls": calls}]
        return feed.recorded(replace(place, row={**place.row, "messages": messages}), self._task).ids
