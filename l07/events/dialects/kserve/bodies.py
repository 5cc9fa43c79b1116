"""The bodies of requests and responses, by protocol: which messages they are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from l07.events.dialects.common import Unusable
from l07.events.dialects.kserve import stream
from l07.events.dialects.kserve.stream import UNSUPPORTED
from l07.events.modes import is_stream

CHAT, TEXT, V2, GENERATE, V1, ERROR = "chat", "text", "v2", "generate", "v1", "error"
SAID_ENOUGH = ("", "stop")  # an answer that came to its end: it is the outcome itself

Json = dict[str, Any]
Request = tuple[str, Sequence[Json], Sequence[Json]]  # protocol, messages, tools
Response = tuple[str, Sequence[Json], str]  # protocol, messages, outcome


def read_request(body: Any) -> Request:
    """Raises Unusable "unsupported_payload"."""
    body = _object(body)
    if body.get("messages") is not None:
        return CHAT, _objects(body["messages"]), _objects(body.get("tools") or [])
    for name, kind, text in ASKED:
        if body.get(name) is not None:
            return kind, [{"role": "user", "content": text(body[name])}], ()
    raise Unusable(UNSUPPORTED)


def read_response(body: Any) -> Response:
    """Text is a streamed answer. Raises Unusable "unsupported_payload", "cut_stream" or "broken_stream"."""
    body = (
        stream.joined(body)
        if isinstance(body, str) and is_stream(body[:64].encode("utf-8", "replace"))
        else _object(body)
    )
    if body.get("error") or body.get("object") == "error":
        return ERROR, (), f"error: {_error(body)}"
    if body.get("choices") is not None:
        return _choice(_objects(body["choices"]))
    for name, kind, text in ANSWERED:
        if body.get(name) is not None:
            return kind, [{"role": "assistant", "content": text(body[name])}], ""
    raise Unusable(UNSUPPORTED)


def _choice(choices: Sequence[Json]) -> Response:
    """The first counts, as with every client that asks for one."""
    first: Json = next(iter(choices), {})
    finish = first.get("finish_reason")
    outcome = finish if isinstance(finish, str) and finish not in SAID_ENOUGH else ""
    message = first.get("message")
    if isinstance(message, dict):
        return CHAT, [{**message, "role": message.get("role") or "assistant"}], outcome
    return TEXT, [{"role": "assistant", "content": _text(first.get("text"))}], outcome


def _error(body: Json) -> str:
    """What kind it is, where it says so: its words may quote the request."""
    error = body.get("error")
    for told in (error if isinstance(error, dict) else {}, body):
        for name in ("type", "code"):
            value = told.get(name)
            if isinstance(value, str | int) and value != "":
                return str(value)
    return "unknown"


def _object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise Unusable(UNSUPPORTED)
    return value


def _objects(value: Any) -> Sequence[Json]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Unusable(UNSUPPORTED)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unusable(UNSUPPORTED)
    return value


def _one(value: Any) -> Any:
    """Of a batch of one; several in one request are several runs, and nobody says which answer is whose."""
    while isinstance(value, list):
        if len(value) != 1:
            raise Unusable(UNSUPPORTED)
        value = value[0]
    return value


def _prompt(value: Any) -> str:
    return _text(_one(value))


def _tensor(tensors: Any) -> str:
    """The one tensor of bytes; numbers beside it are parameters."""
    texts = [tensor for tensor in _objects(tensors) if tensor.get("datatype") == "BYTES"]
    return _prompt(_one(texts).get("data"))


def _instance(value: Any) -> str:
    value = _one(value)
    if isinstance(value, Mapping):
        texts = [text for text in value.values() if isinstance(text, str)]
        value = _one(texts)
    return _text(value)


Reading = tuple[str, str, Callable[[Any], str]]
ASKED: Sequence[Reading] = (
    ("prompt", TEXT, _prompt),
    ("inputs", V2, _tensor),
    ("text_input", GENERATE, _text),
    ("instances", V1, _instance),
)
ANSWERED: Sequence[Reading] = (
    ("outputs", V2, _tensor),
    ("text_output", GENERATE, _text),
    ("predictions", V1, _instance),
)
