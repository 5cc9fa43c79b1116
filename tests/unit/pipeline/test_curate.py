"""batch.sealed -> dataset.created or batch.pending: what is recorded, and that a repeat at any point has no second
effect."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from l07.backends.worker import InlineCurator
from l07.errors import DatasetChanged, DatasetConflict, GoldenUnreadable, NoSuchBatch
from l07.events import outbound
from l07.pipeline.curate import curate_batch, identity
from l07.ports import Entry, SealedBatch
from l07.settings import Settings, load_settings
from tests.curation import a_batch, a_row, a_task_each
from tests.fakes import FolderFake, MemoryLedger


@dataclass
class Buffer:
    """The part of ports.ExampleBuffer that curation uses."""

    batches: dict[str, SealedBatch] = field(default_factory=dict)

    async def read(self, batch_id: str) -> SealedBatch:
        if batch_id not in self.batches:
            raise NoSuchBatch(f"no sealed batch {batch_id}", batch=batch_id)
        return self.batches[batch_id]

    async def status(self) -> "Buffer":
        return self

    async def release(self, batch_id: str) -> None:
        self.batches.pop(batch_id, None)


@dataclass
class Data:
    track: str
    batch_id: str


@dataclass
class Cause:
    id: str
    data: Data
    correlationid: str | None = "cycle-1"


class World:
    """A curator with everything around it in memory, files in a folder."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.buffer, self.ledger, self.store = Buffer(), MemoryLedger("datasets"), FolderFake(root)
        self.settings: Settings = load_settings({}, overrides=settings).settings

    def seal(self, batch: SealedBatch) -> Cause:
        self.buffer.batches[batch.seal.batch_id] = batch
        return Cause(identity(batch), Data(batch.seal.track, batch.seal.batch_id))

    async def curate(self, cause: Cause, **instead: Any) -> None:
        ports: dict[str, Any] = {
            "buffer": self.buffer, "ledger": self.ledger, "store": self.store, "curator": InlineCurator(), "settings": self.settings,
        }  # fmt: skip
        await curate_batch(cause, **(ports | instead))

    @property
    def last(self) -> Entry:
        return self.ledger.lines[-1]

    def manifest(self, uri: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.store.path(uri) / "manifest.json").read_text("utf-8"))
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_sealed_batch_becomes_a_version_and_leaves_the_buffer(world: World) -> None:
    await world.curate(world.seal(a_batch([*a_task_each(20), a_row("bad", score=5.0)])))
    assert (world.last.kind, world.last.key) == ("dataset.created", "default:1.0.0")
    data = world.last.body["data"]
    assert data["uri"] == "datasets/default/1.0.0"
    assert data["digest"] == world.manifest(data["uri"])["digest"]
    assert sum(data["splits"].values()) == data["added"] == 20
    assert (data["dropped"], data["tables"]) == ({"quality_score": 1}, {"contrast": 1, "review": 0})
    assert world.buffer.batches == {}


async def test_the_entry_announces_an_event_that_fits(world: World) -> None:
    cause = world.seal(a_batch(a_task_each(20)))
    await world.curate(cause)
    event = outbound.from_entry(world.last)
    assert isinstance(event, outbound.DatasetCreated)
    assert (event.subject, event.causationid, event.correlationid) == ("datasets/default:1.0.0", cause.id, "cycle-1")
    assert event.data.splits["train"] == 16
    assert event.time == "2026-01-05T09:00:00.001Z"


async def test_the_event_says_how_much_our_own_models_did(world: World) -> None:
    rows = [*a_task_each(12), *a_task_each(4, prefix="own", model_version="default:1.0.0")]
    await world.curate(world.seal(a_batch(rows)))
    event = outbound.from_entry(world.last)
    assert isinstance(event, outbound.DatasetCreated)
    assert event.data.own_share == 0.25


async def test_a_repeat_has_no_second_effect(world: World) -> None:
    cause = world.seal(a_batch(a_task_each(20)))
    await world.curate(cause)
    await world.curate(cause)
    assert world.ledger.kinds() == ["dataset.created"]


async def test_the_next_batch_makes_the_next_version(world: World) -> None:
    await world.curate(world.seal(a_batch(a_task_each(20))))
    await world.curate(world.seal(a_batch(a_task_each(5, prefix="n"), number=2)))
    assert (world.last.key, world.last.body["data"]["parent"]) == ("default:1.1.0", "1.0.0")
    assert sum(world.last.body["data"]["splits"].values()) == 25


