"""A simulated buffer server: what it holds, what of it is on disk, and the buffer's port on it."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from l07.backends.redis import BufferRules
from l07.errors import BufferFull, BufferUnavailable, NoSuchBatch
from l07.events.record import Message, TopicPartition
from l07.ports import (
    Applied,
    BufferStatus,
    IngestBatch,
    Memory,
    OutboxEntry,
    Position,
    Seal,
    SealedBatch,
    SealedRow,
)
from tests.simulation.net import Net, Process, Server
from tests.simulation.state import Kept, Row, Script, Sealed, State

FSYNC_S = 1.0  # appendfsync everysec
COUNTERS = ("consumed", "applied", "duplicate", "dead_letter", "rejected", "waiting", "expired")
HALF_BYTES = 1000  # what a waiting half takes of the memory


def unavailable() -> BufferUnavailable:
    return BufferUnavailable("the simulated buffer did not answer")


@dataclass(eq=False)
class Redis:
    """One server. A crash leaves any state between the last one on disk and the newest."""

    net: Net
    rng: random.Random
    rules: BufferRules
    broken: frozenset[str] = frozenset()
    limit: int = 0  # bytes
    full: bool = False
    server: Server = field(default_factory=lambda: Server("buffer", unavailable))
    log_number: Callable[[TopicPartition], int] = lambda tp: (
        0
    )  # which of a partition's logs is there now; for the judge
    since: list[State] = field(default_factory=list)  # states after the one that is on disk

    def __post_init__(self) -> None:
        self.script = Script(self.rules, self.broken, lambda: int(self.net.loop.now * 1_000_000))
        self.disk = State()
        self.backups = [State()]
        self.net.loop.call_later(FSYNC_S, self._every_second)

    @property
    def state(self) -> State:
        return self.script.s

    def _every_second(self) -> None:
        if not self.server.down and self.since:
            self.sync()
            self.backups.append(self.disk)
        self.net.loop.call_later(FSYNC_S, self._every_second)

    def sync(self) -> None:
        if self.since:
            self.disk = self.since[-1]
            self.since.clear()

    def wrote(self) -> None:
        self.since.append(self.state.copy())

    def used(self) -> int:
        return HALF_BYTES * len(self.state.waiting)

    def crash(self) -> None:
        """Power is cut: of the last second's writes a part is on disk."""
        left = self.rng.choice([self.disk, *self.since])
        self.net.say("buffer", f"crashed: {len(self.since)} steps were not on disk")
        self._become(left)

    def flush(self) -> None:
        self.net.say("buffer", "flushed")
        self._become(State())

    def restore(self) -> None:
        """A backup comes back: an earlier state, whatever has left since."""
        self.net.say("buffer", "restored from a backup")
        self._become(self.rng.choice(self.backups))

    def _become(self, state: State) -> None:
        self.script.s, self.disk = state.copy(), state
        self.since.clear()
        self.server.epoch += 1


