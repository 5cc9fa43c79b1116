"""The demo's folder is made anew, and nobody else's is touched."""

from pathlib import Path

import pytest

from l07.cli import main
from l07.cli.demo import MARKER, clear
from l07.errors import DemoFolderTaken


def test_a_folder_that_is_not_a_demos_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["--data-dir", str(tmp_path), "demo"]) == 1
    assert DemoFolderTaken.code in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_older_demos_folder_is_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / MARKER).write_text("{}")
    (folder / "bus.db").write_text("old")
    clear(folder)
    assert list(folder.iterdir()) == []


def test_the_world_s_events_alone_can_be_sent_elsewhere(l07, tmp_path: Path) -> None:
    said = l07("demo", "--events", "-", "--tasks", 9)
    assert said.status == 0
    (tmp_path / "e.jsonl").write_text(said.out)
    assert l07("demo", "--events", tmp_path / "f.jsonl", "--tasks", 9).status == 0
    assert (tmp_path / "f.jsonl").read_text() == said.out  # the same seed, the same world
    sent = l07("send", tmp_path / "e.jsonl", "--data-dir", "d").out
    assert f"sent {len(said.out.splitlines())} events" in sent
    assert l07("demo", "--events", "/proc/nowhere", "--tasks", 9).err.startswith("E7402")
