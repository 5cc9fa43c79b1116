"""`l07 send`, `replay`, `dlq` and `status` on a real Kafka and a real Redis."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers.kafka_server import Broker

TOPICS = ("traces", "planning", "scores", "reviews", "events", "dlq")
RUNS = 300


def the_events(n: int) -> list[bytes]:
    """Runs with their scores, a repeat, and two lines that nobody can read."""
    out: list[bytes] = []
    for i in range(n):
        run, at = f"run-{i}", "2026-01-05T09:00:00Z"
        head = {"specversion": "1.0", "source": "/t", "time": at, "subject": run}
        said = [{"role": "user", "content": f"do {i}"}, {"role": "assistant", "content": "done"}]
        trace = {"execution_id": run, "messages": said, "outcome": "success"}
        score = {"execution_id": run, "quality_score": 90, "confidence": 0.9}
        out.append(json.dumps({**head, "type": "execution.completed", "id": f"t{i}", "data": trace}).encode())
        out.append(json.dumps({**head, "type": "evaluation.completed", "id": f"s{i}", "data": score}).encode())
    return [*out, out[0], b"{broken", b'{"type":"execution.completed"}']


@pytest.fixture
def environ(kafka: Broker, redis_url: str, unique: str, tmp_path: Path) -> dict[str, str]:
    """These servers, with topics, a group and a buffer of its own."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("L07_")}
    environ |= {f"L07_TOPICS__{name.upper()}": f"{name}.{unique}" for name in TOPICS}
    environ |= {
        "L07_BUS__URL": f"kafka://{kafka.address}",
        "L07_BUS__KAFKA__CREATE_TOPICS": "true",
        "L07_BUFFER__URL": redis_url,
        "L07_BUFFER__NAME": unique,
        "L07_BUS__KAFKA__GROUP": unique,
        "L07_DATA_DIR": str(tmp_path / "data"),
    }
    return environ


@pytest.fixture
def l07(environ: dict[str, str]) -> Callable[..., Any]:
    """A command; its answer as JSON."""

    def call(*words: str, stdin: bytes = b"", code: str = "", **more: str) -> Any:
        command = [sys.executable, "-m", "l07.cli", *words, "--json"]
        done = subprocess.run(command, input=stdin, env=environ | more, capture_output=True, timeout=100, check=False)
        said = done.stderr.decode()
        assert (done.returncode, said[-400:] if not code else said.strip()[:5]) == (
            (1, code) if code else (0, said[-400:])
        )
        return json.loads(done.stdout) if done.stdout.strip() else {}

    return call


def test_a_lost_buffer_is_rebuilt_and_what_was_applied_stays_applied_once(l07: Callable[..., Any], unique: str) -> None:
    events = the_events(RUNS)
    assert l07("send", "-", stdin=b"\n".join(events))["sent"] == len(events)

    dry = l07("replay", "--dry-run")
    assert (dry["read"], dry["applied_before"]) == (len(events), 0)
    first = l07("replay")
    assert first["fates"] == {"applied": 2 * RUNS, "duplicate": 1, "dead_letter": 2}
    again = l07("replay")
    assert (again["fates"], again["applied_before"]) == ({}, len(events))

    rebuilt = l07(
        "replay", L07_BUFFER__NAME=f"{unique}-2"
    )  # as after losing Redis: another buffer, which knows nothing
    assert rebuilt["fates"] == first["fates"]
    one, two = l07("status"), l07("status", L07_BUFFER__NAME=f"{unique}-2")
    assert (one["events"], one["partitions"], one["lag"]) == (two["events"], two["partitions"], 0)


def test_records_go_from_kafka_to_kafka_and_into_a_file_bus(
    l07: Callable[..., Any], unique: str, tmp_path: Path
) -> None:
    events = the_events(50)
    l07("send", "-", stdin=b"\n".join(events))
    copied = l07("replay", "--to-bus", f"sqlite:///{tmp_path}/copy.db", "--filter", "type=evaluation.completed")
    assert (copied["sent"], copied["left_out"]) == (50, len(events) - 50)

    l07("replay")
    bus = os.fspath(tmp_path / "copy.db")
    back = l07("replay", "--bus", f"sqlite:///{bus}", "--to-bus", bus_of(l07))
    assert back["sent"] == 50
    found = l07("replay")  # what came back is known by its natural keys
    assert found["fates"] == {"duplicate": 50}


def bus_of(l07: Callable[..., Any]) -> str:
    rows = l07("config", "show")["settings"]
    return str(next(row["value"] for row in rows if row["name"] == "bus.url"))


def test_a_time_says_where_to_begin(l07: Callable[..., Any], unique: str) -> None:
    l07("send", "-", stdin=b"\n".join(the_events(50)))
    l07("replay")
    l07("send", "-", stdin=b"\n".join(the_events(3)))
    l07(
        "replay", "--from", "999999", "--topics", f"traces.{unique}"
    )  # at the end of each partition: nothing, and no gap
    assert l07("replay", "--dry-run", "--from", "2100-01-01T00:00:00Z")["read"] == 0
    assert l07("replay", "--dry-run", "--from", "2020-01-01T00:00:00Z")["read"] == 103 + 9
    l07("replay", "--topics", f"nowhere.{unique}", code="E7909")


def test_dead_letters_on_kafka_are_listed_shown_and_retried(l07: Callable[..., Any], environ: dict[str, str]) -> None:
    l07("send", "-", stdin=b"\n".join(the_events(5)))
    ingest = subprocess.Popen([sys.executable, "-m", "consumers.ingest"], env=environ)
    try:
        letters = until(lambda: l07("dlq", "list")["dead_letters"], count=2)
        assert sorted(letter["code"] for letter in letters) == ["E7005", "E7009"]
        shown = l07("dlq", "show", letters[0]["id"])
        assert (shown["at"], shown["kept"]) == (letters[0]["at"], True)
        assert l07("dlq", "retry", letters[0]["id"]) == {"retried": 1, "gone": []}
        until(lambda: l07("dlq", "list")["dead_letters"], count=3)  # it could still not be read
        assert l07("status")["events"]["dead_letter"] == 3
    finally:
        ingest.terminate()
    assert ingest.wait(30) == 0


def test_a_run_is_explained_from_kafka_and_redis(l07: Callable[..., Any], unique: str) -> None:
    events = the_events(20)
    l07("send", "-", stdin=b"\n".join(events))
    assert l07("explain", "run-7")["now"] == "on the bus, and not read yet"
    l07("replay")
    story = l07("explain", "run-7")
    assert story["now"] == "joined, in the open batch default-1; the gates say ACCEPT"
    assert [event["use"] for event in story["events"]] == ["counts", "counts"]
    repeated = l07("explain", "run-0")  # its trace was sent twice
    assert sorted(event["use"].partition(":")[0] for event in repeated["events"]) == ["counts", "counts", "passed over"]
    assert l07("explain", "run-7", "--no-scan")["events"] == story["events"]
    l07("explain", "run-99", code="E7903")


def until(look: Callable[[], list[Any]], *, count: int, limit_s: float = 60.0) -> list[Any]:
    deadline = time.monotonic() + limit_s
    while len(found := look()) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} within {limit_s} s"
        time.sleep(0.2)
    return found
