from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T", bound=tuple[Any, ...])

class Nothing:
    def told_apart(self, found: dict[str, T]) -> dict[str, T]: ...

def told(
    values: Sequence[Any],
    long: int,
    cells: Callable[[str], Sequence[str]],
    known: Mapping[str, T],
    nothing: Nothing | None,
) -> list[str | T]: ...
def opened(data: bytes) -> bytes: ...
def closed(data: bytes) -> bytes: ...
def replaced(
    values: Sequence[Any], replace: Callable[[str], str], shortest: int, needles: tuple[str, ...]
) -> tuple[Any, ...]: ...
def substituted(data: bytes, words: tuple[tuple[bytes, bytes, bool, bool], ...]) -> bytes: ...
