"""Texts of runs that a process holds between builds, packed: the runs that are copied with a fault are nearly the same
ones each time, and to read them from Parquet cost a sixth of a small build."""

import marshal
from collections import OrderedDict
from typing import Any

from l07.domain.doubt import Run

MOST_BYTES = 24 << 20

Name = tuple[str, int]  # the run's key, and 64 bits of its content's digest


class PackedTexts:
    """The oldest go where all together are too large."""

    def __init__(self) -> None:
        self._packed: OrderedDict[Name, bytes] = OrderedDict()
        self._bytes = 0

    def __contains__(self, name: Name) -> bool:
        return name in self._packed

    def get(self, name: Name) -> Run | None:
        """As it was, to the types of its values."""
        packed = self._packed.get(name)
        if packed is None:
            return None
        self._packed.move_to_end(name)
        return Run(*marshal.loads(packed))

    def put(self, name: Name, run: Run) -> None:
        if name in self._packed:
            self._packed.move_to_end(name)
            return
        parts: Any = (tuple(run.messages), run.goal)
        packed = self._packed[name] = marshal.dumps(parts)
        self._bytes += len(packed)
        while self._bytes > MOST_BYTES:
            self._bytes -= len(self._packed.popitem(last=False)[1])

    def keep(self, name: Name) -> None:
        """As one that was asked for; it need not be there."""
        if name in self._packed:
            self._packed.move_to_end(name)

    def clear(self) -> None:
        self._packed.clear()
        self._bytes = 0


COPIED = PackedTexts()
