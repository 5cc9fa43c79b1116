"""What a person or a program reads: rich tables on a terminal, plain text or JSON lines elsewhere."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console as RichConsole


class Console:
    """stdout carries the answer, stderr everything else, so that a pipe gets only data."""

    def __init__(self, *, as_json: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.as_json = as_json
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        for stream in (self._out, self._err):
            if hasattr(stream, "reconfigure"):  # a lone surrogate in an id must not end the command
                stream.reconfigure(errors="backslashreplace")

    @property
    def is_terminal(self) -> bool:
        """A person reads stdout."""
        return self._out.isatty() and not self.as_json

    @property
    def shows_progress(self) -> bool:
        return self._err.isatty()

    def data(self, value: Any) -> None:
        """One JSON document on one line; ASCII, so that no terminal and no locale can break it."""
        self._out.write(json.dumps(value, default=str, separators=(", ", ": ")) + "\n")

    def raw(self, value: bytes) -> None:
        """Bytes as they are."""
        self._out.flush()
        self._out.buffer.write(value)
        self._out.buffer.flush()

    def line(self, text: str = "") -> None:
        self._out.write(printable(text) + "\n")

    def note(self, text: str) -> None:
        """Something beside the answer."""
        self._err.write(printable(text) + "\n")
        self._err.flush()

    def error(self, text: str) -> None:
        self.note(text)

    def progress(self, text: str) -> None:
        """Overwrite one line of a terminal; elsewhere nothing."""
        if self.shows_progress:
            self._err.write("\r\x1b[2K" + printable(text))
            self._err.flush()

    def end_progress(self) -> None:
        self.progress("")

    def flush(self) -> None:
        self._out.flush()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
        """A table of rich on a terminal, columns padded with blanks elsewhere; nothing at all for no rows."""
        cells = [[_cell(value) for value in row] for row in rows]
        if not cells:
            return
        if self.is_terminal:
            self._rich_table(columns, cells, title)
            return
        if title:
            self.line(title)
        widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
        for row in [list(columns), *cells]:
            self.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def fields(self, values: Mapping[str, object], *, title: str = "") -> None:
        """Names and values, one a line."""
        if title:
            self.line(title)
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            self.line(f"  {name.ljust(width)}  {_cell(value)}")

    def _rich_table(self, columns: Sequence[str], cells: Sequence[Sequence[str]], title: str) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))  # Text: brackets in an id are no markup
        self.rich().print(table)

    def rich(self) -> "RichConsole":
        """stdout, for what rich draws."""
        from rich.console import Console as RichConsole

        return RichConsole(file=self._out)


def printable(text: str) -> str:
    """The text with control characters written out: what lies in an event must not drive the reader's terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict | list | tuple):
        return printable(json.dumps(value, default=str, ensure_ascii=False))
    return printable(str(value)).replace("\n", "\\n").replace("\t", "\\t")
