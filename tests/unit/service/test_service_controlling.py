"""A stop is not held up by what is in hand, and what fails says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from l07.backends.kafka.config import brokers
from l07.errors import BusForbidden, BusUnavailable, MoveNotAllowed
from l07.service import controlling
from l07.service.controlling import Control, joined
from l07.service.health import Health
from l07.service.working import Worker
from l07.settings import Settings, load_settings
from l07.telemetry import Metrics

EVENT = SimpleNamespace(subject="models/default:1.0.0")


def a_control(said: list[Any]) -> Control:
    ports: Any = SimpleNamespace(settings=Settings())
    stop = asyncio.Event()
    worker = Worker(Any, ports, Any, said.append, stop)  # type: ignore[arg-type]
    return Control(Any, ports, Any, said.append, Health("test", metrics=Metrics()), stop, worker)  # type: ignore[arg-type]


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
