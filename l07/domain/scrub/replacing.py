"""Values out, names in: the row in its shape, with what was found replaced wherever it stands."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import re2

from l07.domain.gate import options
from l07.domain.scrub.compiled import walk
from l07.domain.scrub.texts import closed, is_long_number, opened

LITERAL = 200  # characters; a longer value costs an automaton more than a search
FEW = 32  # values; to look for more one by one costs more than the automaton
_SPLIT = (b"\x01", b"\n", b"\r", b"\t")  # what `opened` makes of escapes: a value with one may be written otherwise


class Word(NamedTuple):
    """A value in bytes, and the name for it. `left`, `right`: whether a word has to end there."""

    value: bytes
    name: bytes
    left: bool
    right: bool

    @classmethod
    def of(cls, value: str, name: str, plain: bool) -> "Word":
        left, right = (not plain and c.isascii() and (c.isalnum() or c == "_") for c in (value[0], value[-1]))
        return cls(value.encode("utf-8", "replace"), name.encode(), left, right)


@dataclass(frozen=True, slots=True)
class Change:
    """What `replace` makes of a text. It leaves a text alone that is shorter than `shortest`, or holds none of `needles`
    (where there are any)."""

    replace: Callable[[str], str]
    shortest: int
    needles: tuple[str, ...]

    def __call__(self, text: str) -> str:
        if len(text) < self.shortest or (self.needles and not any(map(text.__contains__, self.needles))):
            return text
        return self.replace(text)


def replacer(names: Mapping[str, str], plain: Collection[str], *, few: int = FEW) -> Change:
    """Puts each value's name in its place, longest first; those of `plain` also inside of a word. More than `few` values
    are left to an automaton."""
    ordered = sorted(names, key=lambda value: (-len(value), value))
    words = [Word.of(value, names[value], value in plain) for value in ordered]
    long = [word for word, value in zip(words, ordered, strict=True) if len(value) > LITERAL]
    compiled = walk is not None and len(words) <= few
    short = words[len(long) :]
    substitute = partial(walk.substituted, words=tuple(short)) if compiled else by_pattern(short)

    def replace(text: str) -> str:
        before = data = opened(text.encode("utf-8", "surrogatepass"))
        for word in long:
            data = data.replace(word.value, word.name)
        data = substitute(data)
        return text if data is before else closed(data).decode("utf-8", "surrogatepass")

    sure = len(words) <= few and not any(mark in word.value for word in words for mark in _SPLIT)
    return Change(replace, min(map(len, ordered)), tuple(word.value.decode() for word in words) if sure else ())


def by_pattern(words: Sequence[Word]) -> Callable[[bytes], bytes]:
    """Data -> the same object, or with the words' names in their places; of two words that begin there, the first."""
    if not words:
        return lambda data: data
    pattern = re2.compile(b"|".join(map(_literal, words)), options())
    names = {word.value: word.name for word in words}

    def substituted(data: bytes) -> bytes:
        pieces: list[bytes] = []
        at = 0
        for match in pattern.finditer(data):
            start, end = match.span()
            pieces += (data[at:start], names[data[start:end]])
            at = end
        return b"".join((*pieces, data[at:])) if pieces else data

    return substituted


def _literal(word: Word) -> bytes:
    return rb"\b" * word.left + bytes(re2.escape(word.value)) + rb"\b" * word.right


def replaced(values: Sequence[Any], change: Change) -> tuple[Any, ...]:
    """Each value in its shape, with what `change` makes of every text, key and long number."""
    if walk is None:
        return tuple(replaced_one(value, change) for value in values)
    return walk.replaced(values, change.replace, change.shortest, change.needles)


def replaced_one(value: Any, change: Callable[[str], str]) -> Any:
    """One value in Python."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {
            change(name) if isinstance(name, str) else name: replaced_one(item, change) for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(replaced_one(item, change) for item in value)
    if is_long_number(value):
        text = change(str(value))
        return value if text == str(value) else text
    return value
