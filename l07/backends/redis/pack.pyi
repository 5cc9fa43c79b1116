from collections.abc import Callable, Sequence

from l07.ports import Half, Ignored, Unreadable

def pack(
    items: Sequence[Half | Unreadable | Ignored],
    starts: list[int],
    ends: list[int],
    names: list[bytes],
    own: bytes,
    half_class: type[Half],
    numbers: Sequence[bytes],
    check: Callable[[bytes], bytes],
) -> tuple[list[bytes], list[bytes], list[bytes], list[int]] | None: ...
def pack_rows(
    items: Sequence[Half | Unreadable | Ignored],
    starts: list[int],
    ends: list[int],
    names: list[bytes],
    own: bytes,
    half_class: type[Half],
    check: Callable[[bytes], bytes],
) -> tuple[int, bytes, bytes, bytes, list[int]] | None: ...
def joined(commands: list[list[object]]) -> list[bytes]: ...
def told(blobs: list[bytes]) -> tuple[list[str], list[tuple[str, int, int]]] | None: ...
def xxh3_64(first: bytes, second: bytes, wide: bool = True) -> int: ...
def blake2b_16(data: bytes) -> bytes: ...
