"""Choosing some rows of many, the same ones every time: keyed hashes, the cap by stratum, the bounded contrast."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence


def keyed_hash(seed: int, purpose: str, name: str) -> int:
    """64 bits that follow from seed, purpose and name alone: the only source of chance in curation."""
    digest = hashlib.blake2b(
        name.encode("utf-8", "surrogatepass"), digest_size=8, key=f"{seed}/{purpose}".encode()[:64]
    )
    return int.from_bytes(digest.digest(), "big")


def lowest(keys: Iterable[str], count: int, *, seed: int, purpose: str) -> set[str]:
    """The `count` keys with the smallest keyed hash. What was not chosen of a smaller set is never chosen of a larger
    one, so a row that has left does not come back while `count` stays."""
    return set(sorted(keys, key=lambda key: (keyed_hash(seed, purpose, key), key))[: max(0, count)])


def stratified_cap(strata: Mapping[str, str], limit: int, *, seed: int) -> set[str]:
    """At most `limit` keys of `strata` (key -> stratum): every stratum keeps all it has up to one common height, the
    highest that fits, so that a small stratum is cut last. Within a stratum the keyed hash chooses."""
    members: dict[str, list[str]] = defaultdict(list)
    for key, stratum in strata.items():
        members[stratum].append(key)
    shares = _shares({stratum: len(keys) for stratum, keys in members.items()}, limit)
    chosen = [lowest(members[stratum], share, seed=seed, purpose="cap") for stratum, share in shares.items()]
    return set().union(*chosen)


def _shares(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    """Water filling: smallest strata first, each takes at most an equal part of what is left."""
    shares, left = {}, max(0, limit)
    order: Sequence[str] = sorted(sizes, key=lambda stratum: (sizes[stratum], stratum))
    for number, stratum in enumerate(order):
        shares[stratum] = min(sizes[stratum], left // (len(order) - number))
        left -= shares[stratum]
    return shares
