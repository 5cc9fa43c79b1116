"""Read first: the product in a few tests. Events go in by the command line, datasets and models come out."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from l07.domain import world
from tests.bases import BASES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COUNTERS = ("applied", "duplicate", "dead_letter", "rejected", "waiting", "expired")


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "l07.cli", *map(str, words)]


def l07(data_dir: Path, *words: object, status: int = 0, **settings: str) -> str:
    """stdout of `l07 WORDS`; fails when it ends with another status."""
    environ = {**os.environ, "L07_DATA_DIR": str(data_dir), "HF_HUB_OFFLINE": "1", **settings}
    done = subprocess.run(command(*words), capture_output=True, text=True, env=environ, timeout=560, check=False)
    assert done.returncode == status, done.stderr[-2000:]
    return done.stdout


def asked(data_dir: Path, *words: object, **settings: str) -> Any:
    return json.loads(l07(data_dir, *words, "--json", **settings))


def digests(data_dir: Path) -> list[tuple[str, str]]:
    return [(one["id"], one["digest"]) for one in asked(data_dir, "status")["datasets"]]


def eventually(done: Callable[[], bool], *, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> world.Stream:
    return world.stream(world.demo_runs(60, 3), seed=3)


@pytest.fixture
def sent(stream: world.Stream, tmp_path: Path) -> Path:
    """A data folder with everything on the bus and nothing read."""
    events = tmp_path / "events.jsonl"
    events.write_text("".join(line + "\n" for line in stream.lines), "utf-8")
    l07(tmp_path / "data", "send", events)
    return tmp_path / "data"


SMALL = {"L07_TRACKS__DEFAULT__SEAL__COUNT": "60", "L07_INGEST__SLICE_RECORDS": "50"}


def test_every_event_is_accounted_for_and_a_dataset_comes_out(sent: Path, stream: world.Stream) -> None:
    l07(sent, "run", "--until", "dataset", **SMALL)
    status = asked(sent, "status", **SMALL)
    events = status["events"]
    assert events["consumed"] == len(stream.lines) == sum(events[name] for name in COUNTERS)
    assert (events["dead_letter"], events["waiting"]) == (stream.counts["broken"], stream.counts["unscored"])
    assert events["duplicate"] >= stream.counts["doubled"]
    assert len(status["datasets"]) >= 2
    created = [json.loads(line) for line in l07(sent, "events", "--type", "dataset.created").splitlines()]
    assert [event["data"]["version"] for event in created] == [
        one["id"].rpartition(":")[2] for one in status["datasets"]
    ]
    letters = asked(sent, "dlq", "list")["dead_letters"]
    assert len(letters) == stream.counts["broken"]
    assert all(letter["code"].startswith("E70") for letter in letters)
    l07(sent, "ledger", "verify")


def test_a_second_run_of_the_same_events_changes_nothing(sent: Path, tmp_path: Path) -> None:
    l07(sent, "run", "--until", "dataset", **SMALL)
    before = digests(sent)
    l07(sent, "send", tmp_path / "events.jsonl")
    l07(sent, "run", "--until", "dataset", **SMALL)
    assert digests(sent) == before


@pytest.mark.parametrize("after_batches", [3, 7])
def test_killed_in_the_middle_it_goes_on_to_the_same_digests(sent: Path, after_batches: int) -> None:
    other = sent.with_name("killed")
    shutil.copytree(sent, other)
    l07(sent, "run", "--until", "dataset", **SMALL)
    environ = {**os.environ, "L07_DATA_DIR": str(other), "L07_LOG_LEVEL": "info", **SMALL}
    run = subprocess.Popen(
        command("run", "--until", "dataset"), env=environ, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    aof = other / "buffer" / "appendonlydir"

    def some_batches_are_applied() -> bool:
        size = sum(path.stat().st_size for path in aof.glob("*.incr.aof")) if aof.exists() else 0
        return size > after_batches * 40_000 or run.poll() is not None

    eventually(some_batches_are_applied)
    run.send_signal(signal.SIGKILL)
    assert run.wait(timeout=30) == -signal.SIGKILL
    l07(other, "run", "--until", "dataset", **SMALL)
    assert digests(other) == digests(sent)
    assert asked(other, "status", **SMALL)["events"] == asked(sent, "status", **SMALL)["events"]


def test_a_second_run_on_the_folder_is_refused_and_status_works_beside_the_first(sent: Path) -> None:
    environ = {**os.environ, "L07_DATA_DIR": str(sent), **SMALL}
    run = subprocess.Popen(command("run"), env=environ, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: asked(sent, "status", **SMALL)["running"])
        l07(sent, "run", status=1, **SMALL)
        eventually(lambda: asked(sent, "status", **SMALL)["lag"] == 0)
    finally:
        run.send_signal(signal.SIGINT)
    assert run.wait(timeout=60) == 130


def test_a_base_model_that_is_not_here_is_said_before_anything_is_read(sent: Path) -> None:
    l07(sent, "run", "--until-idle", status=1, L07_TRACKS__DEFAULT__BASE_MODEL="gpt-4-turbo-2024-04")
    assert asked(sent, "status")["events"]["consumed"] == 0


@pytest.mark.training
@pytest.mark.skipif(
    find_spec("trl") is None, reason="needs the extra [train]: pip install 'l07[train]' -c constraints.txt"
)
def test_the_whole_loop_ends_with_an_honest_verdict(sent: Path) -> None:
    """Ten steps teach little: the verdict may be anything but DEPLOY, since no golden set is named."""
    settings = {
        **SMALL,
        "L07_TRACKS__DEFAULT__TRAIN__MIN_ROWS": "50",
        "L07_TRACKS__DEFAULT__BASE_MODEL": "some-gateway-model",
        "L07_MODELS__ALIASES": '{ "some-gateway-model" = "tiny-base" }',
        "L07_MODELS__CACHE_DIR": str(BASES),
        "L07_TRAINING__MAX_STEPS": "10",
        "L07_VALIDATION__ROWS": "20",
        "L07_VALIDATION__LATENCY_PAIRS": "5",
    }
    l07(sent, "run", "--until-idle", **settings)
    status = asked(sent, "status", **settings)
    (model,) = status["models"]
    assert model["verdict"] in ("REVIEW", "REJECT")
    assert model["stage"] == "DEVELOPMENT"
    shown = asked(sent, "models", "show", model["id"], **settings)["model"]
    assert (shown["lineage"]["asked_base_model"], shown["lineage"]["base_model"]) == ("some-gateway-model", "tiny-base")
    assert shown["lineage"]["dataset_digest"] == digests(sent)[-1][1]
    types = {json.loads(line)["type"] for line in l07(sent, "events").splitlines()}
    assert types >= {
        "batch.sealed",
        "dataset.created",
        "training.started",
        "training.progress",
        "training.completed",
        "model.registered",
        "model.validated",
    }
    l07(sent, "ledger", "verify")
    l07(sent, "run", "--until-idle", **settings)  # nothing new: nothing trained again
    assert [one["id"] for one in asked(sent, "status", **settings)["models"]] == [model["id"]]
