from collections.abc import Callable, Collection, Mapping, Sequence
from typing import overload

from l07.events.modes import Headers
from l07.events.record import Record
from l07.ports import Half, Ignored, Unreadable

SLOT_NAMES: tuple[str, ...]
Member = tuple[str, int, int, bool]

def add(kinds: Sequence[str], item: int, members: Sequence[Member] | None, unique: bool, message: bool) -> int: ...
def xxh64_digest(data: bytes) -> bytes: ...
def value_bytes(records: Sequence[Record]) -> int: ...

Item = Half | Unreadable | Ignored

class Items(Sequence[Item]):
    """As good as a list of them, but made only where somebody asks; see ports/rows.pxi."""

    def __init__(self, half: type[Half]) -> None: ...
    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> list[Item]: ...
    def __setitem__(self, place: int, item: Item) -> None: ...
    def __len__(self) -> int: ...
    def __iadd__(self, other: Sequence[Item]) -> Items | list[Item]: ...
    def columns(self) -> tuple[int, bytearray, bytearray, list[bytes | None], dict[int, Item]]: ...

class Scanner:
    def __init__(
        self,
        root: int,
        roles: Mapping[str, str],
        shapes: Mapping[str, int],
        *,
        half: type[Half],
        ignored: type[Ignored],
        route: Callable[[str, str], str | None],
        plain: Collection[Headers],
        max_bytes: int,
        max_ahead_ms: int,
        max_age_ms: int,
    ) -> None: ...
    def scan(self, records: Sequence[Record], part: int) -> tuple[Items, list[int]]: ...
