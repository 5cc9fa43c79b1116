"""`l07 dlq list|show|retry`: what could not be read, why, and again."""

import argparse
import asyncio
import base64
import hashlib
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import msgspec

from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.reading import has_bus, read_topic
from l07.cli.routing import HEADERS
from l07.errors import NothingByThatName, OriginalGone
from l07.events.record import Message, TopicPartition
from l07.ports import Bus
from l07.settings import Settings

T = TypeVar("T")

LETTER = "learning.dead_letter"
RETRIED = "learning.dead_letter_retried"  # written behind a letter, so that `retry --all` sends nothing twice
BATCH_RECORDS = 100
BATCH_BYTES = 8 * 1024 * 1024


class Letter(msgspec.Struct, frozen=True):
    """The data of a `learning.dead_letter`."""

    id: str
    code: str
    message: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    headers: list[tuple[str | None, str | None]]
    key: str | None
    sha256: str
    length: int
    raw: str | None

    @property
    def at(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"

    def summary(self) -> dict[str, Any]:
        """Without the bytes: what was in the record may be a prompt."""
        return {
            "id": self.id,
            "code": self.code,
            "message": self.message,
            "at": self.at,
            "time": datetime.fromtimestamp(self.timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds"),
            "length": self.length,
            "sha256": self.sha256,
            "kept": self.raw is not None,
        }


class _Envelope(msgspec.Struct):
    type: str
    data: msgspec.Raw


class _Retried(msgspec.Struct):
    id: str


_envelope = msgspec.json.Decoder(_Envelope)
_letter = msgspec.json.Decoder(Letter)
_mark_decoder = msgspec.json.Decoder(_Retried)


def list_letters(args: argparse.Namespace, console: Console) -> int:
    """In order of record time; `retried` counts how often a person asked for it again."""
    settings = loaded(args).settings
    rows = asyncio.run(summaries(settings)) if has_bus(settings) else []
    if console.as_json:
        console.data({"dead_letters": rows})
        return 0
    shown = ("id", "code", "at", "length", "retried", "message")
    console.table(shown, [[row[name] for name in shown] for row in rows])
    console.line(f"{len(rows)} dead letters")
    return 0


def show(args: argparse.Namespace, console: Console) -> int:
    """Without --raw the metadata, with it the bytes alone. Raises NothingByThatName (E7903), OriginalGone (E7904)."""
    settings = loaded(args).settings
    if not has_bus(settings):
        _nothing(args.id)
    letter, raw = asyncio.run(_look_at(settings, args.id, raw=args.raw))
    if raw is not None:
        console.raw(raw)
    elif console.as_json:
        console.data(letter.summary() | {"key": _text(letter.key), "headers": _headers(letter)})
    else:
        console.fields(letter.summary() | {"key": _text(letter.key), "headers": _headers(letter)})
    return 0


def retry(args: argparse.Namespace, console: Console) -> int:
    """Original bytes, key and headers go onto their topic again. Raises E7903; E7904 after the others are sent."""
    settings = loaded(args).settings
    sent = 0
    gone: list[Letter] = []
    if has_bus(settings):
        sent, gone = asyncio.run(_retry(settings, None if args.all else args.id))
    elif not args.all:
        _nothing(args.id)
    if console.as_json:
        console.data({"retried": sent, "gone": [letter.id for letter in gone]})
    else:
        console.line(f"retried {sent} dead letters")
    if gone:
        raise OriginalGone(
            f"{len(gone)} records are gone from their source: {', '.join(letter.at for letter in gone[:5])}"
        )
    return 0


async def summaries(settings: Settings) -> list[dict[str, Any]]:
    from l07.backends.open import open_bus

    async with open_bus(settings, check=False) as bus:
        retried = await _retried(bus, settings)
        return [letter.summary() | {"retried": retried[letter.id]} async for letter in _letters(bus, settings)]


async def mentioning(bus: Bus, settings: Settings, needles: Sequence[bytes]) -> list[dict[str, Any]]:
    """Those in whose record, as far as it was kept, or in whose key one of `needles` stands."""
    found = []
    retried = await _retried(bus, settings)
    async for letter in _letters(bus, settings):
        kept = base64.b64decode(letter.raw or "") + b" " + (_bytes(letter.key) or b"")
        if any(needle in kept for needle in needles):
            found.append(letter.summary() | {"retried": retried[letter.id]})
    return found


async def _look_at(settings: Settings, name: str, *, raw: bool) -> tuple[Letter, bytes | None]:
    from l07.backends.open import open_bus

    async with open_bus(settings, check=False) as bus:
        letter = await _find(bus, settings, name)
        if not raw:
            return letter, None
        found = await original(bus, letter)
        if found is None:
            raise OriginalGone(
                f"the bytes of {letter.at} were too many to keep, and their source no longer has them", id=letter.id
            )
        return letter, found.value


async def _retry(settings: Settings, name: str | None) -> tuple[int, list[Letter]]:
    """How many went out, and those whose bytes are gone. Record and mark leave in one publish."""
    from l07.backends.open import open_bus

    async with open_bus(settings, check=False) as bus:
        sent = 0
        gone: list[Letter] = []
        batch: list[Message] = []
        async for letter in _chosen(bus, settings, name):
            found = await original(bus, letter)
            if found is None:
                gone.append(letter)
                continue
            batch += [found, _mark(letter, settings.topics.dlq)]
            sent += 1
            if len(batch) >= BATCH_RECORDS or sum(len(message.value) for message in batch) >= BATCH_BYTES:
                await bus.publish(batch)
                batch = []
        if batch:
            await bus.publish(batch)
        return sent, gone


async def _chosen(bus: Bus, settings: Settings, name: str | None) -> AsyncIterator[Letter]:
    """One by name, or all that nobody retried yet."""
    if name is not None:
        yield await _find(bus, settings, name)
        return
    retried = await _retried(bus, settings)
    async for letter in _letters(bus, settings):
        if not retried[letter.id]:
            yield letter


async def _find(bus: Bus, settings: Settings, name: str) -> Letter:
    async for letter in _letters(bus, settings):
        if name in (letter.id, letter.at):
            return letter
    _nothing(name)


def _nothing(name: str) -> NoReturn:
    raise NothingByThatName(f"there is no dead letter {name}; `l07 dlq list` has them all", id=name)


async def _letters(bus: Bus, settings: Settings) -> AsyncIterator[Letter]:
    """Each letter once: the outbox sends at least once, under one id."""
    seen: set[str] = set()
    async for record in read_topic(bus, settings.topics.dlq):
        letter = _read(record.value, LETTER, _letter)
        if letter is not None and letter.id not in seen:
            seen.add(letter.id)
            yield letter


async def _retried(bus: Bus, settings: Settings) -> Counter[str]:
    marks = [_read(record.value, RETRIED, _mark_decoder) async for record in read_topic(bus, settings.topics.dlq)]
    return Counter(mark.id for mark in marks if mark is not None)


def _read(value: bytes | None, kind: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """None for what is of another type or not ours: a stranger's record on this topic must not hide the letters."""
    try:
        envelope = _envelope.decode(value or b"")
        return decoder.decode(envelope.data) if envelope.type == kind else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


async def original(bus: Bus, letter: Letter) -> Message | None:
    """The record once more: as the letter keeps it up to 64 KB, else read from the source; None if that has another by now, or none."""
    now_ms = time.time_ns() // 1_000_000
    if letter.raw is not None:
        headers = tuple((_bytes(name) or b"", _bytes(text)) for name, text in letter.headers)
        return Message(letter.topic, _bytes(letter.key), base64.b64decode(letter.raw), headers, now_ms)
    for record in await bus.read(TopicPartition(letter.topic, letter.partition), letter.offset, limit=1):
        value = record.value or b""
        if record.offset == letter.offset and hashlib.sha256(value).hexdigest() == letter.sha256:
            return Message(letter.topic, record.key, value, record.headers, now_ms)
    return None


def _mark(letter: Letter, topic: str) -> Message:
    now = datetime.now(UTC)
    envelope = {
        "specversion": "1.0",
        "type": RETRIED,
        "source": "/l07/cli",
        "id": f"{letter.id}-{uuid.uuid4()}",
        "subject": letter.at,
        "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {"id": letter.id},
    }
    return Message(topic, letter.id.encode(), msgspec.json.encode(envelope), HEADERS, int(now.timestamp() * 1000))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def _text(base64_text: str | None) -> str | None:
    raw = _bytes(base64_text)
    return None if raw is None else raw.decode("utf-8", "backslashreplace")


def _headers(letter: Letter) -> list[list[str | None]]:
    return [[_text(name), _text(text)] for name, text in letter.headers]
