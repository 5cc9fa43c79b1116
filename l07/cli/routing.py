"""Which topic and key a line gets. Nothing is validated: what cannot be read goes on unchanged, to the dead letters."""

from functools import lru_cache
from typing import Any

import msgspec

from l07.events.record import Message
from l07.settings import Settings

HEADERS = ((b"content-type", b"application/cloudevents+json; charset=UTF-8"),)


class _Head(msgspec.Struct):
    id: Any = None
    type: Any = None
    partitionkey: Any = None
    subject: Any = None
    data: msgspec.Raw = msgspec.Raw(b"")


class _Ids(msgspec.Struct):
    execution_id: Any = None
    plan_id: Any = None


_head = msgspec.json.Decoder(_Head)
_ids = msgspec.json.Decoder(_Ids)


class Router:
    """A line to a message: topic by type; key: the first of `partitionkey`, `subject`, `execution_id`, `plan_id`; of a
    request or a response the event's id, so that they share a partition."""

    def __init__(self, settings: Settings, *, other: str | None = None) -> None:
        topics, types = settings.topics, settings.types
        self._other = other or topics.traces
        self._payloads = topics.payloads
        self._topics = {
            **dict.fromkeys(types.review, topics.reviews),
            **dict.fromkeys(types.score, topics.scores),
            **dict.fromkeys(types.plan, topics.planning),
            **dict.fromkeys(types.trace, topics.traces),
            **(dict.fromkeys((*types.request, *types.response), topics.payloads) if topics.payloads else {}),
        }
        self.topic_of_type = lru_cache(maxsize=1024)(self._topic_of_type)

    def message(self, line: bytes, *, timestamp_ms: int | None = None) -> Message:
        """The value is the line, byte for byte."""
        try:
            head = _head.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Message(self._other, None, line, HEADERS, timestamp_ms)
        topic = self.topic_of_type(head.type) if isinstance(head.type, str) else self._other
        key = _key(head) or (_bytes(head.id) if topic == self._payloads else None)
        return Message(topic, key, line, HEADERS, timestamp_ms)

    def _topic_of_type(self, name: str) -> str:
        """`com.agentic.execution.completed` is `execution.completed`; a type that nobody reads goes to the default."""
        rest = name
        while rest:
            if rest in self._topics:
                return self._topics[rest]
            _, _, rest = rest.partition(".")
        return self._other


def _key(head: _Head) -> bytes | None:
    for value in (head.partitionkey, head.subject):
        if key := _bytes(value):
            return key
    try:
        ids = _ids.decode(head.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _bytes(ids.execution_id) or _bytes(ids.plan_id)


def _bytes(value: Any) -> bytes | None:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) and value else None
