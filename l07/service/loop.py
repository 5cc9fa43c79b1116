"""`l07 run`: every consumer in one process, on the embedded backends.

Order of shutdown: the stop event is set; each loop finishes the batch in hand and leaves; the event in hand has some seconds
left, then it is cut off and handled again by the next run; a child that trains is ended (its attempt does not count); then
subscriptions, worker process, buffer, bus and the folder's lock close, in this order.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from l07.pipeline.bases import resolve
from l07.routes import CONSUMERS
from l07.runner import pause, with_back_off
from l07.service.controlling import Control, joined
from l07.service.health import Health
from l07.service.ingesting import Ingest, Report, opened_ingest, stopping
from l07.settings import Settings

Until = Literal["forever", "idle", "dataset"]


@dataclass(frozen=True, slots=True)
class Loop:
    """The running loop: the two halves, and the one event that ends both."""

    ingest: Ingest
    control: Control

    @property
    def stop(self) -> asyncio.Event:
        return self.ingest.stop

    async def send(self) -> int:
        return await self.control.announce() + await self.ingest.relay()

    async def forever(self) -> None:
        """Until stopped: every step again and again, each in its own task; one that fails stops all."""
        async with asyncio.TaskGroup() as group:
            for loop in (*self.ingest.loops(), *self.control.loops()):
                group.create_task(loop)

    async def until_idle(self, *, jobs: bool) -> None:
        """Everything that is on the bus now, in one repeatable order; the rest sealed; then, with `jobs`, one job a track."""
        drained = asyncio.Event()
        pump = asyncio.create_task(self._pump_until(drained))
        try:
            await self.ingest.drain(failed=pump)
        finally:
            drained.set()
            await pump
        while jobs and not self.stop.is_set() and await self.control.work():
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
                done += await self.control.handle(consumer)
            if not done:
                break
            total += done
        return total


@asynccontextmanager
async def opened(settings: Settings, report: Report) -> AsyncIterator[Loop]:
    """The loop with everything open and subscribed, on the data folder's lock."""
    async with (
        opened_ingest(settings, report) as ingest,
        joined(
            settings, CONSUMERS, bus=ingest.bus, buffer=ingest.buffer, report=report,
            health=Health("run", stall_s=settings.health.stall_s), stop=ingest.stop,
        ) as control,
    ):  # fmt: skip
        yield Loop(ingest, control)


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
