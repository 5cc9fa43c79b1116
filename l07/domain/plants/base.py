"""What planters share: a run in pieces, and the other runs to borrow from."""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from l07.domain.example import TrainingExample, tool_calls

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SecondScore:
    """Another score of the same execution, before its batch is sealed."""

    quality_score: float  # 0-100
    confidence: float  # 0-1
    smaller_id: bool  # its evaluation_id comes before that of the run's own
    first: bool  # it arrives before the run's own


@dataclass(frozen=True, slots=True)
class Planted:
    """A run with a fault in it. `values`: strings that must not be found afterwards; never printed."""

    example: TrainingExample
    what: str  # in words, without anything of the run
    values: tuple[str, ...] = ()
    judged_as: str = ""  # key of the run whose score it has; "": its own
    second: SecondScore | None = None


class Output(NamedTuple):
    """What a tool answered in a run of that task."""

    task: str
    content: str


@dataclass(frozen=True, slots=True)
class Pool:
    """The runs of one source, and what they have to lend."""

    accepted: Sequence[TrainingExample]  # that pass the gates
    rejected: Sequence[TrainingExample]
    outputs: Mapping[str, Sequence[Output]] = field(default_factory=dict)  # by tool
    calls: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)  # arguments by tool

    @classmethod
    def of(cls, accepted: Sequence[TrainingExample], rejected: Sequence[TrainingExample]) -> "Pool":
        """Tools are asked of the accepted runs alone: what goes wrong in the others would tell a plant from a run."""
        outputs: dict[str, list[Output]] = defaultdict(list)
        calls: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for run in accepted:
            for name, content in outputs_of(run.messages):
                outputs[name].append(Output(run.task_id, content))
            for call in tool_calls(run.messages):
                function = call["function"]
                if isinstance(function.get("arguments"), Mapping) and function["arguments"]:
                    calls[str(function["name"])].append(function["arguments"])
        return cls(accepted, rejected, dict(sorted(outputs.items())), dict(sorted(calls.items())))


Planter = Callable[[TrainingExample, Pool, random.Random], Planted | None]


class Steps(NamedTuple):
    """A run as its head (all before the assistant's first word) and its steps, each from one word of the assistant to
    the next."""

    head: tuple[Message, ...]
    steps: tuple[tuple[Message, ...], ...]

    @classmethod
    def of(cls, messages: Sequence[Message]) -> "Steps":
        head: list[Message] = []
        steps: list[list[Message]] = []
        for message in messages:
            if message.get("role") == "assistant":
                steps.append([message])
            else:
                (steps[-1] if steps else head).append(message)
        return cls(tuple(head), tuple(map(tuple, steps)))

    def joined(self) -> tuple[Message, ...]:
        return (*self.head, *(message for step in self.steps for message in step))


def outputs_of(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """(tool, output) of every answer, in order. A tool's message that does not name its tool goes by its call's id."""
    names = {call.get("id"): str(call["function"].get("name")) for call in tool_calls(messages)}
    return [
        (str(message.get("name") or names.get(message.get("tool_call_id"), "")), str(message.get("content") or ""))
        for message in messages
        if message.get("role") == "tool"
    ]


def calls_something(step: Sequence[Message]) -> bool:
    return bool(step[0].get("tool_calls"))


def with_messages(run: TrainingExample, messages: Sequence[Message]) -> TrainingExample:
    return replace(run, messages=tuple(messages))


def with_content(message: Message, content: str) -> Message:
    return {**message, "content": content}


def with_goal(run: TrainingExample, goal: str) -> TrainingExample:
    """The same run, asked for something else: the first word of the user is the goal."""
    messages = list(run.messages)
    place = next((number for number, message in enumerate(messages) if message.get("role") == "user"), None)
    if place is not None:
        messages[place] = with_content(messages[place], goal)
    return replace(run, goal=goal, messages=tuple(messages))
