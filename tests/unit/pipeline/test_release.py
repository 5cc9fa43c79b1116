"""From a trained artifact to a registered, verified, moved model; on the folder backends."""

import asyncio
import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from l07.backends.store import FolderLedger, FolderStore
from l07.domain.registry import SIMULATED, Stage, fold
from l07.errors import (
    BadArtifactName,
    FileChanged,
    L07Error,
    MoveNotAllowed,
    NotDeployable,
    ReleaseIncomplete,
    SealOfAnother,
    SignedByAnother,
    SimulatedArtifact,
    StoreFull,
    UnknownModel,
    Unsealable,
)
from l07.pipeline import release
from l07.ports import Entry

AT = "2026-01-02T03:04:05Z"


class World:
    """A data folder with a registry, a store, a key, and jobs that end."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = FolderLedger(root / "ledgers", "registry")
        self.store = FolderStore(root)
        self.ports: dict[str, Any] = {
            "registry": self.registry,
            "store": self.store,
            "key_file": root / "keys" / "registry.pem",
        }

    def artifact(self, job_id: str, weights: str) -> Path:
        folder = self.root / "jobs" / job_id / "out"
        (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
        (folder / "adapter.safetensors").write_text(weights)
        (folder / "tokenizer" / "vocab.json").write_text("{}")
        return folder

    async def register(self, job_id: str = "j1", *, weights: str = "w", name: str = "default", **more: Any) -> Entry:
        lineage = {"job_id": job_id, "dataset": "datasets/default/1.0.0"}
        words: dict[str, Any] = {
            "base_model": "tiny-base",
            "rank": 16,
            "causationid": "c",
            "correlationid": "r",
            "at": AT,
        }
        artifact = self.artifact(job_id, weights)
        return await release.register(name=name, artifact=artifact, lineage=lineage, **words, **self.ports, **more)

    async def validate(self, entry: Entry, verdict: str = "DEPLOY") -> None:
        data = {**entry.body["data"], "verdict": verdict}
        await self.registry.append(
            "model.validated", entry.key, {"subject": entry.body["subject"], "data": data}, at=AT
        )

    async def move(self, to: Stage, *, version: str = "1.0.0", by: str = "ann") -> Entry:
        words = {"name": "default", "version": version, "by": by, "reason": "because", "at": AT}
        return await release.move(to=to, **words, **self.ports)

    async def load(self, version: str = "1.0.0") -> release.VerifiedModel:
        return await release.load_verified(name="default", version=version, **self.ports)

    async def stage(self, version: str = "1.0.0") -> Stage:
        return fold(await self.registry.entries()).find("default", version).stage


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# ------------------------------------------------------------------ register


async def test_a_registered_model_is_sealed_published_and_recorded(world: World) -> None:
    entry = await world.register()
    assert (entry.kind, entry.key, entry.body["subject"]) == (
        "model.registered",
        "default:1.0.0",
        "models/default:1.0.0",
    )
    assert (entry.body["causationid"], entry.body["correlationid"]) == ("c", "r")
    data = entry.body["data"]
    assert {k: data[k] for k in ("model", "version", "uri", "format", "base_model", "rank")} == {
        "model": "default", "version": "1.0.0", "uri": "models/default/1.0.0", "format": "peft-lora",
        "base_model": "tiny-base", "rank": 16,
    }  # fmt: skip
    assert data["lineage"] == {"job_id": "j1", "dataset": "datasets/default/1.0.0"}
    found = await world.load()
    assert found.folder == world.store.path("models/default/1.0.0")
    assert (found.folder / "adapter.safetensors").read_text() == "w"
    assert found.model.digest == data["digest"]


async def test_versions_of_a_name_count_up(world: World) -> None:
    keys = [(await world.register(f"j{n}", weights=str(n))).key for n in range(3)]
    other = await world.register("j9", name="banking")
    assert [*keys, other.key] == ["default:1.0.0", "default:2.0.0", "default:3.0.0", "banking:1.0.0"]


async def test_the_same_job_again_registers_nothing_new(world: World) -> None:
    first = await world.register()
    again = await World(world.root).register()
    assert again == first
    assert len(await world.registry.entries()) == 1
    assert world.artifact("j1", "w").exists()


async def test_files_beside_the_artifact_are_sealed_with_it(world: World) -> None:
    entry = await world.register(beside=lambda version: {"README.md": f"# {version}", "plots/loss.svg": "<svg/>"})
    found = await world.load()
    assert (found.folder / "README.md").read_text() == "# 1.0.0"
    again = await World(world.root).register(beside=lambda version: {"README.md": f"# {version}"})
    assert again == entry
    (found.folder / "README.md").write_text("# better")
    with pytest.raises(FileChanged):
        await world.load()


async def test_a_crash_between_publish_and_record_is_gone_on_from(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(FolderLedger, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            await world.register()
    assert world.store.exists("models/default/1.0.0")
    assert (await world.register()).key == "default:1.0.0"
    assert (await world.load()).model.version == "1.0.0"


async def crash(*_: object, **__: object) -> Entry:
    raise KeyboardInterrupt


async def test_a_number_whose_folder_holds_other_files_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(FolderLedger, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            await world.register("j1", weights="one")
    assert (await world.register("j2", weights="two")).key == "default:2.0.0"
    assert ((await world.load("2.0.0")).folder / "adapter.safetensors").read_text() == "two"


async def test_jobs_that_end_at_once_get_a_number_each(world: World) -> None:
    weights = ["same", "same", "other", "third"]
    entries = await asyncio.gather(*(World(world.root).register(f"j{n}", weights=w) for n, w in enumerate(weights)))
    assert len({entry.key for entry in entries}) == 4
    for entry, text in zip(entries, weights, strict=True):
        loaded = await world.load(entry.body["data"]["version"])
        assert (loaded.folder / "adapter.safetensors").read_text() == text


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a:b", ".hidden", "x" * 65, "añ"])
async def test_a_bad_name_is_refused(world: World, name: str) -> None:
    with pytest.raises(BadArtifactName, match="E7406"):
        await world.register(name=name)
    assert await world.registry.entries() == []


async def test_an_artifact_with_a_link_is_refused_and_nothing_is_published(world: World) -> None:
    (world.artifact("j1", "w") / "tokenizer" / "link").symlink_to("/etc")
    with pytest.raises(Unsealable, match="tokenizer/link"):
        await world.register()
    assert not world.store.exists("models/default/1.0.0")
    assert await world.registry.entries() == []


async def test_a_full_disk_registers_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        with pytest.raises(StoreFull, match="E7400"):
            await world.register()
    assert await world.registry.entries() == []
    assert (await world.register()).key == "default:1.0.0"


# ------------------------------------------------------------------ load


async def test_an_unknown_version_is_said(world: World) -> None:
    with pytest.raises(UnknownModel, match="E7210"):
        await world.load()


async def test_a_changed_file_is_found_at_load_and_at_move(world: World) -> None:
    await world.validate(await world.register())
    (world.store.path("models/default/1.0.0") / "adapter.safetensors").write_text("evil")
    with pytest.raises(FileChanged, match=r"adapter\.safetensors"):
        await world.load()
    with pytest.raises(FileChanged):
        await world.move(Stage.STAGING)
    assert await world.stage() is Stage.DEVELOPMENT


async def test_another_version_in_its_place_is_found(world: World) -> None:
    for n in (1, 2):
        await world.register(f"j{n}", weights=str(n))
    shutil.rmtree(world.store.path("models/default/2.0.0"))
    shutil.copytree(world.store.path("models/default/1.0.0"), world.store.path("models/default/2.0.0"))
    with pytest.raises(SealOfAnother, match="E7224"):
        await world.load("2.0.0")


async def test_well_sealed_files_that_were_never_registered_are_found(world: World, tmp_path: Path) -> None:
    await world.register(weights="one")
    other = World(tmp_path / "other")
    shutil.copytree(world.root / "keys", other.root / "keys")
    await other.register(weights="two")  # the same name, version and key, but other files
    shutil.rmtree(world.store.path("models/default/1.0.0"))
    shutil.copytree(other.store.path("models/default/1.0.0"), world.store.path("models/default/1.0.0"))
    with pytest.raises(SealOfAnother, match="registered"):
        await world.load()


async def test_a_lost_key_is_said_at_load(world: World) -> None:
    await world.register()
    world.ports["key_file"].unlink()
    with pytest.raises(SignedByAnother, match="E7222"):
        await world.load()


# ------------------------------------------------------------------ move


async def test_a_deployable_model_goes_to_staging(world: World) -> None:
    made = await world.register()
    await world.validate(made)
    entry = await world.move(Stage.STAGING)
    assert (entry.kind, entry.body["subject"]) == ("model.stage_changed", "models/default:1.0.0")
    assert entry.body["data"] == {
        "model": "default", "version": "1.0.0", "from": "DEVELOPMENT", "to": "STAGING", "by": "ann",
        "reason": "because", "approvals": [], "previous": None, "digest": made.body["data"]["digest"],
    }  # fmt: skip
    assert await world.stage() is Stage.STAGING


async def test_a_move_names_the_version_that_was_there_before(world: World) -> None:
    for n in (1, 2):
        await world.validate(await world.register(f"j{n}", weights=str(n)))
    await world.move(Stage.STAGING)
    assert (await world.move(Stage.STAGING, version="2.0.0")).body["data"]["previous"] == "1.0.0"


async def test_the_same_move_again_returns_the_entry_that_is_there(world: World) -> None:
    await world.validate(await world.register())
    first = await world.move(Stage.STAGING)
    assert await world.move(Stage.STAGING, by="bob") == first
    assert len(await world.registry.entries()) == 3


@pytest.mark.parametrize(
    ("verdict", "to", "error"),
    [
        (None, Stage.STAGING, NotDeployable),
        ("REVIEW", Stage.STAGING, NotDeployable),
        ("DEPLOY", Stage.PRODUCTION, MoveNotAllowed),
        ("DEPLOY", Stage.DEVELOPMENT, MoveNotAllowed),
    ],
)
async def test_a_gate_that_says_no_changes_nothing(
    world: World, verdict: str | None, to: Stage, error: type[L07Error]
) -> None:
    entry = await world.register()
    if verdict:
        await world.validate(entry, verdict)
    before = await world.registry.entries()
    with pytest.raises(error):
        await world.move(to)
    assert await world.registry.entries() == before


async def test_production_is_refused_and_says_what_is_missing(world: World) -> None:
    await world.validate(await world.register())
    await world.move(Stage.STAGING)
    with pytest.raises(ReleaseIncomplete, match=r"E7214: .*approvals"):
        await world.move(Stage.PRODUCTION)
    assert await world.stage() is Stage.STAGING


async def test_a_simulated_artifact_passes_no_gate(world: World) -> None:
    await world.validate(await world.register(labels=[SIMULATED]))
    with pytest.raises(SimulatedArtifact, match="E7213"):
        await world.move(Stage.STAGING)


async def test_a_tampered_model_can_still_be_quarantined(world: World) -> None:
    await world.register()
    (world.store.path("models/default/1.0.0") / "adapter.safetensors").write_text("evil")
    with pytest.raises(FileChanged):
        await world.move(Stage.ARCHIVED)
    await world.move(Stage.QUARANTINED)
    assert await world.stage() is Stage.QUARANTINED


async def test_of_two_moves_at_once_one_is_told_that_it_came_late(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.register()
    other, append = World(world.root), world.registry.append

    async def append_late(*args: Any, **words: Any) -> Entry:
        await other.move(Stage.QUARANTINED, by="bob")  # after the gates, before the entry
        return await append(*args, **words)

    monkeypatch.setattr(world.registry, "append", append_late)
    with pytest.raises(MoveNotAllowed, match="moved to QUARANTINED at the same time"):
        await world.move(Stage.ARCHIVED)
    assert await world.stage() is Stage.QUARANTINED
