"""One member's view of the topics in the file."""

import asyncio
import sqlite3
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING

from l07.backends.sqlite.log import FROM_LOG, MAX_SLICE_BYTES, end_offsets, fetch
from l07.events.record import TopicPartition
from l07.ports import Merged, Slice

if TYPE_CHECKING:
    from l07.backends.sqlite.bus import SqliteBus

LOOK_S = 0.05  # how often a waiting poll looks for what other processes wrote; our own publishes wake it at once


class SqliteSubscription:
    """ports.Subscription: positions are this object's own."""

    def __init__(self, bus: "SqliteBus", group: str, positions: Mapping[TopicPartition, int]) -> None:
        self.woken = asyncio.Event()
        self._bus = bus
        self._group = group
        self._positions = dict(positions)
        self._ahead: dict[TopicPartition, deque[tuple[int, int, int]]] = {tp: deque() for tp in positions}
        self._held: frozenset[TopicPartition] = frozenset()
        self._turn = 0
        self._idle_at = -1

    @property
    def rebalances(self) -> int:
        return 0

    def hold(self, tps: Collection[TopicPartition]) -> None:
        self._held = frozenset(tps)
        self._idle_at = -1

    def position(self) -> Mapping[TopicPartition, int]:
        return dict(self._positions)

    async def seek(self, tp: TopicPartition, offset: int) -> None:
        self._positions[tp] = offset
        self._ahead[tp] = deque()  # also of one that `start` left out
        self._idle_at = -1

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        await self._bus.commit(self._group, offsets)

    async def end_offsets(self) -> Mapping[TopicPartition, int]:
        return await self._bus.reading(lambda db: end_offsets(db, sorted(self._positions)))

    async def poll(self, *, limit: int, timeout_s: float) -> Sequence[Slice]:
        """A partition after the other takes the first turn, so that a busy one starves nobody."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            self.woken.clear()
            version, slices = await self._bus.reading(lambda db: self._take(db, limit))
            self._idle_at = -1 if slices else version
            left = deadline - loop.time()
            if slices or left <= 0:
                return self._advance(slices)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.woken.wait(), min(LOOK_S, left))

    async def poll_merged(self, *, limit: int) -> Merged | None:
        """The partitions' heads are compared, so offsets keep their order where times run backwards within a partition.

        So the order does not depend on `limit`, and every slice is contiguous."""
        merged = await self._bus.reading(lambda db: self._merge(db, limit))
        self._advance(merged.slices)
        return merged if merged.order else None

    def _advance(self, slices: Sequence[Slice]) -> Sequence[Slice]:
        for slice_ in slices:
            self._positions[slice_.tp] = slice_.next
            ahead = self._ahead[slice_.tp]
            while ahead and ahead[0][1] < slice_.next:
                ahead.popleft()
        return slices

    def _take(self, db: sqlite3.Connection, limit: int) -> tuple[int, list[Slice]]:
        version: int = db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._idle_at:  # nobody has written since there was nothing
            return version, []
        tps = sorted(self._positions.keys() - self._held)
        self._turn = (self._turn + 1) % max(1, len(tps))
        slices: list[Slice] = []
        size = 0
        for tp in tps[self._turn :] + tps[: self._turn]:
            if limit <= 0 or size >= MAX_SLICE_BYTES:
                break
            start = self._positions[tp]
            if records := fetch(db, tp, start, limit, MAX_SLICE_BYTES - size):
                slices.append(Slice(tp, start, records[-1].offset + 1, records))
                limit -= len(records)
                size += sum(len(record.value or b"") for record in records)
        return version, slices

    def _merge(self, db: sqlite3.Connection, limit: int) -> Merged:
        db.execute("BEGIN")  # one view of the log for the order and the records
        try:
            ends = end_offsets(db, sorted(self._positions))
            order = self._choose(db, ends, limit)
            counts = Counter(order)
            slices = []
            for tp in sorted(counts):
                start = self._positions[tp]
                records = fetch(db, tp, start, counts[tp])
                slices.append(Slice(tp, start, records[-1].offset + 1, records))
        finally:
            db.execute("COMMIT")
        feeds = {slice_.tp: iter(slice_.records) for slice_ in slices}
        return Merged(slices, [next(feeds[tp]) for tp in order])

    def _choose(self, db: sqlite3.Connection, ends: Mapping[TopicPartition, int], limit: int) -> list[TopicPartition]:
        """Which partition is next, `limit` times: a merge over (time, topic, partition) of what is looked up ahead."""
        feeds = {tp: self._heads(db, tp, end, limit) for tp, end in ends.items()}
        heap = [(head[0], tp, head[2]) for tp, feed in feeds.items() if (head := next(feed, None))]
        heapify(heap)
        order: list[TopicPartition] = []
        size = 0
        while heap and len(order) < limit and size < MAX_SLICE_BYTES:
            _, tp, bytes_ = heap[0]
            order.append(tp)
            size += bytes_
            head = next(feeds[tp], None)
            if head is None:
                heappop(heap)
            else:
                heapreplace(heap, (head[0], tp, head[2]))
        return order

    def _heads(
        self, db: sqlite3.Connection, tp: TopicPartition, end: int, limit: int
    ) -> Iterator[tuple[int, int, int]]:
        """(time, offset, size) from the position to `end`, looked up in chunks that are kept for the next call."""
        query = f"SELECT ts, offset, coalesce(length(value), 0) {FROM_LOG} AND offset < ? ORDER BY offset LIMIT ?"
        ahead = self._ahead[tp]
        index, position = 0, self._positions[tp]
        while True:
            if index == len(ahead):
                ahead.extend(db.execute(query, (*tp, position, end, limit)))
            if index == len(ahead):
                return
            head = ahead[index]
            index, position = index + 1, head[1] + 1
            yield head
