"""Trackers are told each attempt in order, and none of them holds up a job or ends it."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from l07.errors import ReporterDown
from l07.service import reporting
from l07.service.reporting import Reporting
from tests.unit.pipeline.test_train_budget import a_bench


@dataclass
class Tracker:
    """ports.Reporter that remembers; `fails_at` is the call that it refuses, `gate` what it waits for before each."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    fails_at: str = ""
    gate: threading.Event | None = None

    def begin(self, job: str, attempt: int, about: Mapping[str, Any]) -> None:
        self._call("begin", job, attempt, dict(about))

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        self._call("tell", step, dict(values))

    def end(self, state: str) -> None:
        self._call("end", state)

    def _call(self, *call: Any) -> None:
        if self.gate is not None:
            self.gate.wait(10)
        if call[0] == self.fails_at:
            raise ReporterDown("the tracker is down")
        self.calls.append(call)


def telling(**trackers: Tracker) -> Reporting:
    return Reporting({name: lambda tracker=tracker: tracker for name, tracker in trackers.items()})  # type: ignore[misc]


async def test_an_attempt_is_told_in_order_and_only_measures_of_a_step() -> None:
    tracker = Tracker()
    told = telling(one=tracker)
    told.begin("job-1", 2, {"method": "sft"})
    told.tell({"state": "TRAINING"})
    told.tell({"step": 1, "steps": 9, "loss": 2, "eta_s": 5.0, "rewards/margins": 0.5, "note": "x", "on": True})
    told.tell({"step": 2, "steps": 9, "loss": 1.0})
    await told.end("COMPLETED")
    assert tracker.calls == [
        ("begin", "job-1", 2, {"method": "sft"}), ("tell", 1, {"loss": 2.0, "rewards/margins": 0.5}),
        ("tell", 2, {"loss": 1.0}), ("end", "COMPLETED"),
    ]  # fmt: skip


@pytest.mark.parametrize("fails_at", ["begin", "tell", "end"])
async def test_a_tracker_that_fails_is_logged_and_the_others_go_on(
    fails_at: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Tracker(fails_at=fails_at), Tracker()
    told = telling(bad=bad, good=good)
    told.begin("job-1", 1, {})
    told.tell({"step": 1, "loss": 1.0})
    await told.end("FAILED")
    assert [call[0] for call in good.calls] == ["begin", "tell", "end"]
    assert [call[0] for call in bad.calls] == ["begin", "tell", "end"][: ["begin", "tell", "end"].index(fails_at)]
    (line,) = [record for record in caplog.records if record.message == "reporter_failed"]
    assert (line.reporter, line.code) == ("bad", "E7732")  # type: ignore[attr-defined]


async def test_a_tracker_that_does_not_answer_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reporting, "CUT_OFF_S", 0.01)
    monkeypatch.setattr(reporting, "WAITING", 5)
    gate = threading.Event()
    slow = Tracker(gate=gate)
    told = telling(slow=slow)
    told.begin("job-1", 1, {})
    for step in range(100):
        told.tell({"step": step, "loss": 1.0})
    thread = told.lanes[0].thread
    async with asyncio.timeout(5):
        await told.end("CUT_OFF")
    assert "reporter_slow" in caplog.text
    gate.set()
    await asyncio.to_thread(thread.join, 5)
    assert [call[0] for call in slow.calls][-1] == "end", "what was left out is steps, never the end"
    assert len(slow.calls) <= 8


async def test_without_trackers_nothing_is_started() -> None:
    told = Reporting({})
    before = threading.active_count()
    told.begin("job-1", 1, {})
    told.tell({"step": 1, "loss": 1.0})
    await told.end("COMPLETED")
    assert threading.active_count() == before


async def test_each_attempt_of_a_job_is_a_run_of_its_own_with_what_it_trains(tmp_path: Path) -> None:
    from dataclasses import replace

    from l07.errors import ChildKilled
    from tests.unit.pipeline.test_train import RESULT

    tracker = Tracker()
    bench, _ = await a_bench(tmp_path, ChildKilled("SIGKILL"), RESULT)
    bench.desk = replace(bench.desk, watcher=lambda: telling(one=tracker))
    await bench.work()
    assert [call[0] if call[0] != "end" else call for call in tracker.calls] == [
        "begin", ("end", "FAILED"), "begin", "tell", ("end", "COMPLETED"),
    ]  # fmt: skip
    begun = [call for call in tracker.calls if call[0] == "begin"]
    assert [call[2] for call in begun] == [1, 2]
    about = begun[0][3]
    assert (about["track"], about["dataset"], about["method"], about["batch_size"], about["lora.rank"]) == (
        "default", "default:1.0.0", "sft", 16, 16,
    )  # fmt: skip
    assert not any(str(tmp_path) in str(value) for value in about.values()), "no path of this machine"
