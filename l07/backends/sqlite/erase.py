"""Records of the bus's file that must be gone: overwritten in their places, so that no offset moves."""

import sqlite3
import time
from collections.abc import Callable, Sequence

import msgspec

from l07.backends.sqlite.log import fetch, partitions_of, transaction
from l07.errors import BusUnavailable
from l07.events.record import Record

PAGE = 500
OVERWRITE = "PRAGMA secure_delete=ON"
WITHIN_S = 30.0
_encode_headers = msgspec.msgpack.Encoder().encode


def rewrite(db: sqlite3.Connection, topics: Sequence[str], change: Callable[[Record], Record | None]) -> int:
    """How many records changed. What they held is overwritten with zeros, in the file and in its write-ahead log."""
    db.execute(OVERWRITE)
    return sum(_partition(db, tp, change) for tp in partitions_of(db, topics))


def _partition(db: sqlite3.Connection, tp: tuple[str, int], change: Callable[[Record], Record | None]) -> int:
    offset = done = 0
    while records := fetch(db, tp, offset, PAGE):  # type: ignore[arg-type]
        offset = records[-1].offset + 1
        changed = [new for record in records if (new := change(record)) is not None]
        if changed:
            with transaction(db, durable=True):
                db.executemany(
                    "UPDATE log SET key = ?, headers = ?, value = ? WHERE topic = ? AND partition = ? AND offset = ?",
                    [
                        (r.key, _encode_headers(r.headers) if r.headers else None, r.value, *tp, r.offset)
                        for r in changed
                    ],
                )
        done += len(changed)
    return done


def empty_write_ahead_log(db: sqlite3.Connection) -> None:
    """It keeps old pages until then. A reader in the middle of something holds it up for a moment.

    Raises BusUnavailable (E7401)."""
    until = time.monotonic() + WITHIN_S
    while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > until:
            raise BusUnavailable(
                "somebody reads the bus without an end: what was erased is still in its write-ahead log"
            )
        time.sleep(0.05)
