"""All rules over the texts of a row: those that were not seen lately go through a gate to see which rules can find
anything, then through only those."""

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

from l07.domain.gate import Gate, compiled
from l07.domain.remembered import MOST, ByteBoundCache, size_of
from l07.domain.scrub.compiled import walk
from l07.domain.scrub.personal import personal
from l07.domain.scrub.rules import Rule
from l07.domain.scrub.secrets import secrets
from l07.domain.scrub.texts import joined, told

BEFORE = 48  # bytes before a find that its check may look at
_DIGITS = re.compile(r"(?i)\[0-9|0-9a-f")  # what such a gate is at depends on how many digits it has seen
PIECE = 1000  # characters that go through the gate together, and through a rule if they have to


class Find(NamedTuple):
    """A value that is to be replaced, or counted."""

    kind: str
    value: str
    same: str  # equal for two spellings of one value
    personal: bool


_Found = tuple[int, Find]  # with the number of its rule
_Place = tuple[int, int, Find]  # where it begins and ends


class Engine:
    """The rules of some classes, compiled."""

    def __init__(self, rules: Sequence[Rule], *, remembered: int = MOST) -> None:
        """`remembered`: bytes of what was found lately, twice."""
        by_digits = [rule for rule in rules if _DIGITS.search(rule.gate or rule.pattern)]
        by_words = [rule for rule in rules if rule not in by_digits]
        self._rules = rules
        self._order = [rules.index(rule) for rule in (*by_words, *by_digits)]
        self._gate = Gate(*([rule.gate or rule.pattern for rule in some] for some in (by_words, by_digits)))
        self._nothing = walk.Nothing() if walk and remembered else None
        self._memory = ByteBoundCache[tuple[_Found, ...]](remembered, size_of=size_of)

    def finds(self, rows: Sequence[Sequence[Any]]) -> list[list[Find]]:
        """Of each row every value that its texts hold, in the order of the rules and then of the texts; what overlaps an
        earlier find is not told again. What is found in a text does not depend on the others.

        First all texts are told, then all go through the gate, then those that it marks through the rules: automata that
        take turns text by text push each other out of the processor's cache."""
        young = self._memory.young
        said = [told(values, young, self._nothing) for values in rows]
        unknown = dict.fromkeys([one for row in said for one in row if isinstance(one, str)])
        new = self._memory.found(unknown, self._look) if unknown else {}
        return [_in_order(row, new) if row else [] for row in said]

    def _look(self, texts: Sequence[str]) -> dict[str, tuple[_Found, ...]]:
        """What is to be remembered of them; the others are marked."""
        made = self.look(texts)
        return made if self._nothing is None else self._nothing.told_apart(made)

    def look(self, texts: Sequence[str]) -> dict[str, tuple[_Found, ...]]:
        """What is in each, without the memory; the finds of a text in the order of their rules."""
        made: dict[str, tuple[_Found, ...]] = dict.fromkeys(texts, ())
        marked: dict[int, list[_Piece]] = {}
        pieces = list(_pieces(texts))
        for piece, places in zip(pieces, self._gate.marked([piece.row for piece in pieces]), strict=True):
            for place in places:
                marked.setdefault(self._order[place], []).append(piece)
        for number in sorted(marked):
            rule = self._rules[number]
            pattern = compiled(rule.pattern)
            for piece in marked[number]:
                for start, end, find in _matches(rule, pattern, piece.row):
                    if _claim(piece.claimed, start, end):
                        made[piece.text_at(start)] += ((number, find),)
        return made


@cache
def engine(with_secrets: bool, with_personal: bool) -> Engine:
    """One for each choice of classes; made at the first use."""
    return Engine([*(secrets() if with_secrets else ()), *(personal() if with_personal else ())])


class _Piece:
    """Some texts that are looked at together."""

    __slots__ = ("_ends", "_texts", "claimed", "row")

    def __init__(self, texts: Sequence[str]) -> None:
        self.row = joined(texts)
        self.claimed: list[tuple[int, int]] = []
        self._texts = texts
        self._ends: list[int] = []

    def text_at(self, place: int) -> str:
        """In bytes of the row."""
        if not self._ends:
            self._ends = list(accumulate(len(text.encode("utf-8", "surrogatepass")) + 1 for text in self._texts))
        return self._texts[bisect_right(self._ends, place)]


def _pieces(texts: Sequence[str]) -> Iterator[_Piece]:
    """Texts of PIECE characters and more, together."""
    first = size = 0
    for number, text in enumerate(texts, 1):
        size += len(text)
        if size >= PIECE:
            yield _Piece(texts[first:number])
            first, size = number, 0
    if first < len(texts):
        yield _Piece(texts[first:])


def _in_order(said: Sequence[str | tuple[_Found, ...]], new: Mapping[str, tuple[_Found, ...]]) -> list[Find]:
    """What is known of the texts of a row, by rule."""
    found = [place for one in said for place in (new.get(one, ()) if isinstance(one, str) else one)]
    found.sort(key=_rule)
    return [find for _, find in found]


def _rule(found: _Found) -> int:
    return found[0]


def _matches(rule: Rule, pattern: Any, row: bytes) -> Iterator[_Place]:
    """Goes on where the value ends, not the match: what stands between two values is the edge of both."""
    at = 0
    while (match := pattern.search(row, at)) is not None:
        place = _place(rule, row, match)
        if place is not None:
            yield place
            at = place[1]
        else:
            at = match.start(1) + 1 if rule.window else _edge(row, match.end())


def _edge(row: bytes, end: int) -> int:
    """Where a refused match leaves off: the NUL behind it is the next text's edge too."""
    return end - 1 if row[end - 1] == 0 else end


def _place(rule: Rule, row: bytes, match: Any) -> _Place | None:
    start, end = match.span(1)
    value = row[start:end].decode("utf-8", "replace")
    before = row[max(0, start - BEFORE) : start].rpartition(b"\0")[2].decode("utf-8", "replace")
    part = rule.check(value, before)
    if not part:
        return None
    if part != value:
        start = min(end, start + len(value[: value.find(part)].encode()))
        end = min(end, start + len(part.encode()))
    return start, end, Find(rule.kind, part, rule.same(part), rule.personal)


def _claim(claimed: list[tuple[int, int]], start: int, end: int) -> bool:
    at = bisect_left(claimed, (start, end))
    if at < len(claimed) and claimed[at][0] < end:
        return False
    if at and claimed[at - 1][1] > start:
        return False
    insort(claimed, (start, end))
    return True