@dataclass(eq=False)
class SimBuffer:
    """ports.ExampleBuffer as one process sees it."""

    redis: Redis
    process: Process
    turns = 1

    async def _ask(self, name: str, effect: Any, *, writes: bool = True) -> Any:
        def step() -> Any:
            if writes and self.redis.full:
                raise BufferFull("the simulated buffer is full")
            result = effect()
            if writes:
                self.redis.wrote()
            return result

        return await self.redis.net.call(self.process, self.redis.server, name, step)

    async def positions(self) -> Mapping[TopicPartition, Position]:
        found: Mapping[TopicPartition, Position] = await self._ask(
            "positions", lambda: dict(self.redis.state.positions), writes=False
        )
        return found

    async def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        await self._ask("begin", lambda: self.redis.script.begin(offsets))

    async def name_logs(self, names: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, str]:
        def effect() -> Mapping[TopicPartition, str]:
            known = {tp: self.redis.state.logs.setdefault(tp, name) for tp, name in names.items()}
            return {tp: name for tp, name in known.items() if name != names[tp]}

        found: Mapping[TopicPartition, str] = await self._ask("name_logs", effect)
        return found

    async def reset(
        self, offsets: Mapping[TopicPartition, int], names: Mapping[TopicPartition, str] | None = None
    ) -> None:
        def effect() -> None:
            for tp, offset in offsets.items():
                self.redis.state.positions[tp] = Position(offset, b"", 0)
                self.redis.state.logs.pop(tp, None)
                self.redis.state.logs |= {tp: names[tp]} if names and tp in names else {}
                self.redis.state.ended.pop(tp, None)
                self.redis.state.history.append(("moved", tp, 0))
                self.redis.state.history.append(("reset", tp, self.redis.log_number(tp)))

        await self._ask("reset", effect)

    async def memory(self) -> Memory:
        found: Memory = await self._ask("memory", lambda: Memory(self.redis.used(), self.redis.limit), writes=False)
        return found

    async def apply(self, batch: IngestBatch) -> Applied:
        if not batch.parts:
            return Applied()

        def effect() -> Applied:
            refused, counts, sealed = self.redis.script.apply(batch)
            return Applied(counts=counts, sealed=sealed, refused=refused)

        applied: Applied = await self._ask("apply", effect)
        return Applied() if "refusal" in self.redis.broken and applied.refused else applied

    async def tick(
        self, *, now_ms: int, at_end: Collection[TopicPartition], inputs: Collection[TopicPartition] = ()
    ) -> Sequence[str]:
        sealed: Sequence[str] = await self._ask("tick", lambda: self.redis.script.tick(now_ms, at_end, inputs))
        return sealed

    async def seal_rest(self) -> Sequence[str]:
        sealed: Sequence[str] = await self._ask("seal_rest", self.redis.script.seal_rest)
        return sealed

    async def read(self, batch_id: str) -> SealedBatch:
        found: SealedBatch = await self._ask("read", lambda: batch_of(self.redis.state, batch_id), writes=False)
        return found

    async def release(self, batch_id: str) -> None:
        raise NotImplementedError("nobody curates here")

    async def outbox(self, *, limit: int) -> Sequence[OutboxEntry]:
        def entries() -> list[OutboxEntry]:
            return [entry_of(self.redis.state, n) for n in sorted(self.redis.state.outbox)[:limit]]

        found: list[OutboxEntry] = await self._ask("outbox", entries, writes=False)
        if not found:  # saves the simulation a thousand empty looks
            await self.redis.net.rest(self.process, 0.3 * self.redis.rng.random())
        elif "barrier" not in self.redis.broken:
            await self._ask("barrier", self.redis.sync, writes=False)
        return found

    async def erasures(self) -> Mapping[str, int]:
        """Nobody orders one here."""
        return {}

    async def sent(self, ids: Sequence[str]) -> None:
        def effect() -> None:
            for ident in ids:
                self.redis.state.outbox.pop(int(ident), None)

        await self._ask("sent", effect)

    async def status(self) -> BufferStatus:
        found: BufferStatus = await self._ask("status", lambda: status_of(self.redis.state), writes=False)
        return found


# ------------------------------------------------------------------ what is seen from outside


def entry_of(state: State, number: int) -> OutboxEntry:
    what = state.outbox[number]
    if isinstance(what, Message):
        return OutboxEntry(str(number), None, (), what)
    return OutboxEntry(str(number), seal_of(state, what), tuple(row.key for row in state.rows[what.id]), None)


def seal_of(state: State, sealed: Sealed) -> Seal:
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for row in state.rows[sealed.id]:
        for tp, half in [kept for kept in (row.trace, row.score) if kept]:
            first[str(tp)] = min(first.get(str(tp), half.offset), half.offset)
            last[str(tp)] = max(last.get(str(tp), half.offset), half.offset)
    return Seal(
        sealed.id,
        sealed.track,
        sealed.cause,  # type: ignore[arg-type]
        sealed.at_ms,
        sealed.accepted,
        sealed.rejected,
        dict(sorted(first.items())),
        dict(sorted(last.items())),
    )


def batch_of(state: State, batch_id: str) -> SealedBatch:
    if batch_id not in state.sealed:
        raise NoSuchBatch(f"no sealed batch {batch_id}")
    rows = [sealed_row(row) for row in state.rows[batch_id]]
    return SealedBatch(seal_of(state, state.sealed[batch_id]), rows)


def sealed_row(row: Row) -> SealedRow:
    judge = row.score or row.trace
    assert judge is not None
    half = judge.half
    assert half.score is not None
    assert half.confidence is not None
    return SealedRow(
        row.key,
        "REJECT" if row.why else "ACCEPT",
        row.why,
        half.score,
        half.confidence,
        row.trace.half.body if row.trace else b"",
        row.score.half.body if row.score else None,
        _at(row.trace) or ("", 0, 0),
        _at(row.score),
        row.revision,
    )


def _at(kept: Kept | None) -> tuple[str, int, int] | None:
    return (*kept.tp, kept.half.offset) if kept else None


def status_of(state: State) -> BufferStatus:
    partitions: dict[str, dict[str, int]] = {}
    for (name, tp), n in state.counts.items():
        partitions.setdefault(str(tp), dict.fromkeys(COUNTERS, 0))[name] = n
    return BufferStatus(
        partitions=dict(sorted(partitions.items())),
        reasons={name: n for name, n in sorted(state.reasons.items()) if n},
        ready={n: {"ACCEPT": t.accepted, "REJECT": t.rejected} for n, t in sorted(state.tracks.items())},
        batches=sorted(state.sealed, key=lambda ident: (ident.rpartition("-")[0], int(ident.rpartition("-")[2]))),
        outbox=len(state.outbox),
        oldest_waiting_ms=min((waits.kept.half.time_ms for waits in state.waiting.values()), default=None),
    )
