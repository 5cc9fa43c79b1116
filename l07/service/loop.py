"""`l07 run`: every consumer in one process, on the embedded backends.

Order of shutdown: the stop event is set; each loop finishes the batch in hand and leaves; the event in hand has GRACE_S left,
then it is cut off and handled again by the next run; a child that trains is ended (its attempt does not count); then
subscriptions, worker process, buffer, bus and the folder's lock close, in this order.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from l07.backends import open as backends
from l07.events import cloudevents, outbound
from l07.pipeline import announce, train
from l07.pipeline.bases import resolve
from l07.ports import Subscription
from l07.routes import CONSUMERS, Ports, routes
from l07.runner import Handler, Routes, control_step, pause, with_back_off
from l07.service.ingesting import Ingest, Report, now_text, opened_ingest, repeat, stopping
from l07.settings import Settings

log = logging.getLogger("l07.loop")

Until = Literal["forever", "idle", "dataset"]
GRACE_S = 5.0  # what a handler has left after a stop; a curation takes less, an evaluation is begun again


@dataclass(slots=True)
class Loop:
    """The running loop. Each step does what there is to do, and says how much that was."""

    ingest: Ingest
    ports: Ports
    control: dict[str, Subscription] = field(default_factory=dict)
    tables: dict[str, Routes] = field(default_factory=dict)

    @property
    def stop(self) -> asyncio.Event:
        return self.ingest.stop

    async def send(self) -> int:
        announced = await announce.announce(
            self.ports.ledgers, self.ingest.bus, topic=self.ports.settings.topics.events
        )
        return await self.ingest.relay() + announced

    async def handle(self, consumer: str, *, timeout_s: float = 0.0) -> int:
        table, dlq = self.tables[consumer], self.ports.settings.topics.dlq
        return await control_step(
            self.control[consumer], self.ingest.bus, table, dlq=dlq, stop=self.stop, timeout_s=timeout_s
        )

    def told(self, consumer: str, handler: Handler) -> Handler:
        """`handler`, reporting what it is about before, and the seconds that it took after."""

        async def telling(event: Any) -> None:
            report, begun = self.ingest.report, time.monotonic()
            report({"phase": consumer, "subject": event.subject})
            if await self._unless_stopped(handler(event), grace_s=GRACE_S):
                report({"phase": consumer, "subject": event.subject, "seconds": time.monotonic() - begun})

        return telling

    async def _unless_stopped(self, work: Coroutine[Any, Any, None], *, grace_s: float = 0.0) -> bool:
        """Whether `work` came to its end. After a stop it has `grace_s` left, then it is cut off: whatever is cut off here
        may be cut off anywhere, and is done again by the next run."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({task}, timeout=None if not self.stop.is_set() else grace_s)
            if task.done():
                task.result()
                return True
            return False
        finally:
            stopped.cancel()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def work(self) -> int:
        due = train.queue(await self.ports.jobs.entries())
        for job in due[:1]:
            await self._train(job)
        return len(due[:1])

    async def _train(self, job: train.Queued) -> None:
        begun = time.monotonic()
        self.ingest.report({"phase": "train", "track": job.track, "version": job.version})
        if await self._unless_stopped(train.work(job, self._desk())):
            self.ingest.report({"phase": "train", "version": job.version, "seconds": time.monotonic() - begun})
        else:
            await train.preempted(job, jobs=self.ports.jobs, at=now_text())

    def _desk(self) -> train.Desk:
        p = self.ports
        return train.Desk(
            p.jobs,
            p.registry,
            p.store,
            p.bases,
            p.trainer,
            p.settings,
            now=now_text,
            publish_progress=self._progress,
            key_file=p.key_file,
            tell=self.ingest.report,
        )

    async def _progress(self, job: str, attempt: int, number: int, line: Mapping[str, Any]) -> None:
        self.ingest.report({"phase": "train", "job_id": job, "attempt": attempt, **line})
        event = outbound.progress(job, attempt, number, line, at=now_text())
        await self.ingest.bus.publish([cloudevents.encode(event)._replace(topic=self.ports.settings.topics.events)])

    async def forever(self) -> None:
        """Until stopped: every step again and again, each in its own task; one that fails stops all."""
        async with asyncio.TaskGroup() as group:
            for loop in self.ingest.loops():
                group.create_task(loop)
            group.create_task(repeat(self.send, self.stop, rest_s=0.1))
            group.create_task(repeat(self.work, self.stop, rest_s=1.0))
            for consumer in CONSUMERS:
                group.create_task(repeat(lambda name=consumer: self.handle(name, timeout_s=0.5), self.stop))  # type: ignore[misc]

    async def until_idle(self, *, jobs: bool) -> None:
        """Everything that is on the bus now, in one repeatable order; the rest sealed; then, with `jobs`, one job a track."""
        drained = asyncio.Event()
        pump = asyncio.create_task(self._pump_until(drained))
        try:
            await self.ingest.drain(failed=pump)
        finally:
            drained.set()
            await pump
        while jobs and not self.stop.is_set() and await self.work():
            await self._pump()

    async def _pump_until(self, drained: asyncio.Event) -> None:
        while not self.stop.is_set():
            last = drained.is_set()
            if not await self._pump() and not last:
                await pause(drained, 0.05)
            if last:
                return

    async def _pump(self) -> int:
        total = 0
        while not self.stop.is_set():
            done = await with_back_off(self.send, stop=self.stop) or 0
            for consumer in CONSUMERS:
                done += await self.handle(consumer)
            if not done:
                break
            total += done
        return total


@asynccontextmanager
async def opened(settings: Settings, report: Report) -> AsyncIterator[Loop]:
    """The loop with everything open and subscribed, on the data folder's lock."""
    async with AsyncExitStack() as stack:
        ingest = await stack.enter_async_context(opened_ingest(settings, report))
        curator = await stack.enter_async_context(backends.open_curator(settings))
        datasets, jobs, registry = (backends.open_ledger(settings, name) for name in backends.LEDGERS)
        ports = Ports(
            settings, ingest.buffer, backends.open_store(settings), backends.open_bases(settings), datasets, jobs, registry,
            trainer=backends.open_trainer(settings), curator=curator, key_file=settings.data_dir / "keys" / "registry.pem",
        )  # fmt: skip
        loop = Loop(ingest, ports)
        for consumer in CONSUMERS:
            table = routes(consumer, ports)
            loop.tables[consumer] = {kind: loop.told(consumer, handler) for kind, handler in table.items()}
            group = ingest.bus.subscribe([settings.topics.events], group=f"l07.{consumer}")
            loop.control[consumer] = await stack.enter_async_context(group)
        yield loop


async def run_loop(settings: Settings, *, until: Until, progress: Report) -> Mapping[str, Any]:
    """Run until stopped, until idle, or until the datasets of what is on the bus are there. Returns {"stopped": bool}.

    SIGINT and SIGTERM end it cleanly. Raises the Fatal or Refused error of the first step that fails, and BaseMissing
    (E7710) before anything is read where a track's base model is not here."""
    if until != "dataset":
        for track in settings.tracks.values():
            resolve(track.base_model, settings.models.aliases)
    async with opened(settings, progress) as loop, stopping(loop.stop):
        await (loop.forever() if until == "forever" else loop.until_idle(jobs=until == "idle"))
        return {"stopped": loop.stop.is_set()}
