"""Dialect 5: what KServe's payload logger writes, a request and its response; together they are one run in OpenAI's chat form.

Bodies of OpenAI's chat and text completions, streamed ones too, of the Open Inference Protocol (V2) and of V1 where they are text."""

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from l07.events.dialects import chat
from l07.events.dialects.common import Unusable
from l07.events.dialects.kserve import bodies, stream
from l07.events.dialects.kserve.stream import UNSUPPORTED
from l07.events.modes import is_stream

NAME = "kserve"


class Exchange(NamedTuple):
    """Of a request alone, of a response alone, or of both. `outcome` "": the answer says it."""

    messages: Sequence[chat.ChatMessage]
    tools: Sequence[dict[str, Any]] = ()
    outcome: str = ""


def body_of(data: Any, data_base64: Any) -> Any:
    """The HTTP body as JSON gives it; a streamed one as text.

    Raises Unusable "unsupported_payload" for other bytes, "cut_stream" where one ends within a letter."""
    if not isinstance(data_base64, str):
        return data
    raw = base64.b64decode(data_base64)
    if not is_stream(raw):
        raise Unusable(UNSUPPORTED)
    try:
        return raw.decode()
    except UnicodeDecodeError as err:
        raise Unusable(stream.CUT if err.end == len(raw) else stream.BROKEN) from err


_messages = msgspec.defstruct("_Messages", [("messages", list[chat.ChatMessage])])


def asked(body: Any) -> Exchange:
    """Raises Unusable "unsupported_payload"."""
    _, messages, tools = bodies.read_request(body)
    return Exchange(_typed(messages), tools)


def answered(body: Any) -> Exchange:
    """One message; none where the model's server answered with an error. Raises Unusable "unsupported_payload", "cut_stream" or
    "broken_stream"."""
    _, messages, outcome = bodies.read_response(body)
    return Exchange(_typed(messages), (), outcome)


def exchange(request: Any, response: Any) -> Exchange:
    """Raises Unusable "unsupported_payload", also where one does not answer the other."""
    (kind, *_), (other, *_) = bodies.read_request(request), bodies.read_response(response)
    if other not in (kind, bodies.ERROR):
        raise Unusable(UNSUPPORTED)
    ours, theirs = asked(request), answered(response)
    return Exchange([*ours.messages, *theirs.messages], ours.tools, theirs.outcome)


def _typed(messages: Sequence[dict[str, Any]]) -> list[chat.ChatMessage]:
    try:
        found: list[chat.ChatMessage] = msgspec.convert({"messages": messages}, _messages).messages  # type: ignore[attr-defined]
    except msgspec.ValidationError as err:
        raise Unusable(UNSUPPORTED) from err
    return found
