"""Who is like whom: pairs of rows with their similarity, exact where both texts are at hand."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from l07.domain.bands import Bands, agreement
from l07.domain.dataset import Member
from l07.domain.doubt import CountBoundCache
from l07.domain.duplicates import U64, Sketcher, jaccard
from l07.domain.selection import keyed_hash

MARGIN = 0.2  # a sketch that tells less than the limit by this much is 4.9 deviations away from it: not looked at
BLOCK = 65_536  # pairs of sketches compared at once: 64 MB

Pairs = Mapping[tuple[int, int], float]  # rows, the smaller number first


class Body(NamedTuple):
    """What a row's sketch is made of."""

    goal: str
    messages: Sequence[Mapping[str, Any]]


Bodies = Callable[[Mapping[str, int]], Mapping[str, Body]]  # of these keys, each with its row
TextsOf = Callable[[Sequence[int]], Mapping[int, Body]]
Name = tuple[int, int]  # of a text: 64 random bits of the run's key, and of the digest of goal and messages


class Older(NamedTuple):
    """What is asked of older rows: of those that have a text its name, and the text."""

    names: Callable[[Sequence[int]], Mapping[int, Name]]
    texts: TextsOf


_MET: CountBoundCache[U64] = (
    CountBoundCache()
)  # shingles by the text's name: who is like whom is asked soon after one came


class Twins:
    """Similarities between the rows of one build; texts of older rows are fetched once, and only when they meet
    something."""

    def __init__(self) -> None:
        self._sketcher = Sketcher()
        self._shingles: dict[int, U64] = {}

    def sketches(self, bodies: Mapping[int, Body]) -> dict[int, bytes]:
        """The sketches of rows whose texts are at hand."""
        found = self._shingles_of(bodies)
        self._shingles |= found
        return {row: self._sketcher.sketch(shingles) for row, shingles in found.items()}

    def forget(self, row: int) -> None:
        """The row is nobody's twin."""
        self._shingles.pop(row, None)

    def _shingles_of(self, bodies: Mapping[int, Body]) -> dict[int, U64]:
        return {row: self._sketcher.shingles_of_run(body.goal, body.messages) for row, body in bodies.items()}

    def pairs(self, asked: Bands, among: Iterable[Bands], older: Older, *, least: float) -> Pairs:
        """Every pair of one of `asked` and any row of `among`, from `least` on."""
        near: dict[tuple[int, int], float] = {}
        for part in among:
            near |= _near(asked, part, least - MARGIN)
            part.let_go()
        self._fetch(sorted({row for pair in near for row in pair} - self._shingles.keys()), older)
        found = ((pair, self._similarity(pair, told)) for pair, told in sorted(near.items()))
        return {pair: similarity for pair, similarity in found if similarity >= least}

    def _fetch(self, rows: Sequence[int], older: Older) -> None:
        names = older.names(rows)
        known = {row: shingles for row, name in names.items() if (shingles := _MET.get(name)) is not None}
        missing = [row for row in rows if row not in known]
        found = self._shingles_of(older.texts(missing)) if missing else {}
        self._shingles |= known | found
        self.remember({row: names[row] for row in found})

    def remember(self, names: Mapping[int, Name]) -> None:
        """For the next builds of this process."""
        for row, name in names.items():
            if row in self._shingles:
                _MET.put(name, self._shingles[row])

    def _similarity(self, pair: tuple[int, int], told: float) -> float:
        one, other = (self._shingles.get(row) for row in pair)
        return told if one is None or other is None else jaccard(one, other)


def _near(asked: Bands, part: Bands, least: float) -> dict[tuple[int, int], float]:
    """Pairs that share a band and whose sketches agree."""
    found: dict[tuple[int, int], float] = {}
    one, other = part.meets(asked, earlier=part is asked)
    different = asked.rows[one] != part.rows[other]
    one, other = one[different], other[different]
    for start in range(0, len(one), BLOCK):
        mine, theirs = one[start : start + BLOCK], other[start : start + BLOCK]
        told = agreement(asked.sketches, mine, part.sketches, theirs)
        near = told >= least
        left, right = asked.rows[mine[near]].astype(np.int64), part.rows[theirs[near]].astype(np.int64)
        pairs = zip(np.minimum(left, right).tolist(), np.maximum(left, right).tolist(), strict=True)
        found.update(zip(pairs, told[near].tolist(), strict=True))
    return found


def nearest(pairs: Pairs) -> dict[int, float]:
    """Each row's similarity to the one that is most like it."""
    found: dict[int, float] = {}
    for pair, value in pairs.items():
        for row in pair:
            found[row] = max(value, found.get(row, 0.0))
    return found


def drop_duplicates(
    members: Mapping[int, Member], pairs: Pairs, *, similarity: float, seed: int, exact: bool = True
) -> dict[int, Member]:
    """Of these rows the ones that leave, with their reason: equal conversations if `exact`, and near duplicates within a
    task. The better-scored stays, ties by keyed hash."""
    near: dict[int, set[int]] = defaultdict(set)
    for (one, other), value in pairs.items():
        if value >= similarity:
            near[one].add(other)
            near[other].add(one)
    many = Counter(member.exact for member in members.values())
    like = {row: member for row, member in members.items() if row in near or many[member.exact] > 1}
    kept: dict[int, Member] = {}
    seen: set[str] = set()
    leave: dict[int, Member] = {}
    for row, member in sorted(like.items(), key=lambda item: _rank(item[1], seed)):
        reason = _duplicate(row, member, kept, seen, near)
        if reason:
            leave[row] = member.but(table="", reasons=(*member.reasons, reason))
        else:
            kept[row] = member
            seen.update((member.exact,) if exact else ())
    return leave


def _rank(member: Member, seed: int) -> tuple[float, int, str]:
    return (-member.quality_score, keyed_hash(seed, "duplicate", member.key), member.key)


def _duplicate(
    row: int, member: Member, kept: Mapping[int, Member], seen: Collection[str], near: Mapping[int, set[int]]
) -> str:
    if member.exact in seen:
        return "exact_duplicate"
    if any(other in kept and kept[other].task == member.task for other in near.get(row, ())):
        return "near_duplicate"
    return ""


def rows_of(pairs: Pairs, rows: Collection[int], *, least: float) -> set[int]:
    """The partners of these rows."""
    found: set[int] = set()
    for (one, other), value in pairs.items():
        if value >= least:
            found |= ({other} if one in rows else set()) | ({one} if other in rows else set())
    return found
