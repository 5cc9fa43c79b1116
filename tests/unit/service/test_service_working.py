"""A trainer works only on what is its own, lets go of it at once, and tells how it goes."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from l07.backends.store import FolderLeases
from l07.domain.job_ledger import fold
from l07.errors import BaseMissing, TrainExtraMissing
from l07.pipeline import train
from l07.ports import Progress
from l07.service import working
from l07.service.working import Worker
from l07.settings import Settings, load_settings
from tests.fakes import FolderFake, MemoryBus, MemoryLedger, ScriptedTrainer
from tests.unit.pipeline.test_train import AT, RESULT
from tests.unit.service.service_builders import a_base


@dataclass
class HeldTrainer(ScriptedTrainer):
    """A child that works until the test lets it go; `ended` says how each came to its end."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: list[str] = field(default_factory=list)

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended.append("killed")
            raise
        result = await super().run(job_dir, timeout_s=timeout_s, on_progress=on_progress)
        self.ended.append("finished")
        return result


@dataclass
class House:
    """Ledgers, a store and leases that several trainers share, each on a machine of its own."""

    root: Path
    jobs: MemoryLedger = field(default_factory=lambda: MemoryLedger("jobs"))
    registry: MemoryLedger = field(default_factory=lambda: MemoryLedger("registry"))
    now: float = 0.0
    group: int = 0

    async def queue(self, *tracks: str) -> None:
        for track in tracks:
            body = {"track": track, "version": "1.0.0", "digest": f"d-{track}", "uri": f"datasets/{track}/1.0.0"}
            await self.jobs.append("job.queued", f"{track}:1.0.0", {**body, "cause": "c", "correlationid": None}, at=AT)

    def settings(self) -> Settings:
        base = str(a_base(self.root / "a-base"))
        tracks = {track: {"base_model": base} for track in ("a", "b")}
        training = {"training.lease_renew_s": 0.02, "training.group_concurrency": self.group}
        return load_settings({}, overrides={"data_dir": self.root, "tracks": tracks, **training}).settings

    def trainer(self, name: str) -> tuple[Worker, HeldTrainer]:
        child, store = HeldTrainer([RESULT]), FolderFake(self.root)
        ports: Any = SimpleNamespace(
            settings=self.settings(), jobs=self.jobs, registry=self.registry, store=store, bases=store, trainer=child,
            key_file=self.root / "keys" / "k.pem",
        )  # fmt: skip
        leases = FolderLeases(self.root / "leases", ttl_s=0.06, machine=name, clock=lambda: self.now)
        bus: Any = MemoryBus()
        return Worker(bus, ports, leases, lambda line: None, asyncio.Event(), name), child

    def count(self, kind: str) -> int:
        return self.jobs.kinds().count(kind)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def eventually(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await done():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.005)


def attempts_of(house: House) -> list[Any]:
    return [line.body["data"]["attempt"] for line in house.jobs.lines if line.kind == "training.started"]


async def test_two_trainers_take_one_track_each_and_none_takes_a_second(house: House) -> None:
    await house.queue("a", "b")
    (one, first), (two, second) = house.trainer("one"), house.trainer("two")
    third, idle = house.trainer("three")
    works = [asyncio.create_task(one.work())]
    await first.begun.wait()
    works.append(asyncio.create_task(two.work()))
    await second.begun.wait()
    assert await third.work() == 0
    assert not idle.begun.is_set()
    first.go.set()
    second.go.set()
    assert await asyncio.gather(*works) == [1, 1]
    assert house.count("training.completed") == 2
    owners = {line.body["track"]: line.body["owner"] for line in house.jobs.lines if line.kind == "job.claimed"}
    assert owners == {"a": "one", "b": "two"}


async def test_a_trainer_that_is_only_slow_is_not_robbed(house: House) -> None:
    await house.queue("a")
    (one, child), (two, other) = house.trainer("one"), house.trainer("two")
    work = asyncio.create_task(one.work())
    await child.begun.wait()
    path = house.root / "leases" / "track-a" / "00000001.json"
    for _ in range(5):
        assert await two.work() == 0
        before = path.read_bytes()

        async def renewed(before: bytes = before) -> bool:
            return path.read_bytes() != before

        await eventually(renewed)
        house.now += 10
    assert not other.begun.is_set()
    child.go.set()
    assert await work == 1
    assert attempts_of(house) == [1]


