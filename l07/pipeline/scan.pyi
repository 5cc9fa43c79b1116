from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from l07.events.modes import Headers
from l07.events.record import Record
from l07.ports import Half, Ignored

SLOT_NAMES: tuple[str, ...]
Member = tuple[str, int, int, bool]

def add(kinds: Sequence[str], item: int, members: Sequence[Member] | None, unique: bool, message: bool) -> int: ...
def xxh64_digest(data: bytes) -> bytes: ...
def value_bytes(records: Sequence[Record]) -> int: ...

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
    def scan(self, records: Iterable[Record], part: int) -> tuple[list[Half | Ignored | None], list[int]]: ...
