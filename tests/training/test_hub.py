"""A base of the hub: one commit, once, nothing that runs; and a code for each reason for which it does not come."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from l07.backends.child import ChildTrainer
from l07.backends.store import FolderStore
from l07.errors import (
    BaseDiffers,
    BaseIncomplete,
    BaseMissing,
    BaseNotPinned,
    BaseUnsafe,
    ChildError,
    HubRefused,
    HubUnreachable,
)
from l07.pipeline.bases import Base, known_base, prepare_base, resolve
from tests.training.hub_server import COMMIT, Hub, serving
from tests.training.struck import a_job
from tests.training.worlds import Bench

pytestmark = [pytest.mark.training, pytest.mark.slow]

CARD = "---\nlicense: other\nlicense_name: maker-licence\ntags:\n- x\n---\n# Base\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def hub(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """With everything that a repository may hold beside what is wanted."""
    folder = tmp_path / "repository"
    shutil.copytree(bench.base, folder)
    (folder / "base.json").unlink()
    (folder / "README.md").write_text(CARD, "utf-8")
    (folder / "LICENSE").write_text("Maker's licence\n", "utf-8")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling_base.py").write_text("raise SystemExit", "utf-8")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}", "utf-8")
    with serving(Hub(folder)) as one:
        monkeypatch.setenv("HF_ENDPOINT", one.address)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield one


async def fetched(hub: Hub, place: Path) -> Base:
    return await prepare_base(hub.name, aliases={}, store=FolderStore(place), trainer=ChildTrainer(), timeout_s=120)


async def refused(hub: Hub, place: Path, expected: type[ChildError], words: str) -> None:
    with pytest.raises(expected, match=words):
        await fetched(hub, place)
    assert not list((place / "bases").glob("hub-*")), "nothing half fetched is taken for a base"


async def test_a_base_of_the_hub_is_fetched_once_and_holds_nothing_that_runs(hub: Hub, tmp_path: Path) -> None:
    place = tmp_path / "data"
    assert known_base(hub.name, aliases={}, store=FolderStore(place)) is None
    base = await fetched(hub, place)
    names = {path.name for path in base.folder.rglob("*")}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "LICENSE", "base.json"} <= names
    assert not {name for name in names if name.endswith((".py", ".bin"))}
    assert not {"onnx", ".cache"} & names
    assert not [path for path in hub.asked if path.endswith((".bin", ".py"))], "it was not even asked for"
    assert base.revision == COMMIT
    assert (base.provenance.license, base.provenance.license_from) == ("other (maker-licence)", "README.md")

    before = len(hub.asked)
    again = await fetched(hub, place)
    assert (again.digest, len(hub.asked)) == (base.digest, before)
    known = known_base(hub.name, aliases={}, store=FolderStore(place))
    assert known is not None
    assert known.digest == base.digest


async def test_what_is_trained_on_it_says_so(hub: Hub, bench: Bench, tmp_path: Path) -> None:
    async with a_job(bench, tmp_path / "data", ChildTrainer(), base_model=hub.name, max_steps=2) as job:
        line = await job.work()
        assert line.standing == "COMPLETED"
        (model,) = await job.models()
        lineage = model["lineage"]
        assert lineage["base_model"] == hub.name
        assert lineage["base_revision"] == COMMIT
        assert lineage["base_license"] == "other (maker-licence)"
        assert len(lineage["chat_template"]) == 64
        folder = tmp_path / "data" / model["uri"]
        card = (folder / "README.md").read_text("utf-8")
        assert 'license: other\nlicense_name: "maker-licence"\n' in card
        assert "other (maker-licence), as its README.md says" in card
        settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        assert (settings["base_model_name_or_path"], settings["revision"]) == (hub.repo, COMMIT)


# ------------------------------------------------------------------ by what name


@pytest.mark.parametrize("name", ["maker/base", "maker/base@main", "maker/base@c0ffee", f"maker/base@{COMMIT.upper()}"])
def test_a_name_without_a_commit_is_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(BaseNotPinned, match="maker/base@COMMIT, 40 hex digits"):
        resolve(name, {})


def test_an_alias_may_name_a_commit_and_stand_for_a_name_without_one() -> None:
    found = resolve("maker/base", {"maker/base": f"maker/base@{COMMIT}"})
    assert found.hub is not None
    assert found.hub.revision == COMMIT
    assert resolve("maker/base", {"maker/base": "tiny-base"}).recipe is not None


def test_a_name_that_is_none_of_the_hub_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BaseMissing, match="ORG/NAME@COMMIT"):
        resolve("no-such-base", {})
    with pytest.raises(BaseMissing):
        resolve(str(tmp_path / "nothing"), {})


# ------------------------------------------------------------------ why it does not come


async def test_a_hub_that_does_not_answer_is_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    await refused(hub, tmp_path / "data", HubUnreachable, "cannot be reached .* name its folder")


async def test_offline_is_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    await refused(hub, tmp_path / "data", HubUnreachable, "HF_HUB_OFFLINE is set")
    assert not hub.asked


@pytest.mark.parametrize(("code", "status"), [("GatedRepo", 403), ("RepoNotFound", 404), ("RevisionNotFound", 404)])
async def test_what_the_hub_does_not_give_is_told(hub: Hub, tmp_path: Path, code: str, status: int) -> None:
    hub.refuses, hub.status = code, status
    await refused(hub, tmp_path / "data", HubRefused, "the hub has no .* HF_TOKEN")


async def test_a_hub_that_is_broken_may_be_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.refuses, hub.status = "Broken", 501
    await refused(hub, tmp_path / "data", HubUnreachable, "answered 501")


async def test_weights_in_pickles_alone_are_refused(hub: Hub, tmp_path: Path) -> None:
    (hub.folder / "model.safetensors").unlink()
    await refused(hub, tmp_path / "data", BaseUnsafe, "only as pytorch_model.bin")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
async def test_a_base_that_needs_code_of_its_own_is_refused(hub: Hub, tmp_path: Path, file: str) -> None:
    about = json.loads((hub.folder / file).read_text("utf-8"))
    (hub.folder / file).write_text(json.dumps({**about, "auto_map": {"AutoModel": "modeling_base.Base"}}), "utf-8")
    await refused(hub, tmp_path / "data", BaseUnsafe, "auto_map")


async def test_weights_that_changed_on_their_way_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.lies.add("model.safetensors")
    await refused(hub, tmp_path / "data", BaseDiffers, "model.safetensors of .* the hub says")


async def test_a_repository_that_lacks_a_file_is_refused(hub: Hub, tmp_path: Path) -> None:
    (hub.folder / "tokenizer.json").unlink()
    await refused(hub, tmp_path / "data", BaseIncomplete, "lacks tokenizer.json")
