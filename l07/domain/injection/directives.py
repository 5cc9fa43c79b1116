"""Wording in a tool's output that is aimed at the agent: which of it, where, and how strong.

Every pattern runs in google-re2: linear in the text, whatever the text is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import re2

from l07.domain.injection.disguise import closed, payloads, plain
from l07.domain.injection.wordings import DIRECTIVES, Directive

BEHIND, AHEAD = 160, 400  # characters around a find that belong to it; behind, at most to the sentence's beginning
HIDDEN = 0.6  # that a readable order in base64, hex or rot13 is aimed at the agent, beside what it says
MOST_FINDS = 2_000  # of one output; what a text says two thousand times it says

_ENCODED = r"[a-z0-9+/_-]{32,}|vtaber|qvfertneq|bireevqr|vafgehpgvba|cerivbhf|nffvfgnag"
_SPREAD = r"(?:^|[^a-z0-9])(?:[a-z0-9][ ._-]){7}"  # s p r e a d


def _compile() -> tuple[Any, Sequence[Any]]:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 64 << 20  # states of all patterns at once; an automaton without room would find nothing
    gate = re2.Set.SearchSet(options)
    for pattern in (*(directive.pattern for directive in DIRECTIVES), _ENCODED, _SPREAD):
        gate.Add(pattern)
    gate.Compile()
    return gate, [re2.compile(directive.pattern, options) for directive in DIRECTIVES]


_GATE, _PATTERNS = _compile()
_IS_ENCODED, _IS_SPREAD = len(DIRECTIVES), len(DIRECTIVES) + 1


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of one tool output that reads as a directive."""

    output: int  # number of the tool output in the run
    text: str  # in plain form
    strength: float  # 0-1: that the text wants something of the agent
    kinds: frozenset[str]


class _Find(NamedTuple):
    start: int
    end: int
    directive: Directive


def passages(outputs: Sequence[str], texts: Sequence[str]) -> list[Passage]:
    """Every directive passage of tool outputs, raw and in plain form, in their order; what an encoded payload says is
    one too."""
    if not any(_GATE.Match(text) for text in texts):  # each by itself: some wordings stand at a text's beginning or end
        return []
    found: list[Passage] = []
    for number, (raw, text) in enumerate(zip(outputs, texts, strict=True)):
        kinds = _GATE.Match(text) or ()
        if _IS_SPREAD in kinds:
            text = closed(text)
            kinds = _GATE.Match(text) or ()
        found.extend(_of_text(number, text, kinds))
        if _IS_ENCODED in kinds:
            found.extend(_hidden(number, raw))
    return found


def _hidden(number: int, raw: str) -> Iterator[Passage]:
    """An order that was encoded was not meant for a person: its kinds count, and that it was hidden."""
    for payload in payloads(raw):
        text = plain(payload)
        for passage in _of_text(number, text, _GATE.Match(text) or ()):
            strength = either((passage.strength, HIDDEN))
            yield Passage(number, passage.text, strength, passage.kinds | {"hidden"})


def _of_text(number: int, text: str, kinds: Iterable[int]) -> Iterator[Passage]:
    finds: list[_Find] = []
    for kind in kinds:
        if kind < len(DIRECTIVES):
            for match in _PATTERNS[kind].finditer(text):
                finds.append(_Find(match.start(), match.end(), DIRECTIVES[kind]))
                if len(finds) % MOST_FINDS == 0:
                    break
    return _merged(number, text, sorted(finds, key=lambda find: (find.start, find.end)))


def _merged(number: int, text: str, finds: Sequence[_Find]) -> Iterator[Passage]:
    """Finds whose surroundings touch are one passage; its strength is that of its different kinds together."""
    start = end = 0
    weights: dict[str, float] = {}
    for find in finds:
        closes = text.startswith(("</", "[/"), find.start)
        before = _beginning(text, find.start)
        if weights and before > end:
            yield _passage(number, text[start:end], weights)
            weights = {}
        start = start if weights else max(before, end)
        end = find.end if closes else max(end, find.end + AHEAD)
        weights[find.directive.kind] = max(weights.get(find.directive.kind, 0.0), find.directive.weight)
        if closes:
            yield _passage(number, text[start:end], weights)
            weights = {}
    if weights:
        yield _passage(number, text[start:end], weights)


def _passage(number: int, text: str, weights: dict[str, float]) -> Passage:
    return Passage(number, text, either(weights.values()), frozenset(weights))


def _beginning(text: str, at: int) -> int:
    """Where the sentence begins that holds this place, at most BEHIND characters back."""
    least = max(0, at - BEHIND)
    return max(least, *(text.rfind(mark, least, at) + 1 for mark in (". ", "! ", "? ", ": ", "> ", "] ", "; ")))


def either(weights: Iterable[float]) -> float:
    """That at least one of several chances holds, were they independent."""
    none = 1.0
    for weight in weights:
        none *= 1.0 - weight
    return round(1.0 - none, 6)
