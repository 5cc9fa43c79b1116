"""`types.prefix` reaches every event that we write, wherever it leaves."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from l07.errors import BadSetting
from l07.pipeline.announce import relay
from l07.ports import OutboxEntry, Seal
from l07.service.controlling import Control
from l07.service.health import Health
from l07.service.working import Telling, Worker
from l07.settings import Settings, load_settings
from l07.telemetry import Metrics
from tests.fakes import MemoryBus, MemoryLedger
from tests.unit.events.golden_out import DATA

AT = "2026-01-05T09:00:00.000Z"
SEAL = Seal("default-1", "default", "count", 1_767_603_600_123, 3, 1, {"t:0": 1}, {"t:0": 9})


class Outbox:
    """A buffer with one seal to announce."""

    def __init__(self) -> None:
        self.entries = [OutboxEntry("1", SEAL, ("execution:a",), None)]

    async def outbox(self, *, limit: int) -> list[OutboxEntry]:
        return self.entries[:limit]

    async def sent(self, ids: list[str]) -> None:
        self.entries = [entry for entry in self.entries if entry.id not in ids]


async def written(settings: Settings) -> set[str]:
    bus, ledger = MemoryBus(), MemoryLedger("registry")
    body = {"subject": "models/m:1.0.0", "data": DATA["model.registered"]}
    await ledger.append("model.registered", "m:1.0.0", body, at=AT)
    ports: Any = SimpleNamespace(settings=settings, ledgers=lambda consumers: (ledger,))
    health, rest = Health("test", metrics=Metrics()), SimpleNamespace()
    worker = Worker(bus, ports, rest, lambda line: None, asyncio.Event())  # type: ignore[arg-type]
    control = Control(bus, ports, rest, lambda line: None, health, worker.stop, worker)  # type: ignore[arg-type]
    await control.announce()
    await relay(Outbox(), bus, topic=settings.topics.events, prefix=settings.types.prefix)  # type: ignore[arg-type]
    await worker.progress(Telling(), "job", 1, 0, {"step": 1, "steps": 2})
    return {json.loads(record.value or b"{}")["type"] for record in bus.topics[settings.topics.events]}


async def test_every_event_carries_it_and_none_by_default() -> None:
    names = {"batch.sealed", "model.registered", "training.progress"}
    assert await written(Settings()) == names
    chosen = load_settings({}, overrides={"types.prefix": "com.example."}).settings
    assert await written(chosen) == {f"com.example.{name}" for name in names}


@pytest.mark.parametrize("prefix", ["com.example", "com..example.", ".", "com example.", "com.exämple."])
def test_one_that_no_reader_would_understand_is_refused(prefix: str) -> None:
    with pytest.raises(BadSetting, match=r"types\.prefix"):
        load_settings({}, overrides={"types.prefix": prefix})
