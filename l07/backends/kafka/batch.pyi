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
