"""`l07 train`: into the queue by hand; with --wait to the end, whoever works."""

import asyncio
import json
import threading
from pathlib import Path

import pytest
from cli_builders import record_entries, records

from l07.backends import open as backends
from l07.backends.lock import DataLock
from l07.backends.open import open_ledger
from l07.cli.train import numbers, which
from l07.errors import BadTraining, ChildTimedOut
from l07.settings import Settings
from tests.fakes import ScriptedTrainer
from tests.unit.pipeline.test_train import RESULT

D = Path("d")
WHERE = ("--data-dir", "d")


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> ScriptedTrainer:
    """A base in the folder `a-base`, a dataset version, and a child that answers from a list."""
    Path("a-base").mkdir()
    Path("a-base/config.json").write_text("{}", "utf-8")
    monkeypatch.setenv("L07_TRACKS__DEFAULT__BASE_MODEL", str(Path("a-base").resolve()))
    a_version("1.0.0")
    scripted = ScriptedTrainer([RESULT])
    monkeypatch.setattr(backends, "open_trainer", lambda settings: scripted)
    return scripted


def a_version(version: str) -> None:
    data = {"dataset": "default", "version": version, "digest": f"d-{version}", "uri": f"datasets/default/{version}"}
    record_entries(D, "datasets", ("dataset.created", f"default:{version}", {"data": data}))


def jobs(l07) -> list[dict]:
    return json.loads(l07("jobs", "list", *WHERE, "--json").out)["jobs"]


def test_it_queues_and_says_so_and_twice_is_once(l07, trainer) -> None:
    first = json.loads(l07("train", *WHERE, "--json", "--priority", 3).out)
    assert (first["new"], first["state"], first["method"]) == (True, "PENDING", "sft")
    assert "queued" not in first
    again = l07("train", "default", "--dataset", "default:1.0.0", "--method", "sft", *WHERE)
    assert again.status == 0
    assert "nothing is queued" in again.out
    (job,) = jobs(l07)
    assert (job["state"], job["priority"], job["dataset"], job["key"]) == (
        "PENDING", 3, "default:1.0.0", first["key"],
    )  # fmt: skip
    assert trainer.jobs == []


def test_waiting_works_the_queue_of_a_folder_that_nobody_has(l07, trainer) -> None:
    said = l07("train", "--wait", *WHERE)
    assert said.status == 0, said.err
    assert "COMPLETED" in said.out
    assert len(trainer.jobs) == 1
    types = [json.loads(record.value or b"{}")["type"] for record in records(D, "learning.events")]
    assert [name for name in types if name != "training.progress"] == [
        "training.started", "training.completed", "model.registered",
    ]  # fmt: skip
    again = json.loads(l07("train", "--wait", "--json", *WHERE).out)
    assert (again["state"], again["new"], again["model"]) == ("COMPLETED", False, "default:1.0.0")
    assert len(trainer.jobs) == 1


def test_waiting_for_a_job_that_fails_is_exit_1_with_its_code(l07, trainer) -> None:
    trainer.answers = [ChildTimedOut("the job took longer than 5 s and was ended")]
    said = l07("train", "--wait", *WHERE)
    assert said.status == 1
    assert "E7702" in said.out
    assert "longer than 5 s" in said.out


def test_waiting_beside_whoever_has_the_folder_only_looks(l07, trainer) -> None:
    """Another process ends the job: here a thread that writes its end into the ledger."""
    queued = threading.Event()

    def end() -> None:
        ledger = open_ledger(Settings(data_dir=D), "jobs")
        while not (entries := asyncio.run(ledger.entries())):
            queued.wait(0.01)
        body = {"track": "default", "queued": entries[0].key, "job_id": "job-1", "state": "COMPLETED"}
        asyncio.run(ledger.append("job.ended", entries[0].key, body, at="2026-01-05T10:00:00Z"))

    other = threading.Thread(target=end)
    with DataLock(D):
        other.start()
        said = l07("train", "--wait", *WHERE)
        other.join()
    assert said.status == 0
    assert trainer.jobs == []


def test_in_the_deployed_shape_it_is_the_trainers_work(l07, trainer, monkeypatch) -> None:
    monkeypatch.setenv("L07_BUS__URL", "kafka://nowhere:9092")
    said = json.loads(l07("train", "--json", *WHERE).out)
    assert said["new"]
    assert len(jobs(l07)) == 1


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["sales"], "E7903", "there are default"),
        (["--dataset", "default:9.0.0"], "E7903", "default:1.0.0"),
        (["--method", "magic"], "E7911", "sft"),
        (["--option", "beta"], "E7911", "NAME=NUMBER"),
        (["--option", "zeta=1"], "E7911", "sft has no option zeta"),
        (["sales", "--dataset", "default:1.0.0"], "E7911", "no dataset of the track sales"),
    ],
)
def test_what_cannot_be_is_said_with_what_can(l07, trainer, argv, code, says) -> None:
    said = l07("train", *argv, *WHERE)
    assert said.status == 1
    assert said.err.startswith(f"{code}: ")
    assert says in said.err
    assert jobs(l07) == []


def test_a_revoked_version_is_not_trained_on(l07, trainer) -> None:
    record_entries(D, "datasets", ("dataset.revoked", "default:1.0.0", {"data": {"cause": "erasure"}}))
    said = l07("train", *WHERE)
    assert said.status == 1
    assert said.err.startswith("E7122")


def test_the_track_is_the_one_that_is_meant() -> None:
    one, two = Settings(tracks={"a": {}}), Settings(tracks={"a": {}, "b": {}})
    assert which(None, None, one) == ("a", None)
    assert which(None, "b:1.0.0", two) == ("b", "1.0.0")
    assert which("b", "b", two) == ("b", None)
    assert which(None, None, Settings()) == ("default", None)
    with pytest.raises(BadTraining, match="a, b"):
        which(None, None, two)


def test_options_are_numbers_by_name() -> None:
    assert numbers(["beta=0.5", " kl = 1e-3"]) == {"beta": 0.5, "kl": 0.001}
    for wrong in ("beta", "beta=", "beta=x"):
        with pytest.raises(BadTraining):
            numbers([wrong])
