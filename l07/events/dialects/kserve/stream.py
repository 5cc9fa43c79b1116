"""An answer that was streamed: server-sent events whose deltas, joined, are the body that the same server sends whole.

Source: the HTML Standard, 9.2.6 (event streams); OpenAI's API reference, chat and text completion chunks."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from l07.events.dialects.common import Unusable
from l07.events.strict import too_deep

UNSUPPORTED, CUT, BROKEN = "unsupported_payload", "cut_stream", "broken_stream"
DONE = "[DONE]"
_LINE = re.compile(r"\r\n|\n|\r")
_decode = msgspec.json.Decoder().decode
Json = dict[str, Any]


def joined(text: str) -> Json:
    """The body of the answer: its first choice whole, or its error.

    Raises Unusable "cut_stream" where it has no end, "broken_stream" where its parts do not fit together,
    "unsupported_payload" for the events of another protocol."""
    answer = _Answer()
    for chunk in _chunks(text):
        if chunk is None:
            answer.is_done = True
        elif answer.is_done:
            raise Unusable(BROKEN)
        elif chunk.get("error"):
            return {"error": chunk["error"]}
        else:
            answer.take(chunk)
    return answer.body()


def _chunks(text: str) -> Iterator[Json | None]:
    """None: the word that says it is over."""
    said = [data for data in _events(text) if data.strip()]
    for number, data in enumerate(said, 1):
        if data.strip() == DONE:
            yield None
            continue
        try:
            chunk = None if too_deep(data.encode()) else _decode(data)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as err:
            raise Unusable(CUT if number == len(said) else BROKEN) from err
        if not isinstance(chunk, dict):
            raise Unusable(BROKEN)
        yield chunk


def _events(text: str) -> Iterator[str]:
    """What the events carry. One that no empty line ends counts too: proxies leave the last one out."""
    data: list[str] = []
    for line in [*_LINE.split(text.removeprefix("\ufeff")), ""]:
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []


@dataclass(slots=True)
class _Call:
    """A call of a tool, as far as it has come."""

    ident: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def take(self, delta: Mapping[str, Any]) -> None:
        function = _mapping(delta.get("function") or {})
        self.ident = _same(self.ident, delta.get("id"))
        self.name = _same(self.name, function.get("name"))
        if piece := _piece(function.get("arguments")):
            self.arguments.append(piece)

    def function(self) -> Json:
        return {"name": self.name, "arguments": "".join(self.arguments)}


@dataclass(slots=True)
class _Answer:
    """The first choice, as far as it has come: the others are told apart by their index, and count as little as in a body
    that came whole."""

    ident: str = ""
    is_done: bool = False
    finish: str = ""
    is_text: bool = False
    role: str = ""
    texts: dict[str, list[str]] = field(default_factory=dict)  # content, refusal, text
    calls: dict[int, _Call] = field(default_factory=dict)
    function: _Call | None = None

    def take(self, chunk: Json) -> None:
        if "choices" not in chunk:  # another protocol's events
            raise Unusable(UNSUPPORTED)
        self.ident = _same(self.ident, chunk.get("id"))
        for choice in _mappings(chunk.get("choices")):
            if not choice.get("index"):
                self._take(choice)

    def _take(self, choice: Mapping[str, Any]) -> None:
        delta = _mapping(choice.get("delta") or {})
        said = {name: piece for name in ("content", "refusal") if (piece := _piece(delta.get(name))) is not None}
        if (text := _piece(choice.get("text"))) is not None:
            said["text"], self.is_text = text, True
        calls = _mappings(delta.get("tool_calls") or [])
        if self.finish and (calls or any(said.values()) or delta.get("function_call")):
            raise Unusable(BROKEN)
        for name, piece in said.items():
            self.texts.setdefault(name, []).append(piece)
        for call in calls:
            self.calls.setdefault(self._place(call), _Call()).take(call)
        if delta.get("function_call"):
            self.function = self.function or _Call()
            self.function.take({"function": delta["function_call"]})
        self.role = _same(self.role, delta.get("role"))
        self.finish = _same(self.finish, choice.get("finish_reason"))

    def _place(self, call: Mapping[str, Any]) -> int:
        """Servers that send a call whole leave its index out."""
        index = call.get("index")
        if index is None:
            return len(self.calls) if call.get("id") or not self.calls else max(self.calls)
        if not isinstance(index, int) or isinstance(index, bool):
            raise Unusable(BROKEN)
        return index

    def body(self) -> Json:
        if not (self.finish or self.is_done):
            raise Unusable(CUT)
        choice: Json = {"index": 0, "finish_reason": self.finish or None}
        whole = {name: "".join(pieces) for name, pieces in self.texts.items()}
        if self.is_text:
            return {"choices": [{**choice, "text": whole["text"]}]}
        message: Json = {"role": self.role or "assistant", "content": whole.get("content")}
        if "refusal" in whole:
            message["refusal"] = whole["refusal"]
        if self.calls:
            calls = [self.calls[place] for place in sorted(self.calls)]
            message["tool_calls"] = [
                {"id": c.ident or None, "type": "function", "function": c.function()} for c in calls
            ]
        if self.function is not None:
            message["function_call"] = self.function.function()
        return {"choices": [{**choice, "message": message}]}


def _same(known: str, said: Any) -> str:
    """What stands in the first part, and in others as well where it is said again."""
    if said is None or said == "":
        return known
    if not isinstance(said, str) or (known and said != known):
        raise Unusable(BROKEN)
    return said


def _piece(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise Unusable(BROKEN)
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unusable(BROKEN)
    return value


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise Unusable(BROKEN)
    return [_mapping(one) for one in value]
