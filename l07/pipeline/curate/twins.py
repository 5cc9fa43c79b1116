"""Who is like whom: pairs of rows with their similarity, exact where both texts are at hand."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from l07.domain.dataset import Member
from l07.domain.duplicates import U64, Buckets, Sketcher, action_text, estimate, jaccard
from l07.domain.selection import keyed_hash


class Body(NamedTuple):
    """What a row's sketch is made of."""

    goal: str
    messages: Sequence[Mapping[str, Any]]


Bodies = Callable[[Collection[str]], Mapping[str, Body]]


class Twins:
    """Similarities between the rows of one build; texts of older rows are fetched once, and only when they meet
    something."""

    def __init__(self) -> None:
        self._sketcher = Sketcher()
        self._shingles: dict[str, U64] = {}
        self._sketches: dict[str, bytes] = {}
        self._buckets = Buckets()

    def sketch(self, key: str, body: Body) -> bytes:
        """The sketch of a row whose text is at hand."""
        self._shingles[key] = self._sketcher.shingles(action_text(body.goal, body.messages))
        return self._sketcher.sketch(self._shingles[key])

    def add(self, key: str, sketch: bytes) -> None:
        self._sketches[key] = sketch
        self._buckets.add(key, sketch)

    def pairs(self, keys: Iterable[str], bodies: Bodies, *, least: float) -> dict[tuple[str, str], float]:
        """Every pair of one of `keys` and any row that was added, both ways round once (smaller key first), from
        `least` on."""
        met: set[tuple[str, str]] = set()
        for key in keys:
            for other in self._buckets.meets(self._sketches[key]):
                if other != key:
                    met.add((key, other) if key < other else (other, key))
        self._fetch({key for pair in met for key in pair} - self._shingles.keys(), bodies)
        found = ((pair, self._similarity(*pair)) for pair in sorted(met))
        return {pair: similarity for pair, similarity in found if similarity >= least}

    def _fetch(self, keys: Collection[str], bodies: Bodies) -> None:
        for key, body in bodies(keys).items() if keys else ():
            self._shingles[key] = self._sketcher.shingles(action_text(body.goal, body.messages))

    def _similarity(self, one: str, other: str) -> float:
        if one in self._shingles and other in self._shingles:
            return jaccard(self._shingles[one], self._shingles[other])
        return estimate(self._sketches[one], self._sketches[other])


def drop_duplicates(
    members: Iterable[Member],
    pairs: Mapping[tuple[str, str], float],
    *,
    similarity: float,
    seed: int,
    exact: bool = True,
) -> dict[str, Member]:
    """Of these rows the ones that leave, with their reason: equal conversations if `exact`, and near duplicates within a
    task. The better-scored stays, ties by keyed hash."""
    near: dict[str, set[str]] = defaultdict(set)
    for (one, other), value in pairs.items():
        if value >= similarity:
            near[one].add(other)
            near[other].add(one)
    kept: dict[str, Member] = {}
    seen: set[str] = set()
    leave: dict[str, Member] = {}
    for member in sorted(members, key=lambda m: (-m.quality_score, keyed_hash(seed, "duplicate", m.key), m.key)):
        reason = _duplicate(member, kept, seen, near)
        if reason:
            leave[member.key] = replace(member, table="", reasons=(*member.reasons, reason))
        else:
            kept[member.key] = member
            seen.update((member.exact,) if exact else ())
    return leave


def _duplicate(member: Member, kept: Mapping[str, Member], seen: Collection[str], near: Mapping[str, set[str]]) -> str:
    if member.exact in seen:
        return "exact_duplicate"
    if any(other in kept and kept[other].task == member.task for other in near.get(member.key, ())):
        return "near_duplicate"
    return ""
