"""Wording in a tool's output that is aimed at the agent: which of it, where, and how strong.

Every pattern runs in google-re2: linear in the text, whatever the text is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from sys import getsizeof
from typing import NamedTuple

from l07.domain.gate import Gate, compiled
from l07.domain.injection.disguise import closed, payloads, plain
from l07.domain.injection.wordings import DIRECTIVES, ENGLISH, OTHERS, Directive
from l07.domain.remembered import ByteBoundCache

BEHIND, AHEAD = 160, 400  # characters around a find that belong to it; behind, at most to the sentence's beginning
HIDDEN = 0.6  # that a readable order in base64, hex or rot13 is aimed at the agent, beside what it says
MOST_KEPT = 4 << 20  # bytes of outputs that are kept in mind, twice
MOST_FINDS = 2_000  # of one output; what a text says two thousand times it says

_ENCODED = r"[a-z0-9+/_-]{32,}|vtaber|qvfertneq|bireevqr|vafgehpgvba|cerivbhf|nffvfgnag"
_SPREAD = r"(?:^|[^a-z0-9])(?:[a-z0-9][ ._-]){7}"  # s p r e a d


_GATE = Gate(*([directive.gate for directive in some] for some in (ENGLISH, OTHERS)), (_ENCODED, _SPREAD))
_IS_ENCODED, _IS_SPREAD = len(DIRECTIVES), len(DIRECTIVES) + 1


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of one tool output that reads as a directive."""

    output: int  # number of the tool output in the run
    text: str  # in plain form
    strength: float  # 0-1: that the text wants something of the agent
    kinds: frozenset[str]


_Find = tuple[int, int, Directive]  # from, to
_PLACE = itemgetter(0, 1)


class Reading(NamedTuple):
    """What one tool output says."""

    text: str  # in plain form
    passages: tuple[Passage, ...]  # every directive one, in their order; what an encoded payload says is one too


def read_all(outputs: Iterable[str]) -> dict[str, Reading]:
    """Each once, whatever else is read; of many only the first like it is looked at: runs of one task read the same
    again and again."""
    return memory.found(outputs, _read)


def _read(outputs: Sequence[str]) -> dict[str, Reading]:
    """All through the gate, then those that it marks through the patterns: automata that take turns push each other out of
    the processor's cache."""
    texts = [plain(output) for output in outputs]
    marked = _GATE.marked(texts)
    return {
        output: _marked(output, text, kinds) if kinds else Reading(text, ())
        for output, text, kinds in zip(outputs, texts, marked, strict=True)
    }


def _marked(output: str, text: str, kinds: Sequence[int]) -> Reading:
    seen = text
    if _IS_SPREAD in kinds:
        seen = closed(text)
        kinds = _GATE.marked([seen])[0]
    hidden = _hidden(output) if _IS_ENCODED in kinds else ()
    return Reading(text, (*_of_text(seen, kinds), *hidden))


def _size_of(output: str, reading: Reading) -> int:
    """Of what is kept of an output, in bytes; about."""
    return getsizeof(output) + getsizeof(reading.text) + 300 + sum(len(found.text) + 300 for found in reading.passages)


memory = ByteBoundCache[Reading](MOST_KEPT, size_of=_size_of)


def _hidden(raw: str) -> Iterator[Passage]:
    """An order that was encoded was not meant for a person: its kinds count, and that it was hidden."""
    for payload in payloads(raw):
        text = plain(payload)
        for passage in _of_text(text, _GATE.marked([text])[0]):
            strength = either((passage.strength, HIDDEN))
            yield Passage(0, passage.text, strength, passage.kinds | {"hidden"})


def _of_text(text: str, kinds: Iterable[int]) -> Iterator[Passage]:
    return _merged(text, _finds(text, kinds))


def _finds(text: str, kinds: Iterable[int]) -> list[_Find]:
    """In their order. Sought in bytes: a text of other characters than those that re2 knows is encoded once, not for
    every pattern."""
    encoded = text.encode()
    finds: list[_Find] = []
    for kind in kinds:
        if kind < len(DIRECTIVES):
            for match in compiled(DIRECTIVES[kind].pattern).finditer(encoded):
                finds.append((*match.span(), DIRECTIVES[kind]))
                if len(finds) % MOST_FINDS == 0:
                    break
    finds.sort(key=_PLACE)
    return finds if text.isascii() else _in_characters(encoded, finds)


def _in_characters(encoded: bytes, finds: Sequence[_Find]) -> list[_Find]:
    """Places in bytes as places in characters, in one pass."""
    places = {0: 0}
    last = 0
    for place in sorted({place for find in finds for place in find[:2]}):
        places[place] = places[last] + len(encoded[last:place].decode())
        last = place
    return [(places[start], places[end], directive) for start, end, directive in finds]


def _merged(text: str, finds: Sequence[_Find]) -> Iterator[Passage]:
    """Finds whose surroundings touch are one passage; its strength is that of its different kinds together."""
    start = end = 0
    weights: dict[str, float] = {}
    for first, last, directive in finds:
        closes = text.startswith(("</", "[/"), first)
        if not weights or first > end:  # else it touches, wherever its sentence begins
            before = _beginning(text, first)
            if weights and before > end:
                yield _passage(text[start:end], weights)
                weights = {}
            start = start if weights else max(before, end)
        end = last if closes else max(end, last + AHEAD)
        weights[directive.kind] = max(weights.get(directive.kind, 0.0), directive.weight)
        if closes:
            yield _passage(text[start:end], weights)
            weights = {}
    if weights:
        yield _passage(text[start:end], weights)


def _passage(text: str, weights: dict[str, float]) -> Passage:
    return Passage(0, text, either(weights.values()), frozenset(weights))


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
