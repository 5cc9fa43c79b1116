"""Builders for curation: runs as events, sealed rows, batches, little worlds with twins; and an oracle for G7 that
shares no code with the product."""

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from l07.domain.dataset import Member
from l07.pipeline.curate.build import Draft
from l07.pipeline.curate.roll import Parent, Roll
from l07.pipeline.curate.twins import Body
from l07.ports import Seal, SealedBatch, SealedRow

Messages = Sequence[Mapping[str, Any]]

WORDS = [f"{a}{b}" for a in ("ba", "do", "fi", "gu", "ke", "lo", "mi", "nu", "pa", "so") for b in "bdfgklmnprstvz"]


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(count))


def a_conversation(goal: str, *actions: str, answer: str = "done") -> list[dict[str, Any]]:
    """A user asks, the assistant calls `work` once for each action, and answers."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": goal}]
    for number, action in enumerate(actions):
        function = {"name": "work", "arguments": json.dumps({"what": action})}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"call_{number}", "name": "work", "content": f"ok {number}"})
    return [*messages, {"role": "assistant", "content": answer}]


def a_trace(ident: str, *, messages: Messages | None = None, goal: str = "tidy the room", **data: Any) -> bytes:
    data = {"task_id": ident, "agent_id": "a", "domain": "home", "outcome": "success"} | data
    body = {"execution_id": ident, "messages": messages or a_conversation(goal, "sweep", "dust"), **data}
    return json.dumps(
        {
            "specversion": "1.0", "type": "execution.completed", "source": "/l02/agents", "id": f"ex-{ident}",
            "time": "2026-01-05T09:00:00Z", "datacontenttype": "application/json", "data": body,
        }
    ).encode()  # fmt: skip


def a_score(ident: str, score: float, confidence: float = 0.9, **data: Any) -> bytes:
    body = {"execution_id": ident, "evaluation_id": f"eval-{ident}", "quality_score": score, "confidence": confidence}
    return json.dumps(
        {
            "specversion": "1.0", "type": "evaluation.completed", "source": "/l06/judge", "id": f"ev-{ident}",
            "time": "2026-01-05T09:00:01Z", "datacontenttype": "application/json", "data": body | data,
        }
    ).encode()  # fmt: skip


def a_row(ident: str, *, score: float = 90.0, confidence: float = 0.9, offset: int = 0, **trace: Any) -> SealedRow:
    reasons = ("quality_score",) if score < 70 else ()
    return SealedRow(
        key=f"execution:{ident}",
        decision="REJECT" if reasons else "ACCEPT",
        reasons=reasons,
        score=score,
        confidence=confidence,
        trace=a_trace(ident, **trace),
        evaluation=a_score(ident, score, confidence),
        trace_at=("execution.traces", 0, offset),
        evaluation_at=("evaluation.quality_scores", 0, offset),
    )


def a_revision(ident: str, *, score: float, confidence: float = 0.95) -> SealedRow:
    row = a_row(ident, score=score, confidence=confidence)
    return row._replace(trace=b"", revision=True)


def a_batch(rows: Iterable[SealedRow], *, number: int = 1, track: str = "default") -> SealedBatch:
    rows = list(rows)
    accepted = sum(row.decision == "ACCEPT" for row in rows)
    seal = Seal(f"{track}-{number}", track, "count", 1767603600000 + number, accepted, len(rows) - accepted, {}, {})
    return SealedBatch(seal, rows)


def edited(rng: random.Random, text: str, share: float) -> str:
    return " ".join(rng.choice(WORDS) if rng.random() < share else word for word in text.split())


def a_world(
    seed: int, *, tasks: int = 40, runs: int = 60, twins: float = 0.2, paraphrased: float = 0.1
) -> list[SealedRow]:
    """Runs of some tasks; some are near copies of runs of the same or of another task, some do exactly what a run of
    another goal did, some are rejected."""
    rng = random.Random(seed)
    goals = {f"t{n}": words(rng, 12) for n in range(tasks)}
    rows: list[SealedRow] = []
    texts: list[tuple[str, str]] = []
    for number in range(runs):
        task = rng.choice(sorted(goals))
        goal, action = goals[task], words(rng, rng.randint(20, 60))
        if texts and rng.random() < twins:
            goal, action = rng.choice(texts)
            action = edited(rng, action, rng.choice((0.0, 0.01, 0.03, 0.08)))
        elif texts and rng.random() < paraphrased:
            action = rng.choice(texts)[1]
        texts.append((goal, action))
        score = rng.choice((40.0, 75.0, 85.0, 85.0, 95.0))
        domain = "home" if int(task[1:]) % 2 else "work"
        talk = a_conversation(goal, *(action[i : i + 80] for i in range(0, len(action), 80)))
        rows.append(a_row(f"r{number:04}", score=score, offset=number, messages=talk, task_id=task, domain=domain))
    return rows


def a_task_each(count: int, *, seed: int = 0, prefix: str = "e", **more: Any) -> list[SealedRow]:
    """`count` runs that have nothing in common, each of its own task."""
    rng = random.Random(f"{seed}/{prefix}")
    return [
        a_row(f"{prefix}{n:03}", offset=n, messages=a_conversation(words(rng, 12), words(rng, 30)), **more)
        for n in range(count)
    ]


# ------------------------------------------------------------------ versions without files


@dataclass
class Shelf:
    """The texts of all rows that any version has held: what the folder of a version is to the next build."""

    texts: dict[str, Body] = field(default_factory=dict)

    def parent(self, draft: Draft) -> Parent:
        for key, example in draft.examples.items():
            self.texts[key] = Body(example.goal, example.messages)
        known = {key: self.texts[key] for key, member in draft.members.items() if member.table}
        return Parent(
            version=str(draft.number),
            roll=Roll.of(draft.members.values(), draft.groups),
            meaning=draft.meaning,
            bodies=lambda keys: {key: known[key] for key in keys if key in known},
        )


# ------------------------------------------------------------------ the oracle of G7


def grams(body: Body) -> frozenset[tuple[str, ...]]:
    """Word 5-grams of the goal and of what the assistant said and called; written anew, with Python's own sets."""
    parts = [body.goal]
    for message in body.messages:
        if message["role"] == "assistant":
            parts.append(message.get("content") or "")
            for call in message.get("tool_calls") or []:
                parts.append(call["function"]["name"] + " " + json.dumps(call["function"]["arguments"]))
    said = re.findall(r"\w+", "\n".join(parts).lower())
    return frozenset(tuple(said[i : i + 5]) for i in range(max(1, len(said) - 4)))


