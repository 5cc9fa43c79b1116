"""The embedded bus: topics, partitions, offsets and groups in one SQLite file in WAL mode, shared by several processes.

A publish is on disk when it returns (synchronous=FULL). A group's commit is not flushed by itself (NORMAL): losing one
in a power cut only repeats work, and the offset that counts stands in the buffer. One thread writes and one reads, so
the event loop never waits for the disk and a poll never waits for a flush.
"""

import asyncio
import shutil
import sqlite3
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from heapq import heapify, heappop, heapreplace
from pathlib import Path
from typing import TypeVar

import msgspec
import xxhash

from l07.errors import BusDamaged, BusUnavailable, FolderNotWritable, L07Error, LayoutUnknown, StoreFull
from l07.events.record import Message, Record, TopicPartition
from l07.ports import Merged, Slice

LAYOUT = 1
MAX_SLICE_BYTES = 16_000_000  # of one poll: a slice of the largest events must not exhaust the memory
LOOK_S = 0.05  # how often a waiting poll looks for what other processes wrote; our own publishes wake it at once
SCHEMA = """
CREATE TABLE topics(topic TEXT PRIMARY KEY, partitions INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE log(topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, ts INTEGER NOT NULL,
  key BLOB, headers BLOB, value BLOB, PRIMARY KEY(topic, partition, offset));
CREATE TABLE commits(grp TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
  PRIMARY KEY(grp, topic, partition)) WITHOUT ROWID;
"""

FROM_LOG = "FROM log WHERE topic = ? AND partition = ? AND offset >= ?"

T = TypeVar("T")
_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(tuple[tuple[bytes, bytes | None], ...]).decode


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
            bus._write_db = await bus._on(bus._writer, lambda: _open(path, busy_timeout_s))
            bus._read_db = await bus._on(bus._reader, lambda: _connect(path, busy_timeout_s))
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
        start: Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]] | None = None,
    ) -> AsyncIterator["SqliteSubscription"]:
        """Topics that are not there are made, so that their partitions are known."""
        assigned = await self._on(self._writer, lambda: self._make_topics(topics))
        stored = await (start(assigned) if start else self.committed(group, topics))
        sub = SqliteSubscription(self, group, {tp: stored.get(tp, 0) for tp in assigned})
        self._waiting.add(sub.woken)
        try:
            yield sub
        finally:
            self._waiting.discard(sub.woken)

    async def read(self, tp: TopicPartition, offset: int, *, limit: int = 1) -> Sequence[Record]:
        return await self.reading(lambda db: fetch(db, tp, offset, limit))

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        """The offset after the last record of each partition; a topic that is not there has none."""
        return await self.reading(lambda db: _end_offsets(db, _partitions(db, topics)))

    async def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        marks = ",".join("?" * len(topics))
        query = f"SELECT topic, partition, next FROM commits WHERE grp = ? AND topic IN ({marks})"
        rows = await self.reading(lambda db: db.execute(query, (group, *topics)).fetchall())
        return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        rows = [(group, *tp, offset) for tp, offset in offsets.items()]

        def write() -> None:
            with _transaction(self._write_db, durable=False) as db:
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
            raise _translated(err, self._path) from err

    def _close(self) -> None:
        for thread, name in ((self._writer, "_write_db"), (self._reader, "_read_db")):
            thread.shutdown(wait=True)
            if (db := getattr(self, name, None)) is not None:
                db.close()

    def _make_topics(self, topics: Sequence[str]) -> list[TopicPartition]:
        with _transaction(self._write_db, durable=False) as db:
            return self._ensure(db, topics)

    def _ensure(self, db: sqlite3.Connection, topics: Sequence[str]) -> list[TopicPartition]:
        db.executemany("INSERT OR IGNORE INTO topics VALUES (?, ?)", [(topic, self._partitions) for topic in topics])
        return _partitions(db, topics)

    def _append(self, messages: Sequence[Message], now_ms: int) -> None:
        with _transaction(self._write_db, durable=True) as db:
            ends: dict[str, list[int]] = {}  # of each partition, in order
            for tp, end in _end_offsets(db, self._ensure(db, sorted({message.topic for message in messages}))).items():
                ends.setdefault(tp.topic, []).append(end)
            db.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", _rows(messages, ends, now_ms))


