"""Which rows must share a split, and which split that is (G7). A split that was given is stored and never computed
again."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from l07.domain.selection import keyed_hash

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
STRICTEST = ("test", "validation", "train", "")  # who wins when groups merge; "" has no split yet
MIN_GROUPS = 10
Item = TypeVar("Item", str, int)


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks that share a split: joined by near duplicates or by equal deeds, for ever."""

    id: str
    tasks: tuple[str, ...]  # sorted
    split: str = ""  # "" until it is given


def merge(groups: Iterable[Group], tasks: Iterable[str], links: Iterable[tuple[str, str]]) -> list[Group]:
    """The groups that remain when `links` tie tasks together; a task that nobody has seen is a group of its own.

    Of groups that merge the strictest split wins: test, then validation, then train. The winner's name stays."""
    known = list(groups)
    union: DisjointSets[str] = DisjointSets()
    for group in known:
        for task in group.tasks:
            union.join(group.tasks[0], task)
    for task in tasks:
        union.find(task)
    for one, other in links:
        union.join(one, other)
    parts: dict[str, list[str]] = defaultdict(list)
    for task in sorted(union.members()):
        parts[union.find(task)].append(task)
    before = {task: group for group in known for task in group.tasks}
    return [_merged(part, before) for part in parts.values()]


def _merged(tasks: Sequence[str], before: Mapping[str, Group]) -> Group:
    old = {before[task].id: before[task] for task in tasks if task in before}
    if not old:
        return Group(id=tasks[0], tasks=tuple(tasks))
    winner = min(old.values(), key=lambda group: (STRICTEST.index(group.split), group.id))
    return replace(winner, tasks=tuple(tasks))


class DisjointSets(Generic[Item]):
    """The smallest member represents a set, so the order of joins does not show."""

    def __init__(self) -> None:
        self._above: dict[Item, Item] = {}

    def members(self) -> Iterable[Item]:
        """Of all sets."""
        return self._above

    def find(self, item: Item) -> Item:
        """The representative; an item that nobody has named is a set of its own."""
        root = self._above.setdefault(item, item)
        while self._above[root] != root:
            root = self._above[root]
        while self._above[item] != root:
            self._above[item], item = root, self._above[item]
        return root

    def join(self, one: Item, other: Item) -> None:
        low, high = sorted((self.find(one), self.find(other)))
        self._above[high] = low


@dataclass(frozen=True, slots=True)
class Size:
    """What a group brings: its rows, the stratum of most of them, and the smallest natural key, which is its place in
    the order."""

    rows: int
    stratum: str
    first_key: str


def sizes(rows: Iterable[tuple[str, str, str]]) -> dict[str, Size]:
    """Group id -> its size, of (group id, stratum, natural key) of the rows that count."""
    strata: dict[str, Counter[str]] = defaultdict(Counter)
    first: dict[str, str] = {}
    for group, stratum, key in rows:
        strata[group][stratum] += 1
        first[group] = min(key, first.get(group, key))
    return {
        group: Size(counts.total(), min(counts, key=lambda s: (-counts[s], s)), first[group])
        for group, counts in strata.items()
    }


Have = Mapping[str, Counter[str]]  # stratum -> split -> rows


def assign(
    groups: Sequence[Group], size: Mapping[str, Size], *, seed: int, fill: bool = True, have: Have | None = None
) -> list[Group]:
    """Give every group in `size` that has no split one; groups that have one keep it. `have`: what groups beside these
    have already.

    In the order of natural keys each gets the split whose quota in its stratum is furthest behind, ties by keyed
    hash. With `fill`, a split that has no row at all first takes a new group that fits its share, the one with the smallest keyed hash, so that
    ten groups always fill three splits."""
    new = sorted((g for g in groups if not g.split and g.id in size), key=lambda g: size[g.id].first_key)
    there: dict[str, Counter[str]] = defaultdict(Counter)
    for stratum, counts in (have or {}).items():
        there[stratum].update(counts)
    for group in groups:
        if group.split and group.id in size:
            there[size[group.id].stratum][group.split] += size[group.id].rows
    given: dict[str, Group] = {}
    if fill:
        for split, group in list(_first_of_empty(new, size, there, seed=seed)):
            given[group.id] = _give(group, split, size[group.id], there)
    for group in new:
        if group.id not in given:
            split = _furthest_behind(there[size[group.id].stratum], size[group.id], group.id, seed=seed)
            given[group.id] = _give(group, split, size[group.id], there)
    return [given.get(group.id, group) for group in groups]


def _first_of_empty(
    new: Sequence[Group], size: Mapping[str, Size], have: Mapping[str, Counter[str]], *, seed: int
) -> Iterable[tuple[str, Group]]:
    left, total = list(new), sum(size[group.id].rows for group in new)
    for split in STRICTEST[:3]:
        if left and not any(counts[split] for counts in have.values()):
            most = SHARES[split] * total
            chosen = min(
                left, key=lambda g: (size[g.id].rows > most, keyed_hash(seed, f"fill/{split}", g.id), g.id)
            )  # used at once
            left.remove(chosen)
            yield split, chosen


def _give(group: Group, split: str, size: Size, have: Mapping[str, Counter[str]]) -> Group:
    have[size.stratum][split] += size.rows
    return replace(group, split=split)


def _furthest_behind(have: Mapping[str, int], size: Size, group: str, *, seed: int) -> str:
    total = sum(have.values()) + size.rows
    behind = {split: round(share * total - have.get(split, 0), 9) for split, share in SHARES.items()}
    return min(SHARES, key=lambda split: (-behind[split], keyed_hash(seed, f"split/{split}", group)))
