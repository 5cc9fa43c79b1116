"""From a record to one structured event: the content type decides the mode, `ce_` headers are binary."""

import base64
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import msgspec

from l07.errors import (
    BadContentType,
    BadEvent,
    BadHeaders,
    BatchTooLarge,
    CodecUnknown,
    EmptyValue,
    RecordDamaged,
    TooLarge,
)
from l07.events.record import Record
from l07.events.strict import check_json

Mode = Literal["structured", "json", "bytes"]
Headers = tuple[tuple[bytes, bytes | None], ...]

DAMAGES: Mapping[str, type[BadEvent]] = {"form": RecordDamaged, "codec": CodecUnknown, "large": BatchTooLarge}
_CONTENT_TYPE = b"content-type"
PLAIN = frozenset(  # what nearly every structured record has, and nothing else
    ((_CONTENT_TYPE, text),)
    for text in (b"application/cloudevents+json", b"application/cloudevents+json; charset=UTF-8")
)
_PREFIX = b"ce_"
_NAME = re.compile(r"[a-z0-9]+")
_STREAM = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*(?:data|event|id|retry)?:")
_JSON = re.compile(r"(?:application|text)/(?:[a-z0-9.!#$&^_-]+\+)?json")


def structured(record: Record, *, max_bytes: int) -> bytes:
    """The event as one JSON document: the value itself in structured mode, else built from headers and value.

    Without any content type and `ce_` header a value is read as structured: `l07 send` writes JSON lines.

    Raises:
        RecordDamaged (E7420), CodecUnknown (E7421), BatchTooLarge (E7422) for what the bus's client could not read;
        EmptyValue (E7000), TooLarge (E7002), BadContentType (E7016), BadHeaders (E7017), and those of
        `check_json` for the JSON that a binary record carries."""
    if record.damage:
        kind, _, detail = record.damage.partition(": ")
        raise DAMAGES[kind](detail)
    value = record.value
    if not value:
        raise EmptyValue("a tombstone" if value is None else "zero bytes")
    if len(value) > max_bytes:
        raise TooLarge(f"{len(value)} bytes of at most {max_bytes}", length=len(value))
    if not record.headers or record.headers in PLAIN:
        return value
    content_type, attributes = _read(record.headers)
    mode = _mode(content_type)
    if mode == "structured" or (content_type is None and not attributes):
        return value
    return _from_binary(value, _texts(attributes), content_type, as_json=mode == "json")


def is_stream(body: bytes) -> bool:
    """Whether these are server-sent events. No JSON begins so, and a payload logger calls every body JSON."""
    return _STREAM.match(body) is not None


def is_json(content_type: str | None) -> bool:
    """Whether `data` of this content type is JSON; absent means JSON."""
    return content_type is None or _JSON.fullmatch(content_type.partition(";")[0].strip().lower()) is not None


def _read(headers: Headers) -> tuple[bytes | None, dict[bytes, bytes | None]]:
    """The content type, and the `ce_` headers without their prefix."""
    content_type: bytes | None = None
    attributes: dict[bytes, bytes | None] = {}
    for name, value in headers:
        lower = name.lower()
        if lower == _CONTENT_TYPE:
            if content_type is not None or value is None:
                raise BadHeaders("content-type stands twice" if value else "content-type has no value")
            content_type = value
        elif lower.startswith(_PREFIX):
            if lower in attributes:
                raise BadHeaders(f"the header {lower!r} stands twice")
            attributes[lower] = value
        elif not name.isascii():
            _text(name, "a header's name")
    return content_type, attributes


@lru_cache(maxsize=256)
def _mode(content_type: bytes | None) -> Mode:
    text = _text(content_type, "content-type").lower() if content_type is not None else "application/json"
    media, _, parameters = text.partition(";")
    media = media.strip()
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]*)", parameters)
    if (
        charset
        and charset[1] not in ("utf-8", "utf8", "us-ascii")
        and (media == "application/cloudevents+json" or is_json(media))
    ):
        raise BadContentType(f"charset {charset[1]!r}: JSON is UTF-8")
    if media == "application/cloudevents+json":
        return "structured"
    if media.startswith("application/cloudevents"):
        raise BadContentType(f"{media!r} is not read; write application/cloudevents+json")
    if media.count("/") != 1:
        raise BadContentType(f"{media[:64]!r} is no media type")
    return "json" if is_json(media) else "bytes"


def _texts(attributes: Mapping[bytes, bytes | None]) -> dict[str, str]:
    texts = {}
    for header, value in attributes.items():
        name = _text(header, "a header's name").removeprefix("ce_")
        if not _NAME.fullmatch(name) or name in ("data", "datacontenttype"):
            raise BadHeaders(f"{name[:64]!r} is no attribute that a header may carry")
        texts[name] = _text(value, f"the header ce_{name}")
    return texts


def _text(raw: bytes | None, what: str) -> str:
    if raw is None:
        raise BadHeaders(f"{what} has no value")
    try:
        return raw.decode()
    except UnicodeDecodeError as err:
        raise BadHeaders(f"{what} is not UTF-8 at byte {err.start}") from err


def _from_binary(value: bytes, attributes: dict[str, str], content_type: bytes | None, *, as_json: bool) -> bytes:
    if content_type is not None:
        attributes["datacontenttype"] = content_type.decode()
    if as_json and not is_stream(value):
        check_json(value)  # on its own first: spliced in unread, it could close `data` and write attributes
        return splice(attributes, b"data", value)
    return splice(attributes, b"data_base64", b'"' + base64.b64encode(value) + b'"')


def splice(attributes: Mapping[str, object], name: bytes, raw: bytes) -> bytes:
    """One object of `attributes` and of `name` with JSON that is already text."""
    head = msgspec.json.encode(attributes)[:-1]
    return head + (b"," if attributes else b"") + b'"' + name + b'":' + raw + b"}"
