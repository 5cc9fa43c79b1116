"""The embedded bus: topics, partitions, offsets and groups in one SQLite file in WAL mode, shared by several processes.

A publish is on disk when it returns (synchronous=FULL). A group's commit is not flushed by itself (NORMAL): losing one
in a power cut only repeats work, and the offset that counts stands in the buffer. One thread writes and one reads, so
the event loop never waits for the disk and a poll never waits for a flush.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from l07.backends.sqlite.erase import empty_write_ahead_log, rewrite
from l07.backends.sqlite.log import (
    connect,
    end_offsets,
    fetch,
    offsets_at,
    open_file,
    partitions_of,
    rows_of,
    transaction,
    translated,
)
from l07.backends.sqlite.subscription import SqliteSubscription
from l07.events.record import Message, Record, TopicPartition
from l07.ports import Start

T = TypeVar("T")


class SqliteBus:
    """ports.Bus on one file. Every member of a group sees every partition: the folder's lock lets one consumer run.

    Raises, from every call: BusUnavailable E7401, StoreFull E7400, FolderNotWritable E7402, BusDamaged E7403."""

    def __init__(self, path: Path, *, partitions: int, clock: Callable[[], float]) -> None:
        self._path = path
        self._partitions = partitions
        self._clock = clock
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="bus-write")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="bus-read")
        self._waiting: set[asyncio.Event] = set()
        self._write_db: sqlite3.Connection
        self._read_db: sqlite3.Connection

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, *, partitions: int = 3, clock: Callable[[], float] = time.time, busy_timeout_s: float = 10.0
    ) -> AsyncIterator["SqliteBus"]:
        """Make or open the file. `partitions` counts for topics that are not there yet.

        Raises also: LayoutUnknown E7404."""
        bus = cls(path, partitions=partitions, clock=clock)
        try:
            bus._write_db = await bus._on(bus._writer, lambda: open_file(path, busy_timeout_s))
            bus._read_db = await bus._on(bus._reader, lambda: connect(path, busy_timeout_s))
            yield bus
        finally:
            await asyncio.shield(asyncio.to_thread(bus._close))

    async def publish(self, messages: Sequence[Message]) -> None:
        """One transaction, flushed: all of them or none. A message without a time gets the clock's."""
        if not messages:
            return
        now_ms = int(self._clock() * 1000)
        await self._on(self._writer, lambda: self._append(messages, now_ms))
        for event in self._waiting:
            event.set()

    @asynccontextmanager
    async def subscribe(
        self,
        topics: Sequence[str],
        *,
        group: str,
        start: Start | None = None,
    ) -> AsyncIterator["SqliteSubscription"]:
        """Topics that are not there are made, so that their partitions are known."""
        assigned = await self._on(self._writer, lambda: self._make_topics(topics))
        stored = await (start(assigned) if start else self.committed(group, topics))
        positions = {tp: stored[tp] if start else stored.get(tp, 0) for tp in assigned if not start or tp in stored}
        sub = SqliteSubscription(self, group, positions)
        self._waiting.add(sub.woken)
        try:
            yield sub
        finally:
            self._waiting.discard(sub.woken)

    @property
    def cluster(self) -> str:
        return "local"

    async def read(self, tp: TopicPartition, offset: int, *, limit: int = 1) -> Sequence[Record]:
        return await self.reading(lambda db: fetch(db, tp, offset, limit))

    async def log_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        """None: a topic of this file is never made again."""
        return {}

    async def begin_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        """Zero: nothing is ever deleted from the file."""
        return await self.reading(lambda db: dict.fromkeys(partitions_of(db, topics), 0))

    async def offsets_at(self, topics: Sequence[str], time_ms: int) -> Mapping[TopicPartition, int]:
        return await self.reading(lambda db: offsets_at(db, partitions_of(db, topics), time_ms))

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        """The offset after the last record of each partition; a topic that is not there has none."""
        return await self.reading(lambda db: end_offsets(db, partitions_of(db, topics)))

    async def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        marks = ",".join("?" * len(topics))
        query = f"SELECT topic, partition, next FROM commits WHERE grp = ? AND topic IN ({marks})"
        rows = await self.reading(lambda db: db.execute(query, (group, *topics)).fetchall())
        return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        rows = [(group, *tp, offset) for tp, offset in offsets.items()]

        def write() -> None:
            with transaction(self._write_db, durable=False) as db:
                db.executemany("INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?)", rows)

        await self._on(self._writer, write)

    async def reading(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the reader thread, with errors translated."""
        return await self._on(self._reader, lambda: work(self._read_db))

    async def _on(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        except sqlite3.Error as err:
            if getattr(err, "sqlite_errorcode", None) is None:  # not SQLite's: ours, a bug
                raise
            raise translated(err, self._path) from err

    async def rewrite(self, topics: Sequence[str], change: Callable[[Record], Record | None]) -> int:
        """How many records changed: `change` says what lies in a record's place from then on, None as it was. Nothing of what
        was there is left in the file when this returns."""
        done = await self._on(self._writer, lambda: rewrite(self._write_db, topics, change))
        await self._on(self._writer, lambda: empty_write_ahead_log(self._write_db))
        return done

    def _close(self) -> None:
        for thread, name in ((self._writer, "_write_db"), (self._reader, "_read_db")):
            thread.shutdown(wait=True)
            if (db := getattr(self, name, None)) is not None:
                db.close()

    def _make_topics(self, topics: Sequence[str]) -> list[TopicPartition]:
        with transaction(self._write_db, durable=False) as db:
            return self._ensure(db, topics)

    def _ensure(self, db: sqlite3.Connection, topics: Sequence[str]) -> list[TopicPartition]:
        db.executemany("INSERT OR IGNORE INTO topics VALUES (?, ?)", [(topic, self._partitions) for topic in topics])
        return partitions_of(db, topics)

    def _append(self, messages: Sequence[Message], now_ms: int) -> None:
        with transaction(self._write_db, durable=True) as db:
            ends: dict[str, list[int]] = {}  # of each partition, in order
            for tp, end in end_offsets(db, self._ensure(db, sorted({message.topic for message in messages}))).items():
                ends.setdefault(tp.topic, []).append(end)
            db.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", rows_of(messages, ends, now_ms))
