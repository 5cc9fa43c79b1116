"""Copies that must not stand on both sides of a split: near copies, the same deeds under another goal, exact repeats.
These are added to the data; the run that they copy stays."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from l07.domain.deeds import deeds_of
from l07.domain.example import TrainingExample
from l07.domain.plants.base import Message, Planted, Pool, with_goal

EDITED = 0.03  # share of the words
WORDS = (
    "about after again also around before because between both every first found given likewise other rather same "
    "since such then there under until while"
).split()


def near_twin(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """A near copy as another task's run: 3 % of the words of goal and assistant, at least one, are others; call ids are
    new."""
    words = sum(len(text.split()) for text in (run.goal, *_spoken(run.messages)))
    if words < 8:
        return None
    edit = _Editor(rng, EDITED)
    messages = [_edited(message, edit) if message.get("role") == "assistant" else message for message in run.messages]
    goal = edit(run.goal)
    if not edit.count:
        goal = _Editor(rng, 1.0).once(run.goal)
    copy = with_goal(_under_new_ids(replace(run, messages=tuple(messages)), rng, task=True), goal)
    return Planted(copy, f"a copy under another task, {max(1, edit.count)} of {words} words edited")


def same_deeds(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """The same calls under another goal, as another task's run: the answer is known whatever is asked."""
    goals = [other.goal for other in pool.accepted if other.task_id != run.task_id and other.goal != run.goal]
    if not goals or not deeds_of(run.messages):
        return None
    silent = [
        {**message, "content": None} if message.get("role") == "assistant" and message.get("tool_calls") else message
        for message in run.messages
    ]
    copy = _under_new_ids(replace(run, messages=tuple(silent)), rng, task=True)
    return Planted(with_goal(copy, rng.choice(goals)), "the same calls under another goal, as another task's run")


def exact_repeat(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """The same run under another execution id."""
    return Planted(_under_new_ids(run, rng, task=False), "the same run under another execution id")


def _under_new_ids(run: TrainingExample, rng: random.Random, *, task: bool) -> TrainingExample:
    mark = f"{rng.randrange(16**8):08x}"
    ids: dict[Any, str] = {}
    messages = []
    for message in run.messages:
        if message.get("tool_calls"):
            ids |= {call.get("id"): f"call_{mark}_{len(ids) + n}" for n, call in enumerate(message["tool_calls"])}
            calls = [{**call, "id": ids[call.get("id")]} for call in message["tool_calls"]]
            message = {**message, "tool_calls": calls}
        elif message.get("tool_call_id") in ids:
            message = {**message, "tool_call_id": ids[message["tool_call_id"]]}
        messages.append(message)
    return replace(
        run,
        key=f"{run.key}-{mark}",
        task_id=f"{run.task_id}-{mark}" if task else run.task_id,
        messages=tuple(messages),
    )


def _spoken(messages: Sequence[Message]) -> list[str]:
    return [str(message.get("content") or "") for message in messages if message.get("role") == "assistant"]


class _Editor:
    """Replaces a share of the words of every text that it is given."""

    def __init__(self, rng: random.Random, share: float) -> None:
        self._rng, self._share = rng, share
        self.count = 0

    def __call__(self, text: str) -> str:
        parts = text.split(" ")
        for place, part in enumerate(parts):
            if part.strip() and self._rng.random() < self._share:
                parts[place] = self._rng.choice(WORDS)
                self.count += 1
        return " ".join(parts)

    def once(self, text: str) -> str:
        parts = text.split(" ")
        parts[self._rng.randrange(len(parts))] = self._rng.choice(WORDS)
        return " ".join(parts)


def _edited(message: Message, edit: _Editor) -> Message:
    content = message.get("content")
    said: dict[str, Any] = dict(message)
    if isinstance(content, str):
        said["content"] = edit(content)
    if message.get("tool_calls"):
        said["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": _edited_arguments(call["function"], edit)}}
            for call in message["tool_calls"]
        ]
    return said


def _edited_arguments(function: Mapping[str, Any], edit: _Editor) -> Any:
    """Only prose: a value of one or two words is a name or a number, and edited it would be another deed."""
    arguments = function.get("arguments")
    if not isinstance(arguments, Mapping):
        return arguments
    return {
        name: edit(value) if isinstance(value, str) and len(value.split()) > 2 else value
        for name, value in arguments.items()
    }
