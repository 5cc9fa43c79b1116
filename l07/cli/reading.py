"""Reading a topic of ours from its beginning, without a group."""

import heapq
from collections.abc import AsyncIterator, MutableMapping

from l07.events.record import Record, TopicPartition
from l07.ports import Bus
from l07.settings import Settings

PAGE_RECORDS = 100  # a dead letter holds up to 88 KB: nine megabytes a page


def has_bus(settings: Settings) -> bool:
    """Whether there is anything to read. A command that only reads leaves no new files behind."""
    from l07.backends.open import bus_path, is_server

    return is_server(settings.bus.url) or bus_path(settings).exists()


async def read_topic(
    bus: Bus, topic: str, *, position: MutableMapping[TopicPartition, int] | None = None
) -> AsyncIterator[Record]:
    """The records that are there now, partitions merged by (record time, partition, offset).

    `position` says where to begin and is moved on, so that the next call brings what came since."""
    position = position if position is not None else {}
    ends = await bus.end_offsets([topic])
    pages = [_pages(bus, tp, position, end) for tp, end in sorted(ends.items())]
    heap = [(first, page) for page in pages if (first := await anext(page, None)) is not None]
    queue = [(record.timestamp_ms, record.partition, record.offset, record, page) for record, page in heap]
    heapq.heapify(queue)  # (time, partition, offset) is unique: records themselves are never compared
    while queue:
        *_, record, page = heapq.heappop(queue)
        yield record
        position[record.tp] = record.offset + 1
        following = await anext(page, None)
        if following is not None:
            heapq.heappush(queue, (following.timestamp_ms, following.partition, following.offset, following, page))


async def _pages(
    bus: Bus, tp: TopicPartition, position: MutableMapping[TopicPartition, int], end: int
) -> AsyncIterator[Record]:
    offset = position.get(tp, 0)
    while offset < end:
        records = await bus.read(tp, offset, limit=PAGE_RECORDS)
        for record in records:
            yield record
        if not records:
            return
        offset = records[-1].offset + 1
