"""When the buffer's memory runs short: which inputs wait, so that those go on that free it. Pure: what is known in, a decision out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from l07.events.record import TopicPartition
from l07.ports import Memory
from l07.settings import Settings

Level = Literal["open", "paused", "stopped"]


@dataclass(frozen=True, slots=True)
class PressureRules:
    """Shares of the memory, and which topics wait for which."""

    traces: frozenset[str]
    scores: frozenset[str]
    pause_at: float = 0.80
    resume_at: float = 0.75
    stop_at: float = 0.95
    limit_bytes: int = 0  # where the server knows none


class Progress(NamedTuple):
    """Where one partition stands."""

    time_ms: int  # record time of the last applied record; 0: none yet
    waiting: bool  # there is more to read
    stuck: bool = False  # it has not moved for long: nobody reads it, or it is halted


class Pressure(NamedTuple):
    """The decision. `share` is of the memory, None where no limit is known."""

    level: Level
    hold: frozenset[TopicPartition]
    share: float | None


CALM = Pressure("open", frozenset(), None)


def pressure_rules(settings: Settings) -> PressureRules:
    topics, rules = settings.topics, settings.backpressure
    return PressureRules(
        traces=frozenset({topics.traces, topics.planning, *topics.of_payloads}),
        scores=frozenset({topics.scores}),
        pause_at=rules.pause_at,
        resume_at=rules.resume_at,
        stop_at=rules.stop_at,
        limit_bytes=rules.limit_bytes,
    )


def decide(
    memory: Memory,
    progress: Mapping[TopicPartition, Progress],
    *,
    rules: PressureRules,
    before: Level,
    full: bool = False,
) -> Pressure:
    """What waits from now on. `before` is the level of the last decision; `full`: the server has just refused a step.

    `paused` is left below `resume_at`, so that it does not flicker; `stopped` as soon as there is room, because what is left
    above `resume_at` may be just what the next score frees."""
    limit = memory.limit or rules.limit_bytes
    share = memory.used / limit if limit else None
    level = _level(share, rules, before=before, full=full)
    if level == "open":
        return Pressure(level, frozenset(), share)
    return Pressure(level, frozenset(progress) if level == "stopped" else ahead(progress, rules=rules), share)


def _level(share: float | None, rules: PressureRules, *, before: Level, full: bool) -> Level:
    if full:
        return "stopped"
    if share is None:
        return "open"
    if share >= rules.stop_at:
        return "stopped"
    if share >= rules.pause_at or (before != "open" and share >= rules.resume_at):
        return "paused"
    return "open"


def ahead(progress: Mapping[TopicPartition, Progress], *, rules: PressureRules) -> frozenset[TopicPartition]:
    """Partitions whose next records can find no other half yet: they stand later in record time than the furthest behind of
    the inputs that they wait for. So the partition that is behind all others never waits.

    One that is read to its end, or that nobody moves, is waited for by none: it would hold the others for ever."""
    traces, scores = _behind(progress, rules.traces), _behind(progress, rules.scores)
    return frozenset(
        tp
        for tp, at in progress.items()
        if (limit := scores if tp.topic in rules.traces else traces) is not None and at.time_ms > limit
    )


def _behind(progress: Mapping[TopicPartition, Progress], topics: Collection[str]) -> int | None:
    """Record time of the furthest behind of these topics that is still read; None: there is none."""
    times = (at.time_ms for tp, at in progress.items() if tp.topic in topics and at.waiting and not at.stuck)
    return min(times, default=None)
