"""The events on the topics: the real ones again and again, each time with other ids, keyed by their run.

Without headers: FastStream's own decoder makes a dict of a value then; `application/cloudevents+json` it leaves as bytes."""

import functools
import itertools
from collections.abc import Iterator

from confluent_kafka import Producer

from bench.events import lines

CHUNK = 1000
SUBJECT = b'"subject":"'
COPIES = 16**3


@functools.cache
def originals() -> list[tuple[bool, bytes, bytes]]:
    """Whether it is a score, the part of its ids that is its own, the event."""
    found = []
    for line in lines()[1]:
        start = line.index(SUBJECT) + len(SUBJECT)
        ident = line[start : line.index(b'"', start)].rpartition(b"-")[2]
        found.append((b'"evaluation.completed"' in line[:120], ident, line))
    return found


def copies() -> Iterator[tuple[bool, bytes, bytes]]:
    """Whether it is a score, its key, the event: without end."""
    for copy in itertools.cycle(range(COPIES)):
        mark = b"%03x" % copy
        for is_score, ident, line in originals():
            key = mark + ident[3:]
            yield is_score, key, line.replace(ident, key)


def mean_size() -> float:
    return sum(len(line) for _, _, line in originals()) / len(originals())


class Filler:
    """Writes the next events of the endless row; key and partition as aiokafka and Java choose them.

    With `planning` every second trace goes there: it is an input like the other, and a type is read from any topic."""

    def __init__(self, address: str, *, traces: str, scores: str, planning: str = "") -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": address,
                "linger.ms": 20,
                "batch.size": 262_144,
                "queue.buffering.max.messages": 200_000,
                "partitioner": "murmur2_random",
                "log_level": 3,
            }
        )
        self._topics = {False: [traces, planning or traces], True: [scores, scores]}
        self._events = copies()
        self.written = 0

    def write(self, count: int) -> None:
        """So many more; on the brokers when it returns."""
        for number, (is_score, key, value) in enumerate(itertools.islice(self._events, count), 1):
            self._put(self._topics[is_score][key[-1] % 2], key, value)
            if number % CHUNK == 0:
                self._producer.poll(0)
        left = self._producer.flush(120)
        assert not left, f"{left} records were not taken by the broker"
        self.written += count

    def _put(self, topic: str, key: bytes, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key=key)
            except BufferError:  # its queue is full
                self._producer.poll(0.1)
            else:
                return