class SqliteSubscription:
    """ports.Subscription: positions are this object's own."""

    def __init__(self, bus: SqliteBus, group: str, positions: Mapping[TopicPartition, int]) -> None:
        self.woken = asyncio.Event()
        self._bus = bus
        self._group = group
        self._positions = dict(positions)
        self._ahead: dict[TopicPartition, deque[tuple[int, int, int]]] = {tp: deque() for tp in positions}
        self._turn = 0
        self._idle_at = -1

    def position(self) -> Mapping[TopicPartition, int]:
        return dict(self._positions)

    async def seek(self, tp: TopicPartition, offset: int) -> None:
        self._positions[tp] = offset
        self._ahead[tp] = deque()
        self._idle_at = -1

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        await self._bus.commit(self._group, offsets)

    async def end_offsets(self) -> Mapping[TopicPartition, int]:
        return await self._bus.reading(lambda db: _end_offsets(db, sorted(self._positions)))

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
        tps = sorted(self._positions)
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
            ends = _end_offsets(db, sorted(self._positions))
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


def fetch(
    db: sqlite3.Connection, tp: TopicPartition, offset: int, limit: int, max_bytes: int = MAX_SLICE_BYTES
) -> list[Record]:
    """At most `limit` records from `offset` on; at least one, and then as many as fit into `max_bytes`."""
    query = f"SELECT offset, ts, key, value, headers {FROM_LOG} ORDER BY offset LIMIT ?"
    topic, partition = tp
    records: list[Record] = []
    for at, ts, key, value, headers in db.execute(query, (topic, partition, offset, limit)):
        records.append(Record(topic, partition, at, ts, key, value, _decode_headers(headers) if headers else ()))
        max_bytes -= len(value or b"")
        if max_bytes <= 0:
            break
    return records


def _rows(messages: Sequence[Message], ends: Mapping[str, list[int]], now_ms: int) -> Iterator[tuple[object, ...]]:
    for message in messages:
        topic_ends = ends[message.topic]
        # Without a key the n-th record of a topic goes to partition n: round robin over all processes.
        number = sum(topic_ends) if message.key is None else xxhash.xxh3_64_intdigest(message.key)
        partition = number % len(topic_ends)
        offset = topic_ends[partition]
        topic_ends[partition] += 1
        headers = _encode_headers(message.headers) if message.headers else None
        ts = now_ms if message.timestamp_ms is None else message.timestamp_ms
        yield message.topic, partition, offset, ts, message.key, headers, message.value


def _partitions(db: sqlite3.Connection, topics: Sequence[str]) -> list[TopicPartition]:
    marks = ",".join("?" * len(topics))
    rows = db.execute(f"SELECT topic, partitions FROM topics WHERE topic IN ({marks}) ORDER BY topic", tuple(topics))
    return [TopicPartition(topic, number) for topic, count in rows for number in range(count)]


def _end_offsets(db: sqlite3.Connection, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    query = "SELECT max(offset) FROM log WHERE topic = ? AND partition = ?"
    ends: dict[TopicPartition, int] = {}
    for tp in tps:
        last = db.execute(query, tp).fetchone()[0]
        ends[tp] = 0 if last is None else last + 1
    return ends


@contextmanager
def _transaction(db: sqlite3.Connection, *, durable: bool) -> Iterator[sqlite3.Connection]:
    db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    finally:
        if db.in_transaction:  # a full disk may have rolled it back by itself
            db.execute("ROLLBACK")


def _connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    # The thread that closes is not the one that worked; each connection has one thread at a time.
    db = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA cache_size=-16000")
    return db


def _open(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise FolderNotWritable(
            f"the folder {path.parent} of the bus cannot be made: {err.strerror}", path=str(path.parent)
        ) from err
    db = _connect(path, busy_timeout_s)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA journal_size_limit=67108864")
        with _transaction(db, durable=True):
            _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == LAYOUT:
        return
    if version != 0:
        raise LayoutUnknown(
            f"{path} has state layout {version}, this release knows {LAYOUT}: use the release that wrote it",
            layout=version,
        )
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise BusDamaged(f"{path} is an SQLite file, but not a bus", path=str(path))
    for statement in SCHEMA.strip().split(";\n"):
        db.execute(statement)
    db.execute(f"PRAGMA user_version={LAYOUT}")


def _translated(err: sqlite3.Error, path: Path) -> L07Error:
    """SQLite's error as one of ours: what the code says, and for a failed write what the disk says."""
    code, name = err.sqlite_errorcode & 0xFF, err.sqlite_errorname
    context = {"path": str(path), "sqlite": name}
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_space(path)):
        return StoreFull(f"no space left for {path}: free some, then start again", **context)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return FolderNotWritable(f"{path} cannot be written ({name}): check the folder and its permissions", **context)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return BusDamaged(f"{path}: {err}; restore it from a copy, or move it away and send again", **context)
    return BusUnavailable(f"{path} did not answer ({name}: {err})", **context)


def _no_space(path: Path) -> bool:
    """Less than the -shm file grows by at a time."""
    with suppress(OSError):
        return shutil.disk_usage(path.parent).free < 65536
    return False
