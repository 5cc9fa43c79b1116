"""Leases as files: `<root>/<name>/00000001.json` and so on; the highest number is the lease, its number is the fence.

A number is created only if it is free, so of two that claim at once one gets it. Its holder, and nobody else, writes into it:
a count that grows with each renewal. Whoever wants the lease watches the file, and takes the next number when it has not
changed for `ttl_s` by the watcher's own monotonic clock: a wall clock's step steals nothing. The holder also locks its file:
on the same machine a lock that is free means a dead holder, and nobody waits.
"""

import asyncio
import fcntl
import itertools
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from l07.backends.store.files import sync
from l07.backends.store.ledger import file_name, numbers
from l07.errors import disk_errors
from l07.ports import Lease

T = TypeVar("T")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(slots=True)
class _Held:
    fd: int
    count: int


@dataclass(frozen=True, slots=True)
class _Seen:
    fence: int
    raw: bytes
    since: float


class FolderLeases:
    """ports.Leases in folders below `root`. `machine` is the same for processes whose file locks exclude each other.

    Raises, from each: StoreFull E7400, FolderNotWritable E7402."""

    def __init__(
        self, root: Path, *, ttl_s: float, clock: Callable[[], float] = time.monotonic, machine: str | None = None
    ) -> None:
        self._root = root
        self._ttl_s = ttl_s
        self._clock = clock
        self._machine = _this_machine() if machine is None else machine
        self._held: dict[Lease, _Held] = {}
        self._seen: dict[str, _Seen] = {}
        self._drafts = itertools.count()
        self._lock = threading.Lock()

    async def claim(self, name: str, owner: str, *, above: int = 0) -> Lease | None:
        return await self._run(name, lambda: self._claim(name, owner, above))

    async def renew(self, lease: Lease) -> bool:
        return await self._run(lease.name, lambda: self._renew(lease))

    async def release(self, lease: Lease) -> None:
        await self._run(lease.name, lambda: self._release(lease))

    async def is_held(self, name: str) -> bool | None:
        return await asyncio.to_thread(self._is_held, self._root / name)

    def _is_held(self, folder: Path) -> bool | None:
        top = max(numbers(folder), default=0)
        try:
            words = _words((folder / file_name(top)).read_bytes()) if top else {"released": True}
        except FileNotFoundError:  # a faster one took the next number and removed this one
            return True
        if words.get("released"):
            return False
        return _is_locked(folder / file_name(top)) if words.get("machine") == self._machine else None

    async def _run(self, name: str, work: Callable[[], T]) -> T:
        def locked() -> T:
            with self._lock, disk_errors(self._root / name):
                return work()

        return await asyncio.to_thread(locked)

    def _claim(self, name: str, owner: str, above: int) -> Lease | None:
        folder = self._root / name
        top = max(numbers(folder), default=0)
        if top and not self._is_free(name, folder / file_name(top), top):
            return None
        lease = Lease(name, owner, max(top, above) + 1)
        return lease if self._create(folder, lease) else None

    def _is_free(self, name: str, path: Path, fence: int) -> bool:
        try:
            raw = path.read_bytes()
        except FileNotFoundError:  # a faster one took the next number and removed this one
            return False
        words = _words(raw)
        if words.get("released") or (words.get("machine") == self._machine and not _is_locked(path)):
            return True
        now, seen = self._clock(), self._seen.get(name)
        if seen is None or (seen.fence, seen.raw) != (fence, raw):
            self._seen[name] = _Seen(fence, raw, now)
            return False
        return now - seen.since >= self._ttl_s

    def _create(self, folder: Path, lease: Lease) -> bool:
        """Locked before it has its name, so that nobody takes its holder for dead."""
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{os.getpid()}-{id(self)}-{next(self._drafts)}.tmp"
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._write(fd, lease, count=0)
            os.link(draft, folder / file_name(lease.fence))
        except FileExistsError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        finally:
            draft.unlink(missing_ok=True)
        self._held[lease] = _Held(fd, 0)
        for number in list(numbers(folder)):
            if number < lease.fence:
                (folder / file_name(number)).unlink(missing_ok=True)
        sync(folder)
        return True

    def _renew(self, lease: Lease) -> bool:
        held = self._held.get(lease)
        if held is None:
            return False
        if max(numbers(self._root / lease.name), default=0) != lease.fence:
            self._let_go(lease)
            return False
        held.count += 1
        self._write(held.fd, lease, count=held.count)
        return True

    def _release(self, lease: Lease) -> None:
        if (held := self._held.get(lease)) is not None:
            self._write(held.fd, lease, count=held.count, released=True)
            self._let_go(lease)

    def _let_go(self, lease: Lease) -> None:
        os.close(self._held.pop(lease).fd)

    def _write(self, fd: int, lease: Lease, *, count: int, released: bool = False) -> None:
        """In place and in one call: the lock belongs to this file, and another file under its name would be unlocked."""
        words = {"owner": lease.owner, "fence": lease.fence, "machine": self._machine}
        raw = json.dumps({**words, "count": f"{count:012}", "released": released}).encode()
        os.pwrite(fd, raw.ljust(len(raw) + released) + b"\n", 0)
        os.fsync(fd)


def _words(raw: bytes) -> dict[str, object]:
    """Nothing for a file that is not one of ours, or is being written: then only its silence counts."""
    try:
        words = json.loads(raw)
    except ValueError:
        return {}
    return words if isinstance(words, dict) else {}


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # gone: another one is at it
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _this_machine() -> str:
    """What tells machines apart between two boots; where nothing does, a name that no other process has."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return f"process {os.getpid()} of an unknown machine, begun at {time.monotonic_ns()}"
