"""What `l07 run` tells, and with which status it ends; the loop itself is tested in its own place."""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import l07.service.loop
from l07.cli.console import Console
from l07.cli.run import Teller
from l07.errors import FolderInUse

Progress = Callable[[Mapping[str, Any]], None]
STEPS = (
    {"phase": "ingest", "records": 250, "counts": {"applied": 240, "duplicate": 10}, "sealed": []},
    {"phase": "ingest", "records": 50, "counts": {"applied": 50}, "sealed": ["default-1"]},
    {"phase": "train", "job_id": "job-1", "step": 3, "loss": 0.123456},
)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A loop that reports STEPS; says what it was asked, and ends as told."""
    seen: dict[str, Any] = {"stopped": False, "error": None}

    async def run_loop(settings: Any, *, until: str, progress: Progress) -> Mapping[str, Any]:
        seen.update(until=until, data_dir=str(settings.data_dir))
        for step in STEPS:
            progress(step)
        if seen["error"]:
            raise seen["error"]
        return {"stopped": seen["stopped"]}

    monkeypatch.setattr(l07.service.loop, "run_loop", run_loop)
    return seen


@pytest.mark.parametrize(
    ("argv", "until"), [([], "forever"), (["--until-idle"], "idle"), (["--until", "dataset"], "dataset")]
)
def test_it_runs_until_what_was_asked(l07, loop, argv, until) -> None:
    assert l07("run", *argv, "--data-dir", "d").status == 0
    assert (loop["until"], loop["data_dir"]) == (until, "d")


def test_steps_go_to_stderr_and_the_sum_to_stdout(l07, loop) -> None:
    said = l07("run", "--data-dir", "d")
    assert said.err.splitlines() == ["sealed: default-1", "train: job_id job-1, step 3, loss 0.1235"]
    assert said.out == "300 records: applied 290, duplicate 10\n"


def test_as_json_it_ends_with_one_document(l07, loop) -> None:
    assert json.loads(l07("run", "--data-dir", "d", "--json").out) == {
        "result": {"stopped": False},
        "records": 300,
        "counts": {"applied": 290, "duplicate": 10},
    }


def test_stopped_is_130_and_says_what_was_done(l07, loop) -> None:
    loop["stopped"] = True
    said = l07("run", "--data-dir", "d")
    assert said.status == 130
    assert "300 records" in said.out


def test_ctrl_c_before_the_loop_listens_is_130_too(l07, loop) -> None:
    loop["error"] = KeyboardInterrupt()
    said = l07("run", "--data-dir", "d")
    assert said.status == 130
    assert "Traceback" not in said.err


def test_an_error_of_the_loop_is_one_line_with_its_code(l07, loop) -> None:
    loop["error"] = FolderInUse("`l07 run` (pid 5) works on d")
    said = l07("run", "--data-dir", "d")
    assert said.status == 1
    assert said.err.splitlines()[-1] == "E7405: `l07 run` (pid 5) works on d"


def test_a_terminal_gets_one_line_that_is_redrawn() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    err = Terminal()
    teller = Teller(Console(out=io.StringIO(), err=err))
    for _ in range(100):
        teller(STEPS[0])
    assert err.getvalue().count("\r\x1b[2K") == 1  # redrawn a few times a second, not once a batch
    assert "\n" not in err.getvalue()
