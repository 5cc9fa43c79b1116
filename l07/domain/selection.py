"""Choosing some of many, the same ones every time: keyed hashes, and the heights of a cap by stratum."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

try:
    from l07.domain import keyed as compiled
except ImportError:  # no C compiler where this was installed
    compiled = None  # type: ignore[assignment]


def keyed_hash(seed: int, purpose: str, name: str) -> int:
    """64 bits that follow from seed, purpose and name alone: the only source of chance in curation."""
    return _keyed(seed, purpose).of(name)


class Keyed:
    """In Python; keyed.pyx does the same."""

    def __init__(self, key: bytes) -> None:
        self._begun = hashlib.blake2b(digest_size=8, key=key)

    def of(self, name: str) -> int:
        """64 bits. The key is a block of its own, and taken in once."""
        digest = self._begun.copy()
        digest.update(name.encode("utf-8", "surrogatepass"))
        return int.from_bytes(digest.digest(), "big")


@lru_cache(maxsize=256)
def _keyed(seed: int, purpose: str) -> "Keyed | compiled.Keyed":
    key = f"{seed}/{purpose}".encode()[:64]
    return Keyed(key) if compiled is None else compiled.Keyed(key)


def lowest(keys: Iterable[str], count: int, *, seed: int, purpose: str) -> set[str]:
    """The `count` keys with the smallest keyed hash. What was not chosen of a smaller set is never chosen of a larger
    one, so a row that has left does not come back while `count` stays."""
    there = set(keys)
    if len(there) <= count:
        return there
    hashed = _keyed(seed, purpose).of
    return {key for _, key in sorted((hashed(key), key) for key in there)[: max(0, count)]}


def shares(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    """Water filling: smallest strata first, each takes at most an equal part of what is left."""
    found, left = {}, max(0, limit)
    order: Sequence[str] = sorted(sizes, key=lambda stratum: (sizes[stratum], stratum))
    for number, stratum in enumerate(order):
        found[stratum] = min(sizes[stratum], left // (len(order) - number))
        left -= found[stratum]
    return found
