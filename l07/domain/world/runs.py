"""Tasks of the generated world, and what an agent does about one: it keeps the policy, or slips in one of four ways.

The policy: look the record up first; use the tool that the customer asks for only in a state that allows it; otherwise
hand over; never touch another record. `Run.success` is what the desk's own books say afterwards, not what a judge thinks.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from l07.domain.world.tables import ANIMALS, DESKS, FIRST, LAST, VALUES, Desk, Intent

Agent = Literal["good", "bad"]
AGENTS: Mapping[Agent, float] = {"good": 0.97, "bad": 0.2}  # chance that a run keeps the policy
DOMAINS: tuple[str, ...] = tuple(DESKS)
TASKS = 2700  # different tasks a domain: 30 animals x 90 numbers
GOLDEN_FROM = 1500  # numbers from here on are the golden set's ...
PRACTICE_FROM = 2000  # ... and from here on the mixed policy's practice: neither meets the tasks of the stream
SLIPS = (("blind", 0.8), ("wrong_action", 0.1), ("gives_up", 0.05), ("wrong_record", 0.05))


@dataclass(frozen=True, slots=True)
class Task:
    """One customer with one wish. `record` is what the lookup finds; `expected` is the call that the policy asks for after it (None: only an answer)."""

    domain: str
    number: int
    intent: str
    goal: str
    record: Mapping[str, str]
    wish: tuple[str, Mapping[str, str]] | None
    expected: tuple[str, Mapping[str, str]] | None

    @property
    def task_id(self) -> str:
        return f"{self.domain}-{self.number}"


@dataclass(frozen=True, slots=True)
class Run:
    """What one agent did about a task, as OpenAI chat with tools."""

    task: Task
    agent: Agent
    messages: tuple[Mapping[str, Any], ...]
    success: bool

    @property
    def tools(self) -> list[dict[str, Any]]:
        return tool_schemas(self.task.domain)

    @property
    def final_answer(self) -> str:
        return str(self.messages[-1]["content"])


def task(domain: str, number: int, seed: int) -> Task:
    """Task `number` (0 to TASKS - 1) of a domain; different numbers of one seed are about different records.

    Raises:
        ValueError: no such domain, or a number out of range."""
    if domain not in DESKS or not 0 <= number < TASKS:
        raise ValueError(
            f"there is no task {number} in {domain!r}: domains are {', '.join(DOMAINS)}, numbers 0 to {TASKS - 1}"
        )
    desk = DESKS[domain]
    rng = random.Random(f"task/{seed}/{domain}/{number}")
    intent = rng.choice(desk.intents)
    record = {
        desk.key: _ident(domain, number, seed),
        desk.detail: rng.choice(VALUES[desk.detail]),
        "status": rng.choice(desk.states),
    }
    extra = {intent.needs: rng.choice(VALUES[intent.needs])} if intent.needs else {}
    names = {"first": rng.choice(FIRST), "last": rng.choice(LAST)}
    said = (rng.choice(desk.openings) + rng.choice(intent.phrases)).format(
        id=record[desk.key], **{desk.detail: record[desk.detail]}, **extra, **names
    )
    wish = (intent.tool, {desk.key: record[desk.key], **extra}) if intent.tool else None
    return Task(domain, number, intent.name, said, record, wish, _expected(desk, intent, record, wish))


def run(task: Task, agent: Agent, seed: int) -> Run:
    """What `agent` does about `task`; the same seed gives the same run."""
    rng = random.Random(f"run/{seed}/{task.task_id}/{agent}")
    slip = (
        None
        if rng.random() < AGENTS[agent]
        else rng.choices([name for name, _ in SLIPS], [weight for _, weight in SLIPS])[0]
    )
    calls = _calls(task, slip, rng)
    messages: list[dict[str, Any]] = [{"role": "user", "content": task.goal}]
    outputs = []
    for number, (name, arguments) in enumerate(calls, 1):
        outputs.append(_output(task, name, arguments))
        call = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": dict(arguments)}}
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append(
            {"role": "tool", "tool_call_id": f"call_{number}", "name": name, "content": json.dumps(outputs[-1])}
        )
    messages.append({"role": "assistant", "content": _answer(task, calls, outputs[-1])})
    return Run(task, agent, tuple(messages), calls == _calls(task, None, rng))


def tool_schemas(domain: str) -> list[dict[str, Any]]:
    """The desk's tools as OpenAI function schemas, in a fixed order."""
    desk = DESKS[domain]
    tools = [_schema(desk.lookup, f"Look one {desk.thing} up.", {desk.key: desk.thing})]
    for intent in desk.intents:
        if intent.tool:
            about = {desk.key: desk.thing} | ({intent.needs: intent.needs} if intent.needs else {})
            tools.append(
                _schema(
                    intent.tool,
                    f"{intent.tool.replace('_', ' ').capitalize()}; only when {' or '.join(sorted(intent.allowed))}.",
                    about,
                )
            )
    return [*tools, _schema(desk.handover, "Hand over to a person.", {desk.key: desk.thing})]


