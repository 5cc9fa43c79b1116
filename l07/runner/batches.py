"""One batch after the other, and what a partition's end is. `stream.py` does the same with the next batch under way."""

import logging
import time
from collections.abc import Callable, Collection, Sequence

from l07.events.record import Record, TopicPartition
from l07.pipeline.ingest import IngestRules, ingest
from l07.ports import Applied, ExampleBuffer, IngestBatch, Start, Subscription
from l07.telemetry import METRICS, REFUSED, SCRIPT

log = logging.getLogger("l07.runner")

INGEST_GROUP = "l07.ingest"


async def ingest_step(
    sub: Subscription,
    buffer: ExampleBuffer,
    *,
    rules: IngestRules,
    limit: int,
    merged: bool,
    timeout_s: float = 0.2,
    start: Start | None = None,
) -> tuple[int, Applied]:
    """One batch from the bus into the buffer: how many records, and what they did. Zero records: the end, or nothing came in time.

    A refused partition goes on where `start` says, or else where the buffer says that it stands."""
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
    applied = await timed_apply(buffer, ingest(slices, rules=rules, order=order))
    if applied.refused:
        told_refused(applied)
        # nothing was done: also the partitions that were not refused go back
        back = {slice_.tp: slice_.start for slice_ in slices} | dict(applied.refused)
        for tp, offset in (back | dict(await start(list(applied.refused)) if start else {})).items():
            await sub.seek(tp, offset)
        return 0, applied
    await sub.commit(
        {slice_.tp: slice_.next for slice_ in slices}
    )  # for lag tools; the buffer's offset is the one that counts
    return sum(len(slice_.records) for slice_ in slices), applied


async def timed_apply(buffer: ExampleBuffer, batch: IngestBatch) -> Applied:
    begun = time.perf_counter()
    applied = await buffer.apply(batch)
    METRICS.observe(SCRIPT, time.perf_counter() - begun)
    return applied


def told_refused(applied: Applied) -> None:
    """Another member was faster, or the buffer rolled back."""
    METRICS.add(REFUSED, 1)
    log.warning("batch_refused", extra={"positions": {str(tp): offset for tp, offset in applied.refused.items()}})


async def at_end(
    sub: Subscription, *, under_way: Callable[[], Collection[TopicPartition]] = tuple
) -> dict[TopicPartition, int]:
    """The partitions that are read to their end, with that end, and of which nothing is `under_way` to the buffer (asked
    after the ends). One that came while the ends were asked for has none yet."""
    ends = await sub.end_offsets()
    busy = under_way()
    here = sub.position()
    return {tp: position for tp, position in here.items() if tp in ends and position >= ends[tp] and tp not in busy}
