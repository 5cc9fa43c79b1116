"""A simulated Kafka: logs with holes, heads that retention takes, transactions, topics made again; and the bus on it."""

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from l07.errors import BusUnavailable
from l07.events.record import Message, Record, TopicPartition
from tests.simulation.group import Group, Member
from tests.simulation.net import Net, Process, Server


@dataclass(eq=False)
class Log:
    """One partition. `records` is what a reader of committed records can see; offsets in between are holes."""

    tp: TopicPartition
    number: int = 0  # how often the topic was made before
    begin: int = 0
    next: int = 0
    records: dict[int, Record] = field(default_factory=dict)
    open: dict[int, list[tuple[int, Any]]] = field(default_factory=dict)  # transactions that are not ended
    ever: dict[int, Any] = field(default_factory=dict)  # what was once visible, as the world knows it
    gone: set[int] = field(default_factory=set)  # of these: deleted since

    @property
    def end(self) -> int:
        """Where a reader of committed records stops: at the first transaction that is not ended."""
        return min((rows[0][0] for rows in self.open.values()), default=self.next)

    def append(self, spec: Any, time_ms: int, *, transaction: int = 0) -> None:
        """`spec` has topic key and value, and is what the judge is told."""
        offset, self.next = self.next, self.next + 1
        row = (offset, (spec, time_ms))
        if transaction:
            self.open.setdefault(transaction, []).append(row)
        else:
            self._show(*row)

    def finish(self, transaction: int, *, commit: bool) -> None:
        """A marker takes an offset too."""
        for offset, row in self.open.pop(transaction, ()):
            if commit:
                self._show(offset, row)
        self.next += 1

    def _show(self, offset: int, row: Any) -> None:
        spec, time_ms = row
        self.ever[offset] = (spec, time_ms)
        self.records[offset] = Record(*self.tp, offset, time_ms, spec.key, spec.value, spec.headers)

    def delete(self, offset: int) -> None:
        if self.records.pop(offset, None) is not None:
            self.gone.add(offset)

    def cut_head(self, begin: int) -> None:
        self.begin = max(self.begin, min(begin, self.end))
        for offset in [offset for offset in self.records if offset < self.begin]:
            self.delete(offset)

    def compact(self) -> None:
        """Of each key the newest stays, and so do the last few records."""
        newest = {record.key: offset for offset, record in self.records.items()}
        for offset, record in list(self.records.items()):
            if offset < self.end - 3 and newest[record.key] != offset:
                self.delete(offset)

    def read(self, offset: int, limit: int) -> list[Record]:
        found: list[Record] = []
        for at in range(max(offset, self.begin), self.end):
            if len(found) == limit:
                break
            if at in self.records:
                found.append(self.records[at])
        return found

    def fetch(self, offset: int, limit: int, rng: random.Random) -> tuple[list[Record], int]:
        """Records, and the fetch position behind them: it may already stand behind the holes that follow."""
        found = self.read(offset, limit)
        next_ = found[-1].offset + 1 if found else self.end
        while next_ < self.end and next_ not in self.records and rng.random() < 0.7:
            next_ += 1
        return found, next_


