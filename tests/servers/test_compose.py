"""The compose file, brought up and driven as the README says: events in over Kafka, dataset.created out."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.servers.fixtures import counts, or_skip
from tests.servers.kafka_server import NoServer, free_port

ROOT = Path(__file__).parents[2]
Found = TypeVar("Found")
CONSUMERS = ("ingest", "curate", "train", "validate", "release")

# What differs from a user's laptop: free ports, throw-away volumes, no torch (it would be fetched for every run), and
# Kafka's data where a stand-in of the public image may write.
OVERRIDE = """
services:
  kafka:
    environment: {KAFKA_LOG_DIRS: /tmp/kafka}
    volumes: !reset []
  ingest: {ports: !override ["127.0.0.1::8080"]}
"""


class Compose:
    """`docker compose` on a project of its own."""

    def __init__(self, folder: Path) -> None:
        if os.environ.get("L07_TEST_SERVERS") == "home":
            raise NoServer("the compose file needs Docker, and L07_TEST_SERVERS is home")
        override = folder / "override.yml"
        override.write_text(OVERRIDE)
        self.port, self.redis = free_port(), free_port()
        files = ["-f", str(ROOT / "docker-compose.yml"), "-f", str(override)]
        self._base = ["docker", "compose", "-p", f"l07test{os.getpid()}", "--project-directory", str(ROOT), *files]
        ports = {"KAFKA_PORT": str(self.port), "REDIS_PORT": str(self.redis)}
        self._env = os.environ | ports | {"TRAIN_TARGET": "consumer", "SEAL_COUNT": "150", "MIN_ROWS": "100000"}
        if (
            shutil.which("docker") is None
            or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
        ):
            raise NoServer("there is no Docker daemon")
        if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
            raise NoServer("docker has no compose plugin")

    @property
    def bus(self) -> str:
        return f"kafka://localhost:{self.port}"

    def __call__(self, *words: str, timeout_s: float = 120) -> str:
        done = subprocess.run(
            [*self._base, *words], env=self._env, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"docker compose {' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def logs(self, service: str) -> list[dict[str, Any]]:
        lines = self("logs", "--no-log-prefix", "--no-color", service).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def state(self) -> dict[str, dict[str, Any]]:
        lines = self("ps", "--all", "--format", "json").splitlines()
        return {found["Service"]: found for line in lines if (found := json.loads(line))}


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    stack = or_skip(lambda: Compose(tmp_path_factory.mktemp("compose")))
    try:
        stack("up", "-d", "--build", "--wait", "--wait-timeout", "180", timeout_s=580)
        yield stack
    finally:
        stack("down", "-v", "--timeout", "40")


def l07(*words: str, stdin: bytes | None = None, timeout_s: float = 100) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "l07.cli", *words], input=stdin, capture_output=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def emitted(compose: Compose, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in l07("events", "--type", kind, "--bus", compose.bus).splitlines()]


def consumed(compose: Compose) -> float:
    """The sum over the partitions, on the ingest's page of metrics."""
    port = compose("port", "ingest", "8080").strip().rpartition(":")[2]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        lines = [line for line in page.read().decode().splitlines() if line.startswith("l07_consumed_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def until(look: Callable[[], Found], *, limit_s: float) -> Found:
    deadline = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing within {limit_s} s"
        time.sleep(0.5)
    return found


@pytest.mark.timeout(900)
def test_events_in_a_dataset_out_and_everybody_leaves_in_time(compose: Compose) -> None:
    counts["kafka", "docker"] += 1
    counts["redis", "docker"] += 1
    state = compose.state()
    assert {name: row["Health"] for name, row in state.items() if name in CONSUMERS} == dict.fromkeys(
        CONSUMERS, "healthy"
    )

    started = [line for line in compose.logs("ingest") if line["event"] == "consumer_started"]
    assert all(line["compiled"] for line in started), "the image's build found no C compiler"

    events = l07("demo", "--events", "-", "--tasks", "360")
    l07("send", "-", "--bus", compose.bus, stdin=events)
    created = until(lambda: emitted(compose, "dataset.created"), limit_s=120)[0]["data"]
    assert created["dataset"] == "default"
    assert sum(created["splits"].values()) >= 100
    assert emitted(compose, "batch.sealed")

    until(lambda: consumed(compose) == len(events.splitlines()), limit_s=60)  # the page follows every two seconds

    stands = json.loads(
        l07("status", "--json", "--bus", compose.bus, "--buffer", f"redis://localhost:{compose.redis}/0")
    )
    counted = stands["events"]
    assert counted["consumed"] == len(events.splitlines()) == sum(counted.values()) - counted["consumed"]
    assert stands["lag"] == stands["outbox"] == 0

    for service in CONSUMERS:  # not root, nothing writable but the data, no capabilities
        assert compose("exec", "-T", service, "id", "-u").strip() == "10007"
        refused = "touch /opt/l07/x 2>/dev/null || echo refused"
        assert compose("exec", "-T", service, "sh", "-c", refused).strip() == "refused"

    compose("stop", *CONSUMERS, timeout_s=150)
    ended = compose.state()
    assert {name: ended[name]["ExitCode"] for name in CONSUMERS} == dict.fromkeys(CONSUMERS, 0)  # 137 would be a kill
