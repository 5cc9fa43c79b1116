"""What the script decides by: the two gates, the times, the triggers of each track."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from l07.events.record import TopicPartition


@dataclass(frozen=True, slots=True)
class SealTrigger:
    """Seal at `count` accepted runs, or when the oldest ready run is `max_age_s` old and `min_count` are accepted."""

    count: int = 1000
    max_age_s: int = 86400
    min_count: int = 100


@dataclass(frozen=True, slots=True)
class BufferRules:
    """Settings of the buffer. A topic that brings both traces and scores stands in both sets.

    A track that is not in `seals` (it was taken out of the settings while runs of it waited) is sealed by the defaults.
    """

    trace_topics: frozenset[str]
    score_topics: frozenset[str]
    quality_threshold: float = 70.0  # 0-100
    confidence_threshold: float = 0.6  # 0-1
    wait_s: int = 7 * 86400
    prefer_separate_s: int = 0
    remember_s: int = 7 * 86400
    seals: Mapping[str, SealTrigger] = field(default_factory=dict)

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
                "tracks": {name: _numbers(trigger) for name, trigger in self.seals.items()},
                "fallback": _numbers(SealTrigger()),
            }
        )


def _numbers(trigger: SealTrigger) -> tuple[int, int, int]:
    return trigger.count, trigger.max_age_s * 1000, trigger.min_count


def at_end_packed(partitions: "list[TopicPartition] | tuple[TopicPartition, ...]") -> bytes:
    """Partitions that are read to their end, as the tick reads them."""
    return msgspec.msgpack.encode([str(tp) for tp in partitions])
