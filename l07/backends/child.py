"""Training and evaluation in a child process on this machine: the port Trainer.

The child is a process group of its own and holds our end of a pipe: it leaves when we are gone, even after kill -9. Its
output goes to child.log in the job's folder; neither side writes a prompt or an answer there.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l07 import errors
from l07.backends.lock import is_held
from l07.errors import (
    ChildDiskFull,
    ChildError,
    ChildKilled,
    ChildOutOfMemory,
    ChildPreempted,
    ChildResultMissing,
    ChildTimedOut,
    JobFolderTaken,
    TrainExtraMissing,
)
from l07.ports import Progress

log = logging.getLogger("l07.child")

POLL_S = 0.2
# What a launcher tells its processes of each other: libraries of a child that trains alone would wait for company.
RANK = frozenset(("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"))
LOCK = "child.lock"  # the child's own, in its folder
FREE_WITHIN_S = 10.0
GRACE_S = 20.0  # a step, a look and a checkpoint fit in
OUT_OF_MEMORY, DISK_FULL = 71, 73  # exit statuses of a child that could not even write its result
CGROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")
_BY_CODE: Mapping[str, type[ChildError]] = {
    found.code: found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, ChildError) and found.code
}


class ChildTrainer:
    """Runs job folders, one child each. `command` is what starts the child; the job's folder is appended. `grace_s` is
    what a child has between SIGTERM and SIGKILL."""

    def __init__(self, *, command: Sequence[str] | None = None, grace_s: float = GRACE_S) -> None:
        self._command = tuple(command or (sys.executable, "-m", "l07.training"))
        self._grace_s = grace_s

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        """The content of result.json of a completed job. A folder that was run before is run again, from its last checkpoint.

        Cancelling ends the child's whole group before it returns; a child that trains writes a checkpoint first.

        Raises:
            ChildKilled: E7700. ChildPreempted: E7709. ChildOutOfMemory: E7701. ChildTimedOut: E7702. TrainExtraMissing: E7703.
            ChildResultMissing: E7704. ChildDiskFull: E7705.
            JobFolderTaken: E7733, another child works in this folder. Any other ChildError with what the child said of itself."""
        await _until_free(job_dir, within_s=FREE_WITHIN_S)
        for name in ("result.json", "progress.jsonl"):
            (job_dir / name).unlink(missing_ok=True)
        killed_before = _oom_kills()
        process = await self._start(job_dir)
        follower = _Follower(job_dir / "progress.jsonl", on_progress)
        try:
            async with asyncio.timeout(timeout_s):
                await _until_end(process, follower)
        except TimeoutError as err:
            raise ChildTimedOut(
                f"the job took longer than {timeout_s:g} s and was ended", job_dir=str(job_dir)
            ) from err
        finally:
            await _end(process, self._grace_s)
        return _outcome(job_dir, process.returncode or 0, out_of_memory=_oom_kills() > killed_before)

    async def _start(self, job_dir: Path) -> asyncio.subprocess.Process:
        descriptor = os.open(job_dir / "child.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                *self._command, str(job_dir), "--attached",
                stdin=asyncio.subprocess.PIPE, stdout=descriptor, stderr=descriptor, start_new_session=True, env=_environment(job_dir),
            )  # fmt: skip
        except FileNotFoundError as err:
            raise TrainExtraMissing(
                f"{self._command[0]} is not there, so no child can start: pip install 'l07[train]'"
            ) from err
        finally:
            os.close(descriptor)


def _environment(job_dir: Path) -> dict[str, str]:
    """Threads are set before the child's first import: libraries read them once."""
    threads = str(_threads(job_dir))
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    ours = {name: value for name, value in os.environ.items() if not name.startswith("L07_") and name not in RANK}
    if (
        read_job(job_dir).get("kind") == "fetch_base"
    ):  # the one that may ask the hub, unless the machine's owner says no
        quiet = {"HF_HUB_OFFLINE": "0", **ours, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return {**ours, **quiet, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONHASHSEED": "0"}


def _threads(job_dir: Path) -> int:
    try:
        return int(read_job(job_dir).get("threads") or 1)
    except (ValueError, TypeError):
        return 1


def read_job(job_dir: Path) -> Mapping[str, Any]:
    """Empty where it cannot be read: the child reads the same file and says what is wrong with it."""
    try:
        found = json.loads((job_dir / "job.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


async def _until_free(job_dir: Path, *, within_s: float) -> None:
    """An orphan of an earlier run leaves within milliseconds of its parent's end; a child that stays has a parent."""
    deadline = time.monotonic() + within_s
    while is_held(job_dir / LOCK):
        if time.monotonic() > deadline:
            raise JobFolderTaken(
                f"another child works in {job_dir}, and did not leave within {within_s:g} s", job_dir=str(job_dir)
            )
        await asyncio.sleep(POLL_S)


async def _until_end(process: asyncio.subprocess.Process, follower: "_Follower") -> None:
    waiting = asyncio.ensure_future(process.wait())
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=POLL_S)
            await follower.read()
    finally:
        waiting.cancel()


async def _end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """Nothing of the group is left when this returns. Our end of the pipe is closed last: the child leaves without a
    checkpoint once it is."""
    for sign, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, None)):
        if process.returncode is not None:
            break
        _signal(process.pid, sign)
        try:
            await asyncio.wait_for(asyncio.shield(process.wait()), wait_s)
        except TimeoutError:
            log.warning("child_does_not_leave", extra={"pid": process.pid})
    _signal(process.pid, signal.SIGKILL)  # what the child may have started and left behind
    if process.stdin is not None:
        process.stdin.close()


def _signal(group: int, sign: signal.Signals) -> None:
    try:
        os.killpg(group, sign)
    except ProcessLookupError:
        return


class _Follower:
    """Reads progress.jsonl as it grows; only whole lines that are about a step, or about what a job found at its start, are passed on."""

    def __init__(self, path: Path, on_progress: Progress | None) -> None:
        self._path, self._on_progress = path, on_progress
        self._offset = 0

    async def read(self) -> None:
        if self._on_progress is None or not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            told = json.loads(line)
            if "step" in told or "hardware" in told:
                await self._on_progress(told)


def _outcome(job_dir: Path, status: int, *, out_of_memory: bool) -> Mapping[str, Any]:
    result = _read_result(job_dir / "result.json")
    if result is not None and result.get("status") == "completed" and status == 0:
        return result
    if result is not None and result.get("status") == "failed":
        kind = _BY_CODE.get(str(result.get("code")), ChildResultMissing)
        raise kind(str(result.get("message")), **{**(result.get("context") or {}), "job_dir": str(job_dir)})
    if out_of_memory or status == OUT_OF_MEMORY or (status == -signal.SIGABRT and _aborted_for_memory(job_dir)):
        raise ChildOutOfMemory("the child ran out of memory", job_dir=str(job_dir))
    if status == DISK_FULL:
        raise ChildDiskFull("the disk is full: not even the child's result could be written", job_dir=str(job_dir))
    if status == -signal.SIGTERM:
        raise ChildPreempted("the child was asked to leave before it had learned anything", job_dir=str(job_dir))
    if status < 0:
        name = signal.Signals(-status).name
        raise ChildKilled(
            f"the child was killed by {name}; if nobody sent it, the machine may have run out of memory",
            job_dir=str(job_dir),
            signal=name,
        )
    raise ChildResultMissing(
        f"the child left with status {status} and no result that can be read; see {job_dir / 'child.log'}",
        job_dir=str(job_dir),
    )


def _read_result(path: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _aborted_for_memory(job_dir: Path) -> bool:
    """A C++ library that gets no memory ends the process on the spot; only the log knows why."""
    text = (job_dir / "child.log").read_text("utf-8", errors="replace").lower()
    return "bad_alloc" in text or "allocate memory" in text or "memory allocation" in text


def _oom_kills() -> int:
    """Processes of this container that the kernel has killed for memory so far; 0 where nobody counts."""
    try:
        words = CGROUP_EVENTS.read_text("ascii").split()
    except OSError:
        return 0
    counts = dict(zip(words[::2], words[1::2], strict=False))
    return int(counts.get("oom_kill", 0))
