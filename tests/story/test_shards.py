"""One shard or three: the same runs leave, each in one seal, and every event is counted alike."""

import json
from pathlib import Path
from typing import Any

import pytest

from l07.domain import world
from tests.story.test_loop import asked, l07

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def learned(folder: Path, events: Path, shards: int) -> tuple[list[str], Any, Any]:
    few = {"L07_BUFFER__SHARDS": str(shards), "L07_INGEST__SLICE_RECORDS": "50"}
    l07(folder, "send", events)
    l07(folder, "run", "--until", "dataset", **few)
    status = asked(folder, "status", **few)
    sealed = [json.loads(line) for line in l07(folder, "events", "--type", "batch.sealed", **few).splitlines()]
    keys = [key for event in sealed for key in event["data"]["keys"]]
    partitions = {name: {c: n for c, n in row.items() if c != "lag"} for name, row in status["partitions"].items()}
    assert len(status["datasets"]) == len(sealed) == shards
    return sorted(keys), partitions, status["reasons"]


def test_one_shard_and_three_learn_from_the_same_runs(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text("".join(line + "\n" for line in world.stream(world.demo_runs(30, 3), seed=3).lines), "utf-8")
    one, three = (learned(tmp_path / str(shards), events, shards) for shards in (1, 3))
    assert len(set(one[0])) == len(one[0]) > 50
    assert one == three
