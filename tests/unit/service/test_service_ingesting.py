"""One turn of the deployed ingest: what it says of itself when something is away, and how it is put down."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from l07.errors import BufferFull, BufferUnavailable
from l07.events.record import Message
from l07.ports import Applied, IngestBatch
from l07.runner import Halts
from l07.service.ingesting import Ingest, opened_ingest, repeat
from l07.settings import load_settings

pytestmark = pytest.mark.slow  # each starts the embedded server


@pytest.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    settings = load_settings({}, overrides={"data_dir": tmp_path}).settings
    async with opened_ingest(settings, lambda _: None, halts=Halts()) as ingest:
        await ingest.bus.publish(records(range(9)))
        yield ingest


def records(numbers: Sequence[int]) -> list[Message]:
    return [Message("execution.traces", b"k", b"no event", (), 1_767_600_000_000 + n) for n in numbers]


async def test_an_outage_is_said_with_its_code_and_taken_back(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ingest.buffer.apply

    async def away(batch: IngestBatch) -> Applied:
        raise BufferUnavailable("away")

    monkeypatch.setattr(ingest.buffer, "apply", away)
    with pytest.raises(BufferUnavailable):
        await ingest.turn()
    assert ingest.watch.health.reasons["back_off"].code == "E7450"
    assert not ingest.watch.full
    monkeypatch.setattr(ingest.buffer, "apply", real)
    while not (await ingest.buffer.status()).partitions:
        await ingest.turn()
    assert "back_off" not in ingest.watch.health.reasons


async def test_a_step_that_is_refused_for_want_of_memory_is_looked_into_at_once(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(batch: IngestBatch) -> Applied:
        raise BufferFull("full")

    monkeypatch.setattr(ingest.buffer, "apply", full)
    with pytest.raises(BufferFull):
        await ingest.turn()
    assert ingest.watch.full
    await ingest.turn()
    assert ingest.watch.pressure.level == "stopped"


async def test_what_is_under_way_lands_before_the_server_is_left(tmp_path: Path) -> None:
    settings = load_settings({}, overrides={"data_dir": tmp_path}).settings
    landed: list[int] = []
    async with opened_ingest(settings, lambda _: None, halts=Halts()) as ingest:
        await ingest.bus.publish(records(range(9)))
        begun, real = asyncio.Event(), ingest.buffer.apply

        async def slow(batch: IngestBatch) -> Applied:
            begun.set()
            await asyncio.sleep(0.2)
            applied = await real(batch)
            landed.append(len(batch.items))
            return applied

        ingest.buffer.apply = slow  # type: ignore[method-assign]
        task = asyncio.create_task(ingest.forever())
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
    assert landed == [9]


async def test_alerts_leave_with_the_outbox_and_stay_while_the_bus_is_away(ingest: Ingest) -> None:
    ingest.watch._alert("E7454", "error", stopped="ingest", todo="wait", cause="memory/1")
    ingest.watch._alert("E7480", "error", stopped="t:0", todo="look", cause="t:0")
    await ingest.relay()
    assert ingest.watch.alerts == []
    ends = await ingest.bus.end_offsets([ingest.settings.topics.events])
    assert sum(ends.values()) == 2


async def test_a_dead_letter_wakes_the_relay(ingest: Ingest) -> None:
    assert not ingest.outgoing.is_set()
    while not (await ingest.buffer.status()).outbox:
        await ingest.turn()
    while ingest.stream.under_way():
        await ingest.turn()
    assert ingest.outgoing.is_set()


async def test_a_step_that_rests_is_done_again_when_it_is_woken() -> None:
    stop, wake, turns = asyncio.Event(), asyncio.Event(), asyncio.Queue[None]()

    async def step() -> int:
        turns.put_nowait(None)
        return 0

    task = asyncio.create_task(repeat(step, stop, rest_s=60.0, wake=wake))
    async with asyncio.timeout(5):
        await turns.get()
        for _ in range(3):
            wake.set()
            await turns.get()
        stop.set()
        await task
