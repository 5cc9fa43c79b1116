"""What was found in texts lately: instructions, answers and arguments stand in many rows, and are looked at once."""

from collections.abc import Callable, Mapping, Sequence
from sys import getsizeof
from typing import Generic, TypeVar

T = TypeVar("T")
Found = tuple[T, ...]
MOST = 8 << 20  # bytes of one half
_ENTRY = 200  # bytes of an entry beside its text
_FIND = 1000  # bytes of a find


class Memory(Generic[T]):
    """What was found in each text, of as many as fit: those since the last turn, and those before it that nobody has asked
    for since. Threads may lose each other's entries and never see a wrong one."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._size = 0
        self.young: dict[str, Found[T]] = {}  # to be read alone
        self._old: dict[str, Found[T]] = {}

    def found(self, texts: Sequence[str], look: Callable[[Sequence[str]], Mapping[str, Found[T]]]) -> list[Found[T]]:
        """Of each text. `look` is asked for those that are not known, each once; what it says of a text must depend on that
        text alone."""
        young = self.young
        return self.filled([young.get(text, text) for text in texts], look)

    def filled(
        self, told: list[str | Found[T]], look: Callable[[Sequence[str]], Mapping[str, Found[T]]]
    ) -> list[Found[T]]:
        """`found` where a text stands; else what stands there."""
        holes = dict.fromkeys(one for one in told if isinstance(one, str))
        new = self._recalled(holes, look) if holes else {}
        return [new[one] if isinstance(one, str) else one for one in told]

    def _recalled(
        self, texts: Mapping[str, None], look: Callable[[Sequence[str]], Mapping[str, Found[T]]]
    ) -> dict[str, Found[T]]:
        before = {text: old for text in texts if (old := self._old.get(text)) is not None}
        unknown = [text for text in texts if text not in before]
        new = {**before, **look(unknown)} if unknown else before
        self._keep(new)
        return new

    def _keep(self, found: Mapping[str, Found[T]]) -> None:
        for text, finds in found.items():
            size = getsizeof(text) + _ENTRY + _FIND * len(finds)
            if size * 8 > self._most:
                continue  # one large text would cost all the others their place
            if self._size + size > self._most:
                self._old, self.young, self._size = self.young, {}, 0
            self.young[text] = finds
            self._size += size
