"""One of the two events of KServe's payload logger: a request, or its response. Both have the request's id."""

from typing import Any, Literal

import msgspec
import xxhash

from l07.errors import BadData
from l07.events.cloudevents import Document, Envelope
from l07.events.dialects import RunData, chat, kserve
from l07.events.dialects.common import Unusable
from l07.events.modes import is_json
from l07.events.strict import compact

Part = Literal["request", "response"]


class Payload(msgspec.Struct, frozen=True, gc=False):
    """A part of a run. `reason` says why the run can never be an example, as far as this part shows it."""

    envelope: Envelope
    key: str  # "execution:<id of the event>"
    part: Part
    reason: str
    content: bytes  # 8 bytes: a digest of the body
    body: bytes  # the structured event


class _Body(msgspec.Struct, gc=False):
    data: Any = None
    data_base64: Any = None


_body = msgspec.json.Decoder(_Body).decode
_decode = msgspec.json.Decoder().decode
_ASKED = chat.ChatMessage(role="user", content="?")
_SAID = chat.ChatMessage(role="assistant", content="!")


def payload_of(document: Document, part: Part) -> Payload:
    """Raises BadData (E7018) where the event says JSON and carries none."""
    envelope, data = document.envelope, document.data
    if data is None and is_json(envelope.datacontenttype) and not document.is_stream:
        raise BadData("`data` is absent: the payload logger's event carries no body")
    content = xxhash.xxh64_digest(document.value if data is None else compact(data))
    reason = _of_text(document.value, part) if data is None else _reason(_decode(data), part)
    return Payload(envelope, f"execution:{envelope.id}", part, reason, content, document.value)


def _of_text(value: bytes, part: Part) -> str:
    """Of a body that is no JSON: a streamed answer is one that can be read."""
    event = _body(value)
    try:
        return _reason(kserve.body_of(event.data, event.data_base64), part)
    except Unusable as err:
        return str(err)


def _reason(body: Any, part: Part) -> str:
    """What is missing, were the other part as it should be."""
    try:
        found = kserve.asked(body) if part == "request" else kserve.answered(body)
    except Unusable as err:
        return str(err)
    if part == "request":
        return chat.reason(RunData(messages=[*found.messages, _SAID]) if found.messages else RunData())
    return chat.reason(RunData(messages=[_ASKED, *found.messages], outcome=found.outcome))
