"""What a build reads of its new rows while their texts are at hand, for the stage that doubts."""

import struct
from collections import defaultdict
from heapq import heappush, heappushpop

from l07.domain.dataset import Member
from l07.domain.doubt import CONSISTENCY, Reading, Run, Trail, read
from l07.domain.example import TrainingExample
from l07.domain.selection import keyed_hash

TEXTS = 600  # of new accepted rows of a source that are held: more than are copied, since some leave before

_VALUES = struct.Struct(f"<{len(CONSISTENCY)}d")


class Readings:
    """What one build reads of its new rows: some 200 bytes a row, and the texts of a few."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._packed: dict[str, bytes] = {}
        self._texts: dict[tuple[str, str], list[tuple[int, str, Run]]] = defaultdict(list)

    def add(self, member: Member, example: TrainingExample) -> None:
        reading = read(example.messages, example.goal)
        self._packed[member.key] = _VALUES.pack(*reading.values) + reading.trail.pack()
        if member.decision == "ACCEPT":
            held = self._texts[member.source, member.domain]
            one = (-keyed_hash(self._seed, "faulty", member.key), member.key, Run(example.messages, example.goal))
            (heappush if len(held) < TEXTS else heappushpop)(held, one)

    def of(self, key: str) -> Reading | None:
        packed = self._packed.get(key)
        if packed is None:
            return None
        return Reading(_VALUES.unpack_from(packed), Trail.unpack(packed[_VALUES.size :]))

    def texts(self) -> dict[str, Run]:
        return {key: run for held in self._texts.values() for _, key, run in held}
