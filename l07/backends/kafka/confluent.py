"""ports.Bus on Kafka by confluent-kafka: records come and go through librdkafka, everything else as with aiokafka."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition as LibPartition

from l07.backends.kafka.admin import Admin
from l07.backends.kafka.aio import KafkaBus
from l07.backends.kafka.config import Brokers
from l07.backends.kafka.confluent_producer import ConfluentProducer
from l07.backends.kafka.confluent_subscription import ConfluentSubscription
from l07.backends.kafka.consumer import woken
from l07.backends.kafka.fetch_watch import has_ended, state_of
from l07.backends.kafka.fetching import take
from l07.backends.kafka.reader import Reader
from l07.errors import BusUnavailable
from l07.events.record import Message, TopicPartition
from l07.ports import Slice, Start

log = logging.getLogger("l07.kafka")


class ConfluentBus(KafkaBus):
    """Some records and batches librdkafka does not read: these are read as with the other client, so that both give the same
    dead letters. What it reads differently: it cuts a header's name at a zero byte, and unpacks gzip without a bound."""

    def __init__(self, brokers: Brokers, admin: Admin, cluster: str) -> None:
        super().__init__(brokers, admin, cluster)
        self._raw = RawReader(brokers)
        self._out = ConfluentProducer(brokers)

    async def _close(self) -> None:
        await self._out.close()
        await self._raw.close()
        await super()._close()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Raises also: MessageTooLarge E7414, HeaderUnfit E7431."""
        await self._out.publish(messages)

    @asynccontextmanager
    async def subscribe(  # type: ignore[override]
        self, topics: Sequence[str], *, group: str, start: Start | None = None
    ) -> AsyncIterator[ConfluentSubscription]:
        """The group is joined at once, by the member's own thread; `start` is asked by `poll`."""
        sub = ConfluentSubscription(
            self._brokers,
            topics,
            group=group,
            start=start or self._committed_start(group),
            lazy_commits=bool(start),
            read_raw=self._raw.slice_at,
            ends=self._reader.ends,
        )
        sub.join()
        try:
            yield sub
        finally:
            await asyncio.shield(sub.close())


class RawReader(Reader):
    """Reads around what librdkafka does not read."""

    async def slice_at(self, tp: TopicPartition, offset: int, limit: int) -> Slice | None:
        """What stands there, whatever its form; None: the log is gone at `offset`. Raises BusUnavailable (E7401)."""
        async with self._one:
            if offset == (await self._ends([tp]))[tp]:
                return Slice(tp, offset, offset, ())
            consumer: Any = await self._open()
            deadline = asyncio.get_running_loop().time() + self._brokers.kafka.request_timeout_s
            with self._told(f"reading {tp}"):
                consumer.assign([LibPartition(*tp)])
                consumer.seek(LibPartition(*tp), offset)
                while not has_ended(consumer) and (left := deadline - asyncio.get_running_loop().time()) > 0:
                    slices, lost = take(consumer, limit=limit)
                    if slices or lost:
                        return slices[0] if slices else None
                    await woken(consumer, left)
            log.error("fetch_stands_still", extra={"tp": str(tp), **state_of(consumer)})
            self._broken = True  # only another consumer helps
            raise BusUnavailable(f"nothing of {tp} came in time", tp=str(tp), offset=offset)
