"""What the bus does in its file: tables, records, transactions, and what SQLite's errors mean. Runs in the bus's threads."""

import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import xxhash

from l07.errors import BusDamaged, BusUnavailable, FolderNotWritable, L07Error, LayoutUnknown, StoreFull
from l07.events.record import Message, Record, TopicPartition

LAYOUT = 1
MAX_SLICE_BYTES = 16_000_000  # of one poll: a slice of the largest events must not exhaust the memory
SCHEMA = """
CREATE TABLE topics(topic TEXT PRIMARY KEY, partitions INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE log(topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, ts INTEGER NOT NULL,
  key BLOB, headers BLOB, value BLOB, PRIMARY KEY(topic, partition, offset));
CREATE TABLE commits(grp TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
  PRIMARY KEY(grp, topic, partition)) WITHOUT ROWID;
"""

FROM_LOG = "FROM log WHERE topic = ? AND partition = ? AND offset >= ?"

_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(tuple[tuple[bytes, bytes | None], ...]).decode


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


def rows_of(messages: Sequence[Message], ends: Mapping[str, list[int]], now_ms: int) -> Iterator[tuple[object, ...]]:
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


def partitions_of(db: sqlite3.Connection, topics: Sequence[str]) -> list[TopicPartition]:
    marks = ",".join("?" * len(topics))
    rows = db.execute(f"SELECT topic, partitions FROM topics WHERE topic IN ({marks}) ORDER BY topic", tuple(topics))
    return [TopicPartition(topic, number) for topic, count in rows for number in range(count)]


def end_offsets(db: sqlite3.Connection, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    query = "SELECT max(offset) FROM log WHERE topic = ? AND partition = ?"
    ends: dict[TopicPartition, int] = {}
    for tp in tps:
        last = db.execute(query, tp).fetchone()[0]
        ends[tp] = 0 if last is None else last + 1
    return ends


def offsets_at(db: sqlite3.Connection, tps: Sequence[TopicPartition], time_ms: int) -> dict[TopicPartition, int]:
    query = "SELECT min(offset) FROM log WHERE topic = ? AND partition = ? AND ts >= ?"
    found = {tp: db.execute(query, (*tp, time_ms)).fetchone()[0] for tp in tps}
    ends = end_offsets(db, tps)
    return {tp: ends[tp] if offset is None else offset for tp, offset in found.items()}


@contextmanager
def transaction(db: sqlite3.Connection, *, durable: bool) -> Iterator[sqlite3.Connection]:
    db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    finally:
        if db.in_transaction:  # a full disk may have rolled it back by itself
            db.execute("ROLLBACK")


def connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    # The thread that closes is not the one that worked; each connection has one thread at a time.
    db = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA cache_size=-16000")
    return db


def open_file(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise FolderNotWritable(
            f"the folder {path.parent} of the bus cannot be made: {err.strerror}", path=str(path.parent)
        ) from err
    db = connect(path, busy_timeout_s)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA journal_size_limit=67108864")
        with transaction(db, durable=True):
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


def translated(err: sqlite3.Error, path: Path) -> L07Error:
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
