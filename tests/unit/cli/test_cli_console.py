"""One answer, three readers: a person at a terminal, a person reading a file, a program."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from l07.cli.console import Console, printable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(out: io.StringIO, *, as_json: bool = False) -> Console:
    return Console(as_json=as_json, out=out, err=io.StringIO())


def test_a_table_is_padded_with_blanks_where_no_terminal_is() -> None:
    out = io.StringIO()
    said(out).table(["id", "n"], [["a", 1], ["long", None]], title="things")
    assert out.getvalue() == "things\nid    n\na     1\nlong  -\n"


def test_a_terminal_gets_the_same_cells_drawn() -> None:
    out = Terminal()
    said(out).table(["id", "n"], [["a[bold]b", 1.5]])
    assert "a[bold]b" in out.getvalue()
    assert "1.5" in out.getvalue()


def test_no_rows_print_nothing() -> None:
    out = io.StringIO()
    said(out).table(["id"], [], title="things")
    assert out.getvalue() == ""


def test_json_is_one_ascii_line_that_reads_back() -> None:
    out = io.StringIO()
    value = {"text": "ä\ud800\n\x1b", "n": [1, None]}
    said(out, as_json=True).data(value)
    assert out.getvalue().isascii()
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue()) == value


def test_json_is_asked_for_so_a_terminal_is_none() -> None:
    assert said(Terminal()).is_terminal
    assert not said(Terminal(), as_json=True).is_terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä", "plain ä"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\x07\x9b", "a\\x07\\x9b"),
        ("\u202eright to left", "\\u202eright to left"),
        ("two\nlines\t", "two\nlines\t"),
    ],
)
def test_control_characters_are_written_out(text, shown) -> None:
    assert printable(text) == shown


def test_a_cell_is_one_line() -> None:
    out = io.StringIO()
    said(out).table(["a"], [["x\ny\tz"]])
    assert out.getvalue() == "a\nx\\ny\\tz\n"


def test_progress_is_for_terminals_only() -> None:
    err = io.StringIO()
    Console(out=io.StringIO(), err=err).progress("half")
    assert err.getvalue() == ""


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_a_closed_output_is_nobody_to_answer_and_no_crash(tmp_path: Path, closed: str) -> None:
    command = f'exec "{sys.executable}" -m l07.cli --data-dir "{tmp_path}" config show {closed}'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
