"""What the ingest looks at beside the records: memory, lag, halted partitions. It decides what waits, and tells health and metrics."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from l07.errors import BufferFull
from l07.events import outbound
from l07.events.outbound import LearningAlert
from l07.events.outdata import Severity
from l07.events.record import TopicPartition
from l07.pipeline.pressure import CALM, Pressure, PressureRules, Progress, decide
from l07.ports import Bus, ExampleBuffer, Memory, Position
from l07.runner import Halts, Stream
from l07.service.health import Health
from l07.settings.group import Backpressure
from l07.settings.group import Health as HealthRules
from l07.telemetry import (
    COUNTED,
    HALTED,
    HELD,
    LAG,
    MEMORY_LIMIT,
    MEMORY_USED,
    OLDEST_WAITING,
    OUTBOX,
    REBALANCES,
    Labels,
    Metric,
)

log = logging.getLogger("l07.ingest")

MEMORY_S = 0.5
MEMORY_STEP = 0.01  # of the limit: after so many bytes of records memory is looked at before its time
MEND_S = 30.0  # how often a halted partition is looked at again
TODO_HALTED = (
    "find out what happened to the topic, then `l07 replay --accept-reset` and the records that are there are read"
)
TODO_FULL = "see that curation releases batches, or give the buffer's server more memory; it goes on by itself"


@dataclass(slots=True)
class Watch:
    """The looks of one ingest, each at its own pace. `alerts` are to be published, oldest first."""

    bus: Bus
    buffer: ExampleBuffer
    stream: Stream
    halts: Halts
    health: Health
    topics: tuple[str, ...]
    rules: PressureRules
    backpressure: Backpressure
    health_rules: HealthRules
    clock: Callable[[], float] = time.monotonic
    pressure: Pressure = CALM
    full: bool = False  # the server has refused a step for want of memory
    alerts: list[LearningAlert] = field(default_factory=list)
    _look_at_bytes: float = math.inf
    _due: dict[str, float] = field(default_factory=dict)
    _moved: dict[TopicPartition, tuple[int, float]] = field(default_factory=dict)  # next, since when

    async def look(self) -> list[str]:
        """All that is due; the ids of batches that were sealed because memory is short."""
        sealed: list[str] = []
        if self.is_due("memory", MEMORY_S) or self.full or self.stream.taken_bytes > self._look_at_bytes:
            sealed = await self._memory()
        if self.is_due("counters", self.health_rules.look_s):
            await self._counters()
        # also one that is silent and no longer halted: it was mended while the group moved it, and nobody said so here
        still = {*self.halts.reasons, *self.stream.silent}
        if still and self.is_due("mend", MEND_S):
            self.stream.look_again(sorted(still))
        self._tell_halts()
        return sealed

    def is_due(self, what: str, every_s: float) -> bool:
        """Whether it is time for it again; then its next time is `every_s` from now."""
        now = self.clock()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every_s
        return True

    # -------------------------------------------------------------- memory

    async def _memory(self) -> list[str]:
        memory = await self.buffer.memory()
        limit = memory.limit or self.rules.limit_bytes
        self.health.metrics.set(MEMORY_USED, memory.used)
        self.health.metrics.set(MEMORY_LIMIT, limit)
        self._look_at_bytes = self.stream.taken_bytes + MEMORY_STEP * limit if limit else math.inf
        short = self.full or (limit and memory.used >= self.rules.pause_at * limit)
        if not short and self.pressure.level == "open":
            return []
        return await self._press(memory)

    async def _press(self, memory: Memory) -> list[str]:
        progress = self._progress(await self.buffer.positions(), await self.bus.end_offsets(self.topics))
        before, full, self.full = self.pressure, self.full, False
        self.pressure = decide(memory, progress, rules=self.rules, before=before.level, full=full)
        self.stream.hold(self.pressure.hold, stopped=self.pressure.level == "stopped")
        self.health.metrics.set(HELD, len(self.pressure.hold & self._ours()))
        if before.level != self.pressure.level:
            self._tell_pressure(memory)
        return await self._seal() if self.pressure.level == "stopped" else []

    def _progress(
        self, stored: Mapping[TopicPartition, Position], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, Progress]:
        now = self.clock()
        out = {}
        for tp, end in ends.items():
            at = stored.get(tp, Position(0, b"", 0))
            next_, since = self._moved.get(tp, (-1, now))
            if next_ != at.next or tp in self.pressure.hold:  # one that waits for the others cannot move
                since = now
            self._moved[tp] = at.next, since
            stuck = now - since > self.backpressure.patience_s or tp in self.halts.reasons
            out[tp] = Progress(at.time_ms, at.next < end, stuck)
        return out

    async def _seal(self) -> list[str]:
        try:
            return list(await self.buffer.seal_rest())
        except BufferFull:  # not even that: what is sealed already will be released
            return []

    def _tell_pressure(self, memory: Memory) -> None:
        level, share = self.pressure.level, self.pressure.share
        said = {"level": level, "share": share, "used": memory.used, "held": sorted(map(str, self.pressure.hold))}
        log.warning("memory_pressure", extra=said)
        if level != "stopped":
            self.health.unsay("memory")
            return
        text = f"the buffer uses {memory.used} bytes of {memory.limit or self.rules.limit_bytes}: nothing is read"
        self.health.say("memory", BufferFull.code, text)
        self._alert(BufferFull.code, "error", stopped="ingest", todo=TODO_FULL, cause=f"memory/{_now_ms()}")

    # -------------------------------------------------------------- counters

    async def _counters(self) -> None:
        status = await self.buffer.status()
        lag = await self._lag()
        ours, metrics = self._ours(), self.health.metrics
        for name, metric in COUNTED.items():
            of_ours = {tp: status.partitions[str(tp)][name] for tp in ours if str(tp) in status.partitions}
            self._replace(metric, of_ours)
        self._replace(LAG, lag)
        metrics.set(OUTBOX, status.outbox)
        metrics.set(REBALANCES, self.stream.sub.rebalances)
        oldest = status.oldest_waiting_ms
        metrics.set(OLDEST_WAITING, 0.0 if oldest is None else max(0.0, (_now_ms() - oldest) / 1000))
        idle = self.pressure.hold | self.halts.reasons.keys()
        self.health.lag = sum(n for tp, n in lag.items() if tp not in idle)
        if ours or self.stream.sub.rebalances:
            self.health.joined()

    async def _lag(self) -> dict[TopicPartition, int]:
        stored, ends = await self.buffer.positions(), await self.stream.sub.end_offsets()
        return {tp: max(0, end - (stored[tp].next if tp in stored else 0)) for tp, end in ends.items()}

    def _replace(self, metric: Metric, values: Mapping[TopicPartition, int]) -> None:
        named: dict[Labels, float] = {(tp.topic, str(tp.partition)): float(n) for tp, n in values.items()}
        self.health.metrics.replace(metric, named)

    def _ours(self) -> set[TopicPartition]:
        return set(self.stream.sub.position()) | self.stream.silent

    # -------------------------------------------------------------- halted partitions

    def _tell_halts(self) -> None:
        for tp, why in self.halts.fresh:
            self._alert(why.code, "error", stopped=str(tp), todo=TODO_HALTED, cause=f"{tp}/{why.message}")
        self.halts.fresh.clear()
        said = {f"partition {tp}": why for tp, why in self.halts.reasons.items()}
        for key in [key for key in self.health.reasons if key.startswith("partition ") and key not in said]:
            self.health.unsay(key)
        for key, why in said.items():
            self.health.say(key, why.code, why.message)
        self.health.metrics.set(HALTED, len(said))

    def _alert(self, code: str, severity: Severity, *, stopped: str, todo: str, cause: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.alerts.append(outbound.alert(code, severity, stopped=stopped, todo=todo, at=at, cause=cause))


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)
