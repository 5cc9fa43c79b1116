"""A ledger in a folder: `<root>/<name>/00000001.json` and so on, hash-chained.

An entry is created only if its number is free, so the second writer of a number reads what came before and takes the
next one. A file's bytes are the canonical form of its entry: any flipped byte shows.
"""

import asyncio
import fcntl
import hashlib
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec

from l07.backends.store.files import sync, write_synced
from l07.errors import LayoutUnknown, LedgerBroken, disk_errors
from l07.ports import Entry

LAYOUT = "1"
LAYOUT_FILE = "layout"  # without it: 1
CURSOR_FILE = "announced"  # the number of the last entry that is on the bus; without it: 0
CURSOR_S = 0.5  # others hold its lock for a moment; one that is frozen holds it for hours

T = TypeVar("T")


class FolderLedger:
    """ports.Ledger in `<root>/<name>/`. All entries stay in memory; each call first reads the numbers that came since.

    Several processes may append. Raises, from each: LedgerBroken E7200, StoreFull E7400,
    FolderNotWritable E7402, LayoutUnknown E7404."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self._folder = root / name
        self._entries: list[Entry] = []
        self._index: dict[tuple[str, str], Entry] = {}
        self._lock = threading.Lock()
        self._opened = False
        self._drafts = itertools.count()
        self._said = 0  # what we have announced; the cursor may lag behind it

    async def append(self, kind: str, key: str, body: Mapping[str, Any], *, at: str) -> Entry:
        """The same (kind, key) again returns the entry that is there, whatever the body. On disk when it returns."""
        return await self._run(lambda: self._append(kind, key, body, at))

    async def append_after(self, number: int, kind: str, key: str, body: Mapping[str, Any], *, at: str) -> Entry | None:
        """As `append`, but only while `number` is the last entry; None: others came since."""
        return await self._run(lambda: self._append(kind, key, body, at, only_after=number))

    async def entries(self, *, after: int = 0) -> Sequence[Entry]:
        return await self._run(lambda: self._entries[after:])

    async def find(self, kind: str, key: str) -> Entry | None:
        return await self._run(lambda: self._index.get((kind, key)))

    async def announced(self) -> int:
        """Raises LedgerBroken, where more was announced than there is: the ledger's end was cut off, or is an old copy."""
        return await self._run(self._announced)

    async def mark_announced(self, number: int) -> None:
        await self._run(lambda: self._mark(number))

    async def _run(self, work: Callable[[], T]) -> T:
        def locked() -> T:
            with self._lock, disk_errors(self._folder):
                self._catch_up()
                return work()

        return await asyncio.to_thread(locked)

    @overload
    def _append(self, kind: str, key: str, body: Mapping[str, Any], at: str) -> Entry: ...
    @overload
    def _append(self, kind: str, key: str, body: Mapping[str, Any], at: str, *, only_after: int) -> Entry | None: ...
    def _append(
        self, kind: str, key: str, body: Mapping[str, Any], at: str, *, only_after: int | None = None
    ) -> Entry | None:
        while (found := self._index.get((kind, key))) is None:
            number = len(self._entries) + 1
            if only_after is not None and only_after + 1 != number:
                return None
            draft = Entry(self.name, number, kind, key, at, json.loads(_canonical(body)), self._last_hash(), "")
            if self._create(number, encode(replace(draft, hash=hash_of(draft)))):
                sync(self._folder)
            self._catch_up()  # reads back what we wrote, or what a faster writer did
        return found

    def _create(self, number: int, raw: bytes) -> bool:
        """False if the number is taken. A link, not a rename: a link fails where the name is there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if number == 1:
            self._replace(LAYOUT_FILE, f"{LAYOUT}\n")
        draft = self._draft()
        try:
            write_synced(draft, raw)
            os.link(draft, self._folder / file_name(number))
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True

    def _announced(self) -> int:
        number = max(self._cursor(), self._said)
        if number > len(self._entries):
            self._catch_up()  # another process appends and announces beside us
        if number > len(self._entries):
            raise self._broken(number, "was announced and is gone")
        return number

    def _cursor(self) -> int:
        try:
            text = (self._folder / CURSOR_FILE).read_text("ascii")
        except FileNotFoundError:
            return 0
        return int(text) if text.strip().isdecimal() else 0  # torn by a power cut: announcing again does no harm

    def _mark(self, number: int) -> None:
        """The lock file keeps a late announcer from putting its smaller number over a larger one. Where somebody frozen holds
        it, the number waits in our memory: at worst the next process announces the same under the same ids."""
        self._said = max(self._said, number)
        with (self._folder / f".{CURSOR_FILE}.lock").open("w") as lock:
            if _taken(lock.fileno(), within_s=CURSOR_S) and self._said > self._cursor():
                self._replace(CURSOR_FILE, f"{self._said}\n")

    def _replace(self, name: str, text: str) -> None:
        """Whole or not at all: others read it at any moment."""
        draft = self._draft()
        write_synced(draft, text.encode())
        draft.replace(self._folder / name)

    def _draft(self) -> Path:
        return self._folder / f".{os.getpid()}-{id(self)}-{next(self._drafts)}.tmp"

    def _catch_up(self) -> None:
        if not self._opened:
            self._check_layout()
            self._check_gaps()
            _sweep(self._folder)
            self._opened = True
        while (entry := self._read(len(self._entries) + 1)) is not None:
            self._entries.append(entry)
            self._index[entry.kind, entry.key] = entry

    def _check_layout(self) -> None:
        try:
            found = (self._folder / LAYOUT_FILE).read_text("utf-8").strip()
        except FileNotFoundError:
            return
        if found != LAYOUT:
            message = f"{self._folder} has state layout {found}, this release knows {LAYOUT}: use the one that wrote it"
            raise LayoutUnknown(message, layout=found)

    def _check_gaps(self) -> None:
        for expected, number in enumerate(sorted(numbers(self._folder)), start=1):
            if number != expected:
                raise self._broken(expected, "is missing")

    def _read(self, number: int) -> Entry | None:
        try:
            raw = (self._folder / file_name(number)).read_bytes()
        except FileNotFoundError:
            return None
        entry = decode(raw)
        if entry is None or (entry.ledger, entry.number, entry.prev) != (self.name, number, self._last_hash()):
            raise self._broken(number, "is not the one that was written")
        return entry

    def _last_hash(self) -> str:
        return self._entries[-1].hash if self._entries else ""

    def _broken(self, number: int, what: str) -> LedgerBroken:
        message = f"entry {number} of the ledger {self.name} {what}: see `l07 ledger verify`, restore it from a copy"
        return LedgerBroken(message, ledger=self.name, number=number)


def _taken(fd: int, *, within_s: float) -> bool:
    """Whether the lock on this file is ours; blocks the thread meanwhile."""
    until = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
        else:
            return True


# ------------------------------------------------------------------ entries as files


def file_name(number: int) -> str:
    return f"{number:08}.json"


def numbers(folder: Path) -> Iterator[int]:
    """The numbers of the entries in `folder`, in no order; other files are not ours."""
    for path in folder.glob("*.json"):
        if path.stem.isdecimal() and (number := int(path.stem)) > 0 and path.name == file_name(number):
            yield number


def hash_of(entry: Entry) -> str:
    """sha256 over the canonical JSON of everything but the hash itself."""
    fields = asdict(entry)
    del fields["hash"]
    return hashlib.sha256(_canonical(fields)).hexdigest()


def encode(entry: Entry) -> bytes:
    return _canonical(asdict(entry)) + b"\n"


def decode(raw: bytes) -> Entry | None:
    """None: these are not the canonical bytes of an entry with its own hash."""
    try:
        entry = msgspec.convert(json.loads(raw), Entry)
        whole = encode(entry) == raw and hash_of(entry) == entry.hash
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None
    return entry if whole else None


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _sweep(folder: Path) -> None:
    """Remove the drafts of killed writers."""
    for path in folder.glob(".*.tmp"):
        pid = path.name[1:].partition("-")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