@pytest.mark.parametrize("finishes", [False, True])
async def test_a_silent_trainers_job_is_taken_over_as_attempt_2_with_one_result(house: House, finishes: bool) -> None:
    await house.queue("a")
    (one, child), (two, successor) = house.trainer("one"), house.trainer("two")
    work = asyncio.create_task(one.work())
    await child.begun.wait()
    one.leases = SilentLeases()  # type: ignore[assignment]  # it stands still: no renewal comes through, its child goes on
    assert await two.work() == 0
    house.now += 0.07
    successor.go.set()
    assert await two.work() == 1
    if finishes:
        child.go.set()
    assert await asyncio.wait_for(work, 10) == 1
    assert attempts_of(house) == [1, 2]
    assert (house.count("training.completed"), house.registry.kinds()) == (1, ["model.registered"])
    if not finishes:
        assert child.ended == ["killed"], "it looked into the ledger, and ended its child"


class SilentLeases:
    """Leases of a process that is cut off from its disk, and is never told."""

    async def renew(self, lease: Any) -> bool:
        return True

    async def release(self, lease: Any) -> None:
        return


async def test_a_stolen_lease_is_noticed_at_the_next_renewal(house: House) -> None:
    await house.queue("a")
    one, child = house.trainer("one")
    work = asyncio.create_task(one.work())
    await child.begun.wait()
    (path,) = (house.root / "leases" / "track-a").glob("*.json")
    (path.parent / "00000002.json").write_bytes(path.read_bytes())  # as another one would claim it
    assert await asyncio.wait_for(work, 10) == 1
    assert child.ended == ["killed"]
    assert house.count("training.completed") == house.count("job.preempted") == 0


async def test_a_stop_preempts_and_the_next_one_has_it_at_once(house: House) -> None:
    await house.queue("a")
    (one, child), (two, successor) = house.trainer("one"), house.trainer("two")
    work = asyncio.create_task(one.work())
    await child.begun.wait()
    one.stop.set()
    await asyncio.wait_for(work, 10)
    assert child.ended == ["killed"]
    assert house.count("job.preempted") == 1
    assert [job.attempts for job in train.queue(house.jobs.lines)] == [0]
    successor.go.set()
    assert await two.work() == 1, "given back: nobody waits for a lease to run out"
    assert house.count("training.completed") == 1


async def test_a_cancelled_job_ends_its_child_and_nothing_else(house: House) -> None:
    await house.queue("a")
    one, child = house.trainer("one")
    work = asyncio.create_task(one.work())
    await child.begun.wait()
    await train.cancel("a:1.0.0", jobs=house.jobs, by="ann", at=AT)
    assert await asyncio.wait_for(work, 10) == 1
    assert child.ended == ["killed"]
    assert house.count("training.completed") == house.count("training.failed") == 0
    assert await one.work() == 0
    await house.queue("b")
    child.go.set()
    assert await one.work() == 1, "and goes on with the next"


async def test_a_machine_that_cannot_train_gives_the_lease_back(house: House) -> None:
    await house.queue("a")
    (one, child), (two, successor) = house.trainer("one"), house.trainer("two")
    child.answers = [TrainExtraMissing("no torch")]
    child.go.set()
    with pytest.raises(TrainExtraMissing):
        await one.work()
    successor.go.set()
    assert await two.work() == 1


async def test_leases_that_were_lost_do_not_bring_old_fences_back(house: House) -> None:
    await house.queue("a", "b")
    one, child = house.trainer("one")
    child.go.set()
    assert await one.work() == 1
    for path in (house.root / "leases" / "track-a").iterdir():
        path.unlink()
    await house.jobs.append("job.queued", "a:1.1.0", {**house.jobs.lines[0].body, "version": "1.1.0"}, at=AT)
    assert [await one.work(), await one.work()] == [1, 1]
    assert train.fence_of(house.jobs.lines, "a") == 2


# ------------------------------------------------------------------ concurrency


async def test_one_trainer_works_on_as_many_tracks_at_once_as_it_is_told_to(house: House) -> None:
    await house.queue("a", "b")
    one, child = house.trainer("one")
    works = [asyncio.create_task(one.work()) for _ in range(3)]

    async def both() -> bool:
        return house.count("training.started") == 2

    await eventually(both)
    child.go.set()
    assert sorted(await asyncio.gather(*works)) == [0, 1, 1]
    assert house.count("training.completed") == 2


