"""All rules over one row: its texts joined by NUL, one pass of a google-re2 Set to see which rules can find anything,
then only those."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import re2

from l07.domain.scrub import tables
from l07.domain.scrub.personal import personal
from l07.domain.scrub.rules import Rule
from l07.domain.scrub.secrets import secrets

LONG = 1000  # characters; a longer text is no value of its key
_ESCAPES = ((rb"\n", b"\x01\n"), (rb"\r", b"\x01\r"), (rb"\t", b"\x01\t"))
LITERAL = 200  # characters; a longer value costs an automaton more than a search
BEFORE = 48  # bytes before a find that its check may look at


@dataclass(frozen=True, slots=True)
class Find:
    """A value where it stands in the row's bytes."""

    kind: str
    value: str
    same: str  # equal for two spellings of one value
    personal: bool
    start: int
    end: int


class Engine:
    """The rules of some classes, compiled."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._gate = re2.Set.SearchSet(_options())
        for rule in rules:
            self._gate.Add(rule.gate or rule.pattern)
        self._gate.Compile()
        self._patterns = [re2.compile(rule.pattern, _options()) for rule in rules]

    def finds(self, row: bytes) -> Iterator[Find]:
        """Every value, in the order of the rules; what overlaps an earlier find is not told again."""
        claimed: list[tuple[int, int]] = []
        for number in sorted(self._gate.Match(row) or ()):
            rule = self._rules[number]
            for find in _matches(rule, self._patterns[number], row):
                if _claim(claimed, find.start, find.end):
                    yield find


def _matches(rule: Rule, pattern: Any, row: bytes) -> Iterator[Find]:
    """Goes on where the value ends, not the match: what stands between two values is the edge of both."""
    at = 0
    while (match := pattern.search(row, at)) is not None:
        find = _find(rule, row, match)
        if find is not None:
            yield find
            at = find.end
        else:
            at = match.start(1) + 1 if rule.window else match.end()


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 64 << 20
    return options


@cache
def engine(with_secrets: bool, with_personal: bool) -> Engine:
    """One for each choice of classes; made at the first use."""
    return Engine([*(secrets() if with_secrets else ()), *(personal() if with_personal else ())])


def _find(rule: Rule, row: bytes, match: Any) -> Find | None:
    group = next(n for n in range(1, 9) if match.span(n) != (-1, -1))
    start, end = match.span(group)
    value = row[start:end].decode("utf-8", "replace")
    before = row[max(0, start - BEFORE) : start].rpartition(b"\0")[2].decode("utf-8", "replace")
    part = rule.check(value, before)
    if not part:
        return None
    if part != value:
        start += len(value[: value.find(part)].encode())
        end = start + len(part.encode())
    return Find(rule.kind, part, rule.same(part), rule.personal, start, end)


def _claim(claimed: list[tuple[int, int]], start: int, end: int) -> bool:
    at = bisect_left(claimed, (start, end))
    if at < len(claimed) and claimed[at][0] < end:
        return False
    if at and claimed[at - 1][1] > start:
        return False
    insort(claimed, (start, end))
    return True


def row_of(values: Sequence[Any]) -> bytes:
    """The texts of the values, each with its key, joined by NUL."""
    texts: list[str] = []
    for value in values:
        _walk(value, "", texts)
    return opened("\0".join(texts).encode("utf-8", "surrogatepass"))


def opened(data: bytes) -> bytes:
    """The escapes of JSON in a text as edges of words, byte for byte."""
    for written, meant in _ESCAPES if b"\\" in data else ():
        data = data.replace(written, meant)
    return data


def closed(data: bytes) -> bytes:
    """What `opened` was given."""
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
    elif _is_long_number(value):
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


def _is_long_number(value: Any) -> bool:
    """A telephone or a card may be a number in JSON."""
    return isinstance(value, int) and abs(value) > 99999 and not isinstance(value, bool)


def calls_in(values: Sequence[Any]) -> Iterator[Any]:
    """What the assistant passed to tools, in messages."""
    for messages in values:
        for message in messages if isinstance(messages, list | tuple) else ():
            if isinstance(message, Mapping):
                yield message.get("tool_calls") or ()


Replace = Callable[[str], str]


def replacer(names: Mapping[str, str], plain: frozenset[str]) -> Replace:
    """Puts each value's name in its place, longest first; those of `plain` also inside of a word."""
    ordered = sorted(names, key=lambda value: (-len(value), value))
    long = [(value.encode("utf-8", "replace"), names[value].encode()) for value in ordered if len(value) > LITERAL]
    short = [value for value in ordered if len(value) <= LITERAL]
    pattern = re2.compile("|".join(_literal(value, value in plain) for value in short), _options()) if short else None
    by_bytes = {value.encode("utf-8", "replace"): names[value].encode() for value in short}

    shortest = min(map(len, ordered))

    def replace(text: str) -> str:
        if len(text) < shortest:
            return text
        before = data = opened(text.encode("utf-8", "surrogatepass"))
        for value, name in long:
            data = data.replace(value, name)
        if pattern is not None:
            data = _substituted(data, pattern, by_bytes)
        return text if data is before else closed(data).decode("utf-8", "surrogatepass")

    return replace


def _substituted(data: bytes, pattern: Any, names: Mapping[bytes, bytes]) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for match in pattern.finditer(data):
        start, end = match.span()
        pieces += (data[at:start], names[data[start:end]])
        at = end
    return b"".join((*pieces, data[at:])) if pieces else data


def _literal(value: str, plain: bool) -> str:
    literal = re2.escape(value)
    if plain:
        return str(literal)
    first, last = (r"\b" if c.isascii() and (c.isalnum() or c == "_") else "" for c in (value[0], value[-1]))
    return f"{first}{literal}{last}"


def replaced(value: Any, replace: Replace) -> Any:
    """The value in its shape, with what `replace` makes of every text, key and long number."""
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, Mapping):
        return {
            replace(name) if isinstance(name, str) else name: replaced(item, replace) for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(replaced(item, replace) for item in value)
    if _is_long_number(value):
        text = replace(str(value))
        return value if text == str(value) else text
    return value
