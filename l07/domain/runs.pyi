from collections.abc import Callable, Mapping, Sequence
from typing import Any

def measure(
    messages: Sequence[Mapping[str, Any]], goal: str, search: Callable[[str], object]
) -> tuple[float, ...] | None: ...
def documents(
    body: tuple[Any, ...], messages: Sequence[Mapping[str, Any]]
) -> tuple[bytes, bytes, bytes, int] | None: ...
def broken(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> int: ...

AGREED: bool

def compressed(text: bytes) -> int: ...
