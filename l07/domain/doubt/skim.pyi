from collections.abc import Callable, Mapping, Sequence
from typing import Any

def read(
    messages: Sequence[Mapping[str, Any]],
    goal: str,
    table: bytes,
    errors: tuple[bytes, ...],
    shape: Callable[[str], bytes],
    steps: int,
    most: int,
) -> tuple[tuple[float, ...], bytes] | None: ...
