"""An erasure over the real embedded backends: cut off after any of its steps, the next call ends it; twice is once."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from l07.backends import open as backends
from l07.backends.worker import InlineCurator
from l07.domain.marks import KEY, SOURCE, SUBJECT
from l07.errors import FileNotRewritten
from l07.events.record import Message
from l07.pipeline import forget
from l07.pipeline.forget import finish as finishing
from l07.pipeline.forget.datasets import Shelf
from l07.pipeline.forget.finish import Hands, finish
from l07.service import ingesting
from l07.service.ingesting import Ingest, now_text, open_erasures, opened_ingest
from l07.settings import Settings, load_settings

pytestmark = pytest.mark.slow  # starts the embedded server


class Killed(Exception):
    """The process ends here."""


def a_run(name: str, **more: Any) -> list[Message]:
    """A trace, its score, and a record of the run that nobody can read."""
    messages = [{"role": "user", "content": f"do {name}"}, {"role": "assistant", "content": "done"}]
    said = {"execution_id": name, "quality_score": 90.0, "confidence": 0.9}
    source = more.pop("source", "/agents")
    trace = an_event(
        "execution.completed", source, {"execution_id": name, "outcome": "success", "messages": messages, **more}
    )
    return [
        Message("execution.traces", name.encode(), trace, (), 1_767_600_000_000),
        Message("evaluation.quality_scores", name.encode(), an_event("evaluation.completed", "/judge", said), (), 1_767_600_000_001),
        Message("execution.traces", name.encode(), trace[:-9], (), 1_767_600_000_002),
    ]  # fmt: skip


def an_event(kind: str, source: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"specversion": "1.0", "type": kind, "source": source, "id": "x", "data": data}).encode()


class World:
    """A data folder whose ingest is open, and hands for an erasure in it."""

    def __init__(self, settings: Settings, ingest: Ingest) -> None:
        self.settings, self.ingest = settings, ingest
        ledgers = [backends.open_ledger(settings, name) for name in ("datasets", "jobs", "registry", "exports")]
        shelf = Shelf(*ledgers, backends.open_store(settings), InlineCurator(), settings, now_text)
        self.hands = Hands(open_erasures(settings), ingest.buffer, ingest.bus, shelf, alone=True)

    async def send(self, *messages: Message) -> None:
        await self.ingest.bus.publish(messages)
        while await self.ingest.step(merged=True, timeout_s=0):
            pass
        await self.ingest.relay()

    async def order(self, kind: str, name: str) -> None:
        marks = backends.open_marks(self.settings)
        await forget.order(self.hands.known, marks, kind, [name], reason="", by="ann", at=now_text())

    def files_with(self, needle: str) -> list[str]:
        files = [path for path in self.settings.data_dir.rglob("*") if path.is_file()]
        return sorted(path.name for path in files if needle.encode() in path.read_bytes())

    async def keys(self) -> list[str]:
        return sorted([run.key async for run in self.ingest.buffer.runs()])


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(ingesting, "ERASURES_S", 0.0)
    settings = load_settings({}, overrides={"data_dir": tmp_path}).settings
    async with opened_ingest(settings, lambda _: None) as ingest:
        yield World(settings, ingest)


STEPS = (
    (finishing, "_found"),
    (finishing.announce, "relay"),
    (finishing.in_buffer, "clean"),
    (finishing.on_bus, "clean"),
    (finishing.in_datasets, "clean"),
    (finishing.announce, "announce"),
    (finishing, "_clean"),
)


async def test_cut_off_before_any_step_the_next_call_ends_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    for number, (module, name) in enumerate(STEPS):
        run = f"canary-run-{number}"
        await world.send(*a_run(run), *a_run(f"stays-{number}"))
        assert any(name.startswith("bus.db") for name in world.files_with(run))
        await world.order(KEY, f"execution:{run}")
        with monkeypatch.context() as patch:
            patch.setattr(module, name, killed)
            with pytest.raises(Killed):
                await finish(world.hands)
        assert await finish(world.hands)
        assert world.files_with(run) == [], name
        assert f"execution:stays-{number}" in await world.keys()
    status = await world.ingest.buffer.status()
    assert all(sum(c.values()) == 2 * c["consumed"] for c in status.partitions.values())
    assert world.files_with("stays-0")
    done = dict(world.hands.done)
    assert await finish(world.hands)
    assert world.hands.done == done, "nothing is left to do"


async def test_a_persons_runs_take_their_scores_with_them_and_so_do_a_sources(world: World) -> None:
    await world.send(*a_run("lucia-1", subject_id="lucia"), *a_run("bad-1", source="/bad"), *a_run("good-1"))
    waits, _, _ = a_run("lucia-2", subject_id="lucia")
    await world.send(waits)
    await world.order(SUBJECT, "lucia")
    await world.order(SOURCE, "/bad")
    assert await finish(world.hands)
    assert await world.keys() == ["execution:good-1"]
    assert world.files_with("lucia") == world.files_with("bad-1") == []
    await world.send(*a_run("lucia-2")[1:2])  # its score comes late, and does not say whose it is
    assert await world.keys() == ["execution:good-1"]
    ledger = world.settings.data_dir / "ledgers" / "erasures"
    assert not any(b"lucia" in path.read_bytes() or b"/bad" in path.read_bytes() for path in ledger.iterdir())


async def test_where_the_file_may_not_be_rewritten_the_order_stays_open_and_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forbidden() -> None:
        raise FileNotRewritten("ask an administrator")

    await world.send(*a_run("canary-run"))
    await world.order(KEY, "execution:canary-run")
    with monkeypatch.context() as patch:
        patch.setattr(world.ingest.buffer, "rewrite_file", forbidden)
        with pytest.raises(FileNotRewritten):
            await finish(world.hands)
    await forget.stuck(world.hands.known, "E7125: ask an administrator", at=now_text())
    [order] = world.hands.known.state.open
    assert order.trouble == "E7125: ask an administrator"
    assert await finish(world.hands)
    assert world.files_with("canary-run") == []
