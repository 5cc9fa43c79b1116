"""The worker process: the same files as in this process, errors with their codes, a killed worker is the world being
down."""

import asyncio
import errno
import gc
import os
import signal
import stat
import subprocess
import sys
import weakref
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from l07.backends import worker
from l07.backends.parquet import read_manifest, read_members, shards
from l07.backends.secret import open_marks
from l07.backends.worker import InlineCurator, ProcessCurator, _swept
from l07.domain.marks import SUBJECT
from l07.domain.quality import CurateRules
from l07.errors import CuratorDied, DatasetUnreadable, GoldenUnreadable, StoreFull
from l07.ports import CurateRequest
from tests.curation import a_batch, a_task_each

pytestmark = pytest.mark.slow


def a_request(output: Path, *, count: int = 20, golden: Path | None = None) -> CurateRequest:
    return CurateRequest("default", [a_batch(a_task_each(count))], CurateRules(), None, golden, output)


async def test_a_worker_writes_what_this_process_would(tmp_path: Path) -> None:
    async with ProcessCurator() as curator:
        built = await curator.build(a_request(tmp_path / "a"))
        assert await curator.summary(tmp_path / "a") == built.summary
    inline = await InlineCurator().build(a_request(tmp_path / "b"))
    assert (built.version, built.summary) == (inline.version, inline.summary)
    assert read_manifest(tmp_path / "a") == read_manifest(tmp_path / "b")


async def test_a_refusal_is_a_value_and_an_error_keeps_its_code(tmp_path: Path) -> None:
    async with ProcessCurator() as curator:
        refused = await curator.build(a_request(tmp_path / "a", count=9))
        assert (refused.version, refused.summary["code"], refused.summary["needed"]) == ("", "E7101", 10)
        with pytest.raises(GoldenUnreadable) as raised:
            await curator.build(a_request(tmp_path / "b", golden=tmp_path / "none.jsonl"))
        assert raised.value.context == {"path": str(tmp_path / "none.jsonl")}
        with pytest.raises(DatasetUnreadable):
            await curator.summary(tmp_path / "nowhere")


async def test_whose_run_it_is_is_kept_as_a_hash_under_a_key_of_the_data_folder(tmp_path: Path) -> None:
    key = tmp_path / "keys" / "marks.key"
    await InlineCurator().build(replace(a_request(tmp_path / "none"), marks=key))
    assert not key.exists()
    batches = [a_batch(a_task_each(20, subject_id="person 17"))]
    made = replace(a_request(tmp_path / "some"), marks=key, batches=batches)
    await InlineCurator().build(made)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    subjects = {row["subject"] for row in read_members(tmp_path / "some")}
    assert subjects == {open_marks(key).of(SUBJECT, "person 17")}


async def test_a_full_disk_stops_with_a_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "write_table", full)
    with pytest.raises(StoreFull):
        await InlineCurator().build(a_request(tmp_path / "a"))


def children(of: int) -> list[psutil.Process]:
    return list(psutil.Process(of).children(recursive=True))


async def test_a_killed_worker_is_transient_and_the_next_call_starts_another(tmp_path: Path) -> None:
    before = {child.pid for child in children(os.getpid())}
    async with ProcessCurator() as curator:
        await curator.build(a_request(tmp_path / "a"))
        for child in children(os.getpid()):
            if child.pid not in before and "resource_tracker" not in " ".join(child.cmdline()):
                child.kill()
        with pytest.raises(CuratorDied):
            await asyncio.wait_for(curator.build(a_request(tmp_path / "b")), 30)
        assert (await curator.build(a_request(tmp_path / "c"))).version == "1.0.0"


PARENT = """
import asyncio, sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from l07.backends.worker import ProcessCurator

async def main():
    async with ProcessCurator() as curator:
        try:
            await curator.summary(Path(sys.argv[1]))
        except Exception as err:
            print(type(err).__name__, flush=True)
        await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_worker_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT, "utf-8")
    with subprocess.Popen([sys.executable, str(program), str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().strip() == "DatasetUnreadable"
        workers = children(parent.pid)
        assert workers
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


def test_importing_the_worker_brings_in_nothing_heavy() -> None:
    code = (
        "import sys, l07.backends.worker, l07.pipeline.curate;"
        "print(sorted({'numpy', 'pyarrow', 're2'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


async def test_a_build_has_no_use_for_pandas(tmp_path: Path) -> None:
    """Arrow imports it where it can, which costs a process more than 600 rows."""
    assert find_spec("pandas"), "a library of the training extra that the tests need"
    async with ProcessCurator() as curator:
        assert (await curator.build(a_request(tmp_path / "a"))).version
        (worker,) = [one for one in psutil.Process().children() if "spawn_main" in " ".join(one.cmdline())]
        mapped = Path(f"/proc/{worker.pid}/maps").read_text("utf-8")
    assert "/pyarrow/" in mapped
    assert "/pandas/" not in mapped


def test_what_a_build_left_in_a_cycle_is_gone_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[weakref.ref[object]] = []

    class Work:
        me: object = None

    def build(_: object) -> str:
        work = Work()
        work.me = work
        left.append(weakref.ref(work))
        return "built"

    monkeypatch.setattr(gc, "freeze", lambda: None)
    gc.disable()
    try:
        assert _swept(build, None) == "built"
        assert left[0]() is None
    finally:
        gc.enable()


def test_memory_goes_back_once_nobody_builds_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(worker, "give_back_memory", lambda: given.append(looked))
    looked = 0

    def is_over() -> bool:
        nonlocal looked
        looked += 1
        if looked in (3, 4):  # the second build ends a moment after the first
            _swept(lambda _: None, None)
        return looked == 9

    worker._watch(is_over)
    assert given == [5]
