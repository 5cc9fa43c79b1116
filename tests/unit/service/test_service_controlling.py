"""A stop is not held up by what is in hand; a trainer works only on what is its own, and lets go of it at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from l07.backends.kafka.config import brokers
from l07.backends.store import FolderLeases
from l07.errors import BusForbidden, BusUnavailable, MoveNotAllowed, TrainExtraMissing
from l07.pipeline import train
from l07.ports import Progress
from l07.service import controlling
from l07.service.controlling import Control, joined
from l07.service.health import Health
from l07.settings import Settings, load_settings
from l07.telemetry import Metrics
from tests.fakes import FolderFake, MemoryBus, MemoryLedger, ScriptedTrainer
from tests.unit.pipeline.test_train import AT, RESULT
from tests.unit.service.service_builders import a_base

EVENT = SimpleNamespace(subject="models/default:1.0.0")


def a_control(said: list[Any]) -> Control:
    ports: Any = SimpleNamespace(settings=Settings())
    return Control(Any, ports, Any, said.append, Health("test", metrics=Metrics()), asyncio.Event())  # type: ignore[arg-type]


# ------------------------------------------------------------------ handlers


async def test_a_handler_that_does_not_end_is_cut_off_after_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controlling, "GRACE_S", 0.01)
    said: list[Any] = []
    running, ended = a_control(said), []

    async def for_ever(_: Any) -> None:
        running.stop.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cut off")

    async with asyncio.timeout(5):
        await running.told("validate", for_ever)(EVENT)
    assert ended == ["cut off"]
    assert [line for line in said if "seconds" in line] == [], "what was cut off is not told as done"


async def test_a_handler_that_ends_within_its_grace_is_let_finish() -> None:
    said: list[Any] = []
    running, done = a_control(said), []

    async def soon(_: Any) -> None:
        running.stop.set()
        for _turn in range(5):
            await asyncio.sleep(0)
        done.append("finished")

    await running.told("curate", soon)(EVENT)
    assert done == ["finished"]
    assert "seconds" in said[-1]


async def test_a_handlers_error_comes_out_as_itself() -> None:
    async def fails(_: Any) -> None:
        raise MoveNotAllowed("no")

    with pytest.raises(MoveNotAllowed):
        await a_control([]).told("validate", fails)(EVENT)


async def test_without_a_stop_a_handler_has_all_the_time_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controlling, "GRACE_S", 0.0)
    said: list[Any] = []

    async def slow(_: Any) -> None:
        await asyncio.sleep(0.05)

    await a_control(said).told("validate", slow)(EVENT)
    assert "seconds" in said[-1]


async def test_an_outage_is_a_reason_not_to_be_ready_until_it_is_over() -> None:
    running = a_control([])
    running.health.joined()
    down = [BusUnavailable("no broker")]

    async def step() -> int:
        if down:
            raise down.pop()
        return 1

    with pytest.raises(BusUnavailable):
        await running._turn("curate", step)
    assert running.health.reasons["curate"].code == "E7401"
    await running._turn("curate", step)
    assert running.health.reasons == {}


class StuckBus:
    """A bus that takes what it is given and never says so."""

    def __init__(self) -> None:
        self.given = 0

    async def publish(self, _: Any) -> None:
        self.given += 1
        await asyncio.Event().wait()


async def test_a_bus_that_is_away_costs_lines_of_progress_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controlling, "TELL_S", 0.01)
    running, bus = a_control([]), StuckBus()
    running.bus = bus  # type: ignore[assignment]
    async with asyncio.timeout(2):
        for number in range(50):
            await running._progress("job", 1, number, {"step": number, "steps": 50})
    assert bus.given == 1
    assert running.telling is not None
    await controlling._end(running.telling)


# ------------------------------------------------------------------ trainers


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

    async def queue(self, *tracks: str) -> None:
        for track in tracks:
            body = {"track": track, "version": "1.0.0", "digest": f"d-{track}", "uri": f"datasets/{track}/1.0.0"}
            await self.jobs.append("job.queued", f"{track}:1.0.0", {**body, "cause": "c", "correlationid": None}, at=AT)

    def settings(self) -> Settings:
        base = str(a_base(self.root / "a-base"))
        tracks = {track: {"base_model": base} for track in ("a", "b")}
        return load_settings(
            {}, overrides={"data_dir": self.root, "tracks": tracks, "training.lease_renew_s": 0.02}
        ).settings

    def trainer(self, name: str) -> tuple[Control, HeldTrainer]:
        child, store = HeldTrainer([RESULT]), FolderFake(self.root)
        ports: Any = SimpleNamespace(
            settings=self.settings(), jobs=self.jobs, registry=self.registry, store=store, bases=store, trainer=child,
            key_file=self.root / "keys" / "k.pem",
        )  # fmt: skip
        leases = FolderLeases(self.root / "leases", ttl_s=0.06, machine=name, clock=lambda: self.now)
        health = Health(name, metrics=Metrics())
        return Control(MemoryBus(), ports, leases, lambda line: None, health, asyncio.Event(), name), child  # type: ignore[arg-type]

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


async def test_the_group_s_prefix_is_put_before_its_name_once(tmp_path: Path) -> None:
    """The backend does it for every group (l07.backends.kafka.config); done here too, it would stand there twice."""
    kafka = {"bus.url": "kafka://b:9092", "bus.kafka.group": "acme"}
    settings = load_settings({}, overrides={"data_dir": tmp_path, **kafka}).settings
    asked: list[str] = []

    class Groups:
        @asynccontextmanager
        async def subscribe(self, topics: Any, *, group: str, start: Any = None) -> AsyncIterator[None]:
            asked.append(brokers(settings).group(group))
            yield

    bus: Any = Groups()
    health = Health("run", stall_s=1.0)
    async with joined(
        settings, ["train", "release"], bus=bus, buffer=None, report=lambda _: None, health=health, stop=asyncio.Event()
    ):
        pass
    assert asked == ["acme.train", "acme.release"]


# ------------------------------------------------------------------ erasure


async def test_an_erasure_that_a_person_must_help_stops_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    running, tried, told = a_control([]), [], []

    async def due(_: Any) -> bool:
        return True

    async def forbidden(_: Any) -> bool:
        tried.append("once")
        raise BusForbidden("no right to delete")

    async def stuck(known: Any, trouble: str, *, at: str) -> None:
        told.append((known, trouble))

    class Lent:
        async def claim(self, name: str, owner: str) -> str:
            return name

        async def release(self, lease: str) -> None:
            return

    monkeypatch.setattr(controlling, "is_due", due)
    monkeypatch.setattr(controlling, "finish", forbidden)
    monkeypatch.setattr(controlling.forget, "stuck", stuck)
    running.leases = Lent()  # type: ignore[assignment]
    running.hands = SimpleNamespace(known="known")  # type: ignore[assignment]
    for _turn in range(3):
        await running._erase()
    assert tried == ["once"], "not again and again"
    assert running.health.reasons["erasure"].code == "E7411"
    assert told == [("known", "E7411: no right to delete")]
