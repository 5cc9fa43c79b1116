"""What is forgotten is gone, byte for byte, and stays away: after a flush, a replay, and a producer that sends it again."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from l07.domain import world
from tests.story.test_loop import SMALL, asked, command, eventually, l07

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CANARY = "my zebra is called quillfeather"


class House:
    """A data folder in which a whole run has ended, one execution of it with a canary in its goal."""

    def __init__(self, root: Path) -> None:
        self.data, self.events = root / "data", root / "events.jsonl"
        lines = list(world.stream(world.demo_runs(24, 3), seed=3).lines)
        scored = {
            json.loads(line)["data"]["execution_id"]
            for line in lines
            if '"evaluation.completed"' in line and good(line)
        }
        number, line = next(
            (n, line) for n, line in enumerate(lines) if '"execution.completed"' in line and ident(line) in scored
        )
        self.execution = ident(line)
        event = json.loads(line)
        event["data"]["subject_id"] = "person-4711"
        event["data"]["messages"][0]["content"] += f", and {CANARY}"
        lines[number] = json.dumps(event)
        broken = json.dumps({**event, "specversion": "0.3", "id": "broken"})  # lies among the dead letters
        self.events.write_text("".join(line + "\n" for line in [*lines, broken]), "utf-8")

    def fill(self) -> None:
        l07(self.data, "send", self.events)
        l07(self.data, "run", "--until", "dataset", **SMALL)

    def found(self, needle: str) -> dict[str, int]:
        """Files that have it, exports beside the data folder too; tables are read, everything else is bytes. Shares no code
        with the product."""
        hits = {}
        for path in [*self.data.rglob("*"), *self.data.with_name("exported").rglob("*")]:
            if path.is_file():
                raw = path.read_bytes()
                if path.suffix == ".parquet":
                    raw += json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
                if times := raw.count(needle.encode()):
                    hits[path.relative_to(self.data.parent).as_posix().removeprefix("data/")] = times
        return hits

    def anything(self) -> dict[str, int]:
        return {**self.found(CANARY), **self.found(self.execution), **self.found("person-4711")}


def ident(line: str) -> str:
    try:
        return str(json.loads(line)["data"]["execution_id"])
    except (ValueError, KeyError, TypeError):
        return ""


def good(line: str) -> bool:
    try:
        data = json.loads(line)["data"]
    except ValueError:
        return False
    return bool(ident(line)) and data.get("quality_score", 0) > 80 and data.get("confidence", 0) > 0.7


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("house"))
    house.fill()
    return house


@pytest.fixture
def house(filled: House, tmp_path: Path) -> House:
    copy = House.__new__(House)
    copy.data, copy.events, copy.execution = tmp_path / "data", filled.events, filled.execution
    shutil.copytree(filled.data, copy.data)
    return copy


@contextmanager
def a_run(house: House) -> Iterator[None]:
    environ = {**os.environ, "L07_DATA_DIR": str(house.data), **SMALL}
    run = subprocess.Popen(command("run"), env=environ, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        eventually(
            (house.data / "buffer" / "valkey.json").exists
        )  # a look by `l07 status` would take the folder's lock
        yield
    finally:
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=60) == 130


def datasets_with(house: House) -> list[str]:
    return [name for name in house.anything() if name.startswith("datasets/")]


def test_what_is_forgotten_is_gone_byte_for_byte_and_stays_away(house: House) -> None:
    for shape in ("trl", "openai"):
        l07(
            house.data,
            "datasets",
            "export",
            "default",
            "--for",
            shape,
            "--out",
            house.data.with_name("exported") / shape,
        )
    l07(house.data, "datasets", "export", "default", "--for", "sharegpt")
    before = house.anything()
    assert {"bus.db", "buffer", "exported", "exports"} <= {name.partition("/")[0] for name in before}
    assert datasets_with(house)
    [letter] = [letter for letter in asked(house.data, "dlq", "list")["dead_letters"] if letter["code"] == "E7010"]
    said = asked(house.data, "forget", "--subject", "person-4711", "--reason", "ticket 17", **SMALL)
    assert (said["already"], said["left"], said["gone"]["letters"]) == (False, [], 1)
    assert house.anything() == {}
    assert letter["id"] not in [one["id"] for one in asked(house.data, "dlq", "list")["dead_letters"]]
    events = asked(house.data, "status", **SMALL)["events"]
    assert events["consumed"] == sum(n for name, n in events.items() if name != "consumed")
    l07(house.data, "ledger", "verify")

    shutil.rmtree(house.data / "buffer")  # a flushed buffer reads everything again
    l07(house.data, "run", "--until", "dataset", **SMALL)
    assert house.anything() == {}
    assert asked(house.data, "status", **SMALL)["reasons"]["erased"] >= 3

    l07(house.data, "send", house.events)  # a producer that knows nothing of it
    shutil.rmtree(house.data / "buffer")
    l07(house.data, "run", "--until", "dataset", **SMALL)
    assert set(house.anything()) == {"bus.db"}
    again = asked(house.data, "forget", "--subject", "person-4711", **SMALL)
    assert (again["already"], again["left"]) == (True, [])
    assert house.anything() == {}


def test_old_versions_are_revoked_and_without_its_tombstones_a_replay_brings_it_back(house: House) -> None:
    versions = [one["id"] for one in asked(house.data, "status", **SMALL)["datasets"]]
    would = asked(house.data, "forget", "--execution", house.execution, "--dry-run", **SMALL)
    assert datasets_with(house), "a dry run changes nothing"
    asked(house.data, "forget", "--execution", house.execution, **SMALL)
    after = {one["id"]: one for one in asked(house.data, "datasets", "list", **SMALL)["datasets"]}
    revoked = [name for name, one in after.items() if one.get("state") == "REVOKED"]
    assert revoked == list(would["versions"])
    [successor] = set(after) - set(versions)
    newest = versions[-1].rpartition(":")[2]
    assert successor.rpartition(":")[2].rpartition(".")[0] == newest.rpartition(".")[0], "a patch"
    said = [json.loads(line) for line in l07(house.data, "events", "--type", "dataset.revoked").splitlines()]
    assert [event["subject"] for event in said] == [f"datasets/{name}" for name in revoked]
    assert all(event["data"]["successor"] == successor.rpartition(":")[2] for event in said)
    assert not any((house.data / "datasets" / name.replace(":", "/")).exists() for name in revoked)

    shutil.rmtree(house.data / "ledgers" / "erasures")  # the control: the same replay, and nobody knows of an erasure
    shutil.rmtree(house.data / "buffer")
    l07(house.data, "send", house.events)
    l07(house.data, "run", "--until", "dataset", **SMALL)
    assert datasets_with(house)


def test_while_a_run_is_at_work_the_order_is_heard_and_done_by_it(house: House) -> None:
    with a_run(house):
        said = asked(house.data, "forget", "--execution", house.execution, "--wait", "60", **SMALL)
        assert said["left"] == []
        l07(house.data, "send", house.events)
        eventually(lambda: asked(house.data, "status", **SMALL)["lag"] == 0)
        assert asked(house.data, "status", **SMALL)["reasons"]["erased"] >= 3
    assert datasets_with(house) == []