async def test_a_batch_with_too_few_groups_waits_and_joins_the_next(world: World) -> None:
    cause = world.seal(a_batch(a_task_each(9)))
    await world.curate(cause)
    assert (world.last.kind, world.last.key) == ("batch.pending", "default-1")
    assert (world.last.body["code"], world.last.body["needed"], world.last.body["have"]) == ("E7101", 10, 9)
    assert set(world.buffer.batches) == {"default-1"}
    assert outbound.from_entry(world.last) is None

    await world.curate(cause)  # once more: it waits already
    assert len(world.ledger.lines) == 1

    await world.curate(world.seal(a_batch(a_task_each(3, prefix="n"), number=2)))
    assert world.last.body["batches"] == world.last.body["data"]["batches"] == ["default-1", "default-2"]
    assert sum(world.last.body["data"]["splits"].values()) == 12
    assert world.buffer.batches == {}


async def test_a_batch_that_adds_nothing_waits(world: World) -> None:
    rows = a_task_each(20)
    await world.curate(world.seal(a_batch(rows)))
    await world.curate(world.seal(a_batch(rows, number=2)))
    assert (world.last.kind, world.last.body["reason"]) == ("batch.pending", "no_change")


async def test_tracks_do_not_see_each_other(world: World) -> None:
    await world.curate(world.seal(a_batch(a_task_each(20))))
    await world.curate(world.seal(a_batch(a_task_each(20), track="other")))
    assert [line.key for line in world.ledger.lines] == ["default:1.0.0", "other:1.0.0"]


async def test_after_a_rollback_the_same_number_is_another_batch_and_loses_no_run(world: World) -> None:
    """The buffer was flushed, and sealed again what it had announced, cut in another way: `a` runs and `b` runs changed places."""
    rows = a_task_each(30)
    a, b = rows[:15], rows[15:]
    first = world.seal(a_batch(a))
    await world.curate(first)
    again = world.seal(a_batch(b))
    assert again.id != first.id

    await world.curate(first)  # repeated by the relay: it must not let go what it does not know
    assert set(world.buffer.batches) == {"default-1"}
    await world.curate(again)
    await world.curate(world.seal(a_batch(a, number=2)))

    assert sum(world.ledger.lines[1].body["data"]["splits"].values()) == 30
    assert world.ledger.kinds() == ["dataset.created", "dataset.created", "batch.pending"]  # `a` again adds nothing


async def test_an_announcement_that_the_buffer_was_rolled_back_behind_changes_nothing(world: World) -> None:
    gone = world.seal(a_batch(a_task_each(20, prefix="a")))
    kept = world.seal(a_batch(a_task_each(20, prefix="b")))
    await world.curate(gone)
    assert world.ledger.lines == []
    await world.curate(kept)
    assert world.last.body["causationid"] == kept.id


async def test_a_batch_that_waited_and_was_rolled_back_holds_up_no_other(world: World) -> None:
    rows = a_task_each(30)
    await world.curate(world.seal(a_batch(rows[:9])))
    del world.buffer.batches["default-1"]
    await world.curate(world.seal(a_batch(rows[10:], number=2)))
    assert (world.last.kind, world.last.body["batches"]) == ("dataset.created", ["default-2"])

    await world.curate(world.seal(a_batch(rows[:10])))
    assert sum(world.last.body["data"]["splits"].values()) == 30


async def test_two_batches_of_one_number_may_both_wait(world: World) -> None:
    rows = a_task_each(30)
    await world.curate(world.seal(a_batch(rows[:9])))
    await world.curate(world.seal(a_batch(rows[9:18])))  # after a rollback
    assert world.ledger.kinds() == ["batch.pending", "batch.pending"]
    await world.curate(world.seal(a_batch(rows[18:21], number=2)))
    assert world.last.body["batches"] == ["default-1", "default-2"]
    assert sum(world.last.body["data"]["splits"].values()) == 12


class Killed(BaseException):
    """kill -9, as a test can see it."""


