"""The control consumers as five processes around one data folder, with the real child: a trainer is killed while its child
learns, and the model comes out of attempt 2, judged and looked at by the release."""

import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

from l07.backends.open import LEDGERS
from l07.domain import world
from tests.bases import BASES
from tests.servers.control_kit import House, a_house, ended, eventually
from tests.servers.ingest_kit import until

pytestmark = pytest.mark.timeout(600)
SMALL = {
    "L07_TRACKS__DEFAULT__SEAL__COUNT": "60",
    "L07_TRACKS__DEFAULT__TRAIN__MIN_ROWS": "50",
    "L07_TRACKS__DEFAULT__BASE_MODEL": "tiny-base",
    "L07_MODELS__CACHE_DIR": str(BASES),
    "L07_TRAINING__MAX_STEPS": "10",
    "L07_VALIDATION__ROWS": "20",
    "L07_VALIDATION__LATENCY_PAIRS": "5",
}


async def until_dataset(house: House) -> None:
    events = house.root / "events.jsonl"
    events.write_text("".join(line + "\n" for line in world.stream(world.demo_runs(60, 3), seed=3).lines), "utf-8")
    for words in (("send", str(events)), ("run", "--until", "dataset")):
        assert await ended(house.start("-m", "l07.cli", *words, log=words[0]), within_s=120) == 0, house.tails()
    await house.until_entries("jobs", "job.queued")


async def test_a_folder_of_the_release_before_announces_once_more_and_nothing_else_changes(tmp_path: Path) -> None:
    """Its cursors were in bus.db, under a pseudo topic: they are not looked for."""
    with a_house(tmp_path / "data", **SMALL) as house:
        await until_dataset(house)
        before = {name: await house.entries(name) for name in LEDGERS}
        emitted = await house.emitted()
        for path in house.root.glob("ledgers/*/announced"):
            path.unlink()
        again = house.start("-m", "l07.cli", "run", "--until", "dataset", log="again")
        assert await ended(again, within_s=120) == 0, house.tails()
        assert {name: await house.entries(name) for name in LEDGERS} == before
        assert await house.emitted() == emitted
        assert list(house.root.glob("ledgers/*/announced"))


@pytest.mark.training
@pytest.mark.skipif(
    find_spec("trl") is None, reason="needs the extra [train]: pip install 'l07[train]' -c constraints.txt"
)
async def test_a_killed_trainers_model_comes_out_of_attempt_2_and_is_judged(tmp_path: Path) -> None:
    with a_house(tmp_path / "data", **SMALL) as house:
        await until_dataset(house)
        first = house.consumer("train", log="train-1")
        await until(lambda: list(house.root.glob("jobs/job-*/attempt-1/child.lock")), within_s=120)
        first.send_signal(signal.SIGKILL)
        await ended(first)
        others = [house.consumer(name, log=name) for name in ("train", "validate", "release")]
        await house.until_entries("registry", "model.validated", within_s=240)
        await until(lambda: any(line["event"] == "event_handled" for line in house.log("release")))

        started = await house.entries("jobs", "training.started")
        assert [entry.body["data"]["attempt"] for entry in started] == [1, 2]
        assert len(await house.entries("jobs", "training.completed")) == 1
        assert len(await house.entries("registry", "model.registered")) == 1
        await eventually(lambda: house.announced("datasets", "jobs", "registry"))
        for process in others:
            process.send_signal(signal.SIGTERM)
        assert [await ended(process) for process in others] == [0, 0, 0], house.tails()
        assert await ended(house.start("-m", "l07.cli", "ledger", "verify", log="verify")) == 0, house.tails()
