"""A member that is at work hears of an erasure: what it read ahead comes by the new rules, what it applied before goes."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from l07.backends.open import open_marks
from l07.domain.marks import KEY
from l07.errors import SecretMissing
from l07.events.record import Message
from l07.pipeline import forget
from l07.pipeline.pressure import CALM
from l07.runner import Halts
from l07.service import ingesting
from l07.service.ingesting import Ingest, open_erasures, opened_ingest
from l07.settings import Settings, load_settings

pytestmark = pytest.mark.slow  # each starts the embedded server
AT = "2026-01-05T09:00:00.000Z"


def a_trace(number: int) -> Message:
    messages = [{"role": "user", "content": f"do {number}"}, {"role": "assistant", "content": "done"}]
    data = {"execution_id": f"run-{number}", "outcome": "success", "messages": messages}
    event = {"specversion": "1.0", "type": "execution.completed", "source": "/a", "id": f"t{number}", "data": data}
    return Message("execution.traces", b"k", json.dumps(event).encode(), (), 1_767_600_000_000 + number)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({}, overrides={"data_dir": tmp_path, "ingest.slice_records": 2}).settings


@pytest.fixture
async def ingest(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ingest]:
    monkeypatch.setattr(ingesting, "ERASURES_S", 0.0)
    async with opened_ingest(settings, lambda _: None, halts=Halts()) as ingest:
        yield ingest


async def erase(settings: Settings, *keys: str) -> None:
    for key in keys:
        await forget.order(open_erasures(settings), open_marks(settings), KEY, [key], reason="", by="ann", at=AT)


async def counted(ingest: Ingest) -> Counter[str]:
    total: Counter[str] = Counter()
    for counts in (await ingest.buffer.status()).partitions.values():
        total.update(counts)
    return +total


async def read(ingest: Ingest, records: int) -> None:
    while (await counted(ingest))["consumed"] < records:
        await ingest.turn()


async def keys(ingest: Ingest) -> list[str]:
    return sorted([run.key async for run in ingest.buffer.runs()])


async def test_what_was_applied_before_it_was_heard_goes_at_the_next_turn(ingest: Ingest, settings: Settings) -> None:
    await ingest.bus.publish([a_trace(n) for n in range(3)])
    await read(ingest, 3)
    await erase(settings, "execution:run-1")
    await ingest.turn()
    assert await keys(ingest) == ["execution:run-0", "execution:run-2"]
    assert await counted(ingest) == {"consumed": 3, "waiting": 2, "rejected": 1}


async def test_what_was_read_ahead_by_the_old_rules_is_read_again_by_the_new(
    ingest: Ingest, settings: Settings
) -> None:
    await ingest.bus.publish([a_trace(n) for n in range(9)])
    await ingest.turn()  # two records a step: the others are fetched, some decoded, some under way
    assert ingest.stream.under_way()
    await erase(settings, *(f"execution:run-{n}" for n in range(1, 9)))
    await read(ingest, 9)
    await ingest.turn()
    assert await keys(ingest) == ["execution:run-0"]
    assert await counted(ingest) == {"consumed": 9, "waiting": 1, "rejected": 8}
    assert (await ingest.buffer.status()).reasons == {"erased": 8}


async def test_before_its_first_slice_a_member_knows_every_tombstone(settings: Settings) -> None:
    await erase(settings, "execution:run-1")
    applied: list[Any] = []
    async with opened_ingest(settings, lambda _: None, halts=Halts()) as ingest:
        assert ingest.rules.tombstones
        assert ingest.stream.rules.tombstones
        real = ingest.buffer.apply

        async def apply(batch: Any) -> Any:
            applied.extend(batch.items)
            return await real(batch)

        ingest.buffer.apply = apply  # type: ignore[method-assign]
        await ingest.bus.publish([a_trace(1)])
        assert await ingest.step(merged=True, timeout_s=0) == 1
    assert [item.reason for item in applied] == ["erased"]


async def test_without_the_key_file_nothing_is_read(settings: Settings) -> None:
    await erase(settings, "execution:run-1")
    (settings.data_dir / "keys" / "marks.key").unlink()
    with pytest.raises(SecretMissing, match="E7121"):
        async with opened_ingest(settings, lambda _: None):
            pass


async def test_pressure_and_erasure_do_not_meet(ingest: Ingest, settings: Settings) -> None:
    """A stream that is stopped obeys too."""
    await ingest.bus.publish([a_trace(n) for n in range(3)])
    await read(ingest, 3)
    ingest.stream.hold((), stopped=True)
    await erase(settings, "execution:run-0")
    await ingest.turn()
    assert await keys(ingest) == ["execution:run-1", "execution:run-2"]
    assert ingest.watch.pressure == CALM
