"""Out of the bus: records of an input, dead letters, and keys in announcements."""

import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from l07.domain.erasure import Tombstones
from l07.domain.marks import KEY
from l07.events import deadletter, whose
from l07.events.outbound import BatchSealed
from l07.events.record import ERASED, Message, Record, TopicPartition
from l07.pipeline.ingest import is_erased
from l07.ports import Bus
from l07.settings import Topics

PARTS = ("records", "letters", "announced")
PAGE = 500
Offsets = Mapping[TopicPartition, int]
Change = Callable[[Record], Record | None]  # what lies there from then on; None: as it was


def changes(topics: Topics, tombstones: Tombstones, places: set[str]) -> list[tuple[Sequence[str], Change]]:
    """What becomes of the records of which topics, in the order in which they are to be gone through: `places` of erased
    records of the inputs ("topic:partition:offset") are noted, for the dead letters that point to them."""

    def of_input(record: Record) -> Record | None:
        if not is_erased_record(record, tombstones):
            return None
        places.add(f"{record.tp}:{record.offset}")
        return emptied(record)

    def of_letter(record: Record) -> Record | None:
        letter = _letter(record)
        if letter is None or not (
            f"{letter.topic}:{letter.partition}:{letter.offset}" in places or _holds(letter, tombstones)
        ):
            return None
        return emptied(record)

    def of_event(record: Record) -> Record | None:
        return without_keys(record, tombstones)

    return [(inputs(topics), of_input), ((topics.dlq,), of_letter), ((topics.events,), of_event)]


@runtime_checkable
class OwnLog(Protocol):
    """A bus whose log is ours: what lies in it can be overwritten."""

    async def rewrite(self, topics: Sequence[str], change: Change) -> int: ...


async def clean(bus: OwnLog, topics: Topics, tombstones: Tombstones) -> dict[str, int]:
    """How many records, dead letters and announcements changed."""
    places: set[str] = set()
    done = {}
    for name, (of, change) in zip(
        ("records", "letters", "announced"), changes(topics, tombstones, places), strict=True
    ):
        done[name] = await bus.rewrite(of, change)
    return done


@runtime_checkable
class SharedLog(Protocol):
    """A bus on which only what is ours may be deleted, and only from its beginning."""

    async def delete_before(self, offsets: Mapping[TopicPartition, int]) -> None: ...

    async def kept_ms(self, topics: Sequence[str]) -> Mapping[str, int]: ...


class Remains(NamedTuple):
    """A record that is not ours to delete."""

    at: str  # "topic:partition:offset"
    until_ms: int | None  # when retention takes it; None: nobody says


async def clean_letters(bus: Bus, topic: str, tombstones: Tombstones) -> int:
    """Dead letters of what was erased: all others are copied to the end, under their ids, and everything before is deleted.

    Cut off in between, some lie there twice: they are one, by their ids. Raises BusForbidden (E7411) before anything is
    copied, where we may not delete."""
    assert isinstance(bus, SharedLog)
    begins, ends = await bus.begin_offsets([topic]), await bus.end_offsets([topic])
    found = [record async for record in _records(bus, begins, ends)]
    gone = {id(record) for record in found if await _is_letter_of_erased(record, bus, tombstones)}
    if not gone:
        return 0
    await bus.delete_before(begins)
    stay = [record for record in found if id(record) not in gone and record.value is not None]
    for at in range(0, len(stay), PAGE):
        await bus.publish(
            [Message(topic, r.key, r.value or b"", r.headers, r.timestamp_ms) for r in stay[at : at + PAGE]]
        )
    await bus.delete_before(ends)
    return len(gone)


async def remaining(bus: Bus, topics: Topics, tombstones: Tombstones) -> list[Remains]:
    """Records of the inputs, and announcements of ours, that still name what was erased. Reads all of them."""
    assert isinstance(bus, SharedLog)
    names = [*inputs(topics), topics.events]
    kept = await bus.kept_ms(names)
    begins, ends = await bus.begin_offsets(names), await bus.end_offsets(names)
    out = []
    async for record in _records(bus, begins, ends):
        announced = record.topic == topics.events
        if without_keys(record, tombstones) if announced else is_erased_record(record, tombstones):
            ms = kept.get(record.topic, -1)
            out.append(Remains(f"{record.tp}:{record.offset}", record.timestamp_ms + ms if ms >= 0 else None))
    return out


