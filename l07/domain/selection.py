"""Choosing some of many, the same ones every time: keyed hashes, and the heights of a cap by stratum."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache


def keyed_hash(seed: int, purpose: str, name: str) -> int:
    """64 bits that follow from seed, purpose and name alone: the only source of chance in curation."""
    digest = _keyed(seed, purpose).copy()
    digest.update(name.encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest(), "big")


@lru_cache(maxsize=256)
def _keyed(seed: int, purpose: str) -> "hashlib.blake2b":
    """Asked once: the key is a block of its own."""
    return hashlib.blake2b(digest_size=8, key=f"{seed}/{purpose}".encode()[:64])


def lowest(keys: Iterable[str], count: int, *, seed: int, purpose: str) -> set[str]:
    """The `count` keys with the smallest keyed hash. What was not chosen of a smaller set is never chosen of a larger
    one, so a row that has left does not come back while `count` stays."""
    there = set(keys)
    if len(there) <= count:
        return there
    return set(sorted(there, key=lambda key: (keyed_hash(seed, purpose, key), key))[: max(0, count)])


def shares(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    """Water filling: smallest strata first, each takes at most an equal part of what is left."""
    found, left = {}, max(0, limit)
    order: Sequence[str] = sorted(sizes, key=lambda stratum: (sizes[stratum], stratum))
    for number, stratum in enumerate(order):
        found[stratum] = min(sizes[stratum], left // (len(order) - number))
        left -= found[stratum]
    return found
