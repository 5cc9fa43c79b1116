"""Out of the bus: records of an input, dead letters, and keys in announcements."""

import base64
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from l07.domain.erasure import Tombstones
from l07.domain.marks import KEY
from l07.events import deadletter, whose
from l07.events.outbound import BatchSealed
from l07.events.record import ERASED, Record
from l07.pipeline.ingest import is_erased
from l07.settings import Topics

PARTS = ("records", "letters", "announced")
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
    return (topics.traces, topics.planning, topics.scores, topics.reviews)


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
