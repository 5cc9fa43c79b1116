"""What one call of confluent-kafka's consumer brought: records by partition, ends of partitions, and what stops one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, NamedTuple, cast

from confluent_kafka import KafkaError

from l07.backends.kafka.fetching import headers_of
from l07.events.modes import Headers
from l07.events.record import Record, TopicPartition

MAX_SLICE_BYTES = 16_000_000  # of one answer: a slice of the largest events must not exhaust the memory
_new = tuple.__new__
# Never `message.headers()`: with a header whose name is not UTF-8 the client gives a broken list and forgets to say so.
# Called this way Python notices (SystemError); called directly, in a loop that it has made fast, it walks into the list and
# the process ends. Once is the limit too: the second time the same list comes without an error.
_asked_headers = methodcaller("headers")

END: int = KafkaError._PARTITION_EOF
GONE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._NO_OFFSET})
# a batch that librdkafka does not read: checksum, codec, size or form; it would be fetched again and again
UNREADABLE = frozenset(
    {
        KafkaError._BAD_MSG,
        KafkaError._BAD_COMPRESSION,
        KafkaError._NOT_IMPLEMENTED,
        KafkaError._UNDERFLOW,
        KafkaError.INVALID_MSG,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
    }
)


@dataclass(slots=True)
class Run:
    """Records of one partition, in order. `end`: a position that is known to lie behind them; -1: none is.

    `stop`: why no more of it was looked at: `gone`, the log at `gone_at`; `unreadable`, what comes next."""

    tp: TopicPartition
    records: Sequence[Record] = ()
    end: int = -1
    stop: str = ""
    gone_at: int = -1

    def since(self, offset: int) -> list[Record]:
        return [record for record in self.records if record.offset >= offset]

    def next(self, position: int) -> int:
        """Where the partition stands behind this, when it stood at `position`."""
        return max(self.end, position, self.records[-1].offset + 1 if self.records else 0)


def sound_messages(
    messages: Sequence[Any],
    at: int,
    topic: str,
    partition: int,
    room: int,
    record_class: type[Record],
    asked_headers: Callable[[Any], Any],
    headers_of: Callable[[Any], Headers],
) -> tuple[list[Record], int, int, bool]:
    """What the library gave of one partition, from `at` on, until another begins, one is an error or unreadable, or `room`
    bytes are full: (records, the next place, their bytes, whether it is unreadable). `asked_headers` is asked once a message."""
    found: list[Record] = []
    size = 0
    while at < len(messages) and size < room:
        message = messages[at]
        if (message.topic(), message.partition()) != (topic, partition) or message.error() is not None:
            break
        try:
            headers = asked_headers(message)
        except SystemError:  # a header whose name is not UTF-8
            return found, at, size, True
        place, value = (topic, partition, message.offset(), message.timestamp()[1]), message.value()
        found.append(_new(record_class, (*place, message.key(), value, headers_of(headers), "")))
        size += len(value) if value is not None else 0
        at += 1
    return found, at, size, False


try:
    from l07.backends.kafka.batch import sound_messages as _sound
except ImportError:  # no C compiler where this was installed
    _sound = sound_messages  # type: ignore[assignment]


def behind(first: Sequence[Record], more: Sequence[Record]) -> Sequence[Record]:
    """Both, in order. What is first is nobody else's: it may grow."""
    if not first:
        return more
    both: Any = first
    both += more
    return cast("Sequence[Record]", both)


class Cut(NamedTuple):
    runs: Sequence[Run]
    errors: Sequence[KafkaError]  # of no position
    rest: Sequence[Any]  # messages beyond the room
    size: int  # bytes of the values


def cut(messages: Sequence[Any], room: int = MAX_SLICE_BYTES) -> Cut:
    """At least one message is looked at, and then as many until `room` bytes are full."""
    runs: dict[tuple[str, int], Run] = {}
    errors: list[KafkaError] = []
    size = at = 0
    while at < len(messages):
        message = messages[at]
        tp = TopicPartition(message.topic(), message.partition())
        run = runs.setdefault(tp, Run(tp))
        if run.stop or message.error() is not None:
            if not run.stop:
                _note(run, message.error(), message, errors)
            at += 1
            continue
        records, at, taken, unreadable = _sound(messages, at, *tp, room - size, Record, _asked_headers, headers_of)
        run.records = behind(run.records, records)
        size += taken
        if unreadable:
            run.stop = "unreadable"
        elif size >= room:
            return Cut(list(runs.values()), errors, messages[at:], size)
    return Cut(list(runs.values()), errors, (), size)


def _note(run: Run, error: KafkaError, message: Any, errors: list[KafkaError]) -> None:
    code = error.code()
    if code == END:
        run.end = message.offset()
    elif code in GONE:
        run.stop, run.gone_at = "gone", message.offset()
    elif code in UNREADABLE and run.tp.partition >= 0:
        run.stop = "unreadable"
    else:
        errors.append(error)