@dataclass(eq=False)
class Kafka:
    net: Net
    rng: random.Random
    partitions: Mapping[str, int]
    server: Server = field(default_factory=lambda: Server("bus", lambda: BusUnavailable("the simulated bus is away")))
    logs: dict[TopicPartition, Log] = field(default_factory=dict)
    old: list[Log] = field(default_factory=list)  # of topics that were made again
    groups: dict[str, Group] = field(default_factory=dict)
    commits: dict[str, dict[TopicPartition, int]] = field(default_factory=dict)
    slow: dict[TopicPartition, float] = field(default_factory=dict)  # nothing is fetched of it before then
    joined: list[Member] = field(default_factory=list)  # all that ever were

    def __post_init__(self) -> None:
        for topic, count in self.partitions.items():
            for number in range(count):
                tp = TopicPartition(topic, number)
                self.logs[tp] = Log(tp)

    def of(self, topics: Sequence[str]) -> list[Log]:
        return [log for tp, log in self.logs.items() if tp.topic in topics]

    def make_again(self, topic: str) -> None:
        for log in self.of([topic]):
            self.old.append(log)
            self.logs[log.tp] = Log(log.tp, log.number + 1)
        for commits in self.commits.values():
            for tp in [tp for tp in commits if tp.topic == topic]:
                del commits[tp]
        for member in self.joined:
            member.forget(topic)
        self.wake()

    def wake(self) -> None:
        for group in self.groups.values():
            group.wake()

    def log_of(self, message: Any) -> Log:
        """Where a record of this topic and key belongs."""
        count = self.partitions[message.topic]
        return self.logs[TopicPartition(message.topic, zlib.crc32(message.key or b"") % count)]

    def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.log_of(message).append(_Sent(message), message.timestamp_ms or 0)
        self.wake()

    def group(self, name: str, topics: Sequence[str]) -> Group:
        if name not in self.groups:
            self.groups[name] = Group(self.net, self.rng, [log.tp for log in self.of(topics)])
        return self.groups[name]


class _Sent:
    """A message of ours as what a log holds."""

    def __init__(self, message: Message) -> None:
        self.key, self.value, self.headers = message.key, message.value, message.headers


@dataclass(eq=False)
class SimBus:
    """ports.Bus as one process sees it."""

    kafka: Kafka
    process: Process
    cluster: str = "sim"

    async def _ask(self, name: str, effect: Callable[[], Any]) -> Any:
        return await self.kafka.net.call(self.process, self.kafka.server, name, effect)

    async def publish(self, messages: Sequence[Message]) -> None:
        """A producer's request may fail in the middle: some are there, some are not."""

        def effect() -> None:
            if self.kafka.server.loses and self.kafka.rng.random() < self.kafka.server.loses:
                self.kafka.publish(messages[: self.kafka.rng.randrange(len(messages))])
                raise BusUnavailable("the simulated bus took a part")
            self.kafka.publish(messages)

        await self._ask("publish", effect)

    async def read(self, tp: TopicPartition, offset: int, *, limit: int = 1) -> Sequence[Record]:
        found: Sequence[Record] = await self._ask("read", lambda: self.kafka.logs[tp].read(offset, limit))
        return found

    async def log_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        found: Mapping[str, str] = await self._ask(
            "log_ids", lambda: {log.tp.topic: f"#{log.number}" for log in self.kafka.of(topics)}
        )
        return found

    async def begin_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return await self._offsets("begin_offsets", topics, lambda log: log.begin)

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return await self._offsets("end_offsets", topics, lambda log: log.end)

    async def offsets_at(self, topics: Sequence[str], time_ms: int) -> Mapping[TopicPartition, int]:
        def first(log: Log) -> int:
            return min((r.offset for r in log.records.values() if r.timestamp_ms >= time_ms), default=log.end)

        return await self._offsets("offsets_at", topics, first)

    async def _offsets(
        self, name: str, topics: Sequence[str], look: Callable[[Log], int]
    ) -> Mapping[TopicPartition, int]:
        found: Mapping[TopicPartition, int] = await self._ask(
            name, lambda: {log.tp: look(log) for log in self.kafka.of(topics)}
        )
        return found

    async def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        found: Mapping[TopicPartition, int] = await self._ask(
            "committed",
            lambda: {tp: n for tp, n in self.kafka.commits.get(group, {}).items() if tp.topic in topics},
        )
        return found

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        await self._ask("commit", lambda: self.kafka.commits.setdefault(group, {}).update(offsets))

    @asynccontextmanager
    async def subscribe(self, topics: Sequence[str], *, group: str, start: Any = None) -> Any:
        member = Member(self, self.kafka.group(group, topics), group, topics, start or self._from_commits(group))
        self.kafka.joined.append(member)
        await self._ask("join", lambda: member.group.join(member))
        try:
            yield member
        finally:
            if self.process.alive:
                member.group.leave(member)

    def _from_commits(self, group: str) -> Any:
        async def start(assigned: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
            found = await self.committed(group, sorted({tp.topic for tp in assigned}))
            return {tp: found.get(tp, 0) for tp in assigned}

        return start
