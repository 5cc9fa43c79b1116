"""Sketches with their sorted bands in a file that is mapped, not read: a lookup touches a few pages of it."""

import mmap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from l07.domain.bands import I64, Bands
from l07.domain.scheme import BANDS, PERMUTATIONS
from l07.errors import DatasetUnreadable
from l07.pipeline.curate.columns import Flags

_MAGIC = 0x3142374C  # "L7B1", little endian
_HEAD = 2  # words: magic, number of rows
CHUNK = 4096  # sketches that are copied at one time


def write_bands(parts: Sequence[Bands], path: Path) -> None:
    """Several parts as one; the sketches are copied one part after the other, so that memory holds the bands alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.array([_MAGIC, sum(map(len, parts))], "<u4").tofile(file)
        for part in parts:
            part.rows.astype("<u4").tofile(file)
        for part in parts:
            np.asarray(part.sketches, "<u4").tofile(file)
        hashes, order = Bands.joined_order(parts)
        hashes.astype("<u4", copy=False).tofile(file)
        order.astype("<u4", copy=False).tofile(file)


def write_kept(bands: Bands, keep: Flags, rows: I64, path: Path) -> None:
    """The flagged ones, whose numbers are `rows` now: what is sorted stays so, and no more than one band is in memory
    beside the numbers. No file where none is left."""
    kept = np.flatnonzero(keep)
    if not len(kept):
        return
    place = np.cumsum(keep, dtype=np.uint32) - np.uint32(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.array([_MAGIC, len(kept)], "<u4").tofile(file)
        rows.astype("<u4").tofile(file)
        for at in range(0, len(kept), CHUNK):
            np.asarray(bands.sketches[kept[at : at + CHUNK]], "<u4").tofile(file)
        for hashes, order in zip(bands.hashes, bands.order, strict=True):
            np.asarray(hashes[keep[order]], "<u4").tofile(file)
        for order in bands.order:
            place[order[keep[order]]].astype("<u4", copy=False).tofile(file)


def open_bands(path: Path, shift: int = 0) -> Bands:
    """`shift`: how much higher the numbers in the file are than the rows' numbers.

    Raises DatasetUnreadable (E7103) for a file that is none of ours or is cut."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        words = np.frombuffer(mapped, "<u4")  # a plain array: each part of an np.memmap costs 60 us
    except (OSError, ValueError) as err:
        raise DatasetUnreadable(f"{path} cannot be read: {err}", path=str(path)) from err
    count = int(words[1]) if len(words) > _HEAD and words[0] == _MAGIC else 0
    if len(words) != _HEAD + count * (1 + PERMUTATIONS + 2 * BANDS) or not count:
        raise DatasetUnreadable(f"{path} holds no sketches", path=str(path))
    ends = np.cumsum([_HEAD, count, count * PERMUTATIONS, count * BANDS, count * BANDS])
    rows, sketches, hashes, order = (words[start:end] for start, end in pairwise(ends))
    rows = rows - np.uint32(shift) if shift else rows
    return Bands(
        rows,
        sketches.reshape(count, PERMUTATIONS),
        hashes.reshape(BANDS, count),
        order.reshape(BANDS, count),
        mapped,
    )