async def _records(bus: Bus, begins: Offsets, ends: Offsets) -> AsyncIterator[Record]:
    for tp, end in sorted(ends.items()):
        at = begins.get(tp, 0)
        while at < end and (records := await bus.read(tp, at, limit=PAGE)):
            for record in records:
                if record.offset < end:
                    yield record
            at = records[-1].offset + 1


async def _is_letter_of_erased(record: Record, bus: Bus, tombstones: Tombstones) -> bool:
    letter = _letter(record)
    if letter is None:
        return False
    if letter.raw is not None or letter.key is not None:
        return _holds(letter, tombstones)
    tp = TopicPartition(letter.topic, letter.partition)  # too long to keep: its source may have it
    found = await bus.read(tp, letter.offset)
    return any(is_erased_record(source, tombstones) for source in found if source.offset == letter.offset)


async def count(bus: OwnLog, topics: Topics, tombstones: Tombstones) -> dict[str, int]:
    """What `clean` would do, without doing it."""
    places: set[str] = set()
    done = dict.fromkeys(PARTS, 0)
    for name, (of, change) in zip(PARTS, changes(topics, tombstones, places), strict=True):

        def look(record: Record, name: str = name, change: Change = change) -> None:
            done[name] += change(record) is not None

        await bus.rewrite(of, look)
    return done


async def found(bus: OwnLog, topics: Topics, tombstones: Tombstones) -> set[str]:
    """Natural keys of records for which a tombstone stands; nothing is changed."""
    keys: set[str] = set()

    def look(record: Record) -> None:
        if is_erased_record(record, tombstones):
            keys.update(whose.of_event(record.value or b"").keys)

    await bus.rewrite(inputs(topics), look)
    return keys


def inputs(topics: Topics) -> tuple[str, ...]:
    return (*topics.read, topics.reviews)


def emptied(record: Record) -> Record:
    """Its place, and that it was erased; the ingest rejects it as such when it is read again."""
    return record._replace(key=None, value=None, headers=ERASED)


def is_erased_record(record: Record, tombstones: Tombstones) -> bool:
    """Of whatever form: one that nobody can read too, as far as it shows."""
    if record.value is None and not record.headers and record.key is None:
        return False
    value = record.value or b""
    who = whose.of_event(value)
    if not who.keys:
        who = whose.of_anything(value, record.headers, record.key)
    return not record.is_erased and is_erased(who, tombstones)


def without_keys(record: Record, tombstones: Tombstones) -> Record | None:
    """An announcement of a sealed batch without the natural keys of what was erased: its id stays, so a repeat has it too."""
    if BatchSealed.TYPE.encode() not in (record.value or b"")[:2000]:
        return None
    try:
        document = msgspec.json.decode(record.value or b"")
        keys = document["data"]["keys"]
        left = [key for key in keys if not tombstones.stands_for(KEY, key)]
    except (msgspec.MsgspecError, KeyError, TypeError):
        return None
    if len(left) == len(keys):
        return None
    document["data"]["keys"] = left
    return record._replace(value=msgspec.json.encode(document))


class _Envelope(msgspec.Struct):
    type: str
    data: msgspec.Raw


_envelope = msgspec.json.Decoder(_Envelope).decode
_data = msgspec.json.Decoder(deadletter.DeadLetterData).decode


def _letter(record: Record) -> deadletter.DeadLetterData | None:
    try:
        envelope = _envelope(record.value or b"")
        return _data(envelope.data) if envelope.type == deadletter.LETTER else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _holds(letter: deadletter.DeadLetterData, tombstones: Tombstones) -> bool:
    headers = tuple((_bytes(name) or b"", _bytes(text)) for name, text in letter.headers)
    who = whose.of_anything(_bytes(letter.raw) or b"", headers, _bytes(letter.key))
    return is_erased(who, tombstones)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
