"""Near duplicates: MinHash sketches of what the agent did, and the exact Jaccard index; who meets whom is bands.py's.

A sketch is made of the goal, the assistant's words, and its calls with their arguments. System prompts, tool lists
and tool outputs stay out: they are alike in runs that have nothing else in common (208 of 600 real banking runs in
one cluster). Source: Broder, 1997 (resemblance); Leskovec, Rajaraman, Ullman, section 3.4 (bands). Departure: one
64-bit multiply-shift a permutation instead of a prime field (Dietzfelbinger et al., 1997), and every pair that meets
is verified on its shingles.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from l07.domain.example import text_of, tool_calls
from l07.domain.scheme import PERMUTATIONS, SEED, SHINGLE

try:
    from l07.domain import sketching as compiled
except ImportError:  # no C compiler where this was installed: what follows does it
    compiled = None  # type: ignore[assignment]

U64 = npt.NDArray[np.uint64]
Shingles = frozenset[int]

_MASK = (1 << 64) - 1
_WORD = re.compile(r"\w+")


def action_text(goal: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """The goal and what the agent did, in order: what two runs must share to be near duplicates."""
    parts = [goal]
    for message in messages:
        if message.get("role") != "assistant":
            continue
        parts.append(text_of(message.get("content")))
        parts.extend(f"{_field(call, 'name')} {text_of(_field(call, 'arguments'))}" for call in tool_calls([message]))
    return "\n".join(parts)


def _field(call: Mapping[str, Any], name: str) -> Any:
    function = call.get("function")
    return function.get(name) if isinstance(function, Mapping) else None


def _splitmix(seed: int) -> Iterator[int]:
    """Python integers, not numpy's generator: its streams may change between releases, a sketch may not."""
    state = seed & _MASK
    while True:
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        yield z ^ (z >> 31)


_STREAM = _splitmix(SEED)
_PLACE = np.array([next(_STREAM) | 1 for _ in range(SHINGLE)], dtype=np.uint64)
_MULTIPLY = np.array([next(_STREAM) | 1 for _ in range(PERMUTATIONS)], dtype=np.uint64)
_ADD = np.array([next(_STREAM) for _ in range(PERMUTATIONS)], dtype=np.uint64)


class _Words(dict[str, int]):
    """The hash of each word; MOST of them are remembered, for logs are full of words that come once."""

    MOST = 200_000

    def __missing__(self, word: str) -> int:
        if len(self) >= self.MOST:
            self.clear()
        value = self[word] = xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
        return value


class Sketcher:
    """Words -> shingles -> sketch. Keeps the hash of each word it has seen; the results depend on the text alone."""

    def __init__(self) -> None:
        self._words = _Words()

    def shingles(self, text: str) -> U64:
        """The distinct hashes of the text's word 5-grams, sorted; a shorter text is one shingle, padded."""
        return self.shingles_of([text])[0]

    def shingles_of_run(self, goal: str, messages: Sequence[Mapping[str, Any]]) -> U64:
        """Of its action's text."""
        found = compiled.run_shingles(goal, messages, _PLACE) if compiled is not None else None
        return self.shingles(action_text(goal, messages)) if found is None else found

    def shingles_of(self, texts: Sequence[str]) -> list[U64]:
        """The same for many at once, at a third of the price."""
        if compiled is not None:
            return [compiled.shingles(text, _PLACE) for text in texts]
        hashes: list[int] = []
        ends = []
        for text in texts:
            words = list(map(self._words.__getitem__, _WORD.findall(text.lower())))
            hashes += words
            hashes += [0] * (SHINGLE - len(words))
            ends.append(len(hashes))
        mixed = _mixed(np.array(hashes, dtype=np.uint64))
        starts = [0, *ends[:-1]] if ends else []
        return [_distinct(mixed[start : end - SHINGLE + 1]) for start, end in zip(starts, ends, strict=True)]

    def sketch(self, shingles: U64) -> bytes:
        """128 minima of 32 bits, little endian: 512 bytes."""
        if compiled is not None:
            return compiled.sketch(shingles, _MULTIPLY, _ADD)
        best = np.full(PERMUTATIONS, 0xFFFFFFFF, dtype=np.uint32)
        for start in range(0, len(shingles), 512):
            block = shingles[start : start + 512, None] * _MULTIPLY + _ADD
            np.minimum(best, (block >> np.uint64(32)).astype(np.uint32).min(axis=0), out=best)
        return best.astype("<u4").tobytes()


def _mixed(words: U64) -> U64:
    """A hash of each window of words."""
    count = max(0, len(words) - SHINGLE + 1)
    mixed = np.zeros(count, dtype=np.uint64)
    for place in range(SHINGLE):
        mixed += words[place : place + count] * _PLACE[place]
    mixed ^= mixed >> np.uint64(33)
    mixed *= np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(33)
    return mixed


def _distinct(values: U64) -> U64:
    """np.unique, without its preparations."""
    ordered = np.sort(values)
    if len(ordered) > 1:
        first = np.empty(len(ordered), bool)
        first[0] = True
        np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
        ordered = ordered[first]
    return ordered


def jaccard(one: U64, other: U64) -> float:
    """Shared over all shingles, exact."""
    shared = _shared(one, other) if compiled is None else compiled.shared(one, other)
    return shared / (len(one) + len(other) - shared)


def _shared(one: U64, other: U64) -> int:
    return len(np.intersect1d(one, other, assume_unique=True))


def estimate(one: bytes, other: bytes) -> float:
    """The Jaccard index as two sketches tell it; standard error at most 0.044."""
    return float(np.mean(np.frombuffer(one, dtype="<u4") == np.frombuffer(other, dtype="<u4")))
