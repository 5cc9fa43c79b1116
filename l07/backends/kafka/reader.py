"""Reading without a group: records from an offset, where logs begin and end, offsets by time."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as LibPartition

from l07.backends.kafka.config import Brokers, aiokafka_options
from l07.backends.kafka.consumer import close, reading_options, woken
from l07.backends.kafka.fates import CAUGHT, fate_of
from l07.backends.kafka.fetch_watch import FetchWatch, has_ended, state_of
from l07.backends.kafka.fetching import read_raw, take
from l07.backends.kafka.starting import start
from l07.errors import BusUnavailable
from l07.events.record import Record, TopicPartition

log = logging.getLogger("l07.kafka")


class Reader:
    """One consumer that is in no group; its calls wait for each other. An error drops it, and the next call makes another."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._consumer: AIOKafkaConsumer | None = None
        self._broken = False
        self._one = asyncio.Lock()

    async def begins(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        async with self._one:
            consumer = await self._open()
            with self._told("where logs begin"):
                return _ours(await consumer.beginning_offsets(_theirs(tps)))

    async def ends(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        async with self._one:
            return await self._ends(tps)

    async def _ends(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        consumer = await self._open()
        with self._told("where logs end"):
            return _ours(await consumer.end_offsets(_theirs(tps)))

    async def at_time(self, tps: Sequence[TopicPartition], time_ms: int) -> Mapping[TopicPartition, int]:
        async with self._one:
            consumer = await self._open()
            with self._told("offsets of a time"):
                found = await consumer.offsets_for_times(dict.fromkeys(_theirs(tps), time_ms))
            ends = await self._ends(tps)
        return {tp: ends[tp] if found[tp] is None else found[tp].offset for tp in ends}

    async def read(self, tp: TopicPartition, offset: int, *, limit: int) -> Sequence[Record]:
        """Committed records from `offset` on, at most `limit`; what is gone is skipped. None at the end."""
        async with self._one:
            end = (await self._ends([tp]))[tp]
            if offset >= end or limit <= 0:
                return []
            for last in (False, True):
                consumer = await self._open()
                with self._told(f"reading {tp}"):
                    consumer.assign(_theirs([tp]))
                    consumer.seek(LibPartition(*tp), offset)
                    found = await self._until(consumer, tp, end, limit)
                if found is not None:
                    return found
                log.error("fetch_stands_still", extra={"tp": str(tp), "last": last, **state_of(consumer)})
                self._broken = True  # only another consumer helps
            raise BusUnavailable(f"no records of {tp} came in time")

    async def _until(self, consumer: AIOKafkaConsumer, tp: TopicPartition, end: int, limit: int) -> list[Record] | None:
        """None: what is there did not come."""
        deadline = asyncio.get_running_loop().time() + self._brokers.kafka.request_timeout_s / 2
        found: list[Record] = []
        position = 0
        while len(found) < limit and position < end:
            slices, lost = take(consumer, limit=limit - len(found))
            for slice_ in slices:
                found += slice_.records
                position = slice_.next
            if lost:  # deleted by retention: what is left counts
                position = (await consumer.beginning_offsets(_theirs([tp])))[LibPartition(*tp)]
                consumer.seek(LibPartition(*tp), position)
                continue
            left = deadline - asyncio.get_running_loop().time()
            if not slices and (left <= 0 or has_ended(consumer)):
                return None
            if not slices:
                await woken(consumer, left)
        return found

    async def _open(self) -> AIOKafkaConsumer:
        if self._broken:
            await self._drop()
        if self._consumer is None:
            consumer = AIOKafkaConsumer(**aiokafka_options(self._brokers), **reading_options(self._brokers))
            await start(consumer, close, doing="connecting")
            read_raw(consumer, bound=self._brokers.kafka.unpacked_bytes, watch=FetchWatch(patience_s=0.0))
            self._consumer = consumer
        return self._consumer

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except CAUGHT as err:
            self._broken = True
            raise fate_of(err, doing=doing) from err

    async def close(self) -> None:
        async with self._one:
            await self._drop()

    async def _drop(self) -> None:
        self._broken = False
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await close(consumer)


def _theirs(tps: Sequence[TopicPartition]) -> list[LibPartition]:
    return [LibPartition(*tp) for tp in tps]


def _ours(offsets: Mapping[LibPartition, int]) -> Mapping[TopicPartition, int]:
    return {TopicPartition(*tp): offset for tp, offset in offsets.items()}
