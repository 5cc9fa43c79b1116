"""What happens in the world, drawn from a seed: runs, their scores, and everything that goes wrong on the way to Kafka.

Nothing here depends on the order in which partitions are read: all records of one run that compete with each other (repeats,
conflicting traces, second scores) have one key, so they lie in one partition of their topic, and both scores of a run that
has two fall on the same side of the gates. The judge reads what became of it from Kafka itself."""

import heapq
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.campaign.poison import poison
from tests.campaign.ports import REPOSITORY

TRACES, PLANS, SCORES = "traces", "planning", "scores"
PARTITIONS = {TRACES: 5, PLANS: 2, SCORES: 3, "reviews": 1, "events": 3, "dlq": 2}
TRACKS = {"gold": {"domains": ["gold"]}, "real": {"domains": ["airline", "sql", "banking", "travel"]},
          "agents": {"sources": ["/agents/a", "/agents/b"]}, "rest": {"domains": ["rest"]}}  # fmt: skip
WORDS = 900


class Send(NamedTuple):
    """One record on its way."""

    role: str  # which topic
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None  # None: by key
    time_ms: int = 0  # 0: now


@dataclass
class Plan:
    """How much of what."""

    seed: int
    events: int
    gold_share: float = 0.06
    real: bool = True
    poison_every: int = 60
    spread: int = 400  # how far apart, in events, the two halves of a run lie


