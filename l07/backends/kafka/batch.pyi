from collections.abc import Callable, Sequence
from typing import Any, overload

from l07.events.modes import Headers
from l07.events.record import Record

HAS_CRC32C: bool

def crc32c(data: bytes, at: int, end: int) -> int: ...
def records(
    data: bytes,
    at: int,
    end: int,
    base_offset: int,
    first_ms: int,
    append_ms: int,
    count: int,
    topic: str,
    partition: int,
    record_class: type[Record],
) -> list[Record] | None: ...

class Records(Sequence[Record]):
    """As good as a list of them, but made only where somebody asks; see ports/rows.pxi."""

    def __init__(self, topic: str, partition: int, record_class: type[Record]) -> None: ...
    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Record]: ...
    def __len__(self) -> int: ...
    def __iadd__(self, other: Sequence[Record]) -> Sequence[Record]: ...
    def columns(
        self,
    ) -> tuple[int, bytearray, list[bytes | None], dict[int, Headers], int, int]: ...

def sound_messages(
    messages: Sequence[Any],
    at: int,
    topic: str,
    partition: int,
    room: int,
    record_class: type[Record],
    asked_headers: Callable[[Any], Any],
    headers_of: Callable[[Any], Headers],
) -> tuple[Records, int, int, bool]: ...
