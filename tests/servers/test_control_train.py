"""Trainers as processes: killed, frozen, stopped, cancelled; a job has one result whatever happens to who works on it."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from l07.pipeline import train
from tests.servers.control_kit import House, a_house, begun, ended, eventually, on_broker, on_kafka
from tests.servers.ingest_kit import until
from tests.servers.kafka_server import HomeBroker

AT = "2026-01-05T09:00:00Z"


@pytest.fixture(params=["sqlite", "kafka"])
def house(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> Iterator[House]:
    base = tmp_path / "a-base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    variables = {"L07_TRAINING__LEASE_RENEW_S": "0.3"}
    for track in ("a", "b"):
        variables[f"L07_TRACKS__{track.upper()}__BASE_MODEL"] = str(base)
    if request.param == "kafka":
        variables |= on_kafka(request, unique)
    with a_house(tmp_path / "data", **variables) as house:
        yield house


async def one_result(house: House, track: str, attempts: list[int]) -> None:
    await house.until_entries("registry", "model.registered")
    await house.until_entries("jobs", "job.ended")
    started = await house.entries("jobs", "training.started")
    assert [entry.body["data"]["attempt"] for entry in started] == attempts
    assert len(await house.entries("jobs", "training.completed")) == 1
    assert len(await house.entries("registry", "model.registered")) == 1
    await eventually(lambda: house.announced("jobs", "registry"))
    emitted = await house.emitted()
    assert {kind: len(ids) for kind, ids in emitted.items() if kind != "training.progress"} == {
        "dataset.created": 1, "training.started": len(attempts), "training.completed": 1, "model.registered": 1,
    }  # fmt: skip


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # asked first whether it exists, it may end between the two
        return True


@pytest.mark.parametrize("machine", ["one", "two"])
async def test_a_killed_trainers_job_goes_on_as_attempt_2_with_one_result(house: House, machine: str) -> None:
    """On the same machine at once; on another one when the lease has run out."""
    first = house.trainer("one")
    await house.create_dataset("a")
    await begun(house, 1)
    second = house.trainer(machine)
    first.send_signal(signal.SIGKILL)
    assert await ended(first) == -signal.SIGKILL
    await begun(house, 2)
    assert gone(house.children()[0]), "a child does not outlive its trainer"
    house.go()
    await one_result(house, "a", [1, 2])
    assert second.poll() is None


async def test_a_frozen_trainer_wakes_up_and_writes_nothing(house: House) -> None:
    first = house.trainer("one")
    await house.create_dataset("a")
    await begun(house, 1)
    first.send_signal(signal.SIGSTOP)
    house.trainer("two")
    await begun(house, 2)
    house.go()  # both children end well, the first under a parent that stands still
    await house.until_entries("jobs", "job.ended")
    first.send_signal(signal.SIGCONT)
    await until(lambda: any(line["event"] == "job_taken" for line in house.log("train-one")))
    await one_result(house, "a", [1, 2])
    assert first.poll() is None, "and goes on with other work"


async def test_a_stopped_trainer_is_preempted_and_its_attempt_does_not_count(house: House) -> None:
    first = house.trainer("one")
    await house.create_dataset("a")
    await begun(house, 1)
    first.send_signal(signal.SIGTERM)
    assert await ended(first, within_s=15) == 0
    assert gone(house.children()[0])
    assert len(await house.entries("jobs", "job.preempted")) == 1
    house.go()
    house.trainer("two")
    await house.until_entries("jobs", "job.ended")
    await one_result(house, "a", [1, 1])  # told of each start; the number is that of attempts that count


async def test_a_cancelled_job_ends_in_its_trainer_and_the_next_has_its_turn(house: House) -> None:
    trainer = house.trainer("one")
    await house.create_dataset("a")
    await begun(house, 1)
    cancel = house.start("-m", "l07.cli", "jobs", "cancel", "a:1.0.0", log="cancel")
    assert await ended(cancel) == 0, house.tails()
    await until(lambda: gone(house.children()[0]))
    house.go()
    await house.create_dataset("b")
    await house.until_entries("jobs", "job.ended")
    assert [entry.key for entry in await house.entries("jobs", "job.ended")] == ["b:1.0.0"]
    assert trainer.poll() is None


async def test_two_trainers_take_one_track_each(house: House) -> None:
    house.trainer("one")
    house.trainer("two")
    await asyncio.gather(house.create_dataset("a"), house.create_dataset("b"))
    await begun(house, 2)
    claims = await house.entries("jobs", train.due.CLAIMED)
    assert len({entry.body["track"] for entry in claims}) == len({entry.body["owner"] for entry in claims}) == 2
    house.go()
    await house.until_entries("jobs", "job.ended", 2)
    assert len(await house.entries("registry", "model.registered")) == 2


async def test_a_job_ends_while_the_bus_is_away_and_all_is_said_once_it_is_back(
    home_broker: Callable[..., HomeBroker], tmp_path: Path, unique: str
) -> None:
    broker = home_broker()
    base = tmp_path / "a-base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    variables = {"L07_TRACKS__A__BASE_MODEL": str(base), **on_broker(broker.address, unique)}
    with a_house(tmp_path / "data", **variables) as house:
        trainer = house.trainer("one")
        await house.create_dataset("a")
        await begun(house, 1)
        await eventually(lambda: house.announced("jobs"))
        await asyncio.to_thread(broker.halt, signal.SIGKILL)
        house.go()
        await house.until_entries("jobs", "job.ended")
        await asyncio.to_thread(broker.start)
        await one_result(house, "a", [1])
        assert trainer.poll() is None


async def test_a_job_asked_for_by_hand_is_done_by_a_trainer_and_watched_to_its_end(house: House) -> None:
    await house.create_dataset("a", rows=3)  # too small to be trained by itself
    trainer = house.trainer("one")
    await house.until_entries("jobs", "job.declined")
    for _ in range(2):
        asked = house.start("-m", "l07.cli", "train", "a", "--json", log="asked")
        assert await ended(asked) == 0, house.tails()
    await begun(house, 1)
    watch = house.start("-m", "l07.cli", "jobs", "watch", log="watch")
    house.go()
    assert await ended(watch) == 0, house.tails()
    first, second = house.log("asked")
    assert (first["new"], second["new"], first["key"] == second["key"]) == (True, False, True)
    assert house.log("watch")[-1]["state"] == "COMPLETED"
    assert len(await house.entries("jobs", "job.queued")) == 1
    await one_result(house, "a", [1])
    assert trainer.poll() is None
