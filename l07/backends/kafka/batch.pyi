from collections.abc import Callable, Sequence
from typing import Any

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
def sound_messages(
    messages: Sequence[Any],
    at: int,
    topic: str,
    partition: int,
    room: int,
    record_class: type[Record],
    asked_headers: Callable[[Any], Any],
    headers_of: Callable[[Any], Headers],
) -> tuple[list[Record], int, int, bool]: ...
