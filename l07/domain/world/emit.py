"""Runs of the generated world as CloudEvents, one JSON document a line: a trace and a score each, in three dialects, with what goes wrong on a real bus.

The quality score is drawn around the run's real outcome (success near 92, failure near 35, of 100), the confidence near
0.85: the same noise model of an evaluator that the real traces get in tools/traces_to_events.py.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from l07.domain.world.runs import Run

START = datetime(2026, 1, 12, 9, 0, tzinfo=UTC)
DIALECTS = (("chat", 0.7), ("steps", 0.2), ("task_definition", 0.1))


@dataclass(frozen=True, slots=True)
class Noise:
    """How the bus and the agents behave. Shares are of events, `unscored` is of runs."""

    shuffle: int = 50  # an event moves by up to this many places
    doubled: float = 0.02  # sent a second time with the same id
    late: float = 0.02  # a score that comes after everything else
    broken: float = 0.01  # a line beside the others that nobody can read
    unscored: float = 0.02  # a run whose score never comes


@dataclass(frozen=True, slots=True)
class Stream:
    """Lines in the order of sending, and what went into them: runs, traces, scores, doubled, late, broken, unscored."""

    lines: tuple[str, ...]
    counts: Mapping[str, int]


def stream(runs: Iterable[Run], *, seed: int, noise: Noise | None = None) -> Stream:
    """All events of `runs`. len(lines) = traces + scores + doubled + broken; the same arguments give the same bytes."""
    noise = noise or Noise()
    rng = random.Random(f"stream/{seed}")
    placed: list[tuple[float, str]] = []
    counts = dict.fromkeys(("runs", "traces", "scores", "doubled", "late", "broken", "unscored"), 0)
    for number, done in enumerate(runs):
        _place(done, number, rng, placed, counts, noise)
    placed.sort(key=lambda pair: pair[0])
    return Stream(tuple(line for _, line in placed), counts)


def _place(
    done: Run, number: int, rng: random.Random, placed: list[tuple[float, str]], counts: dict[str, int], noise: Noise
) -> None:
    trace, score = _events(done, number, rng)
    here = 2.0 * number
    counts["runs"] += 1
    scored = rng.random() >= noise.unscored
    counts["unscored"] += not scored
    for name, event in (("traces", trace), ("scores", score))[: 2 if scored else 1]:
        late = name == "scores" and rng.random() < noise.late
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        place = here + rng.uniform(0, noise.shuffle) + (1e9 if late else 0.0)
        placed.append((place, line))
        counts[name] += 1
        counts["late"] += late
        if rng.random() < noise.doubled:
            placed.append((place + rng.uniform(0, noise.shuffle), line))
            counts["doubled"] += 1
        if rng.random() < noise.broken:
            placed.append((place, _break(event, rng)))
            counts["broken"] += 1


def _events(done: Run, number: int, rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    ident = hashlib.sha256(f"{done.task.task_id}/{done.agent}/{done.task.goal}".encode()).hexdigest()[:16]
    when = START + timedelta(seconds=number)
    dialect = rng.choices([name for name, _ in DIALECTS], [share for _, share in DIALECTS])[0]
    about = {"task_id": done.task.task_id, "agent_id": f"{done.agent}-agent", "domain": done.task.domain}
    data = {
        "execution_id": f"exec-{ident}",
        **about,
        "outcome": "success" if done.success else "failure",
        **_DIALECT[dialect](done, about),
    }
    quality = rng.gauss(92, 4) if done.success else rng.gauss(35, 12)
    score = {
        "evaluation_id": f"eval-{ident}",
        "execution_id": f"exec-{ident}",
        "quality_score": round(min(100.0, max(0.0, quality)), 2),
        "confidence": round(min(1.0, max(0.0, rng.gauss(0.85, 0.08))), 3),
        "task_type": done.task.intent,
        "evaluation_method": "automated",
        "failure_classification": None if done.success else "policy",
    }
    key = f"exec-{ident}"
    return (
        _event("execution.completed", "/l02/desk-agents", f"ex-{ident}", key, when, data),
        _event(
            "evaluation.completed", "/l06/evaluation", f"ev-{ident}", key, when + timedelta(milliseconds=300), score
        ),
    )


def _event(kind: str, source: str, ident: str, key: str, when: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0", "type": kind, "source": source, "id": ident, "subject": key, "partitionkey": key,
        "time": when.isoformat().replace("+00:00", "Z"), "datacontenttype": "application/json", "data": dict(data),
    }  # fmt: skip


def _chat(done: Run, about: Mapping[str, str]) -> dict[str, Any]:
    messages = []
    for message in done.messages:
        calls = [
            {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
            for call in message.get("tool_calls", ())
        ]
        messages.append({**message, "tool_calls": calls} if calls else dict(message))
    return {"messages": messages, "tools": done.tools}


def _steps(done: Run, about: Mapping[str, str]) -> dict[str, Any]:
    steps = [
        {"step_id": n, "action_type": "tool_call", "tool_name": name, "parameters": arguments, "output": output}
        for n, (name, arguments, output) in enumerate(_done(done), 1)
    ]
    trace = {
        **about,
        "task_description": done.task.goal,
        "task_context": {},
        "steps": steps,
        "final_answer": done.final_answer,
        "version": "1.0",
    }
    return {"trace": trace, "tools": done.tools}


def _task_definition(done: Run, about: Mapping[str, str]) -> dict[str, Any]:
    steps = [
        {"step": n, "action": name, "parameters": arguments, "output": output}
        for n, (name, arguments, output) in enumerate(_done(done), 1)
    ]
    return {
        "task_definition": {"goal": done.task.goal, "context": {}},
        "execution_trace": steps,
        "final_answer": done.final_answer,
        "tools": done.tools,
    }


_DIALECT = {"chat": _chat, "steps": _steps, "task_definition": _task_definition}


def _done(done: Run) -> list[tuple[str, Mapping[str, str], str]]:
    calls = [message["tool_calls"][0]["function"] for message in done.messages if message.get("tool_calls")]
    outputs = [str(message["content"]) for message in done.messages if message["role"] == "tool"]
    return [(call["name"], call["arguments"], output) for call, output in zip(calls, outputs, strict=True)]


def _break(event: Mapping[str, Any], rng: random.Random) -> str:
    """One of the ways in which a line can be unreadable; each keeps a readable type or none, and is a dead letter."""
    how = rng.choice(("cut", "no_id", "old_spec", "text", "wrong_data"))
    whole = json.dumps({**event, "id": f"{event['id']}-broken"}, separators=(",", ":"))
    if how == "cut":
        return whole[: len(whole) * 2 // 3]
    if how == "text":
        return "Traceback (most recent call last): the exporter wrote its own log here"
    changed = dict(event)
    if how == "no_id":
        del changed["id"]
    return json.dumps(
        changed | ({"specversion": "0.3"} if how == "old_spec" else {"data": "none"} if how == "wrong_data" else {}),
        separators=(",", ":"),
    )
