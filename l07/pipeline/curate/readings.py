"""What a build reads of its new rows while their texts are at hand, for the stage that doubts."""

import struct
from collections import defaultdict
from collections.abc import Collection, Mapping
from heapq import heappush, heappushpop

from l07.domain.dataset import Member
from l07.domain.doubt import CONSISTENCY, CountBoundCache, Reading, Run, Texts, read
from l07.domain.example import TrainingExample
from l07.domain.selection import keyed_hash
from l07.pipeline.curate.columns import word

TEXTS = 600  # of new accepted rows of a source that are held: more than are copied, since some leave before

Source = tuple[str, str]  # source, domain
_Held = tuple[int, str, Run]  # the rank, negative; the key; the text

# By key and 64 bits of the content's digest; half a kilobyte each. A build of 10,000 rows asks for those of the build before, and
# for older ones of sources that bring few.
_READ: CountBoundCache[bytes] = CountBoundCache(32_000)
_VALUES = struct.Struct(f"<{len(CONSISTENCY)}d")


class Readings:
    """What one build reads of its new rows: some 200 bytes a row, and the texts of a few."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._packed: dict[str, bytes] = {}
        self._texts: dict[Source, list[_Held]] = defaultdict(list)
        self._waiting: list[tuple[Source, _Held]] = []

    def add(self, member: Member, example: TrainingExample) -> None:
        """Its text is held at the next `settle`, if then."""
        packed = self._packed[member.key] = _packed(read(example.messages, example.goal))
        _READ.put((member.key, word(member.content)), packed)
        if member.decision == "ACCEPT":
            source = member.source, member.domain
            one = (-keyed_hash(self._seed, "faulty", member.key), member.key, Run(example.messages, example.goal))
            held = self._texts[source]
            if len(held) < TEXTS or one > held[0]:
                self._waiting.append((source, one))

    def settle(self, gone: Collection[str]) -> None:
        """The end of a batch: texts are held of its runs but those that are gone."""
        for source, one in self._waiting:
            if one[1] not in gone:
                held = self._texts[source]
                (heappush if len(held) < TEXTS else heappushpop)(held, one)
        self._waiting.clear()

    def of(self, key: str) -> Reading | None:
        packed = self._packed.get(key)
        return None if packed is None else _unpacked(packed)

    def texts(self) -> dict[str, Run]:
        return {key: run for held in self._texts.values() for _, key, run in held}


def readings_of(contents: Mapping[str, int], texts: Texts) -> dict[str, Reading]:
    """By key. `contents`: of its digest 64 bits; the text of one that this process has not read before is fetched."""
    packed = {key: _READ.get((key, content)) for key, content in contents.items()}
    missing = [key for key, found in packed.items() if found is None]
    for key, run in (texts.fetch(missing) if missing else {}).items():
        now = packed[key] = _packed(read(run.messages, run.goal))
        _READ.put((key, contents[key]), now)
    return {key: _unpacked(found) for key, found in packed.items() if found is not None}


def _packed(reading: Reading) -> bytes:
    return _VALUES.pack(*reading.values) + reading.trail


def _unpacked(packed: bytes) -> Reading:
    return Reading(_VALUES.unpack_from(packed), packed[_VALUES.size :])
