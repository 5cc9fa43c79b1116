"""Kafka's logs, read raw and straight: committed records only, every partition from its beginning."""

from collections.abc import Iterator, Sequence
from operator import methodcaller
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

OUT_S = 30.0
# For a name that is no text the client gives a broken list and forgets to say so; called this way Python notices.
_headers = methodcaller("headers")


class Place(NamedTuple):
    topic: str
    partition: int
    offset: int


class Raw(NamedTuple):
    """A record. `headers` None: a name of them is no text."""

    place: Place
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] | None


class Reader:
    """Goes on where it stopped at each `more`."""

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": "campaign-judge", "enable.auto.commit": False,
                "auto.offset.reset": "earliest", "isolation.level": "read_committed", "log_level": 0,
                "fetch.message.max.bytes": 8_000_000, "enable.partition.eof": True,
            }
        )  # fmt: skip
        self._topics = topics
        self._reached: dict[tuple[str, int], int] = {}

    def ends(self) -> dict[tuple[str, int], int]:
        """Where each partition ends for a reader of committed records."""
        out = {}
        for topic in self._topics:
            described = self._consumer.list_topics(topic, timeout=OUT_S).topics[topic]
            for number in described.partitions:
                _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=OUT_S)
                out[(topic, number)] = high
        return out

    def more(self) -> Iterator[Raw]:
        """Everything from the last time up to the present end."""
        ends = self.ends()
        if not self._reached:
            self._consumer.assign([TopicPartition(topic, number, 0) for topic, number in ends])
            self._reached = dict.fromkeys(ends, -1)
        while any(self._reached[where] < end for where, end in ends.items()):
            for message in self._consumer.consume(500, 1.0):
                error = message.error()
                if error is None:
                    yield _raw(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # markers and aborted records lie behind it too
                    self._reached[(message.topic() or "", message.partition() or 0)] = message.offset() or 0

    def close(self) -> None:
        self._consumer.close()


def _raw(message: Message) -> Raw:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    try:
        found: Any = _headers(message)
    except SystemError:
        return Raw(Place(topic, partition, offset), message.value(), None)
    return Raw(Place(topic, partition, offset), message.value(), found or [])
