"""What we emit may carry a prefix, and the consumers still understand each other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from l07.domain import world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PREFIX = "org.example."


def l07(data_dir: Path, *words: object) -> str:
    own = {"L07_DATA_DIR": str(data_dir), "L07_TYPES__PREFIX": PREFIX, "L07_TRACKS__DEFAULT__SEAL__COUNT": "60"}
    argv = [sys.executable, "-m", "l07.cli", *map(str, words)]
    done = subprocess.run(
        argv, capture_output=True, text=True, env={**os.environ, **own}, timeout=280, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_under_a_prefix_the_loop_goes_on_and_every_name_carries_it(tmp_path: Path) -> None:
    stream, events = world.stream(world.demo_runs(40, 3), seed=3), tmp_path / "events.jsonl"
    events.write_text("".join(line + "\n" for line in stream.lines), "utf-8")
    data = tmp_path / "data"
    l07(data, "send", events)
    l07(data, "run", "--until", "dataset")
    types = {json.loads(line)["type"] for line in l07(data, "events").splitlines()}
    assert types == {f"{PREFIX}batch.sealed", f"{PREFIX}dataset.created"}
    assert l07(data, "events", "--type", "dataset.created") != ""
