"""The high-rate half of the loop on its own: bus -> buffer -> batch.sealed. `l07 run` and `consumers.ingest` share it."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from l07.backends import open as backends
from l07.errors import BufferFull, ErasuresBehind, ErasuresElsewhere, FileNotRewritten, Transient
from l07.events import cloudevents
from l07.events.record import TopicPartition
from l07.pipeline import announce, forget
from l07.pipeline.ingest import IngestRules, ingest_rules
from l07.pipeline.pressure import pressure_rules
from l07.ports import Bus, ExampleBuffer, Subscription
from l07.routes import input_topics
from l07.runner import INGEST_GROUP, Halts, Stream, ingest_step, made_again, pause, resume_from, with_back_off
from l07.service.health import Health
from l07.service.watching import Watch
from l07.settings import Settings
from l07.telemetry import METRICS, RELAYED

log = logging.getLogger("l07.ingest")

Report = Callable[[Mapping[str, Any]], None]
TICK_S = 5.0
ERASURES_S = 1.0
MOST_BACK_OFF_S = 5.0  # a group forgets members that do not poll; and the input grows meanwhile
RELAY_REST_S = 0.5  # then it looks whether another member left something; of its own this one is told at once
LAST_RELAY_S = 2.0


@dataclass(slots=True)
class Ingest:
    """What the ingest holds open, and the event that ends it."""

    settings: Settings
    bus: Bus
    buffer: ExampleBuffer
    rules: IngestRules
    source: Subscription
    report: Report
    stream: Stream
    watch: Watch
    erasures: forget.Known
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    outgoing: asyncio.Event = field(default_factory=asyncio.Event)  # something came into the outbox
    agreed: bool = True  # with the others on this buffer about what was erased, as of the last look
    cleaned: int = 0  # by tombstones up to this entry the buffer was looked through

    async def step(self, *, merged: bool, timeout_s: float) -> int:
        """One batch; 0 when there was nothing (merged: the end)."""
        await self._hear_of_erasures()
        limit, start = self.settings.ingest.slice_records, self.stream.start
        count, applied = await ingest_step(
            self.source, self.buffer, rules=self.rules, limit=limit, merged=merged, timeout_s=timeout_s, start=start
        )
        if count:
            self._tell(count, applied.counts, applied.sealed)
        return count + len(applied.refused)

    async def turn(self) -> int:
        """One turn of the deployed loop: look and tick when that is due, then the batches whose time it is."""
        health = self.watch.health
        try:
            await self._hear_of_erasures()
            sealed = await self.watch.look()
            if self.watch.is_due("tick", TICK_S):
                await self.tick()
            done = await self.stream.step(timeout_s=0.5)
        except Transient as err:
            self.watch.full |= isinstance(err, BufferFull)
            health.say("back_off", err.code, err.message)
            health.turned()
            raise
        health.unsay("back_off")
        health.turned(moved=bool(done.records))
        if sealed or done.sealed or done.counts["dead_letter"] or self.watch.alerts:
            self.outgoing.set()
        if done.records or sealed:
            self._tell(done.records, done.counts, [*done.sealed, *sealed])
        return done.records

    async def relay(self) -> int:
        sent = await announce.relay(
            self.buffer, self.bus, topic=self.settings.topics.events, prefix=self.settings.types.prefix
        )
        METRICS.add(RELAYED, sent)
        await self._alerts()
        return sent

    async def _relay_more(self) -> int:
        """0 where nothing is left over: whatever comes into the outbox meanwhile wakes the relay."""
        sent = await self.relay()
        return sent if sent >= announce.MOST_READ else 0

    async def tick(self) -> None:
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        await self._compare_logs()
        at_end = await self.stream.at_end()
        inputs = await self.bus.end_offsets(self.watch.topics)
        sealed = await self.buffer.tick(now_ms=now_ms, at_end=at_end, inputs=sorted(inputs))
        if sealed:
            self.outgoing.set()
            self.report({"phase": "ingest", "sealed": list(sealed)})

    async def _hear_of_erasures(self) -> None:
        """What was applied before this member heard of them goes too: nothing of it is under way then."""
        if not self.watch.is_due("erasures", ERASURES_S) and self.agreed:
            return
        self.agreed = False
        await self.erasures.look()
        if text := await forget.disagreement(self.erasures, self.buffer):
            raise ErasuresBehind(text)
        with suppress(BufferFull):  # whoever frees its memory must have its turn; the next look tells them
            await forget.tell(self.erasures, self.buffer)
        self.agreed = True
        tombstones = self.erasures.tombstones
        if tombstones.number == self.cleaned:
            return
        self.rules = replace(self.rules, tombstones=tombstones)
        await self.stream.obey(self.rules)
        gone = await forget.clean(self.buffer, tombstones)
        self.cleaned = tombstones.number
        log.warning("tombstones_loaded", extra={"tombstones": tombstones.number, "gone": gone})
        if gone:
            await self._rewrite_file()

    async def _rewrite_file(self) -> None:
        """Where it may not be done, records go on coming in: whoever ordered the erasure is told by his own command."""
        try:
            await self.buffer.rewrite_file()
        except FileNotRewritten as err:
            log.error("file_not_rewritten", extra={"code": err.code, "why": err.message})

    async def _compare_logs(self) -> None:
        """A partition whose topic was made again under us goes back, and `start` finds out why."""
        ours = self.stream.sub.position().keys() - self.watch.halts.reasons.keys()
        if others := await made_again(self.bus, self.buffer, ours):
            log.warning("topic_made_again", extra={"tps": sorted(map(str, others))})
            self.stream.look_again(others)

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Batches with ticks, in one task because a subscription has one caller; and the outbox. Until stopped."""
        return (
            repeat(self.turn, self.stop, most_s=MOST_BACK_OFF_S),
            repeat(self._relay_more, self.stop, rest_s=RELAY_REST_S, wake=self.outgoing),
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
            for loop in self.loops():
                group.create_task(loop)

    async def put_down(self) -> None:
        """The batches under way land, their offsets are committed, and what is in the outbox by then leaves if that is quick."""
        try:
            await self.stream.finish()
            if self.stop.is_set():
                await asyncio.wait_for(self.relay(), LAST_RELAY_S)
        except (Transient, TimeoutError) as err:  # the next run does it
            log.warning("left_undone", extra={"why": str(err)})

    async def _alerts(self) -> None:
        """One at a time: what the bus has is not sent again when the next one fails."""
        topics, types, alerts = self.settings.topics, self.settings.types, self.watch.alerts
        for number in range(len(alerts)):
            await self.bus.publish([cloudevents.encode(alerts[0], topic=topics.events, prefix=types.prefix)])
            alerts.pop(0)
            log.info("alert_sent", extra={"number": number})

    def _tell(self, records: int, counts: Mapping[str, int], sealed: Sequence[str]) -> None:
        self.report({"phase": "ingest", "records": records, "counts": dict(counts), "sealed": list(sealed)})


async def repeat(
    step: Callable[[], Awaitable[int]],
    stop: asyncio.Event,
    *,
    rest_s: float = 0.0,
    most_s: float = 30.0,
    wake: asyncio.Event | None = None,
) -> None:
    """`step` again and again until stopped; rests after one that found nothing to do, until it is woken. `most_s`: longest
    back-off."""
    while not stop.is_set():
        if wake is not None:
            wake.clear()
        done = await with_back_off(step, stop=stop, most_s=most_s)
        if not done and rest_s:
            await pause(stop, rest_s, wake)


def open_erasures(settings: Settings) -> forget.Known:
    """What is recorded in the data folder. Its key file must be there once something is."""
    return forget.Known(backends.open_ledger(settings, "erasures"), lambda: backends.marks_if_any(settings))


def now_text() -> str:
    """The time of a ledger entry: RFC 3339, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@asynccontextmanager
async def opened_ingest(
    settings: Settings, report: Report, *, health: Health | None = None, halts: Halts | None = None
) -> AsyncIterator[Ingest]:
    """Bus, buffer and the ingest's subscription, on the data folder's lock where the buffer is embedded in it.

    With `halts` a partition in trouble stands still alone, noted there; without, its trouble comes out."""
    async with AsyncExitStack() as stack:
        stack.enter_context(backends.held_folder(settings))
        bus = await stack.enter_async_context(backends.open_bus(settings))
        buffer = await stack.enter_async_context(backends.open_buffer(settings))
        logs: dict[TopicPartition, str] = {}
        start = resume_from(bus, buffer, halts=halts, inputs=input_topics(settings), logs=logs)
        group = bus.subscribe(input_topics(settings), group=INGEST_GROUP, start=start)
        source = await stack.enter_async_context(group)
        erasures = open_erasures(settings)
        await erasures.look()  # before the first slice, whatever the buffer has lost
        if text := await forget.disagreement(erasures, buffer):
            raise ErasuresElsewhere(text)
        rules = replace(ingest_rules(settings, cluster=bus.cluster), tombstones=erasures.tombstones)
        records, turns = settings.ingest.slice_records, buffer.turns
        stream = Stream(source, buffer, start, rules=rules, slice_records=records, logs=logs, turns=turns)
        watch = Watch(
            bus, buffer, stream, halts or Halts(), health or Health("ingest", stall_s=settings.health.stall_s),
            input_topics(settings), pressure_rules(settings), settings.backpressure, settings.health,
        )  # fmt: skip
        ingest = Ingest(settings, bus, buffer, rules, source, report, stream, watch, erasures)
        try:
            yield ingest
        finally:
            await ingest.put_down()


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
