"""The child process: `python -m l07.training JOB_DIR [--attached]` does what job.json says and writes result.json last.

--attached: leave as soon as standard input ends, because then the process that started us is gone.
--rank: one of several that do it together; `launch.py` starts them, and makes result.json of what each leaves.
"""

import ctypes
import errno
import fcntl
import importlib
import importlib.util
import json
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from l07.errors import (
    BadJob,
    ChildDiskFull,
    ChildError,
    ChildKilled,
    ChildOutOfMemory,
    ChildResultMissing,
    TrainExtraMissing,
)

KINDS: Mapping[str, str] = {
    "make_base": "l07.training.tiny",
    "fetch_base": "l07.training.hub",
    "train": "l07.training.course",
    "evaluate": "l07.training.measure",
    "merge": "l07.training.merge",
}
RESULT = "result.json"
NEEDED = ("torch", "transformers", "trl", "peft", "datasets")
# Exit statuses for the fates in which not even result.json may be written any more; backends/child.py knows them.
STATUS: Mapping[str, int] = {ChildOutOfMemory.code: 71, ChildDiskFull.code: 73}


def main(arguments: list[str]) -> int:
    if "--attached" in arguments:
        threading.Thread(target=leave_with_parent, daemon=True).start()
    if "--rank" in arguments:
        return _as_rank(None if arguments[0].startswith("-") else Path(arguments[0]))
    folder = Path(arguments[0])
    sys.excepthook = lambda kind, error, trace: _report(folder, RESULT, error, trace)
    lock = (folder / "child.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # an orphan of an earlier attempt leaves within milliseconds; until then we wait
    for name in (RESULT, "progress.jsonl"):
        (folder / name).unlink(missing_ok=True)
    job = _read_job(folder)
    _prepare_process(job)
    _write_result(folder, RESULT, _work(job, folder))
    return 0


def _as_rank(folder: Path | None) -> int:
    """One of several processes; None: rank 0, on another machine, says which folder it is."""
    said = f"rank-{os.environ['RANK']}.json"
    if folder is not None:
        place = folder
        sys.excepthook = lambda kind, error, trace: _report(place, said, error, trace)
    from l07.training import ranks

    ranks.join()
    folder = ranks.folder_of_all(folder)
    sys.excepthook = lambda kind, error, trace: _report(folder, said, error, trace)
    lock = (folder / "child.lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_SH)
    job = _read_job(folder)
    _prepare_process(job)
    result = _work(job, folder)
    ranks.leave()
    _write_result(folder, said, result)
    return 0


def _work(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    begun = time.perf_counter()
    result = _program(job["kind"])(job, folder)
    return {"status": "completed", **result, "seconds": round(time.perf_counter() - begun, 3)}


def of_rank(name: str) -> int | None:
    """Of a file that a rank leaves, whose it is."""
    number = name.removeprefix("rank-").removesuffix(".json")
    return int(number) if number.isdecimal() else None


def _read_job(folder: Path) -> dict[str, Any]:
    try:
        job = json.loads((folder / "job.json").read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise BadJob(f"{folder / 'job.json'} cannot be read: {type(err).__name__}") from err
    if not isinstance(job, dict) or str(job.get("kind")) not in KINDS:
        raise BadJob(f"{folder / 'job.json'} names no kind of job; kinds are {', '.join(KINDS)}")
    return job


def _prepare_process(job: Mapping[str, Any]) -> None:
    """Limits and threads, before anything heavy is imported."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainExtraMissing(f"{', '.join(missing)} cannot be found: pip install 'l07[train]'", missing=missing)
    if job.get("memory_limit_bytes"):
        resource.setrlimit(resource.RLIMIT_AS, (job["memory_limit_bytes"], job["memory_limit_bytes"]))
    _keep_freed_memory()
    os.environ.update(
        OMP_NUM_THREADS=str(job.get("threads") or 1),
        **({} if job["kind"] == "fetch_base" else {"HF_HUB_OFFLINE": "1"}),
        CUBLAS_WORKSPACE_CONFIG=":4096:8",  # without, torch refuses to multiply deterministically on a GPU
        FLASH_ATTENTION_DETERMINISTIC="1",
        TOKENIZERS_PARALLELISM="false",
        HF_HUB_DISABLE_TELEMETRY="1",
    )


def _keep_freed_memory() -> None:
    """glibc would give each tensor's pages back and fetch them again: half of a tiny model's time went into that."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: the largest that glibc takes


def _program(kind: str) -> Callable[[Mapping[str, Any], Path], dict[str, Any]]:
    run: Callable[[Mapping[str, Any], Path], dict[str, Any]] = importlib.import_module(KINDS[kind]).run
    return run


def _write_result(folder: Path, name: str, result: Mapping[str, Any]) -> None:
    from l07.training.files import write_json

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    at = {"at": time.time()} if name != RESULT else {}  # which rank was first to fail
    write_json(folder / name, {**result, **at, "peak_rss_bytes": peak})


def explain(error: BaseException, trace: TracebackType | None = None) -> ChildError:
    """The code of whatever went wrong. The text of a foreign error is kept out: it may quote a prompt."""
    text = str(error)
    if isinstance(error, ChildError):
        return error
    if _is_memory(error, text.lower()):
        return ChildOutOfMemory(
            "the child ran out of memory; a smaller training.batch_size or training.max_length needs less"
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or "No space left on device" in text or "os error 28" in text or "os error 27" in text:
        return ChildDiskFull("the disk is full, or its quota is used up; nothing half-written is left in the output")
    if _is_peer(error):
        return ChildKilled("another process of the job is gone")
    frames = traceback.extract_tb(trace)
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return ChildResultMissing(
        f"the child stopped with {type(error).__name__}{where}; child.log in the job's folder has the frames"
    )


def _is_memory(error: BaseException, text: str) -> bool:
    words = ("can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc")
    refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or refused or any(word in text for word in words)


def _is_peer(error: BaseException) -> bool:
    """Whether torch, which trains with others, lost one of them."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available():
        return False
    return isinstance(error, torch.distributed.DistError) or (
        type(error) is RuntimeError and any(word in str(error) for word in ("gloo", "Connection closed by peer"))
    )


def _report(folder: Path, name: str, error: BaseException, trace: TracebackType | None) -> None:
    for frame in traceback.extract_tb(trace):
        sys.stderr.write(f"{frame.filename}:{frame.lineno} {frame.name}\n")
    told = explain(error, trace)
    sys.stderr.write(f"{type(error).__name__} -> {told.code}\n")
    try:
        numbers = {name: told.context[name] for name in ("step", "checkpoints") if name in told.context}
        _write_result(
            folder, name, {"status": "failed", "code": told.code, "message": told.message, "context": numbers}
        )
    except (OSError, MemoryError):
        sys.stderr.write(f"{name} could not be written\n")
    sys.stderr.flush()
    os._exit(STATUS.get(told.code, 1))


def leave_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin: a thread that holds its lock makes the interpreter's end abort
        pass
    os._exit(75)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # at an interpreter's end a thread of torch's may abort, and what is done would count as killed
