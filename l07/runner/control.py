"""One control event at a time; its offset moves after its handler is done."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from l07.errors import L07Error, NoSuchBatch, Poison, Refused, Transient
from l07.events import outbound
from l07.events.record import Record, TopicPartition
from l07.pipeline.ingest import dead_letter_of_control
from l07.ports import Bus, Subscription
from l07.runner.back_off import with_back_off

log = logging.getLogger("l07.runner")

Handler = Callable[[Any], Coroutine[Any, Any, None]]
Routes = Mapping[type, Handler]
AT_ONCE = 50  # events of one poll
KEEPALIVE_S = (
    5.0  # between two polls while a handler works; a client that does not poll for minutes loses its partitions
)


async def control_step(
    sub: Subscription, bus: Bus, routes: Routes, *, dlq: str, stop: asyncio.Event, timeout_s: float = 0.0
) -> int:
    """Handle the next control events one at a time; the offset moves after the handler is done.

    A handler may take hours: meanwhile the poll goes on with every partition held, so membership is not lost. What was polled
    and is not done - a stop, an outage, a rebalance under the handler - is polled again where it is still ours."""
    slices = await sub.poll(limit=AT_ONCE, timeout_s=timeout_s)
    undone = {slice_.tp: slice_.start for slice_ in slices}
    count, seen = 0, sub.rebalances
    try:
        for slice_ in slices:
            for record in slice_.records:
                if not stop.is_set():
                    await _polling_meanwhile(sub, _handle(record, bus, routes, dlq=dlq, stop=stop))
                if stop.is_set():  # the handler may have been left in the middle; it will see this event again
                    return count
                count += 1
                await _done(sub, slice_.tp, record.offset + 1, undone)
                if sub.rebalances != seen:
                    return count
            await _done(sub, slice_.tp, slice_.next, undone)  # what may lie between is no record
            del undone[slice_.tp]
    finally:
        await _back(sub, undone)
    return count


async def _back(sub: Subscription, undone: Mapping[TopicPartition, int]) -> None:
    for tp, offset in undone.items():
        if tp in sub.position():
            await sub.seek(tp, offset)


async def _done(sub: Subscription, tp: TopicPartition, offset: int, undone: dict[TopicPartition, int]) -> None:
    """Where the partition has left us, another member handles the event again, which changes nothing."""
    if undone[tp] != offset:
        undone[tp] = offset
        if tp in sub.position():
            await sub.commit({tp: offset})


async def _polling_meanwhile(sub: Subscription, work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=KEEPALIVE_S))[0]:
            await _keep(sub)
        task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        sub.hold(())


async def _keep(sub: Subscription) -> None:
    """A poll that takes nothing. What a rebalance has just brought comes again once we are free."""
    sub.hold(sub.position().keys())
    try:
        early = await sub.poll(limit=1, timeout_s=0.0)
    except Transient as err:
        log.warning("keepalive_failed", extra={"code": err.code, "why": err.message})
        return
    for slice_ in early:
        await sub.seek(slice_.tp, slice_.start)


async def _handle(record: Record, bus: Bus, routes: Routes, *, dlq: str, stop: asyncio.Event) -> None:
    """What can never be done for this event is said in a dead letter, and the next one has its turn."""
    try:
        event = outbound.read_event(record)
        handler = routes.get(type(event))
        if event is not None and handler is not None:
            await with_back_off(lambda: _looking_twice(handler, event), stop=stop)
            log.info("event_handled", extra={"type": type(event).__name__, "id": event.id, "subject": event.subject})
    except (Poison, Refused) as err:
        letter = _letter(record, err, dlq=dlq)
        await with_back_off(lambda: bus.publish([letter]), stop=stop)


def _letter(record: Record, err: L07Error, *, dlq: str) -> Any:
    log.error("event_poisoned", extra={"code": err.code, "offset": record.offset, "topic": record.topic})
    return dead_letter_of_control(record, err, dlq=dlq)


async def _looking_twice(handler: Handler, event: Any) -> None:
    """A batch may be gone because another member, late after a rebalance, took it in; then the ledger says so by now."""
    try:
        await handler(event)
    except NoSuchBatch:
        await handler(event)
