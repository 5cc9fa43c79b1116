"""Two jobs on one folder: the second waits for an orphan, and touches nothing of a child that stays."""

import asyncio
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from l07.backends import child
from l07.errors import JobFolderTaken
from tests.training.test_child import a_child, a_job, writes


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """As a child holds its folder."""
    with (folder / child.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def test_a_folder_that_another_child_works_in_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "FREE_WITHIN_S", 0.0)
    folder = a_job(tmp_path)
    (folder / "progress.jsonl").write_text('{"step": 1}\n')
    with held(folder), pytest.raises(JobFolderTaken, match="another child") as caught:
        await a_child(tmp_path, writes({"status": "completed"})).run(folder)
    assert (caught.value.code, caught.value.again) == ("E7733", False)
    assert (folder / "progress.jsonl").read_text() == '{"step": 1}\n', "it is the other one's"
    assert not (folder / "result.json").exists()


async def test_an_orphan_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "POLL_S", 0.01)
    folder = a_job(tmp_path)
    with held(folder):
        run = asyncio.create_task(a_child(tmp_path, writes({"status": "completed"})).run(folder))
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert not run.done()
    assert (await asyncio.wait_for(run, 20))["status"] == "completed"


async def test_two_at_once_on_a_fresh_folder_make_no_lock_of_their_own(tmp_path: Path) -> None:
    folder = a_job(tmp_path)
    await a_child(tmp_path, writes({"status": "completed"})).run(folder)
    assert not (folder / child.LOCK).exists(), "only a child makes it"