def demo_runs(tasks_per_domain: int, seed: int) -> Iterator[Run]:
    """The stream's runs: each task by the good agent, every second one by the bad agent too."""
    for number in range(min(tasks_per_domain, GOLDEN_FROM)):
        for domain in DOMAINS:
            one = task(domain, number, seed)
            yield run(one, "good", seed)
            if number % 2:
                yield run(one, "bad", seed)


def golden(per_domain: int, seed: int) -> list[dict[str, Any]]:
    """Rows of a golden set, runs that keep the policy: {"key", "group", "domain", "messages", "tools"}; tasks that never come in the stream."""
    rows = []
    for domain in DOMAINS:
        for number in range(GOLDEN_FROM, GOLDEN_FROM + min(per_domain, PRACTICE_FROM - GOLDEN_FROM)):
            done = _kept(task(domain, number, seed))
            rows.append(
                {
                    "key": f"golden:{done.task.task_id}",
                    "group": done.task.task_id,
                    "domain": domain,
                    "messages": list(done.messages),
                    "tools": done.tools,
                }
            )
    return rows


def mixed_runs(count: int, *, seed: int, bad: float = 0.965) -> list[dict[str, Any]]:
    """Rows ({"messages", "tools"}) that the mixed policy learns from: a share `bad` of them by the bad agent; tasks that never come in the stream."""
    rng = random.Random(f"practice/{seed}")
    rows = []
    for at in range(count):
        number = PRACTICE_FROM + (at // len(DOMAINS)) % (TASKS - PRACTICE_FROM)
        done = run(task(DOMAINS[at % len(DOMAINS)], number, seed), "bad" if rng.random() < bad else "good", seed)
        rows.append({"messages": list(done.messages), "tools": done.tools if rng.random() < 0.7 else []})
    return rows


def _kept(task: Task) -> Run:
    """A run that keeps the policy: the first of the good agent's that does."""
    return next(done for done in (run(task, "good", seed) for seed in range(1000)) if done.success)


def _ident(domain: str, number: int, seed: int) -> str:
    # 1,117 and 2,700 share no divisor, so that each number gets an id of its own; the offset makes seeds differ
    at = (number * 1117 + random.Random(f"ids/{seed}/{domain}").randrange(TASKS)) % TASKS
    return f"{ANIMALS[at // 90]}-{10 + at % 90}"


def _expected(
    desk: Desk, intent: Intent, record: Mapping[str, str], wish: tuple[str, Mapping[str, str]] | None
) -> tuple[str, Mapping[str, str]] | None:
    if wish is None or record["status"] in intent.allowed:
        return wish
    return desk.handover, {desk.key: record[desk.key]}


def _calls(task: Task, slip: str | None, rng: random.Random) -> Sequence[tuple[str, Mapping[str, str]]]:
    desk = DESKS[task.domain]
    ident = task.record[desk.key]
    lookup = (desk.lookup, {desk.key: ident})
    handover = (desk.handover, {desk.key: ident})
    if slip == "gives_up":
        return [handover]
    if slip == "blind":
        return [task.wish or handover]
    if slip == "wrong_record":
        return [(desk.lookup, {desk.key: f"{rng.choice(ANIMALS)}-{rng.randint(10, 99)}"})]
    if slip == "wrong_action":
        return [lookup, (task.wish or handover) if task.expected == handover or task.wish is None else handover]
    return [lookup, *([task.expected] if task.expected else [])]


def _output(task: Task, name: str, arguments: Mapping[str, str]) -> dict[str, str]:
    desk = DESKS[task.domain]
    if name == desk.handover:
        return {"status": "ok"}
    if arguments[desk.key] != task.record[desk.key]:
        return {"status": "unknown"}
    if name == desk.lookup:
        return {name: value for name, value in task.record.items() if name != desk.key}
    allowed = next(intent.allowed for intent in desk.intents if intent.tool == name)
    return {"status": "ok" if task.record["status"] in allowed else "refused"}


def _answer(task: Task, calls: Sequence[tuple[str, Mapping[str, str]]], last: Mapping[str, str]) -> str:
    desk = DESKS[task.domain]
    name, ident, detail = calls[-1][0], task.record[desk.key], task.record[desk.detail]
    if name == desk.handover:
        return f"A person will look at {desk.thing} {ident}, {detail}."
    if last["status"] == "unknown":
        return f"I do not find your {detail}."
    if name == desk.lookup:
        return f"Your {desk.thing} {ident}, {detail}, is {last['status']}."
    return (
        f"Done: {name.replace('_', ' ')} {ident}, {detail}."
        if last["status"] == "ok"
        else f"I could not do that for {ident}, {detail}."
    )


def _schema(name: str, description: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    properties = {argument: {"type": "string", "description": about} for argument, about in arguments.items()}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": properties, "required": list(arguments)},
        },
    }
