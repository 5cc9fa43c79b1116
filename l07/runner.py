"""The two loops: batches from the bus to the buffer, and one control event at a time. The only place where fates are decided.

Order of shutdown: stop taking, finish the batch in hand, finish or abandon the event in hand, commit, leave the group, close.
A child that trains is ended first: its job starts again at the next run.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from l07.errors import Poison, SourceChanged, Transient
from l07.events import outbound
from l07.events.record import Record, TopicPartition
from l07.pipeline.ingest import IngestRules, check_resume, dead_letter_of_control, ingest
from l07.ports import Applied, Bus, ExampleBuffer, Subscription

log = logging.getLogger("l07.runner")

Handler = Callable[[Any], Coroutine[Any, Any, None]]
Routes = Mapping[type, Handler]
INGEST_GROUP = "l07.ingest"


def resume_from(
    bus: Bus, buffer: ExampleBuffer
) -> Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]:
    """On assignment: the buffer's offsets count, not the group's. A partition whose last applied record is another one stops us.

    Raises:
        SourceChanged: E7480, the log under a stored offset was made again or cut."""

    async def start(assigned: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        stored = await buffer.positions()
        ends = await bus.end_offsets(sorted({tp.topic for tp in assigned}))
        out: dict[TopicPartition, int] = {}
        for tp in assigned:
            position = stored.get(tp)
            if position is None or position.next == 0:
                out[tp] = 0
                continue
            if position.next > ends.get(tp, 0):
                raise SourceChanged(
                    f"{tp} ends at {ends.get(tp, 0)}, but {position.next} records of it were applied: the topic was made again or cut",
                    tp=str(tp),
                )
            found = await bus.read(tp, position.next - 1)
            last = found[0] if found and found[0].offset == position.next - 1 else None
            if not check_resume(tp, last, position.last_digest):
                raise SourceChanged(
                    f"{tp} holds another record at offset {position.next - 1} than the one that was applied: the topic was made again",
                    tp=str(tp),
                )
            out[tp] = position.next
        return out

    return start


async def ingest_step(
    sub: Subscription, buffer: ExampleBuffer, *, rules: IngestRules, limit: int, merged: bool, timeout_s: float = 0.2
) -> tuple[int, Applied]:
    """One batch from the bus into the buffer: how many records, and what they did. Zero records: the end, or nothing came in time."""
    order: Sequence[Record] | None = None
    if merged:
        chunk = await sub.poll_merged(limit=limit)
        if chunk is None:
            return 0, Applied()
        slices, order = chunk.slices, chunk.order
    else:
        slices = await sub.poll(limit=limit, timeout_s=timeout_s)
    if not slices:
        return 0, Applied()
    applied = await buffer.apply(ingest(slices, rules=rules, order=order))
    if applied.refused:  # another member was faster, or the buffer rolled back: go to where it stands
        log.warning("batch_refused", extra={"positions": {str(tp): offset for tp, offset in applied.refused.items()}})
        for tp, offset in applied.refused.items():
            await sub.seek(tp, offset)
        return 0, applied
    await sub.commit(
        {slice_.tp: slice_.next for slice_ in slices}
    )  # for lag tools; the offset that counts is the buffer's
    return sum(len(slice_.records) for slice_ in slices), applied


async def at_end(sub: Subscription) -> list[TopicPartition]:
    """The partitions that are read to their end."""
    ends = await sub.end_offsets()
    return [tp for tp, position in sub.position().items() if position >= ends.get(tp, 0)]


async def control_step(
    sub: Subscription, bus: Bus, routes: Routes, *, dlq: str, stop: asyncio.Event, timeout_s: float = 0.0
) -> int:
    """Handle the next control events one at a time; the offset moves after the handler is done."""
    count = 0
    for slice_ in await sub.poll(limit=50, timeout_s=timeout_s):
        for record in slice_.records:
            if stop.is_set():
                return count
            await _handle(record, bus, routes, dlq=dlq, stop=stop)
            if stop.is_set():  # the handler may have been left in the middle; it will see this event again
                return count
            await sub.commit({slice_.tp: record.offset + 1})
            count += 1
        await sub.commit({slice_.tp: slice_.next})
    return count


async def _handle(record: Record, bus: Bus, routes: Routes, *, dlq: str, stop: asyncio.Event) -> None:
    try:
        event = outbound.read_event(record)
        handler = routes.get(type(event))
        if event is not None and handler is not None:
            await with_back_off(lambda: handler(event), stop=stop)
            log.info("event_handled", extra={"type": type(event).__name__, "id": event.id, "subject": event.subject})
    except Poison as err:
        log.error("event_poisoned", extra={"code": err.code, "offset": record.offset, "topic": record.topic})
        await bus.publish([dead_letter_of_control(record, err, dlq=dlq)])


async def with_back_off(
    call: Callable[[], Awaitable[Any]], *, stop: asyncio.Event, first_s: float = 0.2, most_s: float = 30.0
) -> Any:
    """Call until it does not fail with Transient; waits twice as long each time. Returns None when stopped."""
    wait_s = first_s
    while not stop.is_set():
        try:
            return await call()
        except Transient as err:
            log.warning("backing_off", extra={"code": err.code, "wait_s": wait_s, "why": err.message})
        await pause(stop, wait_s)
        wait_s = min(wait_s * 2, most_s)
    return None


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but no longer than until `stop`."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
