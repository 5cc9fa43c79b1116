"""A byte search: does any file of the data folder still name what was erased? The proof of an erasure, and its honest rest."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SHORTEST = 4  # characters; a shorter name is found everywhere
SKIPPED = ("keys",)


class Hit(NamedTuple):
    file: str
    times: int


def search(folder: Path, needle: str) -> list[Hit]:
    """Files in which `needle` stands, as bytes: tables and archives unpacked, everything else as it is. Reads all of it."""
    if len(needle) < SHORTEST or not folder.is_dir():
        return []
    raw = needle.encode("utf-8", "surrogatepass")
    hits = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.is_symlink() and not name.startswith(SKIPPED):
            times = sum(piece.count(raw) for piece in _contents(path))
            if times:
                hits.append(Hit(name, times))
    return hits


def _contents(path: Path) -> Iterator[bytes]:
    try:
        raw = path.read_bytes()
    except OSError:  # a file that left meanwhile, or a socket
        return
    yield raw
    if raw[:2] == b"\x1f\x8b":
        yield gzip.decompress(raw)
    elif raw[:4] == b"PAR1":
        from l07.backends.parquet import bytes_of

        yield bytes_of(path)