def twins_across(members: Iterable[Member], texts: Mapping[str, Body], *, least: float = 0.75) -> list[tuple[str, str]]:
    """Pairs of rows of different splits whose grams agree; contrast rows count in the split that their column names."""
    rows = [member for member in members if member.table]
    sets = {row.key: grams(texts[row.key]) for row in rows}
    return [
        (one.key, other.key)
        for one, other in combinations(rows, 2)
        if one.split != other.split
        and len(sets[one.key] & sets[other.key]) >= least * len(sets[one.key] | sets[other.key])
    ]


def did(body: Body) -> str:
    """The calls, one after the other; written anew. The worlds' arguments are text, and never short."""
    made = [call["function"] for message in body.messages for call in message.get("tool_calls") or []]
    return json.dumps([[call["name"], call["arguments"]] for call in made], sort_keys=True) if made else ""


def deeds_across(members: Iterable[Member], texts: Mapping[str, Body], *, most: int = 8) -> list[tuple[str, str]]:
    """Pairs of rows of different splits that did exactly the same, but for deeds that more than `most` tasks share.
    A deed's tasks are those of all accepted rows that a version has held."""
    tasks: dict[str, set[str]] = {}
    rows: dict[str, list[Member]] = {}
    for member in members:
        deed = did(texts[member.key]) if member.decision == "ACCEPT" and member.key in texts else ""
        if deed:
            tasks.setdefault(deed, set()).add(member.task)
            rows.setdefault(deed, []).extend([member] if member.learnt_from else [])
    return [
        (one.key, other.key)
        for deed, alike in rows.items()
        if len(tasks[deed]) <= most
        for one, other in combinations(alike, 2)
        if one.split != other.split
    ]


def torn_tasks(members: Iterable[Member]) -> list[str]:
    """Tasks with rows in two splits."""
    splits: dict[str, set[str]] = {}
    for member in members:
        if member.table:
            splits.setdefault(member.task, set()).add(member.split)
    return sorted(task for task, found in splits.items() if len(found) > 1)


def moved(before: Mapping[str, Member], after: Mapping[str, Member]) -> list[str]:
    """Rows that are in another split than they were."""
    return [
        key
        for key, member in after.items()
        if key in before and before[key].learnt_from and member.learnt_from and member.table != before[key].table
    ]


def versions(batches: Sequence[SealedBatch], build: Any) -> Iterator[tuple[Draft, Shelf]]:
    """Every version that follows from these batches; a refused batch joins the next."""
    shelf, parent, waiting = Shelf(), None, list[SealedBatch]()
    for batch in batches:
        waiting.append(batch)
        draft = build(waiting, parent)
        if isinstance(draft, Draft):
            parent, waiting = shelf.parent(draft), []
            yield draft, shelf
