"""One process works on a data folder: the lock that `l07 run` holds. The kernel lets go of it when its holder dies."""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType

from l07.errors import FolderInUse, disk_errors


class DataLock:
    """`with DataLock(data_dir):` makes the folder if needed and holds `<data_dir>/lock`; the holder names itself in it.

    The file stays: what it says counts only while it is locked. A child that is forked without exec would hold the
    lock too; ours are spawned.

    Raises: FolderInUse E7405, with the holder's pid; FolderNotWritable E7402; StoreFull E7400."""

    def __init__(self, data_dir: Path, *, purpose: str = "l07 run") -> None:
        self._path = data_dir / "lock"
        self._purpose = purpose
        self._fd = -1

    def __enter__(self) -> "DataLock":
        with disk_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._take(fd)
            except BaseException:
                os.close(fd)
                raise
        self._fd = fd
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def _take(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise self._in_use() from err
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({"pid": os.getpid(), "purpose": self._purpose}).encode() + b"\n", 0)

    def _in_use(self) -> FolderInUse:
        pid, purpose = _holder(self._path)
        folder = self._path.parent
        message = f"`{purpose}` (pid {pid}) works on {folder}: end it, or choose another folder with --data-dir"
        return FolderInUse(message, pid=pid, purpose=purpose, folder=str(folder))


def is_held(path: Path) -> bool:
    """Whether somebody holds this lock file alone; not where there is none. Makes nothing."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def is_locked(data_dir: Path) -> bool:
    """Whether somebody holds the folder now. Makes nothing and takes nothing."""
    try:
        fd = os.open(data_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _holder(path: Path) -> tuple[int | str, str]:
    try:
        words = json.loads(path.read_bytes())
        return int(words["pid"]), str(words["purpose"])
    except (OSError, ValueError, KeyError, TypeError):  # the holder has not named itself yet
        return "unknown", "another process"
