"""All rules over the texts of a row: those that were not seen lately go through one pass of a google-re2 Set to see
which rules can find anything, then through only those."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate, chain
from typing import Any, NamedTuple

import re2

from l07.domain.scrub.memory import MOST, Memory
from l07.domain.scrub.personal import personal
from l07.domain.scrub.rules import Rule, options
from l07.domain.scrub.secrets import secrets
from l07.domain.scrub.texts import joined, told

BEFORE = 48  # bytes before a find that its check may look at


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
        self._rules = rules
        self._gate = re2.Set.SearchSet(options())
        for rule in rules:
            self._gate.Add(rule.gate or rule.pattern)
        self._gate.Compile()
        self._patterns = [re2.compile(rule.pattern, options()) for rule in rules]
        self._memory = Memory[_Found](remembered)

    def finds(self, values: Sequence[Any]) -> list[Find]:
        """Every value that their texts hold, in the order of the rules and then of the texts; what overlaps an earlier find
        is not told again. What is found in a text does not depend on the others."""
        found = self._memory.filled(told(values, self._memory.young), self.look)
        return [find for _, find in sorted(chain.from_iterable(found), key=_rule)] if any(found) else []

    def look(self, texts: Sequence[str]) -> dict[str, tuple[_Found, ...]]:
        """What is in each, without the memory; the finds of a text in the order of their rules."""
        row = joined(texts)
        made: dict[str, tuple[_Found, ...]] = dict.fromkeys(texts, ())
        places = self._places(row, sorted(self._gate.Match(row) or ()))
        if places:
            ends = list(accumulate(len(text.encode("utf-8", "surrogatepass")) + 1 for text in texts))
            for number, (start, _, find) in places:
                made[texts[bisect_right(ends, start)]] += ((number, find),)
        return made

    def _places(self, row: bytes, numbers: Sequence[int]) -> list[tuple[int, _Place]]:
        claimed: list[tuple[int, int]] = []
        return [
            (number, place)
            for number in numbers
            for place in _matches(self._rules[number], self._patterns[number], row)
            if _claim(claimed, place[0], place[1])
        ]


@cache
def engine(with_secrets: bool, with_personal: bool) -> Engine:
    """One for each choice of classes; made at the first use."""
    return Engine([*(secrets() if with_secrets else ()), *(personal() if with_personal else ())])


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
