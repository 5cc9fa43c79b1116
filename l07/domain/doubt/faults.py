"""Faults as they happen to recorded runs, made on purpose: what the detector learns from. Chance comes in as a random
generator; a fault that would change nothing gives None.

Source: the fault list of curation.md section 4.1. Departure: no text that is aimed at a judge, no trigger words, no
hijacked arguments: other stages look for those."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Message = Mapping[str, Any]
Messages = Sequence[Message]

GARBAGE = ("", "null", "\x00\ufffd#@!%^ \ufffd\ufffd", "<html><body>502 Bad Gateway</body></html>")


class Run(NamedTuple):
    """What a fault is done to."""

    messages: Messages
    goal: str


Fault = Callable[[Run, Run, random.Random], Run | None]


def cut_end(run: Run, _: Run, rng: random.Random) -> Run | None:
    """The recording stops early; something that the assistant did is left."""
    first = next((i for i, message in enumerate(run.messages) if message.get("role") == "assistant"), None)
    if first is None or len(run.messages) - first < 2:
        return None
    return Run(run.messages[: rng.randrange(first + 1, len(run.messages))], run.goal)


def cut_beginning(run: Run, _: Run, rng: random.Random) -> Run | None:
    """The first steps are missing."""
    steps = _steps(run.messages)
    if len(steps) < 2:
        return None
    start = steps[rng.randrange(1, len(steps))][0]
    return Run((*run.messages[: steps[0][0]], *run.messages[start:]), run.goal)


def move_steps(run: Run, _: Run, rng: random.Random) -> Run | None:
    """Two steps change places, or all are in any order; a step is a message with calls and its outputs."""
    steps = _steps(run.messages)
    if len(steps) < 2:
        return None
    order = list(range(len(steps)))
    if rng.random() < 0.5:
        one, other = rng.sample(order, 2)
        order[one], order[other] = order[other], order[one]
    else:
        rng.shuffle(order)
    moved: list[Message] = []
    at = 0
    for (start, end), number in zip(steps, order, strict=True):
        moved += run.messages[at:start]
        moved += run.messages[slice(*steps[number])]
        at = end
    moved += run.messages[at:]
    return Run(moved, run.goal) if moved != list(run.messages) else None


def swap_outputs(run: Run, _: Run, rng: random.Random) -> Run | None:
    """Two outputs of the run change places."""
    places = _outputs(run.messages)
    if len(places) < 2:
        return None
    one, other = rng.sample(places, 2)
    said = [message.get("content") for message in run.messages]
    return _with_outputs(run, {one: said[other], other: said[one]})


def foreign_outputs(run: Run, other: Run, rng: random.Random) -> Run | None:
    """Some outputs are those that the same tool gave in another run."""
    given: dict[Any, list[Any]] = {}
    for place in _outputs(other.messages):
        given.setdefault(other.messages[place].get("name"), []).append(other.messages[place].get("content"))
    places = [place for place in _outputs(run.messages) if run.messages[place].get("name") in given]
    if not places:
        return None
    some = rng.sample(places, rng.randint(1, len(places)))
    return _with_outputs(run, {place: rng.choice(given[run.messages[place].get("name")]) for place in some})


def foreign_goal(run: Run, other: Run, _: random.Random) -> Run | None:
    """The trace was joined to the goal of another run."""
    if run.goal == other.goal:
        return None
    asked = [m | {"content": other.goal} if m.get("content") == run.goal else m for m in map(dict, run.messages)]
    return Run(asked, other.goal)


def broken_outputs(run: Run, _: Run, rng: random.Random) -> Run | None:
    """Some outputs are empty or garbage."""
    places = _outputs(run.messages)
    if not places:
        return None
    some = rng.sample(places, rng.randint(1, len(places)))
    return _with_outputs(run, {place: rng.choice(GARBAGE) for place in some})


def loop(run: Run, _: Run, rng: random.Random) -> Run | None:
    """A step is recorded again and again."""
    steps = _steps(run.messages)
    if not steps:
        return None
    start, end = rng.choice(steps)
    again = list(run.messages[start:end]) * rng.randint(1, 4)
    return Run((*run.messages[:end], *again, *run.messages[end:]), run.goal)


FAULTS: Mapping[str, Fault] = {
    fault.__name__: fault
    for fault in (
        cut_end, cut_beginning, move_steps, swap_outputs, foreign_outputs, foreign_goal, broken_outputs, loop,
    )
}  # fmt: skip


def _steps(messages: Messages) -> list[tuple[int, int]]:
    """Where each message with calls begins and its outputs end."""
    found = []
    for start, message in enumerate(messages):
        if message.get("role") == "assistant" and message.get("tool_calls"):
            end = start + 1
            while end < len(messages) and messages[end].get("role") == "tool":
                end += 1
            found.append((start, end))
    return found


def _outputs(messages: Messages) -> list[int]:
    return [i for i, message in enumerate(messages) if message.get("role") == "tool"]


def _with_outputs(run: Run, contents: Mapping[int, Any]) -> Run | None:
    changed = [m | {"content": contents[i]} if i in contents else m for i, m in enumerate(map(dict, run.messages))]
    return Run(changed, run.goal) if any(run.messages[i].get("content") != c for i, c in contents.items()) else None