@pytest.mark.parametrize(
    "at", ["before_publish", "after_publish", "before_append", "after_append", "before_release", "mid_release"]
)
async def test_killed_at_any_point_it_goes_on_to_the_same_version(at: str, tmp_path: Path) -> None:
    plain, world = World(tmp_path / "plain"), World(tmp_path / "killed")
    batches = [a_batch(a_task_each(9)), a_batch(a_task_each(9, prefix="n"), number=2)]
    for each in (plain, world):
        await each.curate(each.seal(batches[0]))
    await plain.curate(plain.seal(batches[1]))
    cause = world.seal(batches[1])
    with pytest.raises(Killed):
        await world.curate(cause, **killing(world, at))
    await world.curate(cause)
    assert [(line.kind, line.key, line.body) for line in world.ledger.lines] == [
        (line.kind, line.key, line.body) for line in plain.ledger.lines
    ]
    assert world.buffer.batches == {}


def killing(world: World, at: str) -> dict[str, Any]:
    """The port that dies at this point."""

    class Store(FolderFake):
        async def publish(self, scratch: Path, uri: str) -> str:
            if at == "before_publish":
                raise Killed
            await super().publish(scratch, uri)
            if at == "after_publish":
                raise Killed
            return uri

    if at.endswith("publish"):
        return {"store": Store(world.store.root)}
    return (
        {"ledger": DyingLedger(world.ledger, at)}
        if at.endswith("append")
        else {"buffer": DyingBuffer(world.buffer, at)}
    )


class DyingLedger:
    name = "datasets"

    def __init__(self, ledger: MemoryLedger, at: str) -> None:
        self.entries, self._ledger, self._at = ledger.entries, ledger, at

    async def append(self, *args: Any, **more: Any) -> Entry:
        if self._at == "after_append":
            await self._ledger.append(*args, **more)
        raise Killed


class DyingBuffer:
    def __init__(self, buffer: Buffer, at: str) -> None:
        self.read, self.status, self._buffer, self._left = buffer.read, buffer.status, buffer, int(at == "mid_release")

    async def release(self, batch_id: str) -> None:
        if not self._left:
            raise Killed
        self._left -= 1
        await self._buffer.release(batch_id)


async def test_a_folder_of_other_batches_in_the_place_of_the_version_is_refused(world: World) -> None:
    other = World(world.store.root)
    await other.curate(other.seal(a_batch(a_task_each(20), number=7)))
    with pytest.raises(DatasetConflict):
        await world.curate(world.seal(a_batch(a_task_each(20))))
    assert world.ledger.lines == []


async def test_a_parent_that_was_changed_is_refused_with_the_file(world: World) -> None:
    await world.curate(world.seal(a_batch(a_task_each(20))))
    file = next(world.store.path("datasets/default/1.0.0").glob("data/train-*.parquet"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DatasetChanged) as raised:
        await world.curate(world.seal(a_batch(a_task_each(5, prefix="n"), number=2)))
    assert raised.value.context["file"] == file.relative_to(world.store.path("datasets/default/1.0.0")).as_posix()


async def test_golden_twins_are_counted_in_the_entry(tmp_path: Path) -> None:
    rows = a_task_each(20)
    lines = [
        {
            "key": row.key,
            "group": f"g{n}",
            "domain": "home",
            "messages": json.loads(row.trace)["data"]["messages"],
            "tools": [],
        }
        for n, row in enumerate(rows)
    ]
    golden = tmp_path / "golden.jsonl"
    golden.write_text("\n".join(map(json.dumps, lines[:4])), "utf-8")
    world = World(tmp_path, **{"tracks.default.golden": str(golden)})
    await world.curate(world.seal(a_batch(rows)))
    dropped = world.last.body["counts"]["golden_twins"]
    assert dropped == world.last.body["data"]["dropped"]["golden_twin"] > 0
    assert world.last.body["golden"].startswith("sha256:")


@pytest.mark.parametrize(
    "text", [None, '{"key": "a"}', "{", '{"key": "a", "group": "g", "domain": "d", "messages": [3]}']
)
async def test_a_golden_set_that_cannot_be_read_stops_the_curator(text: str | None, tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    if text is not None:
        golden.write_text(text, "utf-8")
    world = World(tmp_path, **{"tracks.default.golden": str(golden)})
    with pytest.raises(GoldenUnreadable):
        await world.curate(world.seal(a_batch(a_task_each(20))))
