"""A trainer at the queue: claims a track, works its job, and lets go of it; several at a time where the settings say so.

A trainer claims a track under a lease and renews it while its child works. A job that was taken over or cancelled ends its
child and writes nothing more; one that is preempted by SIGTERM goes back into the queue, and the attempt does not count.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from l07.backends import curves
from l07.domain.job_ledger import claimed, fold
from l07.errors import ChildPreempted, JobTaken, Transient
from l07.events import cloudevents, outbound
from l07.events.record import Message
from l07.pipeline import train
from l07.ports import Bus, Lease, Leases
from l07.routes import Ports
from l07.service.entry import ended
from l07.service.ingesting import Report, now_text
from l07.service.reporting import Makers, Reporting
from l07.settings import Settings

log = logging.getLogger("l07.control")

LOOK_S = 1.0  # how often a trainer looks whether its job was cancelled or taken over
TELL_S = 1.0  # what a line of progress may take; one that takes longer is the only one of its job under way
TELL_EVERY_S = 10.0  # a job's lines on the bus; the first one goes out at once


@dataclass(slots=True)
class Telling:
    """What of a job's progress is on its way to the bus, and when the last line went."""

    task: "asyncio.Task[None] | None" = None
    at: float = -TELL_EVERY_S


@dataclass(slots=True)
class Worker:
    """One trainer process. `work` may run several times at once: each call takes a track of its own."""

    bus: Bus
    ports: Ports
    leases: Leases
    report: Report
    stop: asyncio.Event
    owner: str = field(default_factory=lambda: f"{socket.gethostname()}/{os.getpid()}")
    meter: Callable[[], float | None] = lambda: None  # joules; see `Desk`
    trackers: Makers = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return self.ports.settings

    async def work(self) -> int:
        """The most urgent due job whose track nobody else works on, to its end; 0: there is none.

        While as many tracks are claimed as `training.group_concurrency` allows, only those are looked at: their trainer may be
        gone."""
        entries = await self.ports.jobs.entries()
        most, busy = self.settings.training.group_concurrency, set(claimed(fold(entries).values()))
        due = list(dict.fromkeys(job.track for job in train.queue(entries)))
        if most:
            busy -= await self._bury(busy - set(due))
        for track in due:
            if (not most or track in busy or len(busy) < most) and await self._work_on(track):
                return 1
        return 0

    async def _bury(self, tracks: set[str]) -> set[str]:
        """Of tracks where nothing is due any more, those whose claim's holder is dead: nobody else would give it back."""
        buried = set()
        for track in tracks:
            lease = await self.leases.claim(f"track-{track}", self.owner)
            if lease is not None:
                lines = fold(await self.ports.jobs.entries())
                if (job := claimed(lines.values()).get(track)) is not None:
                    await train.let_go(job, jobs=self.ports.jobs, at=now_text())
                await self.leases.release(lease)
                buried.add(track)
        return buried

    async def _work_on(self, track: str) -> bool:
        jobs = self.ports.jobs
        known = train.fence_of(await jobs.entries(), track)
        lease = await self.leases.claim(f"track-{track}", self.owner, above=known)
        if lease is None:
            return False
        try:
            job = await train.take(
                track, fence=lease.fence, owner=self.owner, jobs=jobs, at=now_text(),
                most=self.settings.training.group_concurrency,
            )  # fmt: skip
            if job is not None:
                await self._train(job, lease)
            return job is not None
        finally:
            await self._let_go(track, lease)

    async def _let_go(self, track: str, lease: Lease) -> None:
        """The claim too, where the work was cut off before anything said so."""
        job = claimed(fold(await self.ports.jobs.entries()).values()).get(track)
        if job is not None and job.fence == lease.fence:
            await train.let_go(job, jobs=self.ports.jobs, at=now_text())
        await self.leases.release(lease)

    async def _train(self, job: train.Queued, lease: Lease) -> None:
        begun, telling = time.monotonic(), Telling()
        self.report({"phase": "train", "track": job.track, "version": job.version})
        try:
            if await unless_stopped(self._while_ours(train.work(job, self._desk(telling)), job, lease), self.stop):
                self.report({"phase": "train", "version": job.version, "seconds": time.monotonic() - begun})
            else:
                await train.preempted(job, jobs=self.ports.jobs, at=now_text())
        except ChildPreempted as err:
            log.warning("job_preempted", extra={"job": job.key, "why": err.message})
            self.report({"phase": "train", "version": job.version, "ended": err.message})
        except JobTaken as err:
            log.warning("job_taken", extra={"job": job.key, "fence": job.fence, "why": err.message})
            self.report({"phase": "train", "version": job.version, "ended": err.message})
        finally:
            if telling.task is not None:
                await end(telling.task)

    async def _while_ours(self, work: Coroutine[Any, Any, None], job: train.Queued, lease: Lease) -> None:
        """`work`, ended as soon as the job is no longer ours. Raises JobTaken (E7707)."""
        task = asyncio.create_task(work)
        watch = asyncio.create_task(self._watch(job, lease))
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            (task if task.done() else watch).result()
        finally:
            await end(watch, task)

    async def _watch(self, job: train.Queued, lease: Lease) -> None:
        every_s = self.settings.training.lease_renew_s
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(min(LOOK_S, every_s))
            self.meter()  # its counters begin again now and then
            await train.check(job, jobs=self.ports.jobs)
            if time.monotonic() - renewed < every_s:
                continue
            if not await self.leases.renew(lease):
                raise JobTaken(f"the lease of {job.key} went to another trainer: this one was silent", job=job.key)
            renewed = time.monotonic()

    def _desk(self, telling: Telling) -> train.Desk:
        p = self.ports
        return train.Desk(
            p.jobs, p.registry, p.store, p.bases, p.trainer, p.settings, now=now_text,
            publish_progress=partial(self.progress, telling), key_file=p.key_file,
            tell=self.report, meter=self.meter, draw=curves.write,
            watcher=partial(Reporting, self.trackers),
        )  # fmt: skip

    # -------------------------------------------------------------- progress

    async def progress(self, said: Telling, job: str, attempt: int, number: int, line: Mapping[str, Any]) -> None:
        """Best effort: while the bus is away lines are dropped, and the job goes on."""
        self.report({"phase": "train", "job_id": job, "attempt": attempt, **line})
        if (said.task is not None and not said.task.done()) or time.monotonic() - said.at < TELL_EVERY_S:
            return
        event = outbound.progress(job, attempt, number, line, at=now_text())
        message = cloudevents.encode(event, topic=self.settings.topics.events, prefix=self.settings.types.prefix)
        said.at, said.task = time.monotonic(), asyncio.create_task(self._tell(message))
        await asyncio.wait({said.task}, timeout=TELL_S)

    async def _tell(self, message: Message) -> None:
        with suppress(Transient):
            await self.bus.publish([message])


async def unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event, *, grace_s: float = 0.0) -> bool:
    """Whether `work` came to its end. After a stop it has `grace_s` left, then it is cut off: whatever is cut off here may be
    cut off anywhere, and is done again by the next run."""
    task = asyncio.create_task(work)
    try:
        if await ended(task, stop, grace_s=grace_s):
            task.result()
            return True
        return False
    finally:
        await end(task)


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """None of them runs when this returns."""
    for task in tasks:
        if not task.done():
            task.cancel()
    await asyncio.wait(tasks)
