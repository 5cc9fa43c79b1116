"""What every artifact store promises; run against a folder."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from l07.backends.store import FolderStore
from l07.errors import BadArtifactName, FolderNotWritable, StoreFull
from l07.ports import ArtifactStore

BUILDER = """
import sys
from pathlib import Path
from l07.backends.store import FolderStore

store = FolderStore(Path(sys.argv[1]))
folder = store.scratch("dataset")
(folder / "half").write_text("half")
print(folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return FolderStore(tmp_path / "data")


def a_built_folder(store: ArtifactStore, text: str = "one") -> Path:
    folder = store.scratch("dataset")
    (folder / "data").mkdir()
    (folder / "data" / "train.txt").write_text(text)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------ publishing


async def test_a_published_folder_is_there_whole_and_its_scratch_is_gone(store: ArtifactStore) -> None:
    scratch = a_built_folder(store)
    assert not store.exists("datasets/default/1.0.0")
    assert await store.publish(scratch, "datasets/default/1.0.0") == "datasets/default/1.0.0"
    assert store.exists("datasets/default/1.0.0")
    assert contents(store.path("datasets/default/1.0.0")) == {"data/train.txt": "one"}
    assert not scratch.exists()


async def test_what_is_already_published_stays(store: ArtifactStore) -> None:
    await store.publish(a_built_folder(store, "first"), "datasets/default/1.0.0")
    again = a_built_folder(store, "second")
    assert await store.publish(again, "datasets/default/1.0.0") == "datasets/default/1.0.0"
    assert contents(store.path("datasets/default/1.0.0")) == {"data/train.txt": "first"}
    assert not again.exists()


async def test_a_publish_whose_answer_was_lost_can_be_repeated(store: ArtifactStore) -> None:
    scratch = a_built_folder(store)
    await store.publish(scratch, "datasets/default/1.0.0")
    assert await store.publish(scratch, "datasets/default/1.0.0") == "datasets/default/1.0.0"
    assert contents(store.path("datasets/default/1.0.0")) == {"data/train.txt": "one"}


async def test_of_two_that_publish_one_name_the_first_stays(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.publish(a_built_folder(store, "first"), "datasets/default/1.0.0")
    late = a_built_folder(store, "second")
    target = store.path("datasets/default/1.0.0")
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path != target and exists(path))  # it looked before the first came
    await store.publish(late, "datasets/default/1.0.0")
    assert contents(target) == {"data/train.txt": "first"}
    assert not os.path.lexists(late)


async def test_everything_is_flushed_before_it_is_seen(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = a_built_folder(store)
    seen: list[tuple[str, str]] = []
    sync, rename = os.fsync, Path.rename

    def fsync(fd: int) -> None:
        seen.append(("fsync", Path(f"/proc/self/fd/{fd}").readlink().name))
        sync(fd)

    def renamed(path: Path, target: Path) -> Path:
        seen.append(("rename", target.name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    await store.publish(scratch, "datasets/default/1.0.0")
    assert seen[:4] == [("fsync", "train.txt"), ("fsync", "data"), ("fsync", scratch.name), ("rename", "1.0.0")]
    assert ("fsync", "default") in seen[4:]


# ------------------------------------------------------------------ scratch


def test_each_scratch_folder_is_new_and_empty(store: ArtifactStore) -> None:
    one, two = store.scratch("dataset"), store.scratch("dataset")
    assert one != two
    assert list(one.iterdir()) == list(two.iterdir()) == []


@pytest.mark.slow
def test_the_scratch_of_a_killed_run_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUILDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        folder = Path(child.stdout.readline().strip())
        FolderStore(tmp_path)
        assert (folder / "half").read_text() == "half"
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
    assert folder.exists()
    FolderStore(tmp_path)
    assert not folder.exists()
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == [".lock"]


@pytest.mark.slow
def test_a_run_that_ends_well_takes_its_scratch_away(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUILDER, str(tmp_path)]
    subprocess.run(command, input="", capture_output=True, text=True, check=True)
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == [".lock"]


# ------------------------------------------------------------------ names


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/etc",
        "../up",
        "datasets/../../up",
        "datasets//1",
        "datasets/",
        "a\\b",
        "a\x00b",
        "a\nb",
        "\ud800",
        "x" * 201,
    ],
)
async def test_a_name_that_leaves_the_store_or_is_none_is_refused(store: ArtifactStore, name: str) -> None:
    scratch = a_built_folder(store)
    with pytest.raises(BadArtifactName, match="E7406"):
        store.path(name)
    with pytest.raises(BadArtifactName):
        store.exists(name)
    with pytest.raises(BadArtifactName):
        store.scratch(name)
    with pytest.raises(BadArtifactName):
        await store.publish(scratch, name)
    assert contents(scratch) == {"data/train.txt": "one"}


# ------------------------------------------------------------------ a world that is down


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, StoreFull), (errno.EROFS, FolderNotWritable)])
async def test_a_disk_that_fails_publishes_nothing(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    scratch = a_built_folder(store)

    def fail(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(error):
            await store.publish(scratch, "datasets/default/1.0.0")
    assert not store.exists("datasets/default/1.0.0")
    await store.publish(scratch, "datasets/default/1.0.0")
    assert contents(store.path("datasets/default/1.0.0")) == {"data/train.txt": "one"}


async def test_a_folder_that_cannot_be_written_is_said(unwritable: Path) -> None:
    with pytest.raises(FolderNotWritable, match="E7402"):
        FolderStore(unwritable).scratch("dataset")
