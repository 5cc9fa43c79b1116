"""Tables for the cards of datasets and models: what stands in events must not become markup."""

from collections.abc import Iterable, Sequence


def table(columns: Sequence[object], rows: Iterable[Iterable[object]]) -> str:
    lines = ["| " + " | ".join(cell(value) for value in row) + " |" for row in (columns, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])


def cell(value: object) -> str:
    """What stands in events must not end a row, or begin markup."""
    text = "".join(char if char.isprintable() else " " for char in str(value))
    for char in "\\|<>[]`":
        text = text.replace(char, f"\\{char}")
    return text
