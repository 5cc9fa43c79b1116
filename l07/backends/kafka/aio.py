"""ports.Bus on Kafka by aiokafka: the default."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from l07.backends.kafka.admin import Admin
from l07.backends.kafka.config import Brokers, brokers
from l07.backends.kafka.groups import commit_offsets, committed_offsets
from l07.backends.kafka.producer import Producer
from l07.backends.kafka.reader import Reader
from l07.backends.kafka.subscription import KafkaSubscription
from l07.backends.kafka.topics import check_topics
from l07.events.record import Message, Record, TopicPartition
from l07.ports import Start
from l07.settings import Settings

Offsets = Mapping[TopicPartition, int]


class KafkaBus:
    """Raises, from every call: BusUnavailable E7401, BusLoginRefused E7410, BusForbidden E7411, BusBroken E7415."""

    def __init__(self, brokers: Brokers, admin: Admin, cluster: str) -> None:
        self._brokers = brokers
        self._admin = admin
        self._cluster = cluster
        self._producer = Producer(brokers)
        self._reader = Reader(brokers)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *, check: bool = True) -> AsyncIterator["KafkaBus"]:
        """Log in, and look at the topics. `check=False`: whoever only reads some of them.

        Raises also: BadSetting E7501; TopicMissing E7412, TopicUnfit E7413 of the check."""
        found = brokers(settings)
        async with Admin.open(found) as admin:
            if check:
                await check_topics(admin, found, settings)
            bus = cls(found, admin, await admin.cluster())
            try:
                yield bus
            finally:
                await asyncio.shield(bus._close())

    async def _close(self) -> None:
        await self._producer.close()
        await self._reader.close()

    @property
    def cluster(self) -> str:
        return self._cluster

    async def publish(self, messages: Sequence[Message]) -> None:
        """Raises also: MessageTooLarge E7414."""
        await self._producer.publish(messages)

    @asynccontextmanager
    async def subscribe(
        self, topics: Sequence[str], *, group: str, start: Start | None = None
    ) -> AsyncIterator[KafkaSubscription]:
        """The group is joined by the first `poll`, and `start` asked by it."""
        sub = KafkaSubscription(
            self._brokers, topics, group=group, start=start or self._committed_start(group), lazy_commits=bool(start)
        )
        try:
            yield sub
        finally:
            await asyncio.shield(sub.close())

    def _committed_start(self, group: str) -> Start:
        """The group's committed offsets; the beginning of the log where there is none, or where it is gone."""

        async def start(assigned: Sequence[TopicPartition]) -> Offsets:
            known = await committed_offsets(self._admin, self._brokers.group(group), assigned)
            begins, ends = await self._reader.begins(assigned), await self._reader.ends(assigned)
            return {
                tp: offset if begin <= (offset := known.get(tp, begin)) <= ends[tp] else begin
                for tp, begin in begins.items()
            }

        return start

    async def read(self, tp: TopicPartition, offset: int, *, limit: int = 1) -> Sequence[Record]:
        return await self._reader.read(tp, offset, limit=limit) if tp in await self._partitions([tp.topic]) else []

    async def log_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        """Kafka's topic ids; none of brokers before 2.8."""
        return await self._admin.topic_ids(topics)

    async def begin_offsets(self, topics: Sequence[str]) -> Offsets:
        return await self._of(topics, self._reader.begins)

    async def end_offsets(self, topics: Sequence[str]) -> Offsets:
        return await self._of(topics, self._reader.ends)

    async def offsets_at(self, topics: Sequence[str], time_ms: int) -> Offsets:
        return await self._of(topics, lambda tps: self._reader.at_time(tps, time_ms))

    async def _of(
        self, topics: Sequence[str], ask: Callable[[Sequence[TopicPartition]], Awaitable[Offsets]]
    ) -> Offsets:
        tps = await self._partitions(topics)
        return await ask(tps) if tps else {}

    async def _partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        """Of the topics that are there."""
        found = await self._admin.topics(topics)
        return [
            TopicPartition(name, number) for name, topic in sorted(found.items()) for number in range(topic.partitions)
        ]

    async def delete_before(self, offsets: Offsets) -> None:
        """Records of a topic of ours that lie before these offsets are gone. Raises BusForbidden (E7411)."""
        await self._admin.delete_before(offsets)

    async def kept_ms(self, topics: Sequence[str]) -> Mapping[str, int]:
        """How long each topic keeps a record; -1: for ever; none where this user may not see it."""
        configs = await self._admin.configs(topics)
        return {name: int(found["retention.ms"]) for name, found in configs.items() if "retention.ms" in found}

    async def committed(self, group: str, topics: Sequence[str]) -> Offsets:
        return await committed_offsets(self._admin, self._brokers.group(group), await self._partitions(topics))

    async def commit(self, group: str, offsets: Offsets) -> None:
        """Refused by the brokers while the group has members."""
        await commit_offsets(self._admin, self._brokers.group(group), offsets)
