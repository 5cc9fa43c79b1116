"""Erasure in the datasets: a successor, revocations, taint; whatever is cut off, the next look ends it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from service_builders import NOW, a_folder, examples_of, some_runs

from l07.backends.store import FolderLedger
from l07.domain.erasure import Tombstones
from l07.domain.marks import KEY, Marks
from l07.domain.measurements import Measurements, Row, decode
from l07.domain.registry import fold
from l07.errors import DatasetRevoked, LedgerBroken
from l07.pipeline import train
from l07.pipeline.curate import REVOKED, Standing
from l07.pipeline.forget import Known, order
from l07.pipeline.forget import datasets as in_datasets
from l07.pipeline.forget.datasets import Shelf
from l07.service.curating import Dataset, DatasetCurator
from l07.service.folder import DataFolder
from tests.fakes import MemoryLedger

AT = "2026-01-05T09:00:00.000Z"
MARKS = Marks(b"k" * 32)


class House:
    """A track with two versions, the second of more runs."""

    def __init__(self, folder: DataFolder) -> None:
        self.folder, self.curator = folder, DatasetCurator(folder)
        self.known = Known(MemoryLedger("erasures"), lambda: MARKS)
        self.exports = MemoryLedger("exports")
        self.shelf = self.a_shelf()

    def a_shelf(self) -> Shelf:
        f = self.folder
        return Shelf(f.datasets, f.jobs, f.registry, self.exports, f.store, f.curator, f.settings, lambda: AT)

    async def make(self, runs: int) -> Dataset:
        return await self.curator.create_dataset(name="mine", examples=examples_of(some_runs(runs)), now=NOW)

    async def forget(self, *keys: str) -> dict[str, int]:
        await order(self.known, MARKS, KEY, keys, reason="", by="ann", at=AT)
        return await in_datasets.clean(self.known, self.shelf)

    async def versions(self) -> list[str]:
        return [entry.key for entry in Standing.of(await self.folder.datasets.entries(), "mine").versions]

    async def kinds(self) -> list[tuple[str, str]]:
        return [(entry.kind, entry.key) for entry in await self.folder.datasets.entries()]

    async def holding(self, key: str) -> list[str]:
        stones = Tombstones(MARKS, {KEY: frozenset({MARKS.of(KEY, key)})}, 1)
        return list(
            await in_datasets.found(replace(self.known, state=replace(self.known.state, tombstones=stones)), self.shelf)
        )


@pytest.fixture
async def house(tmp_path: Path) -> House:
    house = House(a_folder(tmp_path))
    await house.make(12)
    await house.make(14)
    return house


def key_of(number: int) -> str:
    return str(examples_of(some_runs(14))[number].key)


async def test_every_version_that_knows_of_it_is_revoked_and_a_patch_without_it_is_made(house: House) -> None:
    key = key_of(3)
    assert await house.holding(key) == ["mine:1.0.0", "mine:1.1.0"]
    assert await house.forget(key) == {"versions": 1, "rows": 1}
    assert await house.versions() == ["mine:1.1.1"]
    assert (await house.kinds())[2:] == [
        ("dataset.created", "mine:1.1.1"),
        (REVOKED, "mine:1.0.0"),
        (REVOKED, "mine:1.1.0"),
    ]
    assert await house.holding(key) == []
    made = await house.curator.get_dataset("mine:1.1.1")
    assert (sum(made.splits.values()), made.data["removed"], made.data["added"]) == (13, 1, 0)
    assert [house.folder.store.exists(f"datasets/mine/{v}") for v in ("1.0.0", "1.1.0", "1.1.1")] == [
        False,
        False,
        True,
    ]


async def test_a_version_that_never_had_it_stays(house: House) -> None:
    await house.forget(key_of(13))
    assert await house.versions() == ["mine:1.0.0", "mine:1.1.1"]


async def test_what_nobody_knows_changes_nothing(house: House) -> None:
    assert await house.forget("execution:nobody") == {"versions": 0, "rows": 0}
    assert await house.versions() == ["mine:1.0.0", "mine:1.1.0"]


async def test_a_revoked_version_is_refused_with_its_successor(house: House) -> None:
    await house.forget(key_of(3))
    with pytest.raises(DatasetRevoked, match=r"E7122.*1\.1\.1"):
        await house.curator.get_dataset("mine:1.1.0")
    assert [one.dataset_id for one in await house.curator.list_datasets()] == ["mine:1.1.1"]


async def test_the_next_batch_builds_onto_the_successor_and_the_erased_stay_away(house: House) -> None:
    await house.forget(key_of(3))
    made = await house.make(16)
    assert made.version == "1.2.0"
    runs = await house.holding(key_of(3))
    assert runs == ["mine:1.2.0"], "this folder was opened before, so it came in again"
    await in_datasets.clean(house.known, house.shelf)
    assert await house.versions() == ["mine:1.1.1", "mine:1.2.1"]
    assert await house.holding(key_of(3)) == []


async def test_from_python_too_the_erased_stay_out(house: House) -> None:
    await house.forget(key_of(3))
    house.curator = DatasetCurator(replace(house.folder, erased=house.known.tombstones))
    assert (await house.make(16)).version == "1.2.0"
    assert await house.holding(key_of(3)) == []


async def test_rows_of_measurements_and_forgotten_copies_go_with_the_version(house: House) -> None:
    store, key = house.folder.store, key_of(3)
    rows = tuple(Row("test", name, "g", "d", None, ()) for name in (key, "execution:other"))
    measured = Measurements(rows=rows, has_baseline=False, canaries=None, latency=(), golden=False)
    for place in ("reports/mine/1.0.0", "jobs/evaluate-1/attempt-1/out", "jobs/job-1/attempt-1/cache"):
        store.path(place).mkdir(parents=True)
    places = [
        store.path(place) / "measurements.json" for place in ("reports/mine/1.0.0", "jobs/evaluate-1/attempt-1/out")
    ]
    for place in places:
        place.write_bytes(msgspec.json.encode(measured))
    job = {"dataset": str(store.path("datasets/mine/1.1.0"))}
    store.path("jobs/job-1/attempt-1/job.json").write_text(json.dumps(job), "utf-8")
    await house.forget(key)
    assert [[row.key for row in decode(place.read_bytes()).rows] for place in places] == [["execution:other"]] * 2
    assert not store.path("jobs/job-1/attempt-1/cache").exists()


async def test_a_ledger_whose_end_was_cut_off_is_noticed_before_anything_comes_in(house: House, tmp_path: Path) -> None:
    known = Known(FolderLedger(tmp_path / "ledgers", "erasures"), lambda: MARKS)
    for number in (1, 2):
        await order(known, MARKS, KEY, [f"execution:{number}"], reason="", by="ann", at=AT)
    (tmp_path / "ledgers" / "erasures" / "00000002.json").unlink()
    with pytest.raises(LedgerBroken, match="E7200"):
        await Known(FolderLedger(tmp_path / "ledgers", "erasures"), lambda: MARKS).look()


async def test_where_too_little_is_left_a_version_is_kept_and_nobody_is_told_of_it(tmp_path: Path) -> None:
    house = House(a_folder(tmp_path))
    await house.make(10)
    await house.forget(key_of(3))
    assert (await house.kinds())[1:] == [("dataset.kept", "mine:1.0.1"), (REVOKED, "mine:1.0.0")]
    made = await house.make(13)
    assert made.version == "1.1.0"


async def test_models_are_tainted_once_and_a_job_that_waits_is_cancelled(house: House) -> None:
    lineage = {"job_id": "j1", "dataset": "datasets/mine/1.1.0"}
    data = {"model": "mine", "version": "1.0.0", "digest": "d", "uri": "u", "format": "peft-lora", "base_model": "b"}
    body = {"subject": "models/mine:1.0.0", "data": {**data, "lineage": lineage}}
    registry, jobs = house.folder.registry, house.folder.jobs
    await registry.append("model.registered", "mine:1.0.0", body, at=AT)
    queued = {"track": "mine", "version": "1.1.0", "uri": "u", "digest": "d", "cause": "c", "correlationid": None}
    await jobs.append("job.queued", "mine:1.1.0", queued, at=AT)
    await house.forget(key_of(3))
    [model] = fold(await registry.entries()).models.values()
    assert model.tainted == "2026-02-04T09:00:00.000Z"
    assert train.queue(await jobs.entries()) == []
    [cancelled] = [entry for entry in await jobs.entries() if entry.kind == "job.cancelled"]
    assert cancelled.body["reason"] == "mine:1.1.0 was revoked"
    await in_datasets.clean(house.known, house.a_shelf())
    assert [entry.kind for entry in await registry.entries()] == ["model.registered", "model.tainted"]
    late = {
        "subject": "models/mine:2.0.0",
        "data": {**data, "version": "2.0.0", "lineage": {**lineage, "job_id": "j2"}},
    }
    await registry.append("model.registered", "mine:2.0.0", late, at=AT)  # its trainer was faster than the order
    await in_datasets.clean(house.known, house.shelf)
    assert all(model.tainted for model in fold(await registry.entries()).models.values())


async def test_what_was_trained_upon_a_tainted_model_is_announced_as_tainted_too(house: House) -> None:
    registry = house.folder.registry

    async def register(version: str, **lineage: Any) -> None:
        data = {
            "model": "mine",
            "version": version,
            "digest": "d",
            "uri": "u",
            "format": "peft-lora",
            "base_model": "b",
        }
        body = {"subject": f"models/mine:{version}", "data": {**data, "lineage": {"job_id": version, **lineage}}}
        await registry.append("model.registered", f"mine:{version}", body, at=AT)

    await register("1.0.0", dataset="datasets/mine/1.1.0")
    await register("2.0.0", dataset="datasets/other/1.0.0", parents=["mine:1.0.0"])
    await register("3.0.0", dataset="datasets/other/1.0.0")
    await house.forget(key_of(3))
    await register("4.0.0", dataset="datasets/other/1.0.0", parents=["mine:2.0.0"])  # its base was at hand still
    assert await in_datasets.is_due(house.known, house.shelf)
    await in_datasets.clean(house.known, house.shelf)
    said = {e.key: e.body["data"]["affected"] for e in await registry.entries() if e.kind == "model.tainted"}
    assert said == {
        "mine:1.0.0": ["datasets/mine:1.1.0"],
        "mine:2.0.0": ["models/mine:1.0.0"],
        "mine:4.0.0": ["models/mine:2.0.0"],
    }
    revoked = await house.folder.datasets.find(REVOKED, "mine:1.1.0")
    assert revoked is not None
    assert revoked.body["data"]["affected"] == ["models/mine:1.0.0", "models/mine:2.0.0"]
    await in_datasets.clean(house.known, house.a_shelf())
    assert len([e for e in await registry.entries() if e.kind == "model.tainted"]) == 3


async def test_the_curator_deletes_exports_too_also_one_that_was_late(house: House, tmp_path: Path) -> None:
    async def export(version: str, name: str) -> Path:
        made = await house.folder.datasets.find("dataset.created", f"mine:{version}")
        assert made is not None
        (path := tmp_path / name).write_text("{}", "utf-8")
        data = {"dataset_id": made.key, "digest": made.body["data"]["digest"], "format": "trl", "output": name}
        files = {str(path): hashlib.sha256(b"{}").hexdigest()}
        await house.exports.append(
            "dataset.exported", name, {"data": {**data, "path": str(path), "files": files}}, at=AT
        )
        return path

    early = await export("1.1.0", "early.jsonl")
    await house.forget(key_of(3))
    assert not early.exists()
    late = await export("1.1.0", "late.jsonl")
    stays = await export("1.1.1", "stays.jsonl")
    assert await in_datasets.is_due(house.known, house.shelf)
    await in_datasets.clean(house.known, house.shelf)
    assert (late.exists(), stays.exists()) == (False, True)


class Killed(Exception):
    """The process ends here."""


STEPS: dict[str, Callable[[House], tuple[Any, str]]] = {
    "before the successor is published": lambda house: (house.folder.store, "publish"),
    "before the successor is recorded": lambda house: (house.folder.curator, "summary"),
    "before the first revocation": lambda house: (in_datasets, "_revoke"),
    "before the files go": lambda house: (house.folder.store, "remove"),
    "before it is noted": lambda house: (house.known, "note"),
}


@pytest.mark.parametrize("step", STEPS)
async def test_killed_between_two_steps_the_next_look_ends_it(
    house: House, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await order(house.known, MARKS, KEY, [key_of(3)], reason="", by="ann", at=AT)

    async def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        target, name = STEPS[step](house)
        patch.setattr(type(target) if not hasattr(target, "__file__") else target, name, killed)
        with pytest.raises(Killed):
            await in_datasets.clean(house.known, house.shelf)
    house.shelf = house.a_shelf()
    await in_datasets.clean(house.known, house.shelf)
    assert await house.versions() == ["mine:1.1.1"]
    assert await house.holding(key_of(3)) == []
    assert [kind for kind, _ in await house.kinds()].count(REVOKED) == 2
    assert [path.name for path in house.folder.store.path("datasets/mine").iterdir()] == ["1.1.1"]
    assert not await in_datasets.is_due(house.known, house.shelf)
