"""What was found in texts lately: instructions, answers and arguments stand in many rows, and are looked at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from sys import getsizeof
from typing import Any, Generic, TypeVar

T = TypeVar("T")
MOST = 8 << 20  # bytes of one half
_ENTRY = 200  # bytes of an entry beside its text
_FIND = 1000  # bytes of a find


def size_of(text: str, finds: Sequence[Any]) -> int:
    """Of a text with its finds, in bytes; about."""
    return getsizeof(text) + _ENTRY + _FIND * len(finds)


class ByteBoundCache(Generic[T]):
    """What was found in each text, of as many as fit: those since the last turn, and those before it that nobody has asked
    for since. Threads may lose each other's entries and never see a wrong one."""

    def __init__(self, most: int = MOST, *, size_of: Callable[[str, T], int]) -> None:
        """`most`: bytes of one half, of which there are two."""
        self._most = most
        self._size_of = size_of
        self._size = 0
        self.young: dict[str, T] = {}  # to be read alone
        self._old: dict[str, T] = {}

    def found(self, texts: Iterable[str], look: Callable[[Sequence[str]], Mapping[str, T]]) -> dict[str, T]:
        """Of each text, but of none of which `look` says nothing. It is asked for those that are not known, each once; what it
        says of a text must depend on that text alone."""
        young = self.young
        found: dict[str, T] = {}
        unknown: dict[str, None] = {}
        for text in texts:
            known = young.get(text)
            if known is None:
                unknown[text] = None
            else:
                found[text] = known
        return found | self._recalled(unknown, look) if unknown else found

    def clear(self) -> None:
        self.young, self._old, self._size = {}, {}, 0

    def _recalled(self, texts: Mapping[str, None], look: Callable[[Sequence[str]], Mapping[str, T]]) -> dict[str, T]:
        before = {text: old for text in texts if (old := self._old.get(text)) is not None} if self._old else {}
        unknown = [text for text in texts if text not in before]
        new = {**before, **look(unknown)} if unknown else before
        self._keep(new)
        return new

    def _keep(self, found: Mapping[str, T]) -> None:
        for text, value in found.items():
            size = self._size_of(text, value)
            if size * 8 > self._most:
                continue  # one large text would cost all the others their place
            if self._size + size > self._most:
                self._old, self.young, self._size = self.young, {}, 0
            self.young[text] = value
            self._size += size
