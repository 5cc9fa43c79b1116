"""What the tests of Kafka share: a bus on a broker, a `start` that remembers, waiting for what comes."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from l07.backends.kafka.aio import KafkaBus
from l07.events.record import Message, Record, TopicPartition
from l07.ports import Slice, Subscription
from l07.settings import Settings

PATIENCE_S = 30.0


def settings_for(address: str, *, topics: Mapping[str, str] | None = None, **kafka: Any) -> Settings:
    kafka = {"session_timeout_s": 6, "request_timeout_s": 10} | kafka
    return Settings.model_validate({"bus": {"url": f"kafka://{address}", "kafka": kafka}, "topics": topics or {}})


@asynccontextmanager
async def a_bus(address: str, **kafka: Any) -> AsyncIterator[KafkaBus]:
    async with KafkaBus.open(settings_for(address, **kafka), check=False) as bus:
        yield bus


def messages(topic: str, count: int, *, first: int = 0, key: bytes | None = None) -> list[Message]:
    return [Message(topic, key or b"k%d" % n, b"%d" % n, (), 1000 + n) for n in range(first, first + count)]


class Begin:
    """A `start` at the beginning, or where `at` says; remembers what it was asked."""

    def __init__(self, at: Mapping[TopicPartition, int] | None = None) -> None:
        self.at = dict(at or {})
        self.asked: list[list[TopicPartition]] = []

    async def __call__(self, assigned: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.asked.append(list(assigned))
        return {tp: self.at.get(tp, 0) for tp in assigned}


async def gather_records(sub: Subscription, count: int, *, limit: int = 500, keep: Begin | None = None) -> list[Record]:
    """The next `count` records; what comes within the patience where there are fewer."""
    return [record for slice_ in await gather_slices(sub, count, limit=limit, keep=keep) for record in slice_.records]


async def gather_slices(sub: Subscription, count: int, *, limit: int = 500, keep: Begin | None = None) -> list[Slice]:
    """`keep` learns how far each partition was read, as the buffer does: a later assignment goes on from there."""
    slices: list[Slice] = []
    deadline = time.monotonic() + PATIENCE_S
    while sum(len(slice_.records) for slice_ in slices) < count and time.monotonic() < deadline:
        found = await sub.poll(limit=limit, timeout_s=0.5)
        slices += found
        if keep is not None:
            keep.at |= {slice_.tp: slice_.next for slice_ in found}
    return slices


async def until_placed(sub: Subscription, count: int) -> None:
    """Until `count` partitions are the member's and have a place to start."""
    deadline = time.monotonic() + PATIENCE_S
    while len(sub.position()) != count:
        assert time.monotonic() < deadline, sub.position()
        await sub.poll(limit=1, timeout_s=0.05)


class Polling:
    """A member that polls and commits in its own task, and remembers what it was handed."""

    def __init__(self, sub: Subscription) -> None:
        self.sub = sub
        self.slices: list[Slice] = []
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            slices = await self.sub.poll(limit=100, timeout_s=0.2)
            self.slices += slices
            await self.sub.commit({slice_.tp: slice_.next for slice_ in slices})

    @property
    def values(self) -> list[bytes | None]:
        return [record.value for slice_ in self.slices for record in slice_.records]

    async def until(self, **wanted: int) -> None:
        """`records` handed out, or `partitions` placed."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.values) < wanted.get("records", 0) or len(self.sub.position()) != wanted.get(
            "partitions", len(self.sub.position())
        ):
            assert time.monotonic() < deadline, (self.sub.position(), len(self.values))
            if self.task.done():
                self.task.result()
            await asyncio.wait({self.task}, timeout=0.02)

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