async def test_the_whole_group_works_on_as_many_as_it_is_told_to(house: House) -> None:
    house.group = 1
    await house.queue("a", "b")
    (one, first), (two, second) = house.trainer("one"), house.trainer("two")
    work = asyncio.create_task(one.work())
    await first.begun.wait()
    assert await two.work() == 0
    first.go.set()
    assert await work == 1
    second.go.set()
    assert await two.work() == 1
    assert house.count("training.completed") == 2


async def test_of_two_that_claim_at_once_the_group_takes_one(house: House) -> None:
    """Both have a lease, and both saw nobody at work."""
    await house.queue("a", "b")
    got = await asyncio.gather(
        *(train.take(track, fence=1, owner=track, jobs=house.jobs, at=AT, most=1) for track in ("a", "b"))
    )
    assert [job is not None for job in got].count(True) == 1


async def test_a_dead_trainers_claim_does_not_keep_its_own_job_from_being_taken_over(house: House) -> None:
    house.group = 1
    await house.queue("a")
    await house.jobs.append(
        "job.claimed", "a/9", {"track": "a", "queued": "a:1.0.0", "fence": 9, "owner": "dead"}, at=AT
    )
    await house.queue("b")
    two, successor = house.trainer("two")
    successor.go.set()
    assert await two.work() == 1
    assert [job.standing for job in fold(house.jobs.lines).values()] == ["COMPLETED", "PENDING"]
    assert await two.work() == 1


async def test_a_dead_trainers_claim_on_what_is_due_no_more_is_given_back(house: House) -> None:
    house.group = 1
    await house.queue("a", "b")
    body = {"track": "a", "queued": "a:1.0.0", "fence": 1, "owner": "dead"}
    await house.jobs.append("job.claimed", "a/1", body, at=AT)
    await house.jobs.append("job.queued", "a:1.1.0", {**house.jobs.lines[0].body, "version": "1.1.0"}, at=AT)
    await train.cancel("a:1.1.0", jobs=house.jobs, by="ann", at=AT)
    one, child = house.trainer("one")
    child.go.set()
    assert await one.work() == 1
    assert (house.count("job.released"), fold(house.jobs.lines)["b:1.0.0"].standing) == (1, "COMPLETED")


async def test_what_is_cut_off_before_an_attempt_gives_its_claim_back(house: House) -> None:
    house.group = 1
    await house.queue("a")
    (one, child), (two, successor) = house.trainer("one"), house.trainer("two")
    child.answers = [TrainExtraMissing("no torch")]
    (house.root / "a-base" / "config.json").unlink()  # so that a base has to be made first
    with pytest.raises(BaseMissing):
        await one.work()
    assert house.count("job.attempt") == 0
    line = fold(house.jobs.lines)["a:1.0.0"]
    assert (line.standing, line.owner) == ("PENDING", "")
    assert two.owner == "two"
    assert not successor.begun.is_set()


# ------------------------------------------------------------------ progress


def a_worker(said: list[Any]) -> Worker:
    ports: Any = SimpleNamespace(settings=Settings())
    bus: Any = MemoryBus()
    return Worker(bus, ports, SilentLeases(), said.append, asyncio.Event())  # type: ignore[arg-type]


class StuckBus:
    """A bus that takes what it is given and never says so."""

    def __init__(self) -> None:
        self.given = 0

    async def publish(self, _: Any) -> None:
        self.given += 1
        await asyncio.Event().wait()


async def test_a_bus_that_is_away_costs_lines_of_progress_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "TELL_S", 0.01)
    monkeypatch.setattr(working, "TELL_EVERY_S", 0.0)
    worker, bus, telling = a_worker([]), StuckBus(), working.Telling(at=-1.0)
    worker.bus = bus  # type: ignore[assignment]
    async with asyncio.timeout(2):
        for number in range(50):
            await worker.progress(telling, "job", 1, number, {"step": number, "steps": 50})
    assert bus.given == 1
    assert telling.task is not None
    await working.end(telling.task)


async def test_a_line_of_progress_is_published_every_ten_seconds_and_told_here_each_time() -> None:
    said: list[Any] = []
    worker, bus, telling = a_worker(said), MemoryBus(), working.Telling()
    worker.bus = bus  # type: ignore[assignment]
    for number in range(5):
        await worker.progress(telling, "job", 1, number, {"step": number, "steps": 9})
        telling.at -= 4.0
    steps = [json.loads(record.value or b"")["data"]["step"] for record in bus.topics["learning.events"]]
    assert (steps, len(said)) == ([0, 3], 5)
