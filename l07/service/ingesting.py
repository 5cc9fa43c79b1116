"""The high-rate half of the loop on its own: bus -> buffer -> batch.sealed. `l07 run` and `consumers.ingest` share it."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from l07.backends import open as backends
from l07.backends.lock import DataLock
from l07.pipeline import announce
from l07.pipeline.ingest import IngestRules, ingest_rules
from l07.ports import Bus, ExampleBuffer, Subscription
from l07.routes import input_topics
from l07.runner import INGEST_GROUP, at_end, ingest_step, pause, resume_from, with_back_off
from l07.settings import Settings

log = logging.getLogger("l07.ingest")

Report = Callable[[Mapping[str, Any]], None]
TICK_S = 5.0


@dataclass(slots=True)
class Ingest:
    """What the ingest holds open, and the event that ends it."""

    settings: Settings
    bus: Bus
    buffer: ExampleBuffer
    rules: IngestRules
    source: Subscription
    report: Report
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def step(self, *, merged: bool, timeout_s: float) -> int:
        """One batch; 0 when there was nothing (merged: the end)."""
        limit = self.settings.ingest.slice_records
        count, applied = await ingest_step(
            self.source, self.buffer, rules=self.rules, limit=limit, merged=merged, timeout_s=timeout_s
        )
        if count:
            self.report(
                {"phase": "ingest", "records": count, "counts": dict(applied.counts), "sealed": list(applied.sealed)}
            )
        return count + len(applied.refused)

    async def relay(self) -> int:
        return await announce.relay(self.buffer, self.bus, topic=self.settings.topics.events)

    async def tick(self) -> int:
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        sealed = await self.buffer.tick(now_ms=now_ms, at_end=await at_end(self.source))
        if sealed:
            self.report({"phase": "ingest", "sealed": list(sealed)})
        return 0

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Batches and ticks, until stopped."""
        return (
            repeat(lambda: self.step(merged=False, timeout_s=0.5), self.stop),
            repeat(self.tick, self.stop, rest_s=TICK_S),
        )

    async def drain(self, *, failed: asyncio.Task[None] | None = None) -> None:
        """All that is on the bus, in the merged order; then the rest is sealed. Ends early when stopped or when `failed` ends."""
        while not self._over(failed):
            if not await with_back_off(lambda: self.step(merged=True, timeout_s=0), stop=self.stop):
                break
            await asyncio.sleep(0)  # lets the other consumers have their turn
        if not self._over(failed):
            await self.buffer.seal_rest()

    def _over(self, failed: asyncio.Task[None] | None) -> bool:
        return self.stop.is_set() or (failed is not None and failed.done())

    async def forever(self) -> None:
        """The deployed ingest: batches, ticks and the outbox, until stopped; one that fails stops all."""
        async with asyncio.TaskGroup() as group:
            for loop in (*self.loops(), repeat(self.relay, self.stop, rest_s=0.1)):
                group.create_task(loop)


async def repeat(step: Callable[[], Awaitable[int]], stop: asyncio.Event, *, rest_s: float = 0.0) -> None:
    """`step` again and again until stopped; rests after one that found nothing to do."""
    while not stop.is_set():
        done = await with_back_off(step, stop=stop)
        if not done and rest_s:
            await pause(stop, rest_s)


def now_text() -> str:
    """The time of a ledger entry: RFC 3339, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@asynccontextmanager
async def opened_ingest(settings: Settings, report: Report) -> AsyncIterator[Ingest]:
    """Bus, buffer and the ingest's subscription, on the data folder's lock."""
    async with AsyncExitStack() as stack:
        stack.enter_context(DataLock(settings.data_dir))
        bus = await stack.enter_async_context(backends.open_bus(settings))
        buffer = await stack.enter_async_context(backends.open_buffer(settings))
        group = bus.subscribe(input_topics(settings), group=INGEST_GROUP, start=resume_from(bus, buffer))
        source = await stack.enter_async_context(group)
        yield Ingest(settings, bus, buffer, ingest_rules(settings, cluster="local"), source, report)


@asynccontextmanager
async def stopping(stop: asyncio.Event) -> AsyncIterator[None]:
    """SIGINT and SIGTERM set `stop`; an error of one of several tasks comes out as itself, not as a group."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    with suppress(NotImplementedError, RuntimeError, ValueError):  # not in a thread, not on every platform
        for number in signals:
            loop.add_signal_handler(number, stop.set)
    try:
        yield
    except BaseExceptionGroup as group:
        raise _first(group) from None
    finally:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for number in signals:
                loop.remove_signal_handler(number)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
