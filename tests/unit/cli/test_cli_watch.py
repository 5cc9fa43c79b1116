"""`l07 jobs watch`: what is new of a job, each thing once, until it is over."""

import asyncio
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from cli_builders import on_topic, publish, record_entries

from l07.backends.lock import DataLock
from l07.cli import watch
from l07.cli.console import Console
from l07.cli.watch import Tail
from l07.cli.watch_display import Display, _seconds
from l07.settings import Settings

D = Path("d")
WHERE = ("--data-dir", "d")
QUEUED = {"track": "default", "queued": "default:1.0.0", "job_id": "job-1"}
BEGUN = (
    ("job.queued", "default:1.0.0", {"track": "default"}),
    ("job.attempt", "1", QUEUED),
    ("training.started", "1", {**QUEUED, "data": {"job_id": "job-1", "attempt": 1, "method": "sft"}}),
)
ENDED = ("job.ended", "default:1.0.0", {**QUEUED, "state": "COMPLETED"})


def progress(attempt: int, *lines: dict[str, Any]) -> None:
    own = D / "jobs" / "job-1" / f"attempt-{attempt}"
    own.mkdir(parents=True, exist_ok=True)
    with (own / "progress.jsonl").open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))


def told(said) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.out.splitlines()]


def test_a_job_that_is_over_is_told_and_the_command_ends(l07) -> None:
    record_entries(D, "jobs", *BEGUN, ENDED)
    progress(1, {"state": "TRAINING"}, {"step": 1, "steps": 2, "loss": 2.0}, {"step": 2, "steps": 2, "loss": 1.0})
    said = l07("jobs", "watch", "job-1", *WHERE)
    assert said.status == 0
    *steps, end = told(said)
    assert [(line["step"], line["loss"], line["attempt"], line["job"]) for line in steps] == [
        (1, 2.0, 1, "job-1"), (2, 1.0, 1, "job-1"),
    ]  # fmt: skip
    assert end == {"job": "job-1", "dataset": "default:1.0.0", "state": "COMPLETED", "attempt": 1}


def test_a_failed_job_says_why_and_is_exit_1(l07) -> None:
    failed = {"job_id": "job-1", "code": "E7702", "message": "too slow", "attempts": 1, "again": False}
    record_entries(D, "jobs", *BEGUN, ("training.failed", "job-1/x", {**QUEUED, "data": failed}))
    said = l07("jobs", "watch", *WHERE)
    assert said.status == 1
    (end,) = told(said)
    assert (end["state"], end["code"], end["message"]) == ("FAILED", "E7702", "too slow")


def test_it_follows_a_job_to_its_end(l07, monkeypatch) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.01)
    record_entries(D, "jobs", *BEGUN)
    progress(1, {"step": 1, "steps": 3, "loss": 3.0})
    seen = threading.Event()
    real = watch._Plain.show

    def show(self: watch._Plain, line: Any) -> None:
        real(self, line)
        if line.get("step") == 1 or line.get("state") == "TRAINING":
            seen.set()

    monkeypatch.setattr(watch._Plain, "show", show)

    def go_on() -> None:
        assert seen.wait(10)
        progress(1, {"step": 2, "steps": 3, "loss": 2.0})
        progress(2, {"step": 1, "steps": 3, "loss": 2.5})
        record_entries(D, "jobs", ENDED)

    with DataLock(D):  # somebody trains it
        other = threading.Thread(target=go_on)
        other.start()
        lines = told(l07("jobs", "watch", *WHERE))
        other.join()
    assert [(line["attempt"], line["step"]) for line in lines if "step" in line] == [(1, 1), (1, 2), (2, 1)]
    assert [line["state"] for line in lines if "state" in line] == ["TRAINING", "COMPLETED"]


def test_without_a_name_it_is_the_newest_that_is_not_over(l07) -> None:
    record_entries(D, "jobs", *BEGUN, ENDED, ("job.declined", "default:1.1.0", {"reason": "too few rows"}))
    (end,) = told(l07("jobs", "watch", *WHERE))
    assert (end["state"], end["reason"]) == ("DECLINED", "too few rows")
    record_entries(D, "jobs", ("job.queued", "b:1.0.0", {"track": "b"}), ("job.cancelled", "b:1.0.0", {"by": "ann"}))
    assert told(l07("jobs", "watch", "default:1.0.0", *WHERE))[-1]["state"] == "COMPLETED"


