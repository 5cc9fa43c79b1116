"""How each of the five consumers starts and ends: settings, logs, signals, health, exit status.

SIGTERM and SIGINT set `stop`: the consumer takes nothing new, finishes what it has in hand, commits, leaves its group, and the
process ends with status 0. What is not done within `health.grace_s` is cut off, which may happen anywhere: the next run does
it again. A Fatal or Refused error ends it with status 1 and its code in the last log line.
"""

import asyncio
import gc
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from l07.backends.heap import keep_freed_memory
from l07.errors import L07Error
from l07.events import cloudevents
from l07.pipeline.compiled import COMPILED
from l07.runner import with_back_off
from l07.service.health import Health, served
from l07.service.ingesting import stopping
from l07.settings import Settings, load_settings
from l07.telemetry import log_to_stderr

try:
    import uvloop
except ImportError:  # there is none for this platform
    uvloop = None  # type: ignore[assignment]

log = logging.getLogger("l07.consumer")


@dataclass(slots=True)
class Running:
    """What a consumer's main function is given."""

    settings: Settings
    health: Health
    stop: asyncio.Event = field(default_factory=asyncio.Event)


Main = Callable[[Running], Awaitable[None]]


def run_consumer(name: str, main: Main, environ: Mapping[str, str] | None = None) -> int:
    """Run `main` until it ends or is stopped; the exit status. `name` is the consumer's: ingest, curate, ...

    `main` returns once `stop` is set and its work is put down; it says of itself in `health` what there is to say."""
    log_to_stderr("warning")
    try:
        settings = load_settings(environ).settings
        log_to_stderr(settings.log_level)
        with asyncio.Runner(loop_factory=event_loop()) as runner:
            runner.run(_run(name, main, settings))
    except L07Error as err:
        log.error("consumer_failed", extra={"consumer": name, "code": err.code, "why": err.message})
        return 1
    except KeyboardInterrupt:  # before the signal handlers were in place
        return 130
    return 0


def event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed; else None, which is asyncio's own: the same, and a slice costs a tenth more."""
    return None if uvloop is None else uvloop.new_event_loop


async def _run(name: str, main: Main, settings: Settings) -> None:
    running = Running(settings, Health(name, stall_s=settings.health.stall_s))
    async with served(running.health, settings.health) as port, stopping(running.stop):
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        said = {"consumer": name, "pid": os.getpid(), "port": port, "compiled": COMPILED, "loop": loop}
        log.info("consumer_started", extra=said)
        keep_freed_memory()
        cloudevents.writer()
        gc.collect()
        gc.freeze()  # what is loaded stays: no collection looks at it again
        gc.set_threshold(100_000, 20, 50)  # records come by thousands and hold no cycles
        work = with_back_off(lambda: main(running), stop=running.stop)  # a server that is away when we start comes back
        await within_grace(work, running.stop, grace_s=settings.health.grace_s)
        log.info("consumer_ended", extra={"consumer": name})


async def within_grace(work: Awaitable[None], stop: asyncio.Event, *, grace_s: float) -> bool:
    """Whether `work` came to its end by itself; after `stop` it has `grace_s` left."""
    task = asyncio.ensure_future(work)
    try:
        if await ended(task, stop, grace_s=grace_s):
            task.result()
            return True
        log.warning("consumer_cut_off", extra={"grace_s": grace_s})
        return False
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def ended(task: "asyncio.Future[None]", stop: asyncio.Event, *, grace_s: float) -> bool:
    """Wait for `task`, but after `stop` no longer than `grace_s`; whether it ended. Nothing is cancelled here."""
    stopped = asyncio.create_task(stop.wait())
    either: set[asyncio.Future[Any]] = {task, stopped}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({task}, timeout=grace_s if stop.is_set() else None)
        return task.done()
    finally:
        stopped.cancel()
