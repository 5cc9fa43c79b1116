"""What the script decides by: the two gates, the times, the triggers of each track."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from l07.errors import BadBatch
from l07.events.record import TopicPartition

LEAST_REJECTED = 100  # rejected runs that an open batch keeps, however small its count is


def tag_of(name: str, shard: int) -> str:
    """What all keys of a shard begin with: one slot of a cluster."""
    return f"{{l07:{name}:{shard}}}"


@dataclass(frozen=True, slots=True)
class SealTrigger:
    """Seal at `count` accepted runs, or when the oldest ready run is `max_age_s` old and `min_count` are accepted."""

    count: int = 1000
    max_age_s: int = 86400
    min_count: int = 100

    def divided(self, shards: int) -> "SealTrigger":
        """Of one shard of several; rounded up, so that no shard seals for nothing."""
        return SealTrigger(-(-self.count // shards), self.max_age_s, -(-self.min_count // shards))


@dataclass(frozen=True, slots=True)
class BufferRules:
    """Settings of the buffer. A topic that brings both traces and scores stands in both sets; one that brings requests and
    responses is one of traces too.

    A track that is not in `seals` (it was taken out of the settings while runs of it waited) is sealed by the defaults.
    """

    trace_topics: frozenset[str]
    score_topics: frozenset[str]
    payload_topics: frozenset[str] = frozenset()
    quality_threshold: float = 70.0  # 0-100
    confidence_threshold: float = 0.6  # 0-1
    wait_s: int = 7 * 86400
    prefer_separate_s: int = 0
    remember_s: int = 7 * 86400
    seals: Mapping[str, SealTrigger] = field(default_factory=dict)
    fallback: SealTrigger = SealTrigger()
    contrast_ratio: float = 2.0  # rejected runs that an open batch keeps, as a multiple of its count
    shards: int = 1  # stored with the first write, and compared at each step

    def divided(self, shards: int) -> "BufferRules":
        """The rules of each of several shards; with one the same."""
        seals = {name: trigger.divided(shards) for name, trigger in self.seals.items()}
        return replace(self, seals=seals, fallback=self.fallback.divided(shards), shards=shards)

    def packed(self) -> bytes:
        """As the script reads it; times in milliseconds."""
        return msgspec.msgpack.encode(
            {
                "quality": self.quality_threshold,
                "confidence": self.confidence_threshold,
                "wait": self.wait_s * 1000,
                "prefer": self.prefer_separate_s * 1000,
                "remember_days": math.ceil(self.remember_s / 86400),
                "traces": dict.fromkeys(self.trace_topics, True),
                "scores": dict.fromkeys(self.score_topics, True),
                "payloads": dict.fromkeys(self.payload_topics, True),
                "tracks": {name: self._numbers(trigger) for name, trigger in self.seals.items()},
                "fallback": self._numbers(self.fallback),
                **({"shards": self.shards} if self.shards > 1 else {}),
            }
        )

    def rejected_kept(self, trigger: SealTrigger) -> int:
        """How many rejected runs an open batch keeps; the dataset takes no more of them."""
        return max(LEAST_REJECTED, math.ceil(self.contrast_ratio * trigger.count))

    def _numbers(self, trigger: SealTrigger) -> tuple[int, int, int, int]:
        return trigger.count, trigger.max_age_s * 1000, trigger.min_count, self.rejected_kept(trigger)


def ends_packed(at_end: Collection[TopicPartition], inputs: Collection[TopicPartition]) -> bytes:
    """Partitions that are applied to their end (-1: wherever that is), and all partitions, as the tick reads them."""
    ends = at_end if isinstance(at_end, Mapping) else dict.fromkeys(at_end, -1)
    return msgspec.msgpack.encode(([(str(tp), offset) for tp, offset in ends.items()], [str(tp) for tp in inputs]))


def names_packed(names: Mapping[TopicPartition, str]) -> bytes:
    return msgspec.msgpack.encode({str(tp): name for tp, name in names.items()})


def offsets_packed(offsets: Mapping[TopicPartition, int]) -> bytes:
    """Where partitions begin. Raises BadBatch (E7458) for what is no offset."""
    wrong = {str(tp): offset for tp, offset in offsets.items() if not 0 <= offset < 2**53}
    if wrong:
        raise BadBatch(f"no offsets: {wrong}")
    return msgspec.msgpack.encode({str(tp): offset for tp, offset in offsets.items()})
