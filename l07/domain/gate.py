"""Which of many patterns occur in a text, told by few passes over it, before any of them is searched for."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import re2


def options() -> Any:
    """How every pattern is compiled. An automaton without room would find nothing."""
    made = re2.Options()
    made.log_errors = False
    made.max_mem = 64 << 20
    return made


@cache
def compiled(pattern: str) -> Any:
    """At its first use: to compile all of them takes a tenth of a second, and most never find anything."""
    return re2.compile(pattern, options())


class Gate:
    """Groups of patterns, a google-re2 Set each. What a group's automaton is at depends on all its patterns at once: two
    groups that have little to do with each other have far fewer states than one of both, and states are what a
    processor's cache is too small for."""

    def __init__(self, *groups: Sequence[str]) -> None:
        self._sets = []
        first = 0
        for group in groups:
            patterns = re2.Set.SearchSet(options())
            for pattern in group:
                patterns.Add(pattern)
            patterns.Compile()
            self._sets.append((patterns, first))
            first += len(group)

    def marked(self, texts: Sequence[str | bytes]) -> list[list[int]]:
        """Of each text the numbers of the patterns in it, in order; they are counted on from group to group. One group goes
        over all texts, then the next."""
        found: list[list[int]] = [[] for _ in texts]
        for patterns, first in self._sets:
            for numbers, text in zip(found, texts, strict=True):
                if here := patterns.Match(text):
                    numbers.extend(first + number for number in sorted(here))
        return found
