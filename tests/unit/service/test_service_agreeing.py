"""Members of one buffer and several data folders: whoever does not know of an erasure that the others know lets nothing in."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from l07.backends import open as backends
from l07.domain.marks import KEY
from l07.errors import BufferFull, ErasuresBehind, ErasuresElsewhere
from l07.events.record import Message
from l07.pipeline import forget
from l07.runner import Halts
from l07.service import ingesting
from l07.service.ingesting import Ingest, open_erasures, opened_ingest
from l07.settings import Settings, load_settings

pytestmark = pytest.mark.slow  # each starts the embedded server
AT = "2026-01-05T09:00:00.000Z"


class World:
    """A member that is at work, and others beside it with data folders of their own."""

    def __init__(self, ingest: Ingest, root: Path) -> None:
        self.ingest, self.root = ingest, root
        self.settings = ingest.settings

    def elsewhere(self) -> Settings:
        bus = f"sqlite:///{backends.bus_path(self.settings)}"
        return load_settings({}, overrides={"data_dir": self.root / "other", "bus.url": bus}).settings

    async def order(self, key: str) -> None:
        marks = backends.open_marks(self.settings)
        await forget.order(open_erasures(self.settings), marks, KEY, [key], reason="", by="ann", at=AT)

    def share(self) -> None:
        """The other folder gets the ledger and the key."""
        for name in ("ledgers", "keys"):
            shutil.copytree(self.settings.data_dir / name, self.root / "other" / name, dirs_exist_ok=True)

    async def send(self, name: str) -> None:
        messages = [{"role": "user", "content": f"do {name}"}, {"role": "assistant", "content": "done"}]
        data = {"execution_id": name, "outcome": "success", "messages": messages}
        event = {"specversion": "1.0", "type": "execution.completed", "source": "/a", "id": name, "data": data}
        await self.ingest.bus.publish([Message("execution.traces", b"k", json.dumps(event).encode(), (), 1)])

    async def keys(self) -> list[str]:
        return sorted([run.key async for run in self.ingest.buffer.runs()])


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    settings = load_settings({}, overrides={"data_dir": tmp_path / "ours"}).settings
    async with opened_ingest(settings, lambda _: None, halts=Halts()) as ingest:

        @asynccontextmanager
        async def shared(_: Settings) -> AsyncIterator[Any]:
            yield ingest.buffer

        monkeypatch.setattr(ingesting.backends, "open_buffer", shared)
        monkeypatch.setattr(ingesting, "ERASURES_S", 0.0)
        yield World(ingest, tmp_path)


@asynccontextmanager
async def another(world: World) -> AsyncIterator[Ingest]:
    async with opened_ingest(world.elsewhere(), lambda _: None, halts=Halts()) as ingest:
        yield ingest


async def test_where_nobody_was_erased_any_data_folder_will_do(world: World) -> None:
    await world.ingest.turn()
    assert await world.ingest.buffer.erasures() == {}
    async with another(world) as other:
        await other.turn()


async def test_with_an_empty_data_folder_a_member_does_not_start(world: World) -> None:
    await world.order("execution:run-1")
    await world.ingest.turn()
    with pytest.raises(ErasuresElsewhere, match=r"E7127.*another data folder's.*marks\.key"):
        async with another(world):
            pass
    world.share()
    async with another(world) as other:
        await other.turn()


async def test_with_an_old_copy_neither_and_the_message_says_how_old(world: World) -> None:
    await world.order("execution:run-1")
    world.share()
    await world.order("execution:run-2")
    await world.ingest.turn()
    with pytest.raises(ErasuresElsewhere, match="it ends at entry 1, they at 2"):
        async with another(world):
            pass


async def test_at_work_it_stands_still_at_every_turn_until_its_folder_shows_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.order("execution:run-1")
    world.share()
    async with another(world) as other:
        await other.turn()
        await world.order("execution:run-2")
        await world.ingest.turn()
        await world.send("run-2")
        for every_s in (0.0, 60.0, 60.0):  # however seldom it looks: it does not go on in between
            monkeypatch.setattr(ingesting, "ERASURES_S", every_s)
            with pytest.raises(ErasuresBehind, match="E7128"):
                await other.turn()
        assert "E7128" in str(other.watch.health.reasons["back_off"])
        assert (await world.ingest.buffer.status()).partitions == {}
        world.share()
        while not (await other.buffer.status()).reasons:
            await other.turn()
        assert (await other.buffer.status()).reasons == {"erased": 1}
        assert await world.keys() == []


async def test_after_a_flush_whoever_knows_says_it_again(world: World) -> None:
    await world.order("execution:run-1")
    await world.ingest.turn()
    before = await world.ingest.buffer.erasures()
    await world.ingest.buffer._client.unlink(world.ingest.buffer._heard)  # type: ignore[attr-defined]
    await world.ingest.turn()
    assert await world.ingest.buffer.erasures() == before
    assert list(before.values()) == [1]


async def test_a_full_buffer_is_told_later_and_the_turn_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> None:
        raise BufferFull("no memory")

    await world.order("execution:run-1")
    with monkeypatch.context() as patch:
        patch.setattr(world.ingest.buffer, "note_erasures", full)
        await world.ingest.turn()
    assert await world.ingest.buffer.erasures() == {}
    await world.ingest.turn()
    assert len(await world.ingest.buffer.erasures()) == 1
