"""A bus and a buffer in memory for the tests of the flow: a log can be cut or made again, a buffer can refuse, fail or roll back."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from l07.errors import L07Error
from l07.events.record import Record, TopicPartition
from l07.pipeline.ingest import IngestRules, ingest_rules
from l07.ports import Applied, BufferStatus, IngestBatch, Memory, Position, Slice, Start
from l07.runner import Halts, Stream, resume_from
from l07.settings import load_settings

COUNTERS = ("consumed", "applied", "duplicate", "dead_letter", "rejected", "waiting", "expired")
A, B, C = (TopicPartition("execution.traces", number) for number in range(3))


def rules() -> IngestRules:
    return ingest_rules(load_settings({}).settings, cluster="test")


@dataclass
class Log:
    """One partition. Record n has offset `begin + n`, unless `offsets` says otherwise (holes)."""

    values: list[bytes] = field(default_factory=list)
    begin: int = 0
    offsets: list[int] = field(default_factory=list)
    tail: int = 0  # offsets without a record at the end: a marker
    at_ms: int = 1_767_600_000_000

    @property
    def end(self) -> int:
        return (self.offsets[-1] + 1 if self.offsets else self.begin + len(self.values)) + self.tail

    def records(self, tp: TopicPartition, position: int) -> list[Record]:
        offsets = self.offsets or range(self.begin, self.begin + len(self.values))
        pairs = zip(offsets, self.values, strict=True)
        return [Record(*tp, at, self.at_ms + at, b"k", value) for at, value in pairs if at >= position]


@dataclass
class FakeBus:
    """The parts of Bus and of Subscription that the flow uses; one member that has every partition of `logs`."""

    logs: dict[TopicPartition, Log]
    at: dict[TopicPartition, int] = field(default_factory=dict)
    held: frozenset[TopicPartition] = frozenset()
    rebalances: int = 0
    polls: list[tuple[int, frozenset[TopicPartition]]] = field(default_factory=list)  # limit, what was held
    commits: list[Mapping[TopicPartition, int]] = field(default_factory=list)
    commit_fails: L07Error | None = None
    cluster: str = "fake"
    topic_id: str = ""

    async def log_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        return {topic: self.topic_id for topic in topics if self.topic_id}

    async def begin_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return {tp: log.begin for tp, log in self.logs.items() if tp.topic in topics}

    async def end_offsets(self, topics: Sequence[str] | None = None) -> Mapping[TopicPartition, int]:
        return {tp: log.end for tp, log in self.logs.items() if topics is None or tp.topic in topics}

    async def read(self, tp: TopicPartition, offset: int, *, limit: int = 1) -> Sequence[Record]:
        return self.logs[tp].records(tp, offset)[:limit]

    async def seek(self, tp: TopicPartition, offset: int) -> None:
        self.at[tp] = offset

    def hold(self, tps: Collection[TopicPartition]) -> None:
        self.held = frozenset(tps)

    def position(self) -> Mapping[TopicPartition, int]:
        return dict(self.at)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self.commit_fails:
            raise self.commit_fails
        self.commits.append(dict(offsets))

    async def poll(self, *, limit: int, timeout_s: float) -> Sequence[Slice]:
        self.polls.append((limit, self.held))
        out: list[Slice] = []
        for tp in sorted(self.at.keys() - self.held, key=lambda tp: (len(self.polls) + tp.partition) % len(self.at)):
            if limit <= 0:
                break
            start = self.at[tp]
            records = self.logs[tp].records(tp, start)[:limit]
            limit -= len(records)
            last = not records or records[-1].offset + 1 + self.logs[tp].tail >= self.logs[tp].end
            end = self.logs[tp].end if last else records[-1].offset + 1
            if end > start:
                self.at[tp] = end
                out.append(Slice(tp, start, end, records))
        return out


@dataclass
class FakeBuffer:
    """Stored positions and what was applied, with the fence; `slow` makes each step wait until `go` is set."""

    stored: dict[TopicPartition, Position] = field(default_factory=dict)
    took: list[tuple[TopicPartition, int]] = field(default_factory=list)  # in the order in which it was applied
    fails: list[tuple[L07Error, bool]] = field(default_factory=list)  # next errors; True: it was done all the same
    away: L07Error | None = None
    go: asyncio.Event | None = None
    under_way: list[set[TopicPartition]] = field(default_factory=list)
    most_under_way: int = 0
    refusals: int = 0
    oldest_ms: int | None = None
    seals: int = 0
    looks: int = 0
    names: dict[TopicPartition, str] = field(default_factory=dict)
    used: Memory = field(default_factory=lambda: Memory(0, 0))

    async def positions(self) -> Mapping[TopicPartition, Position]:
        if self.away:
            raise self.away
        return dict(self.stored)

    async def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.stored = {tp: Position(offset, b"", 0) for tp, offset in offsets.items()} | self.stored

    async def name_logs(self, names: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, str]:
        self.names = dict(names) | self.names
        return {tp: self.names[tp] for tp, name in names.items() if self.names[tp] != name}

    async def reset(
        self, offsets: Mapping[TopicPartition, int], names: Mapping[TopicPartition, str] | None = None
    ) -> None:
        self.names = {tp: name for tp, name in self.names.items() if tp not in offsets} | dict(names or {})
        self.stored |= {tp: Position(offset, b"", 0) for tp, offset in offsets.items()}

    async def status(self) -> BufferStatus:
        counters = {str(tp): dict.fromkeys(COUNTERS, 0) for tp in self.stored}
        for tp, _ in self.took:
            counters[str(tp)]["consumed"] += 1
        return BufferStatus(counters, {}, {}, (), 3, self.oldest_ms)

    async def seal_rest(self) -> Sequence[str]:
        if self.away:
            raise self.away
        self.seals += 1
        return ["default-1"]

    async def memory(self) -> Memory:
        self.looks += 1
        return self.used

    async def apply(self, batch: IngestBatch) -> Applied:
        parts = {part.tp for part in batch.parts}
        assert not any(parts & others for others in self.under_way), "two batches of one partition are under way"
        self.under_way.append(parts)
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        try:
            if self.go:
                await self.go.wait()
            for _ in range(20):  # as a server takes its time
                await asyncio.sleep(0)
            return self._apply(batch)
        finally:
            self.under_way.remove(parts)

    def _apply(self, batch: IngestBatch) -> Applied:
        if self.away:
            raise self.away
        error, done = self.fails.pop(0) if self.fails else (None, True)
        have = {part.tp: self._next(part.tp) for part in batch.parts}
        others = {part.tp for part in batch.parts if part.log not in ("", self.names.get(part.tp))}
        refused = {part.tp: have[part.tp] for part in batch.parts if part.start > have[part.tp] or part.tp in others}
        self.refusals += bool(refused)
        if refused or not done:
            return _raise(error) if error else Applied(refused=refused)
        for item in batch.items:
            tp = batch.parts[item.part].tp
            if item.offset >= self._next(tp):
                self.took.append((tp, item.offset))
        for part in batch.parts:
            if part.next > self._next(part.tp):
                self.stored[part.tp] = Position(part.next, part.last_digest, part.last_time_ms)
        return _raise(error) if error else Applied(counts={"dead_letter": len(batch.items)})

    def _next(self, tp: TopicPartition) -> int:
        return self.stored[tp].next if tp in self.stored else 0

    def offsets(self, tp: TopicPartition) -> list[int]:
        return [offset for of, offset in self.took if of == tp]


async def until(happened: Callable[[], bool]) -> None:
    """Turns of the loop, a bounded number, until something has happened."""
    for _ in range(1000):
        if happened():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")


def _raise(error: L07Error) -> Applied:
    raise error


@dataclass
class Flow:
    """A stream over both; `bus.at` is what the member was given at its assignment."""

    bus: FakeBus
    buffer: FakeBuffer
    halts: Halts
    stream: Stream
    start: Start
    now: float = 0.0

    @classmethod
    async def made(
        cls, logs: dict[TopicPartition, Log], buffer: FakeBuffer | None = None, *, size: int = 2, ahead: int = 8
    ) -> "Flow":
        bus, buffer, halts = FakeBus(logs), buffer or FakeBuffer(), Halts()
        named: dict[TopicPartition, str] = {}
        start = resume_from(bus, buffer, halts=halts, logs=named)  # type: ignore[arg-type]
        stream = Stream(bus, buffer, start, rules=rules(), slice_records=size, ahead=ahead, logs=named)  # type: ignore[arg-type]
        flow = cls(bus, buffer, halts, stream, start)
        stream.clock = lambda: flow.now
        bus.at = dict(await start(sorted(logs)))
        return flow

    async def run(self, *, turns: int = 200) -> None:
        """Until there was nothing to do for some turns."""
        idle = 0
        for _ in range(turns):
            done = await self.stream.step(timeout_s=0)
            idle = 0 if done.records or done.refused or self.stream.lost else idle + 1
            if idle > 3:
                return
        raise AssertionError("it never came to rest")


def a_log(count: int, *, begin: int = 0, tag: str = "") -> Log:
    return Log([f"{tag}{n}".encode() for n in range(begin, begin + count)], begin)
