"""Detectors that users bring: a callable from a text to spans, so that Presidio, GLiNER or a company's own rules can find
what no pattern finds, names above all."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from l07.domain.plugged import plugged
from l07.domain.scrub.engine import Find
from l07.errors import NoScanner

GROUP = "l07.scanners"
Span = tuple[int, int, str]  # begin and end in characters, kind (a name in lower case)
Scanner = Callable[[str], Iterable[Span]]
_KIND = re.compile(r"[a-z][a-z0-9_]{0,39}")


def named(name: str) -> Scanner:
    """An entry point of the group l07.scanners, or `package.module:function`.

    Raises:
        NoScanner: E7107, there is none, or it cannot be called."""
    return plugged(name, "filter.scanners", GROUP)


def scanned(row: str, names: Sequence[str]) -> Iterator[Find]:
    """What the scanners find in a row's texts (joined by NUL), as personal data.

    Raises:
        NoScanner: E7107, a scanner answered with what is no span of the text."""
    for name in names:
        for span in named(name)(row):
            yield _find(name, row, span)


def _find(name: str, row: str, span: Span) -> Find:
    match span:
        case (int(start), int(end), str(kind)) if 0 <= start < end <= len(row) and _KIND.fullmatch(kind):
            value = row[start:end]
            return Find(kind, value, value, personal=True)
    raise NoScanner(
        f"the scanner {name!r} answered {span!r}: a span is (begin, end, kind) within {len(row)} characters, the kind in lower case"
    )
