"""CloudEvents 1.0: the strict reader of an envelope, and the writer of ours.

The `cloudevents` package writes; it must not read: it invents an id and a time where they are missing.
"""

import base64
import binascii
import re
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from l07.errors import (
    BadAttribute,
    BadData,
    BadId,
    BadSpecversion,
    BadTime,
    MissingAttribute,
    NotAnObject,
    TimeInFuture,
    TooOld,
)
from l07.events.modes import is_json, is_stream, splice, structured
from l07.events.record import Message, Record
from l07.events.strict import check_json, check_keys

if TYPE_CHECKING:
    from l07.events.outbound import Event

MAX_ID = 256  # characters
MAX_AHEAD_MS = 300_000  # an event's time may be this much after its record's
REQUIRED = ("specversion", "id", "source", "type")
OPTIONAL = ("subject", "datacontenttype", "dataschema", "partitionkey", "causationid", "correlationid", "traceparent")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str | None).decode
_instant = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)] | None).decode


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The attributes of an event; `time_ms` is milliseconds since 1970 UTC, the record's where the event has none."""

    id: str
    source: str
    type: str
    time_ms: int
    subject: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    partitionkey: str | None = None
    causationid: str | None = None
    correlationid: str | None = None
    traceparent: str | None = None


class Document(msgspec.Struct, frozen=True, gc=False):
    """A structured event that was checked: its bytes, its attributes, and its `data` (None: not JSON, or absent)."""

    value: bytes
    envelope: Envelope
    data: bytes | None
    is_stream: bool = False  # `data_base64` holds server-sent events, whatever the content type says


def decode_envelope(record: Record, *, max_bytes: int, max_age_s: int = 0) -> tuple[Envelope, bytes]:
    """The attributes and the bytes of `data`, of an event in either content mode.

    Raises:
        BadEvent: E7000-E7018, one class a reason."""
    document = read_document(structured(record, max_bytes=max_bytes), record.timestamp_ms, max_age_s=max_age_s)
    if document.data is None:
        raise BadData("the event carries no JSON data")
    return document.envelope, document.data


def read_document(value: bytes, timestamp_ms: int, *, max_age_s: int, max_ahead_ms: int = MAX_AHEAD_MS) -> Document:
    """Every check of an envelope, one by one; the fast way in inbound.py may only accept what this accepts."""
    check_json(value)
    check_keys(value)
    try:
        members = _members(value)
    except msgspec.ValidationError as err:
        raise NotAnObject("the event is JSON, but no object") from err
    members = {name: raw for name, raw in members.items() if bytes(raw) != b"null"}  # null is absent
    for name in REQUIRED:
        if name not in members:
            raise MissingAttribute(f"`{name}` is absent", attribute=name)
    version = _attribute("specversion", members["specversion"])
    if version != "1.0":
        raise BadSpecversion(f"specversion {version[:32]!r}: 1.0 is read")
    names = (name for name in (*REQUIRED[1:], *OPTIONAL) if name in members)
    texts = {name: _attribute(name, members[name]) for name in names}
    time_ms = check_time(_time(members.get("time")), timestamp_ms, max_age_s, max_ahead_ms)
    envelope = Envelope(time_ms=time_ms, **texts)
    return _with_data(value, members, envelope)


def check_time(time: datetime | None, timestamp_ms: int, max_age_s: int, max_ahead_ms: int = MAX_AHEAD_MS) -> int:
    """Milliseconds since 1970 UTC; the record's timestamp where the event has no time.

    Raises TimeInFuture (E7014), TooOld (E7015). The record's timestamp decides, never our clock: a replay accepts what
    was accepted live."""
    if time is None:
        return timestamp_ms
    time_ms = round(time.timestamp() * 1000)
    if time_ms > timestamp_ms + max_ahead_ms:
        raise TimeInFuture(f"time is {(time_ms - timestamp_ms) / 1000:.0f} s after the record's timestamp")
    if max_age_s and time_ms < timestamp_ms - max_age_s * 1000:
        raise TooOld(
            f"time is {(timestamp_ms - time_ms) / 1000:.0f} s before the record's timestamp, at most {max_age_s}"
        )
    return time_ms


def plain(text: str) -> bool:
    """Not empty and without control characters."""
    return bool(text) and (text.isprintable() or _CONTROL.search(text) is None)


def _attribute(name: str, raw: msgspec.Raw) -> str:
    try:
        text: str | None = _text(raw)
    except msgspec.ValidationError as err:
        raise BadAttribute(f"`{name}` is not a string", attribute=name) from err
    if not text:
        raise (BadId if name == "id" else BadAttribute)(f"`{name}` is empty", attribute=name)
    if name == "id" and (len(text) > MAX_ID or not plain(text)):
        raise BadId(f"`id` is longer than {MAX_ID} characters, or holds a control character")
    return text


def _time(raw: msgspec.Raw | None) -> datetime | None:
    if raw is None:
        return None
    try:
        time: datetime | None = _instant(raw)
    except msgspec.ValidationError as err:
        raise BadTime(f"`time` is no RFC 3339 timestamp with an offset: {bytes(raw)[:64]!r}") from err
    return time


def _with_data(value: bytes, members: dict[str, msgspec.Raw], envelope: Envelope) -> Document:
    if "data_base64" not in members:
        data = members.get("data")
        usable = data is not None and is_json(envelope.datacontenttype)
        return Document(value, envelope, bytes(data) if data is not None and usable else None)
    if "data" in members:
        raise BadData("both `data` and `data_base64`")
    inner = _base64(members.pop("data_base64"))
    if not is_json(envelope.datacontenttype) or is_stream(inner):
        return Document(value, envelope, None, is_stream(inner))
    check_json(inner)
    rewritten = splice(members, b"data", inner)
    check_json(rewritten)
    check_keys(rewritten)
    return Document(rewritten, envelope, inner)


def _base64(raw: msgspec.Raw) -> bytes:
    try:
        return base64.b64decode(msgspec.json.decode(raw, type=str), validate=True)
    except (msgspec.ValidationError, binascii.Error, ValueError) as err:
        raise BadData("`data_base64` is no base64") from err


@cache
def writer() -> tuple[Any, Any, Any]:
    """What writes events. A command that writes none does not load it; a consumer does at its start, not in mid-stream."""
    from cloudevents.core.bindings.kafka import to_structured
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    return to_structured, CloudEvent, JSONFormat()


def encode(event: "Event[Any]", *, topic: str = "learning.events", prefix: str = "") -> Message:
    """The event as a structured message; the same event gives the same bytes. `prefix` goes before the type's name."""
    to_structured, made, form = writer()
    written = to_structured(made(event.attributes(prefix=prefix), event.data_document()), form)
    key = written.key.encode() if isinstance(written.key, str) else written.key
    time_ms = round(datetime.fromisoformat(event.time).timestamp() * 1000)
    headers = tuple((name.encode(), bytes(text)) for name, text in written.headers.items())
    return Message(topic, key, written.value, headers, time_ms)


def rfc3339(time_ms: int) -> str:
    """Milliseconds since 1970 as UTC text with a Z."""
    text = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()
    return text.replace("+00:00", "Z")
