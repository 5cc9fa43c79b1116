"""Bus, folders and files (E7400-E7449), and the runner over them (E7480-E7499)."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from l07.errors.fates import Fatal, Refused, Transient


class SourceChanged(Fatal):
    """A topic was made again or cut under the offset that is stored for it."""

    code = "E7480"


class RecordsGone(Fatal):
    """Retention took records of an input before they were applied; they are lost to us."""

    code = "E7481"


class StoreFull(Fatal):
    """A disk is full (the data folder's, or where the output goes); nothing that was acknowledged is lost."""

    code = "E7400"


class BusUnavailable(Transient):
    """The bus did not answer: its brokers are away, its file was locked for too long, or its disk failed for a moment."""

    code = "E7401"


class FolderNotWritable(Fatal):
    """The data folder cannot be made, read or written."""

    code = "E7402"


class BusDamaged(Fatal):
    """The file of the bus is damaged, or is no bus."""

    code = "E7403"


class LayoutUnknown(Fatal):
    """The state on disk was written by a newer release than this one."""

    code = "E7404"


class FolderInUse(Refused):
    """Another process works on the same data folder."""

    code = "E7405"


class BadArtifactName(Refused):
    """An artifact's name would leave the store, or is no name."""

    code = "E7406"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """What the disk says, as our errors: StoreFull where there is no space, else FolderNotWritable."""
    try:
        yield
    except OSError as err:
        context = {"path": str(path), "errno": errno.errorcode.get(err.errno or 0, "")}
        if err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFull(f"no space left for {path}: free some, then start again", **context) from err
        raise FolderNotWritable(f"{path} cannot be used: {err.strerror or err}", **context) from err