@dataclass
class World:
    """Iterate `sends()` once; the same plan gives the same records in the same order."""

    plan: Plan
    rng: random.Random = field(init=False)
    real: list[tuple[dict[str, Any], dict[str, Any]]] = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.plan.seed)
        self.vocabulary = ["".join(self.rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(WORDS)]
        self.real = real_runs(self.plan.seed) if self.plan.real else []

    def sends(self) -> Iterator[Send]:
        """All records, in the order in which they are sent."""
        waiting: list[tuple[int, int, Send]] = []
        slot = made = 0
        while made < self.plan.events or waiting:
            while made < self.plan.events and (not waiting or len(waiting) < self.plan.spread * 2):
                for after, send in self._happening(made):
                    heapq.heappush(waiting, (slot + after, made, send))
                    made += 1
                slot += 2
            yield heapq.heappop(waiting)[2]

    def replay(self, days: int, now_ms: int) -> Iterator[Send]:
        """Runs of `days` days, each with its score an hour later; all traces first. One partition of the scores stays empty."""
        count, length = self.plan.events // 2, days * 86_400_000
        runs = [(f"old-{number}", now_ms - length + number * (length - 3_600_000) // count) for number in range(count)]
        for ident, at in runs:
            yield self._trace(ident, "rest", "/runtime")._replace(time_ms=at)
        for number, (ident, at) in enumerate(runs):
            yield self._score(ident, 90.0, 0.9)._replace(
                time_ms=at + 3_600_000, partition=number % (PARTITIONS[SCORES] - 1)
            )

    def closing(self, number: int) -> Iterator[Send]:
        """Accepted runs for every track, so that what is open is sealed in the end."""
        for track in TRACKS:
            for each in range(24):
                ident = f"closing-{track}-{number}-{each}"
                domain, source = self._home(track)
                yield self._trace(ident, domain, source)
                yield self._score(ident, 95.0, 0.95)

    # -------------------------------------------------------------- one run

    def _happening(self, number: int) -> Iterator[tuple[int, Send]]:
        rng, spread = self.rng, self.plan.spread
        if number // self.plan.poison_every != (number + 2) // self.plan.poison_every:
            yield rng.randrange(spread), self._poison()
        ident = f"run-{self.plan.seed}-{number}-{rng.randrange(1 << 40):x}"
        draw = rng.random()
        if draw < 0.10 and self.real:
            yield from self._late(self._real(ident))
        elif draw < 0.13:
            yield from self._late(self._plan_run(ident))
        elif draw < 0.16:
            yield rng.randrange(spread), self._own_score(ident)
        elif draw < 0.18:
            yield rng.randrange(spread), self._strange(ident)
        else:
            yield from self._late(self._run(ident))

    def _late(self, sends: Sequence[Send]) -> Iterator[tuple[int, Send]]:
        """Shuffled; some come late, some twice."""
        for send in sends:
            after = self.rng.randrange(self.plan.spread)
            if self.rng.random() < 0.02:
                after += self.rng.randrange(self.plan.spread * 10)
            yield after, send
            if self.rng.random() < 0.03:
                yield after + self.rng.randrange(self.plan.spread), send
            elif self.rng.random() < 0.02:
                yield after + self.rng.randrange(self.plan.spread), self._renamed(send)

    def _run(self, ident: str) -> list[Send]:
        rng = self.rng
        track = "gold" if rng.random() < self.plan.gold_share else rng.choice(["agents", "agents", "rest"])
        domain, source = self._home(track)
        draw = rng.random()
        trace = self._trace(ident, domain, source)
        if draw < 0.03:  # the score never comes
            return [trace]
        if draw < 0.05:  # of a run that nobody tells us of
            return [self._score(ident, rng.uniform(0, 100), rng.random())]
        if draw < 0.07:  # nobody's track: the score waits for ever
            return [self._trace(ident, "elsewhere", "/nobody"), self._score(ident, 90.0, 0.9)]
        if draw < 0.10:
            return [trace, self._trace(ident, domain, source), self._score(ident, 88.0, 0.9)]  # two that differ
        if draw < 0.14:
            pair = (75.0 + rng.random() * 25, 40.0)[rng.random() < 0.3], (72.0, 31.0)
            second = pair[1][0] if pair[0] >= 70 else pair[1][1]
            return [trace, self._score(ident, pair[0], 0.7), self._score(ident, second, 0.9)]
        if draw < 0.16:
            return [self._trace(ident, domain, source, outcome=None), self._score(ident, 93.0, 0.9)]
        return [trace, self._score(ident, round(rng.gauss(80, 14) % 100, 2), round(rng.uniform(0.5, 1), 3))]

    def _home(self, track: str) -> tuple[str, str]:
        if track == "agents":
            return self.rng.choice(["one", "two"]), self.rng.choice(["/agents/a", "/agents/b"])
        return ("sql" if track == "real" else track), "/runtime"

    def _text(self, count: int) -> str:
        return " ".join(self.rng.choices(self.vocabulary, k=count))

    def _trace(self, ident: str, domain: str, source: str, *, outcome: str | None = "success", **more: float) -> Send:
        said = [
            {"role": "user", "content": f"please {self._text(9)}"},
            {"role": "assistant", "content": self._text(14)},
        ]
        data: dict[str, Any] = {
            "execution_id": ident, "task_id": f"task-{self.rng.randrange(4000)}", "agent_id": "a", "domain": domain,
            "messages": said, **more,
        }  # fmt: skip
        if outcome is None:  # ends with the user's words and without an outcome: no example
            said.reverse()
        else:
            data["outcome"] = outcome
        return self._event(TRACES, "execution.completed", source, ident, data)

    def _score(self, ident: str, score: float, confidence: float, kind: str = "execution_id") -> Send:
        data = {
            kind: ident, "quality_score": score, "confidence": confidence,
            "evaluation_id": f"eval-{self.rng.randrange(1 << 40):x}",
        }  # fmt: skip
        return self._event(SCORES, "evaluation.completed", "/evaluation", ident, data)

    def _plan_run(self, ident: str) -> list[Send]:
        data = {
            "plan_id": ident, "domain": "rest",
            "plan": {"task_description": self._text(5), "steps": [self._text(4), self._text(4)], "outcome": "done"},
        }  # fmt: skip
        plan = self._event(PLANS, "planning.completed", "/planner", ident, data)
        return [plan, self._score(ident, self.rng.uniform(40, 100), 0.8, "plan_id")]

    def _own_score(self, ident: str) -> Send:
        return self._trace(ident, "rest", "/runtime", quality_score=round(self.rng.uniform(30, 100), 1), confidence=0.9)

    def _strange(self, ident: str) -> Send:
        """Sound, and read by nobody: counted as rejected."""
        kind = self.rng.choice(["weather.changed", "review.recorded"])
        data: dict[str, Any] = {"execution_id": ident, "verdict": "accept", "reviewer": "ann"}
        return self._event(self.rng.choice([TRACES, SCORES]), kind, "/elsewhere", ident, data)

    def _real(self, ident: str) -> list[Send]:
        out = []
        for role, event in zip((TRACES, SCORES), self.rng.choice(self.real), strict=True):
            data = event["data"] | {"execution_id": ident}
            out.append(self._event(role, event["type"], event["source"], ident, data))
        return out

    def _event(self, role: str, kind: str, source: str, ident: str, data: dict[str, Any]) -> Send:
        event = {
            "specversion": "1.0", "type": kind, "source": source, "id": f"ev-{self.rng.randrange(1 << 60):x}",
            "datacontenttype": "application/json", "data": data,
        }  # fmt: skip
        if self.rng.random() < 0.1:
            return Send(role, ident.encode(), *_binary(event))
        return Send(role, ident.encode(), dumps(event), STRUCTURED if self.rng.random() < 0.5 else ())

    def _renamed(self, send: Send) -> Send:
        """The same content under another id: a producer's repeat too."""
        if send.headers and send.headers[0][0].startswith("ce_"):
            headers = [(name, b"again" if name == "ce_id" else text) for name, text in send.headers]
            return send._replace(headers=headers)
        event = json.loads(send.value or b"")
        return send._replace(value=dumps(event | {"id": event["id"] + "-again"}))

    def _poison(self) -> Send:
        role = self.rng.choice([TRACES, TRACES, PLANS, SCORES])
        key, value, headers = poison(self.rng)
        return Send(role, key, value, headers, self.rng.randrange(PARTITIONS[role]))


STRUCTURED = (("content-type", b"application/cloudevents+json"),)


def dumps(event: object) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def _binary(event: dict[str, Any]) -> tuple[bytes, Sequence[tuple[str, bytes]]]:
    attributes = [(f"ce_{name}", event[name].encode()) for name in ("specversion", "type", "source", "id")]
    return dumps(event["data"]), [*attributes, ("content-type", b"application/json")]


def burst(rng: random.Random, count: int) -> Iterator[Send]:
    """Poison for every partition at once."""
    for number in range(count):
        role = (TRACES, PLANS, SCORES)[number % 3]
        key, value, headers = poison(rng)
        yield Send(role, key, value, headers, number // 3 % PARTITIONS[role])


def real_runs(seed: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Real traces with their scores, where the tool that makes them is beside the repository."""
    tool: Path = REPOSITORY.parent / "shared" / "tools" / "traces_to_events.py"
    if not tool.is_file():
        return []
    command = [sys.executable, tool, "--seed", str(seed), "--limit", "60", "--duplicates", "0", "--unscored", "0"]
    told = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout
    traces: dict[str, dict[str, Any]] = {}
    scores: dict[str, dict[str, Any]] = {}
    for line in told.splitlines():
        event = json.loads(line)
        (traces if event["type"] == "execution.completed" else scores)[event["data"]["execution_id"]] = event
    return [(traces[ident], scores[ident]) for ident in sorted(traces.keys() & scores.keys())]
