"""Tables in a text: a head names what the cells below it are, so each cell is said with its name."""

import csv
import re
from collections.abc import Iterator, Sequence

from l07.domain.remembered import ByteBoundCache, size_of

_MARKS = ("\t", ";", ",", "|")
_HEADS = 3  # lines that may be the head: a title may stand above it
_TELLING = re.compile(
    r"(?i)pass|pwd|secret|token|key|auth|phone|mobile|\btel|name|address|adress|anschrift|birth|born|geb|dob|ssn|social|tax|steuer|tin"
    r"|ausweis|card|location|position|coord|gps|cell"
)


def cells(text: str) -> Sequence[str]:
    """`head=cell` for every cell of a CSV or Markdown table whose head names something that only a label tells."""
    return _memory.found((text,), _look)[text]


def _look(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return {text: tuple(_cells(text)) for text in texts}


_memory = ByteBoundCache[tuple[str, ...]](size_of=size_of)


def _cells(text: str) -> Iterator[str]:
    top = text.split("\n", _HEADS + 1)
    for at in range(min(len(top) - 1, _HEADS)):
        for mark in _MARKS:
            if top[at].count(mark) and top[at + 1].count(mark) and _TELLING.search(top[at]):
                yield from _below(text.split("\n")[at:], mark)
                return


def _below(lines: Sequence[str], mark: str) -> Iterator[str]:
    try:
        rows = list(csv.reader((line.replace("\0", " ") for line in lines), delimiter=mark))
    except csv.Error:  # a cell above 128 KB: no table
        return
    names = [name.strip(" '*\r") for name in rows[0]]
    telling = [n for n, name in enumerate(names) if len(name) < 40 and _TELLING.search(name)]
    for row in rows[1:]:
        if len(row) == len(names):
            yield from (f"{names[n]}={row[n].strip()}" for n in telling)
