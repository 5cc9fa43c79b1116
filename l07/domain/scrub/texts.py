"""The texts of a row, each with its key, and the bytes in which the rules see them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from l07.domain.scrub import tables
from l07.domain.scrub.compiled import walk

T = TypeVar("T", bound=tuple[Any, ...])
LONG = 1000  # characters; a longer text is no value of its key
_ESCAPES = ((rb"\n", b"\x01\n"), (rb"\r", b"\x01\r"), (rb"\t", b"\x01\t"))


def walked(values: Sequence[Any]) -> list[str]:
    """`texts_of` in Python."""
    texts: list[str] = []
    for value in values:
        _walk(value, "", texts)
    return texts


def texts_of(values: Sequence[Any]) -> list[str]:
    """What the values say, in order: each text with the key that names it, keys of structures, cells of tables."""
    return walked(values) if walk is None else walk.told(values, LONG, tables.cells, {}, None)


def told(values: Sequence[Any], known: dict[str, T], nothing: "walk.Nothing | None") -> list[str | T]:
    """`texts_of`, but of each text that is known what is known of it; where that is empty, nothing. `nothing` keeps in mind
    those where it was, for as long as what is found in a text stays the same."""
    return recalled(values, known) if walk is None else walk.told(values, LONG, tables.cells, known, nothing)


def recalled(values: Sequence[Any], known: dict[str, T]) -> list[str | T]:
    """`told` in Python."""
    return [one for text in walked(values) if (one := known.get(text, text)) != ()]


def joined(texts: Sequence[str]) -> bytes:
    """The texts as the rules see them, with a NUL between two."""
    return opened("\0".join(texts).encode("utf-8", "surrogatepass"))


def opened(data: bytes) -> bytes:
    """The escapes of JSON in a text as edges of words, byte for byte."""
    return opened_by_parts(data) if walk is None else walk.opened(data)


def closed(data: bytes) -> bytes:
    """What `opened` was given."""
    return closed_by_parts(data) if walk is None else walk.closed(data)


def opened_by_parts(data: bytes) -> bytes:
    """`opened` in Python."""
    for written, meant in _ESCAPES if b"\\" in data else ():
        data = data.replace(written, meant)
    return data


def closed_by_parts(data: bytes) -> bytes:
    """`closed` in Python."""
    for written, meant in _ESCAPES if b"\x01" in data else ():
        data = data.replace(meant, written)
    return data


def _walk(value: Any, name: str, texts: list[str]) -> None:
    """{"api_key": "k9..."} says in two texts what api_key=k9... says in one."""
    if isinstance(value, str):
        texts.append(f"{name}={value}" if name and len(value) < LONG else value)
        if "\n" in value:
            texts += tables.cells(value)
    elif isinstance(value, dict) or isinstance(value, Mapping):  # noqa: SIM101 - asking an abstract class is slow
        _walk_mapping(value, texts)
    elif isinstance(value, list | tuple):
        _walk_list(value, name, texts)
    elif is_long_number(value):
        texts.append(f"{name}={value}")


def _walk_mapping(value: Mapping[Any, Any], texts: list[str]) -> None:
    named = value.get("name") or value.get("key")
    for key, item in value.items():
        if not isinstance(item, str):
            texts.append(str(key))
            _walk(item, str(key), texts)
        elif len(item) < LONG and "\n" not in item:
            texts.append(f"{named if key == 'value' else key}={item}")
        else:
            texts.append(str(key))
            _walk(item, str(key), texts)


def _walk_list(value: Sequence[Any], name: str, texts: list[str]) -> None:
    """["--token", "k9..."] is a command line in parts."""
    flag = ""
    for item in value:
        _walk(item, flag or name, texts)
        flag = item if isinstance(item, str) and item[:1] == "-" else ""


def is_long_number(value: Any) -> bool:
    """A telephone or a card may be a number in JSON."""
    return isinstance(value, int) and abs(value) > 99999 and not isinstance(value, bool)


def calls_in(values: Sequence[Any]) -> Iterator[Any]:
    """What the assistant passed to tools, in messages."""
    for messages in values:
        for message in messages if isinstance(messages, list | tuple) else ():
            if isinstance(message, Mapping):
                yield message.get("tool_calls") or ()
