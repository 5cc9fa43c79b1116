"""A byte search: does any file of the data folder still name what was erased? The proof of an erasure, and its honest rest."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

SHORTEST = 4  # characters; a shorter name is found everywhere
SKIPPED = ("keys",)
PIECE = 16 << 20  # bytes in memory at one time


class Hit(NamedTuple):
    file: str
    times: int


def search(folder: Path, needle: str, *, beside: Sequence[Path] = ()) -> list[Hit]:
    """Files in which `needle` stands, as bytes: tables and archives unpacked, everything else as it is. Reads all of it.
    `beside`: files and folders elsewhere, named by their whole paths."""
    if len(needle) < SHORTEST:
        return []
    files = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    files = {name: path for name, path in files.items() if not name.startswith(SKIPPED)}
    files |= {str(path): path for place in beside for path in (_files(place) if place.is_dir() else [place])}
    raw = needle.encode("utf-8", "surrogatepass")
    times = {name: sum(piece.count(raw) for piece in _contents(path, len(raw))) for name, path in files.items()}
    return [Hit(name, found) for name, found in times.items() if found]


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]


def _contents(path: Path, width: int) -> Iterator[bytes]:
    """In pieces, of which none ends in the middle of what is looked for; `width`: its bytes."""
    try:
        with path.open("rb") as file:
            first = file.read(4)
            file.seek(0)
            yield from _pieces(file, width)
    except OSError:  # a file that left meanwhile, or a socket
        return
    if first[:2] == b"\x1f\x8b":
        with gzip.open(path) as unpacked:
            yield from _pieces(unpacked, width)
    elif first == b"PAR1":
        from l07.backends.parquet import pieces_of

        yield from pieces_of(path)


def _pieces(file: IO[bytes] | gzip.GzipFile, width: int) -> Iterator[bytes]:
    """Each begins with the end of the one before, too short to hold it once more."""
    piece = b""
    while chunk := file.read(PIECE):
        piece = piece[max(0, len(piece) - width + 1) :] + chunk
        yield piece
