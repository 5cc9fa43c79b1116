"""One process works on a data folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from l07.backends.lock import DataLock
from l07.errors import FolderInUse, FolderNotWritable

HOLDER = """
import sys
from pathlib import Path
from l07.backends.lock import DataLock

with DataLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def a_holder(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLDER, str(folder)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_the_folder_is_made_and_can_be_taken_again_after_release(tmp_path: Path) -> None:
    for _ in range(2):
        with DataLock(tmp_path / "new" / "data"):
            assert (tmp_path / "new" / "data" / "lock").is_file()


def test_a_second_one_is_refused_and_told_the_pid(tmp_path: Path) -> None:
    with a_holder(tmp_path) as child:
        refused = pytest.raises(FolderInUse, match=rf"E7405: `l07 run` \(pid {child.pid}\) works on {tmp_path}")
        with refused as seen, DataLock(tmp_path):
            pass
        assert seen.value.context["pid"] == child.pid
        child.communicate("")


def test_a_second_one_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with DataLock(tmp_path, purpose="l07 status"):
        with pytest.raises(FolderInUse, match=rf"`l07 status` \(pid {os.getpid()}\)"), DataLock(tmp_path):
            pass
        with pytest.raises(FolderInUse), DataLock(tmp_path):  # the refusal did not let go of it
            pass


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    with a_holder(tmp_path) as child:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
    with DataLock(tmp_path):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


@pytest.mark.parametrize("words", ["", "{", "[]", '{"pid": "x", "purpose": 1}'])
def test_a_holder_that_has_not_named_itself_is_still_respected(tmp_path: Path, words: str) -> None:
    with DataLock(tmp_path):
        (tmp_path / "lock").write_text(words)
        with pytest.raises(FolderInUse, match="pid unknown"), DataLock(tmp_path):
            pass


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(FolderNotWritable, match="E7402"), DataLock(tmp_path / "data"):
        pass
