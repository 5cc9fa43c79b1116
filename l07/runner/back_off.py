"""The fate Transient: wait, and the same again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from l07.errors import Transient
from l07.telemetry import BACK_OFFS, METRICS

log = logging.getLogger("l07.runner")

STRAY = "cancelled"  # in a place where errors have codes


async def with_back_off(
    call: Callable[[], Awaitable[Any]], *, stop: asyncio.Event, first_s: float = 0.2, most_s: float = 30.0
) -> Any:
    """Call until it does not fail with Transient; waits twice as long each time. Returns None when stopped.

    A cancellation that nobody asked of this task (one that a client library let out) counts as an outage: a task that ended
    with it would be gone without a word, and the rest of the process would go on."""
    wait_s = first_s
    while not stop.is_set():
        try:
            return await call()
        except Transient as err:
            METRICS.add(BACK_OFFS, 1, err.code)
            log.warning("backing_off", extra={"code": err.code, "wait_s": wait_s, "why": err.message})
        except asyncio.CancelledError as err:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            METRICS.add(BACK_OFFS, 1, STRAY)
            log.error("stray_cancellation", extra={"wait_s": wait_s}, exc_info=err)
        await pause(stop, wait_s)
        wait_s = min(wait_s * 2, most_s)
    return None


async def pause(stop: asyncio.Event, seconds: float, wake: asyncio.Event | None = None) -> None:
    """Wait, but no longer than until `stop`, or `wake`."""
    waits = [asyncio.ensure_future(event.wait()) for event in (stop, wake) if event is not None]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
