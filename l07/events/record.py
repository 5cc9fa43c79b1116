"""A record as it lies on the bus, before anybody has looked inside."""

from typing import NamedTuple


class TopicPartition(NamedTuple):
    """One log. `str()` is the form used in keys, counters and reports: `topic:partition`."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}"

    @classmethod
    def parse(cls, text: str) -> "TopicPartition":
        """The reverse of `str()`; a topic name may hold colons."""
        topic, _, partition = text.rpartition(":")
        return cls(topic, int(partition))


ERASED: tuple[tuple[bytes, bytes | None], ...] = ((b"l07-erased", None),)  # the only header of such a record


class Record(NamedTuple):
    """One record; `timestamp_ms` is the bus's own time (producer's or broker's), milliseconds since 1970 UTC."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    damage: str = (
        ""  # why the client could not read it ("<kind>: <detail>", l07.events.modes.DAMAGES); `value` is raw then
    )

    @property
    def is_erased(self) -> bool:
        """Whether it lies in the place of one that was erased from a bus of ours."""
        return self.value is None and self.headers == ERASED

    @property
    def tp(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


class Message(NamedTuple):
    """A record that is not on the bus yet; the bus picks the partition from the key."""

    topic: str
    key: bytes | None
    value: bytes
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    timestamp_ms: int | None = None
