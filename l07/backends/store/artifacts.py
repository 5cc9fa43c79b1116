"""Datasets, models and reports as folders that appear whole or not at all."""

import asyncio
import errno
import fcntl
import itertools
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from l07.backends.lock import is_held
from l07.backends.store.files import sync, sync_tree
from l07.errors import BadArtifactName, disk_errors

SCRATCH = "scratch"


class FolderStore:
    """ports.ArtifactStore below `root`. Opening it removes the scratch folders of processes that are gone.

    Raises: BadArtifactName E7406, a name that would leave the store; StoreFull E7400; FolderNotWritable E7402."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._own: Path | None = None
        self._number = itertools.count(1)
        with disk_errors(root):
            _remove_leftovers(root / SCRATCH)

    def scratch(self, name: str) -> Path:
        """A new empty folder at each call, on the disk of the store."""
        safe = "-".join(_parts(name))
        with disk_errors(self._root):
            if self._own is None:
                self._own = self._make_own()
            folder = self._own / f"{next(self._number)}-{safe}"
            folder.mkdir()
        return folder

    async def publish(self, scratch: Path, uri: str) -> str:
        """Returns `uri`. Publishing again is no error: the first one stays."""
        target = self.path(uri)
        await asyncio.to_thread(_publish, scratch, target)
        return uri

    async def remove(self, uri: str) -> None:
        """Cut off in the middle, what is left lies among the leftovers that the next start removes."""
        await asyncio.to_thread(_remove, self.path(uri), self.scratch(f"removed-{uri}"))

    def path(self, uri: str) -> Path:
        return self._root.joinpath(*_parts(uri))

    def exists(self, uri: str) -> bool:
        return self.path(uri).is_dir()

    def _make_own(self) -> Path:
        folder = self._root / SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
        with _sweeping(folder):  # nobody may take us for dead before we hold our lock
            own = Path(tempfile.mkdtemp(dir=folder, prefix=f"{os.getpid()}-"))
            fd = os.open(own / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
        weakref.finalize(self, _let_go, fd, own, os.getpid())
        return own


def _publish(scratch: Path, target: Path) -> None:
    with disk_errors(target):
        if not target.exists():
            sync_tree(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            _rename(scratch, target)
            for folder in (target.parent, target.parent.parent):
                sync(folder)
        shutil.rmtree(scratch, ignore_errors=True)


def _remove(target: Path, scratch: Path) -> None:
    with disk_errors(target):
        if target.exists():
            target.rename(scratch / "content")
            sync(target.parent)
        shutil.rmtree(scratch)


def _rename(scratch: Path, target: Path) -> None:
    try:
        scratch.rename(target)
    except OSError as err:
        if err.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # those: another process published it first
            raise


def _parts(name: str) -> tuple[str, ...]:
    parts = tuple(name.split("/"))
    good = all(0 < len(part) <= 200 and part not in (".", "..") and part.isprintable() for part in parts)
    if not good or "\\" in name:
        raise BadArtifactName(f"{name!r} is no name for an artifact: names like datasets/default/1.0.0", name=name)
    return parts


@contextmanager
def _sweeping(folder: Path) -> Iterator[None]:
    fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _remove_leftovers(folder: Path) -> None:
    """A living owner holds the lock of its folder; the kernel lets go of a killed one's."""
    if not folder.is_dir():
        return
    with _sweeping(folder):
        for own in folder.iterdir():
            if own.is_dir() and not is_held(own / ".lock"):
                shutil.rmtree(own, ignore_errors=True)


def _let_go(fd: int, own: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked child must not take its parent's folder away
        shutil.rmtree(own, ignore_errors=True)
        os.close(fd)
