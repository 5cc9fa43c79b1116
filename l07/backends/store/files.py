"""Files and folders that are on disk when a call returns."""

import os
from pathlib import Path


def write_synced(path: Path, raw: bytes, *, mode: int = 0o644) -> None:
    """A new file: it has `mode` from its first moment, and a name that is there is an error."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(fd)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_tree(folder: Path) -> None:
    """Flush everything below `folder`, names last."""
    for here, _, files in os.walk(folder, topdown=False):
        for file in files:
            if not Path(here, file).is_symlink():
                sync(Path(here, file))
        sync(Path(here))
