"""Lines of a file or of stdin, plain or gzip, with bounded memory."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

from l07.errors import InputBroken, InputMissing

MAX_LINE_BYTES = (
    16 * 1024 * 1024
)  # sixteen times the largest event that ingest takes, and what a line may cost in memory
GZIP_MAGIC = b"\x1f\x8b"


class Line(NamedTuple):
    """One line without its end; `data` is None where it is longer than MAX_LINE_BYTES."""

    number: int
    data: bytes | None
    position: int  # bytes read so far, of the file as it lies on disk


def check_readable(name: str) -> None:
    """A name that is wrong is said before anything is sent. Raises InputMissing (E7900)."""
    if name == "-":
        return
    path = Path(name)
    if not path.exists():
        raise InputMissing(f"there is no file {name}", file=name)
    if path.is_dir():
        raise InputMissing(f"{name} is a folder; name the files in it", file=name)


def lines_of(name: str, *, limit: int | None = None) -> Iterator[Line]:
    """Every line of a file, or of stdin for `-`. Raises InputMissing (E7900), InputBroken (E7901)."""
    limit = limit or MAX_LINE_BYTES
    number = 0
    with _opened(name) as (stream, raw):
        try:
            while line := stream.readline(limit + 1):
                number += 1
                too_long = len(line) > limit and not line.endswith(b"\n")
                if too_long:
                    _skip_rest(stream)
                yield Line(number, None if too_long else line.rstrip(b"\r\n"), _position(raw))
        except (gzip.BadGzipFile, zlib.error, EOFError) as err:
            raise InputBroken(
                f"{name} is damaged or cut short after line {number}: {err}", file=name, line=number
            ) from err
        except OSError as err:
            raise InputBroken(
                f"{name} cannot be read after line {number}: {err.strerror}", file=name, line=number
            ) from err


def size_of(names: list[str]) -> int | None:
    """Bytes on disk of all files; None where stdin is among them."""
    return None if "-" in names else sum(Path(name).stat().st_size for name in names)


def _position(raw: IO[bytes]) -> int:
    return raw.tell() if raw.seekable() else 0


def _skip_rest(stream: IO[bytes]) -> None:
    while chunk := stream.readline(1 << 20):
        if chunk.endswith(b"\n"):
            return


@contextmanager
def _opened(name: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    if name == "-":
        stdin = cast(io.BufferedReader, sys.stdin.buffer)
        yield _unpacked(stdin, name), stdin
        return
    with _file(name) as raw:
        yield _unpacked(raw, name), raw


def _file(name: str) -> io.BufferedReader:
    try:
        return io.BufferedReader(io.FileIO(name), 1 << 20)
    except OSError as err:
        raise InputMissing(f"{name} cannot be opened: {err.strerror}", file=name) from err


def _unpacked(raw: io.BufferedReader, name: str) -> IO[bytes]:
    """gzip is told by its first bytes, not by the name, so that stdin may be either."""
    if raw.peek(2)[:2] == GZIP_MAGIC:
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))
    if name.endswith(".gz"):
        raise InputBroken(f"{name} is no gzip file, whatever its name says", file=name)
    return raw
