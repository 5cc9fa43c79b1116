"""How a consumer starts and ends: what it says, and with which status."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from l07.errors import BusDamaged, BusUnavailable
from l07.service import entry
from l07.service.entry import Running, run_consumer, within_grace
from l07.telemetry import log


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "level", log.level)


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_consumer_that_ends_by_itself_leaves_with_status_zero(capsys: pytest.CaptureFixture[str]) -> None:
    async def main(running: Running) -> None:
        assert running.settings.seed == 9

    assert run_consumer("curate", main, {"L07_SEED": "9", "L07_LOG_LEVEL": "info"}) == 0
    assert [line["event"] for line in said(capsys)] == ["consumer_started", "consumer_ended"]


@pytest.mark.parametrize("installed", [True, False])
def test_a_consumer_runs_on_the_faster_loop_where_there_is_one(
    installed: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed:
        pytest.importorskip("uvloop")
    else:
        monkeypatch.setattr(entry, "uvloop", None)

    async def main(_: Running) -> None:
        return

    assert run_consumer("curate", main, {"L07_LOG_LEVEL": "info"}) == 0
    assert said(capsys)[0]["loop"] == ("uvloop" if installed else "asyncio")


@pytest.mark.parametrize(("environ", "code"), [({"L07_NOTHING": "1"}, "E7500"), ({"L07_HEALTH__PORT": "-1"}, "E7501")])
def test_settings_that_do_not_fit_end_it_with_their_code(
    environ: dict[str, str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main(_: Running) -> None:
        raise AssertionError("it never starts")

    assert run_consumer("curate", main, environ) == 1
    (line,) = said(capsys)
    assert (line["event"], line["code"]) == ("consumer_failed", code)


def test_a_fatal_error_ends_it_with_its_code_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    async def main(_: Running) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())

    async def fails() -> None:
        raise BusDamaged("broken")

    assert run_consumer("curate", main, {}) == 1
    (line,) = said(capsys)
    assert (line["code"], line["why"]) == ("E7403", "broken")
    assert "traceback" not in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_it_puts_its_work_down(number: signal.Signals) -> None:
    done = []

    async def main(running: Running) -> None:
        os.kill(os.getpid(), number)
        await running.stop.wait()
        done.append("put down")

    assert run_consumer("curate", main, {}) == 0
    assert done == ["put down"]


def test_what_is_not_done_within_the_grace_is_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    async def main(running: Running) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    assert run_consumer("curate", main, {"L07_HEALTH__GRACE_S": "0.01"}) == 0
    assert [line["event"] for line in said(capsys)] == ["consumer_cut_off"]


async def test_work_that_ends_within_its_grace_is_not_cut_off() -> None:
    stop, ended = asyncio.Event(), []

    async def work() -> None:
        await stop.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        ended.append("by itself")

    stop.set()
    assert await within_grace(work(), stop, grace_s=5)
    assert ended == ["by itself"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_ingest_as_a_process_joins_works_and_leaves_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    environ = {**os.environ, "L07_DATA_DIR": str(tmp_path), "L07_LOG_LEVEL": "info"}
    command = [sys.executable, "-m", "consumers.ingest"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert json.loads(process.stderr.readline())["event"] == "consumer_started"
        while not (tmp_path / "bus.db").exists():
            assert process.poll() is None
        process.send_signal(number)
        rest = process.stderr.read().splitlines()
        assert process.wait(20) == 0, rest
    assert json.loads(rest[-1])["event"] == "consumer_ended"


@pytest.mark.slow
def test_the_ingest_with_wrong_settings_says_the_code_and_nothing_else(tmp_path: Path) -> None:
    environ = {**os.environ, "L07_DATA_DIR": str(tmp_path), "L07_BUS__URL": "carrier-pigeon://x"}
    done = subprocess.run(
        [sys.executable, "-m", "consumers.ingest"], env=environ, capture_output=True, text=True, timeout=30
    )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, json.loads(line)["code"]) == (1, "E7501")


def test_a_server_that_is_away_at_the_start_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    tries = []

    async def main(running: Running) -> None:
        tries.append(running)
        if len(tries) < 3:
            raise BusUnavailable("not yet")

    assert run_consumer("curate", main, {}) == 0
    assert len(tries) == 3
    assert [(line["event"], line["code"]) for line in said(capsys)] == [("backing_off", "E7401")] * 2