@pytest.mark.parametrize("argv", [("job-9",), ()])
def test_a_job_that_is_not_there_is_said(l07, argv) -> None:
    said = l07("jobs", "watch", *argv, *WHERE)
    assert said.status == 1
    assert said.err.startswith("E7903")


def test_from_the_bus_where_the_ledgers_are_elsewhere(l07, monkeypatch) -> None:
    """The bus is SQLite here; that it is a server is said of it."""
    monkeypatch.setattr("l07.backends.open.is_server", lambda url: bool(url) and "kafka" in url)

    def event(kind: str, job: str = "job-7", **data: Any) -> Any:
        return on_topic("learning.events", {"type": kind, "subject": f"jobs/{job}", "data": {"job_id": job, **data}})

    publish(
        D, event("training.started", attempt=1), event("training.progress", "job-8", attempt=1, step=1, steps=9),
        event("com.example.training.progress", attempt=1, step=1, steps=9, loss=2.0),
        event("training.failed", code="E7701", message="memory", again=True), event("training.started", attempt=2),
        event("training.completed"), event("training.progress", attempt=2, step=9, steps=9),
    )  # fmt: skip

    async def every() -> list[dict[str, Any]]:
        return [line async for line in watch.follow_bus(Settings(data_dir=D), "job-7")]

    assert [line.get("state") or line["step"] for line in asyncio.run(every())] == [
        "TRAINING", 1, "RETRYING", "TRAINING", "COMPLETED",
    ]  # fmt: skip


def test_the_tail_of_an_attempt_is_read_before_the_next_one(tmp_path: Path) -> None:
    tail = Tail()
    folder = tmp_path / "job-1"
    for attempt, step in ((1, 1), (1, 2), (2, 1)):
        own = folder / f"attempt-{attempt}"
        own.mkdir(parents=True, exist_ok=True)
        with (own / "progress.jsonl").open("a") as file:
            file.write(json.dumps({"step": step}) + '\n{"step": 9')
        if step == 1 and attempt == 1:
            assert [line["step"] for line in tail.read(folder)] == [1]
            (own / "progress.jsonl").write_text('{"step": 1}\n')
    assert [(line["attempt"], line["step"]) for line in tail.read(folder)] == [(1, 2), (2, 1)]
    assert list(tail.read(folder)) == []


# ------------------------------------------------------------------ on a terminal


def drawn(*lines: dict[str, Any]) -> str:
    out = io.StringIO()
    display = Display(Console(out=out))
    for line in lines:
        display.take(line)
    display.console.rich().print(display.picture())
    return out.getvalue()


def test_a_display_shows_how_far_it_is_and_what_is_measured() -> None:
    said = drawn(
        {"job": "job-1", "dataset": "default:1.0.0", "state": "TRAINING", "attempt": 2},
        {"step": 1, "steps": 40, "loss": 2.0, "eta_s": 100.0},
        {"step": 20, "steps": 40, "loss": 1.0, "grad_norm": 0.5, "rewards/margins": 0.25, "eta_s": 45.0},
    )
    for words in ("job-1", "TRAINING", "attempt 2", "step 20 of 40", "45 s left", "grad_norm", "rewards/margins", "█▁"):
        assert words in said


def test_a_display_says_why_it_failed_and_lets_nothing_drive_the_terminal() -> None:
    said = drawn({"job": "job-1", "state": "FAILED", "code": "E7726", "message": "the loss is nan\x1b[2J [bold]x"})
    assert "E7726" in said
    assert "\x1b[2J" not in said
    assert "[bold]x" in said


def test_another_attempt_begins_its_own_way() -> None:
    assert "█" not in drawn({"attempt": 1, "loss": 9.0}, {"attempt": 1, "loss": 1.0}, {"attempt": 2, "loss": 5.0})


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (89, "89 s"), (720, "12 min"), (12600, "3.5 h")])
def test_what_is_left_is_read_at_a_glance(seconds: float, text: str) -> None:
    assert _seconds(seconds) == text
