from collections.abc import Callable, Mapping, Sequence
from typing import Any

Text = tuple[int, int, tuple[bytearray | None, bytearray, bytearray]]

def columns(
    of_rows: Sequence[Sequence[Mapping[str, Any]]], encode: Callable[[Any], bytes]
) -> tuple[bytearray, list[Text], bytearray, bytearray, list[Text]] | None: ...
