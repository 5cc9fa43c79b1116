"""A stop is not held up by the event in hand: it may end within its grace, then it is cut off and left for the next run."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from l07.errors import MoveNotAllowed
from l07.service import loop
from l07.service.loop import Loop

EVENT = SimpleNamespace(subject="models/default:1.0.0")


def a_loop(said: list[Any]) -> Loop:
    ingest: Any = SimpleNamespace(stop=asyncio.Event(), report=said.append)
    return Loop(ingest, ports=None)  # type: ignore[arg-type]


async def test_a_handler_that_does_not_end_is_cut_off_after_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "GRACE_S", 0.01)
    said: list[Any] = []
    running, ended = a_loop(said), []

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
    running, done = a_loop(said), []

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
        await a_loop([]).told("validate", fails)(EVENT)


async def test_without_a_stop_a_handler_has_all_the_time_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "GRACE_S", 0.0)
    said: list[Any] = []

    async def slow(_: Any) -> None:
        await asyncio.sleep(0.05)

    await a_loop(said).told("validate", slow)(EVENT)
    assert "seconds" in said[-1]
