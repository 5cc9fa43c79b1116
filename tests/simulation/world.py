"""What producers send in one schedule: runs with their halves, repeats, conflicts, poison; and what the judge may know of each.

Nothing of the product decides here. Whether a run is an example does not depend on the order of arrival: all scores of a
run lie on the same side of the gates, and both halves lie well within the wait, but for runs that are marked `may`."""

import random
from dataclasses import dataclass, field
from typing import Any

TRACES, SCORES = "execution.traces", "evaluation.quality_scores"
EVENTS, DLQ = "learning.events", "learning.dlq"
NOW_MS = 1_800_000_000_000  # the wall clock when a schedule begins
DAY_MS = 86_400_000
WAIT_S = 3600
HEADERS = ((b"content-type", b"application/cloudevents+json"),)


@dataclass(eq=False, slots=True)
class Spec:
    """One record, and what it says."""

    topic: str
    run: str
    side: str  # trace, score, both, broken, other
    value: bytes
    track: str = ""
    reason: str = ""
    score: float | None = None
    confidence: float | None = None
    tiebreak: str = ""
    content: bytes = b""  # equal: a repeat
    headers: Any = HEADERS

    @property
    def key(self) -> bytes:
        return self.run.encode()


@dataclass(eq=False, slots=True)
class Sending:
    """A record at its moment; `transaction` 0: none, and `at_s` 0: it lies there from the beginning."""

    at_s: float
    time_ms: int
    spec: Spec
    transaction: int = 0
    commit: bool = True


@dataclass(eq=False)
class World:
    sendings: list[Sending] = field(default_factory=list)
    may: set[str] = field(default_factory=set)  # runs whose halves lie too far apart to say whether they meet
    good: set[str] = field(default_factory=set)  # runs that the gates let through when they meet

    def transactions(self) -> dict[int, tuple[float, bool]]:
        """When the last record of each is sent, and whether it is committed."""
        return {s.transaction: (s.at_s, s.commit) for s in sorted(self.sendings, key=_moment) if s.transaction}


def _moment(sending: Sending) -> float:
    return sending.at_s


def a_world(rng: random.Random, *, runs: int, live_s: float) -> World:
    """`runs` runs, of which some lie there from the beginning (20 days of them) and some come while the schedule runs."""
    world = World()
    for number in range(runs):
        live = rng.random() < 0.4
        at_s = live_s * rng.random() if live else 0.0
        time_ms = NOW_MS + int(at_s * 1000) if live else NOW_MS - int(20 * DAY_MS * rng.random())
        _add_run(world, rng, f"x{number}", at_s, time_ms)
    world.sendings.sort(key=lambda sending: (sending.at_s, sending.time_ms))
    _bind(world.sendings, rng)
    return world


def _add_run(world: World, rng: random.Random, run: str, at_s: float, time_ms: int) -> None:
    specs = _specs(world, rng, run)
    far = at_s == 0.0 and rng.random() < 0.04
    if far:
        world.may.add(run)
    for spec in specs:
        apart = rng.randrange(0, 12 * WAIT_S) if far else rng.randrange(0, 600)
        late_s = min(apart, 6.0) * rng.random() if at_s else 0.0
        late_ms = int(late_s * 1000) if at_s else apart * 1000
        skew = rng.randrange(-30_000, 30_000)
        for _ in range(rng.choice([1, 1, 1, 1, 1, 2])):  # a producer that got no answer sends again
            record_ms = min(time_ms + late_ms, NOW_MS + int(1000 * (at_s + late_s))) + skew
            world.sendings.append(Sending(at_s + late_s, record_ms, spec))


def _specs(world: World, rng: random.Random, run: str) -> list[Spec]:
    kind, topic = rng.random(), rng.choice([TRACES, SCORES])
    if kind < 0.03:
        return [Spec(topic, run, "broken", b'{"broken": ' + run.encode())]
    if kind < 0.06:
        return [Spec(topic, run, "other", _event("weather.changed", "{}"))]
    good = rng.random() < 0.75
    scores = [a_score(run, rng, good=good) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    if kind < 0.12:
        return scores
    trace = a_trace(run, rng, good=good, own=rng.random() < 0.1)
    if good and not trace.reason:
        world.good.add(run)
    second = _second_trace(world, rng, trace) if rng.random() < 0.05 else []
    return [trace, *([] if kind < 0.18 else scores), *second]


def _second_trace(world: World, rng: random.Random, trace: Spec) -> list[Spec]:
    """Another trace of the same run: the first that comes counts. With a score of its own in one of them, that decides."""
    if trace.side == "both":
        world.may.add(trace.run)
    return [a_trace(trace.run, rng, good=True, own=False, text="other", reason=trace.reason)]


def _bind(sendings: list[Sending], rng: random.Random) -> None:
    """Some neighbours go out in one transaction, and some of these come to nothing."""
    number = 0
    for at, sending in enumerate(sendings):
        if rng.random() < 0.05:
            number += 1
            commit = rng.random() < 0.5
            for other in sendings[at : at + rng.randrange(1, 4)]:
                if other.transaction == 0 and other.at_s == sending.at_s:
                    other.transaction, other.commit = number, commit


def a_trace(run: str, rng: random.Random, *, good: bool, own: bool, text: str = "a", reason: str | None = None) -> Spec:
    track = rng.choice(["default", "default", "sql"]) if text == "a" else "default"
    if reason is None:
        reason = "unknown_dialect" if rng.random() < 0.05 else ""
    talk = '"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"' + text + '"}]'
    parts = [f'"execution_id":"{run}","outcome":"success"']
    parts += [] if track == "default" else [f'"domain":"{track}"']
    parts += [] if reason else [talk]
    score, confidence = _judged(rng, good=good) if own else (None, None)
    parts += [f'"quality_score":{score},"confidence":{confidence}'] if own else []
    data = "{" + ",".join(parts) + "}"
    side = "both" if own else "trace"
    return Spec(
        TRACES, run, side, _event("execution.completed", data), track, reason, score, confidence, "", data.encode()
    )


def a_score(run: str, rng: random.Random, *, good: bool) -> Spec:
    score, confidence = _judged(rng, good=good)
    said = f"q{rng.randrange(3)}"
    data = f'{{"execution_id":"{run}","quality_score":{score},"confidence":{confidence},"evaluation_id":"{said}"}}'
    return Spec(
        SCORES, run, "score", _event("evaluation.completed", data), "", "", score, confidence, said, data.encode()
    )


def _judged(rng: random.Random, *, good: bool) -> tuple[float, float]:
    return rng.choice([70.0, 80.5, 99.0]) if good else rng.choice([5.0, 69.5]), rng.choice([0.6, 0.75, 0.95])


def _event(type_name: str, data: str) -> bytes:
    return f'{{"specversion":"1.0","id":"e","source":"/sim","type":"{type_name}","data":{data}}}'.encode()
