"""Choosing some rows of a million, the same ones every time: selection.py's choices over arrays."""

import numpy as np
import numpy.typing as npt

from l07.domain.arrays import distinct, order_of
from l07.domain.selection import keyed_hash, shares

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


def draw_of(key: str) -> int:
    """A row's own 64 random bits: stored once, mixed with seed and purpose whenever something is chosen."""
    return keyed_hash(0, "draw", key)


def mixed(draws: U64, *, seed: int, purpose: str) -> U64:
    """Every row's number in one choice; another seed or purpose is another order. Source: the finaliser of splitmix64
    (Steele, Lea, Flood, 2014), a bijection, so that no two draws tie."""
    z = draws ^ np.uint64(keyed_hash(seed, purpose, ""))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def lowest(draws: U64, count: int, *, seed: int, purpose: str) -> I64:
    """Places of the `count` rows with the smallest numbers, rising. What was not chosen of a smaller set is never
    chosen of a larger one, so a row that has left does not come back while `count` stays."""
    order = order_of(mixed(draws, seed=seed, purpose=purpose))
    return np.sort(order[: max(0, count)])


def stratified_cap(draws: U64, strata: I64, limit: int, *, seed: int) -> I64:
    """Places of at most `limit` rows, rising: every stratum keeps all it has up to one common height, the highest that
    fits, so that a small stratum is cut last."""
    sizes = np.bincount(strata)
    height = shares({f"{code:09}": int(size) for code, size in enumerate(sizes) if size}, limit)
    order = np.lexsort((mixed(draws, seed=seed, purpose="cap"), strata))
    starts = np.cumsum(sizes) - sizes
    chosen = [order[starts[int(code)] : starts[int(code)] + share] for code, share in height.items()]
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))


def reservoir(draws: U64, sources: I64, domains: I64, size: int, *, seed: int) -> I64:
    """Places of at most `size` rows of each source, rising; each of its domains has as many as it can, none more than
    the others need to leave."""
    ranks = mixed(draws, seed=seed, purpose="reservoir")
    some = _lowest_of(ranks, sources.astype(np.int64) << 32 | domains, size)
    order = np.lexsort((ranks[some], domains[some], sources[some]))
    rows = some[order]
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(sources[rows]) != 0) | (np.diff(domains[rows]) != 0)
    starts = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    turn = np.empty(len(order), np.int64)
    turn[order] = np.arange(len(order)) - starts
    return some[lowest_of_each(sources[some], turn, size)]


def _lowest_of(ranks: U64, groups: I64, size: int) -> I64:
    """Places of the `size` rows with the smallest ranks in each group, rising, without an order among them."""
    kept = np.ones(len(ranks), bool)
    for group in distinct(groups).tolist() if size else ():
        mine = np.flatnonzero(groups == group)
        if len(mine) > size:
            limit = np.partition(ranks[mine], size - 1)[size - 1]
            kept[mine[ranks[mine] > limit]] = False
    return np.flatnonzero(kept)


def lowest_of_each(groups: I64, ranks: I64, size: int) -> I64:
    """Places of the `size` rows with the smallest ranks in each group, rising."""
    order = np.lexsort((ranks, groups))
    sizes = np.bincount(groups)
    within = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[groups[order]]
    return np.sort(order[within < size])
