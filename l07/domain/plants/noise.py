"""Noise: runs that pass for good ones and are not. Each replaces a run; a copy beside it would be found as a near
duplicate, which says nothing of the fault."""

import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from l07.domain.example import TrainingExample
from l07.domain.plants.base import (
    Message,
    Planted,
    Planter,
    Pool,
    Steps,
    calls_something,
    outputs_of,
    with_content,
    with_goal,
    with_messages,
)

NewOutput = Callable[[str, str], str | None]  # of a tool's name and what it answered


def cut_end(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """The trace ends too early: at least a third of its steps is missing."""
    head, steps = Steps.of(run.messages)
    if len(steps) < 2:
        return None
    kept = rng.randint(1, max(1, 2 * len(steps) // 3))
    messages = Steps(head, steps[:kept]).joined()
    return Planted(with_messages(run, messages), f"{len(steps) - kept} of {len(steps)} steps cut off the end")


def cut_start(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """The trace begins too late: the goal stands, and the first steps are missing."""
    head, steps = Steps.of(run.messages)
    if len(steps) < 2:
        return None
    lost = rng.randint(1, max(1, 2 * len(steps) // 3))
    messages = Steps(head, steps[lost:]).joined()
    return Planted(with_messages(run, messages), f"{lost} of {len(steps)} steps cut off the beginning")


def shuffled_steps(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """The steps with calls in another order; each keeps its outputs, and a closing answer stays where it is."""
    head, steps = Steps.of(run.messages)
    places = [number for number, step in enumerate(steps) if calls_something(step)]
    if len({repr(_said(steps[place])) for place in places}) < 2:
        return None
    moved = list(steps)
    while [_said(step) for step in moved] == [_said(step) for step in steps]:
        for place, source in zip(places, rng.sample(places, len(places)), strict=True):
            moved[place] = steps[source]
    return Planted(with_messages(run, Steps(head, tuple(moved)).joined()), f"{len(places)} steps in another order")


def _said(step: Sequence[Message]) -> list[object]:
    """Without the ids of calls, which differ where nothing else does."""
    calls = [call.get("function") for call in step[0].get("tool_calls") or ()]
    return [step[0].get("content"), calls, [message.get("content") for message in step[1:]]]


def swapped_outputs(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """Outputs of the same tools, from runs of other tasks."""

    def other(tool: str, content: str) -> str | None:
        found = [o.content for o in pool.outputs.get(tool, ()) if o.task != run.task_id and o.content != content]
        return rng.choice(found) if found else None

    return _with_outputs(run, rng, other, "from runs of other tasks")


def emptied_outputs(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """Tools that answered nothing."""
    return _with_outputs(run, rng, lambda tool, content: "" if content.strip() else None, "emptied")


def garbage_outputs(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """Tools that answered with noise: binary read as text, another encoding, a page of an error, a cut dump."""
    styles = (_binary, _mojibake, _error_page, _random_text)
    return _with_outputs(run, rng, lambda tool, content: rng.choice(styles)(rng), "replaced by garbage")


def _with_outputs(run: TrainingExample, rng: random.Random, new: NewOutput, how: str) -> Planted | None:
    """About half of the outputs, at least one, become what `new(tool, content)` says; None leaves one as it is."""
    places = [number for number, message in enumerate(run.messages) if message.get("role") == "tool"]
    found = dict(zip(places, outputs_of(run.messages), strict=True))
    chosen = [place for place in places if rng.random() < 0.5] or rng.sample(places, min(1, len(places)))
    messages, changed = list(run.messages), 0
    for place in chosen:
        content = new(*found[place])
        if content is not None and content != found[place][1]:
            messages[place] = with_content(messages[place], content)
            changed += 1
    if not changed:
        return None
    return Planted(with_messages(run, messages), f"{changed} of {len(places)} tool outputs {how}")


def _binary(rng: random.Random) -> str:
    return bytes(rng.randrange(256) for _ in range(rng.randint(40, 400))).decode("utf-8", "replace")


def _mojibake(rng: random.Random) -> str:
    text = "".join(rng.choice("äöüßéèçñøåæœ€–— 日本語текст ") for _ in range(rng.randint(40, 300)))
    return text.encode().decode("latin-1")


def _error_page(rng: random.Random) -> str:
    code = rng.choice((429, 500, 502, 503, 504))
    return (
        f"<html><head><title>{code}</title></head><body><center><h1>{code}</h1></center><hr>"
        f"<center>gateway/{rng.randint(1, 3)}.{rng.randint(0, 30)}</center></body></html>"
    )


def _random_text(rng: random.Random) -> str:
    letters = string.ascii_letters + string.digits + "+/="
    return "".join(rng.choice(letters) for _ in range(rng.randint(80, 600)))


def misjoined(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """This run's goal over another task's messages: two traces of one id, or an id that was used twice."""
    others = [other for other in pool.accepted if other.task_id != run.task_id and other.goal != run.goal]
    if not others:
        return None
    other = with_goal(rng.choice(others), run.goal)
    return Planted(
        replace(run, messages=other.messages, tools=other.tools), "the goal over the messages of another task's run"
    )


def loop(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """One step again and again before the run goes on."""
    head, steps = Steps.of(run.messages)
    places = [number for number, step in enumerate(steps) if calls_something(step)]
    if not places:
        return None
    place, times = rng.choice(places), rng.randint(3, 8)
    repeated = [_with_ids(steps[place], f"again_{number}") for number in range(times)]
    messages = Steps(head, (*steps[: place + 1], *repeated, *steps[place + 1 :])).joined()
    return Planted(with_messages(run, messages), f"one step {times} times more")


def _with_ids(step: Sequence[Message], mark: str) -> tuple[Message, ...]:
    """The step once more, its calls under ids of their own."""
    ids = {call.get("id"): f"{call.get('id')}_{mark}" for call in step[0].get("tool_calls") or ()}
    asked = {**step[0], "tool_calls": [{**call, "id": ids[call.get("id")]} for call in step[0]["tool_calls"]]}
    answers = [
        {**message, "tool_call_id": ids.get(message.get("tool_call_id"), message.get("tool_call_id"))}
        if message.get("role") == "tool"
        else message
        for message in step[1:]
    ]
    return (asked, *answers)


def wrong_score(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """A failed run that was judged as a good one: score, confidence and outcome are those of a run that passes."""
    if not pool.accepted:
        return None
    good = rng.choice(pool.accepted)
    judged = replace(run, quality_score=good.quality_score, confidence=good.confidence, outcome=good.outcome)
    return Planted(judged, f"score {run.quality_score:g} became {good.quality_score:g}", judged_as=good.key)


FAULTS: Mapping[str, Planter] = {
    "wrong_score": wrong_score,
    "cut_end": cut_end,
    "cut_start": cut_start,
    "shuffled_steps": shuffled_steps,
    "swapped_outputs": swapped_outputs,
    "emptied_outputs": emptied_outputs,
    "garbage_outputs": garbage_outputs,
    "misjoined": misjoined,
    "loop": loop,
}
OF_REJECTED = frozenset({"wrong_score"})  # planted into runs that do not pass the gates; all others into those that do
