"""A detector of injections that users bring, such as Prompt Guard: from a tool's output to how surely it holds one."""

from l07.domain.injection.inspection import Scanner
from l07.domain.plugged import plugged
from l07.errors import NoScanner

GROUP, SETTING = "l07.injection_scanners", "filter.injection.scanner"


def scanner_named(name: str) -> Scanner | None:
    """The scanner of that name, with its answers checked; None for no name.

    Raises:
        NoScanner: E7107, there is none; when it is called: it answered with what is no number 0-1."""
    if not name:
        return None
    found = plugged(name, SETTING, GROUP)

    def checked(text: str) -> float:
        answer = found(text)
        if isinstance(answer, bool | int | float) and 0 <= answer <= 1:
            return float(answer)
        raise NoScanner(f"{SETTING} {name!r} answered {answer!r}: it must be a number, 0-1")

    return checked
