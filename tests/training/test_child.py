"""The port Trainer on a child process: every way in which a child can end, and that nothing of it stays behind."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from l07.backends import child
from l07.backends.child import ChildTrainer
from l07.errors import (
    BadJob,
    ChildDiskFull,
    ChildError,
    ChildKilled,
    ChildOutOfMemory,
    ChildPreempted,
    ChildResultMissing,
    ChildTimedOut,
    LossNotFinite,
    TrainExtraMissing,
    Transient,
)
from l07.training.__main__ import explain

PREFACE = "import sys, os, json, pathlib, signal, time; job = pathlib.Path(sys.argv[1])\n"


def a_child(tmp_path: Path, body: str, *, grace_s: float = 5.0) -> ChildTrainer:
    """A child that runs `body` (`job` is its folder) in place of the training program."""
    script = tmp_path / "child.py"
    script.write_text(PREFACE + body, "utf-8")
    return ChildTrainer(command=[sys.executable, str(script)], grace_s=grace_s)


def a_job(tmp_path: Path, **job: Any) -> Path:
    folder = tmp_path / "job"
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_text(json.dumps({"kind": "train", "threads": 1, **job}), "utf-8")
    return folder


def writes(result: Mapping[str, Any]) -> str:
    return f"(job / 'result.json').write_text({json.dumps(json.dumps(result))})\n"


async def eventually(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < limit_s, "the condition never came true"
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_completed_result_is_given_back(tmp_path: Path) -> None:
    trainer = a_child(tmp_path, writes({"status": "completed", "steps": 3}))
    assert await trainer.run(a_job(tmp_path)) == {"status": "completed", "steps": 3}


DONE = """
import atexit, runpy, types
made = types.ModuleType("l07.training.tiny")
made.run = lambda job, folder: {"steps": 3}
sys.modules[made.__name__] = made
atexit.register(os.abort)  # as torch's threads do now and then, which an interpreter's end takes by surprise
runpy.run_module("l07.training", run_name="__main__", alter_sys=True)
"""


async def test_a_child_that_is_done_leaves_without_the_end_of_an_interpreter(tmp_path: Path) -> None:
    found = await a_child(tmp_path, DONE).run(a_job(tmp_path, kind="make_base"))
    assert (found["status"], found["steps"]) == ("completed", 3)


async def test_what_the_child_says_of_itself_is_raised_under_its_code(tmp_path: Path) -> None:
    trainer = a_child(tmp_path, writes({"status": "failed", "code": "E7726", "message": "the loss is nan at step 4"}))
    with pytest.raises(LossNotFinite, match="step 4") as caught:
        await trainer.run(a_job(tmp_path))
    assert not caught.value.again


async def test_a_killed_child_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(ChildKilled, match="SIGKILL") as caught:
        await a_child(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)").run(a_job(tmp_path))
    assert caught.value.again
    assert isinstance(caught.value, Transient)


async def test_a_kill_that_the_kernel_counts_as_out_of_memory_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom_kill 3\n", "ascii")
    monkeypatch.setattr(child, "CGROUP_EVENTS", events)
    body = f"pathlib.Path({str(events)!r}).write_text('low 0\\noom_kill 4\\n'); os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(ChildOutOfMemory):
        await a_child(tmp_path, body).run(a_job(tmp_path))


async def test_a_library_that_aborts_for_lack_of_memory_is_told_apart(tmp_path: Path) -> None:
    body = "sys.stderr.write('memory allocation of 27456 bytes failed'); sys.stderr.flush(); os.abort()"
    with pytest.raises(ChildOutOfMemory):
        await a_child(tmp_path, body).run(a_job(tmp_path))
    with pytest.raises(ChildKilled, match="SIGABRT"):
        await a_child(tmp_path, "os.abort()").run(a_job(tmp_path))


@pytest.mark.parametrize(
    ("status", "expected"),
    [(71, ChildOutOfMemory), (73, ChildDiskFull), (1, ChildResultMissing), (0, ChildResultMissing)],
)
async def test_an_exit_without_a_result_has_a_code(tmp_path: Path, status: int, expected: type[ChildError]) -> None:
    with pytest.raises(expected):
        await a_child(tmp_path, f"sys.exit({status})").run(a_job(tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"status": "completed"', '{"status": "half"}'])
async def test_a_result_that_cannot_be_read_is_no_result(tmp_path: Path, text: str) -> None:
    with pytest.raises(ChildResultMissing) as caught:
        await a_child(tmp_path, f"(job / 'result.json').write_text({text!r})").run(a_job(tmp_path))
    assert caught.value.code == "E7704"


async def test_an_earlier_result_is_never_taken_for_this_runs(tmp_path: Path) -> None:
    folder = a_job(tmp_path)
    (folder / "result.json").write_text('{"status": "completed"}', "utf-8")
    with pytest.raises(ChildResultMissing):
        await a_child(tmp_path, "pass").run(folder)


async def test_a_child_over_its_time_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    body = (
        "import subprocess\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "(job / 'pids').write_text(f'{os.getpid()} {p.pid}'); time.sleep(60)"
    )
    folder = a_job(tmp_path)
    with pytest.raises(ChildTimedOut):
        await a_child(tmp_path, body).run(folder, timeout_s=1.5)
    pids = [int(pid) for pid in (folder / "pids").read_text("ascii").split()]
    await eventually(lambda: not any(alive(pid) for pid in pids))


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    folder = a_job(tmp_path)
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); (job / 'pid').write_text(str(os.getpid())); time.sleep(60)"
    with pytest.raises(ChildTimedOut):
        await a_child(tmp_path, body, grace_s=0.2).run(folder, timeout_s=1.0)
    assert not alive(int((folder / "pid").read_text("ascii")))


async def test_a_child_that_is_asked_to_leave_may_finish_its_checkpoint(tmp_path: Path) -> None:
    """Its end of the pipe stays open meanwhile: it takes a closed one for our death, and leaves with nothing."""
    body = (
        "import threading\n"
        "threading.Thread(target=lambda: (os.read(0, 1), os._exit(75)), daemon=True).start()\n"
        "def leave(*_):\n    time.sleep(0.3); (job / 'kept').write_text('x'); os._exit(1)\n"
        "signal.signal(signal.SIGTERM, leave); time.sleep(60)"
    )
    folder = a_job(tmp_path)
    with pytest.raises(ChildTimedOut):
        await a_child(tmp_path, body).run(folder, timeout_s=1.0)
    assert (folder / "kept").is_file()


async def test_a_child_that_was_asked_to_leave_from_outside_is_preempted(tmp_path: Path) -> None:
    with pytest.raises(ChildPreempted) as caught:
        await a_child(tmp_path, "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)").run(a_job(tmp_path))
    assert (caught.value.code, caught.value.again) == ("E7709", True)


async def test_a_failed_result_may_say_more_in_numbers(tmp_path: Path) -> None:
    said = {"status": "failed", "code": "E7726", "message": "nan", "context": {"step": 9, "checkpoints": [4, 8]}}
    with pytest.raises(LossNotFinite) as caught:
        await a_child(tmp_path, writes(said)).run(a_job(tmp_path))
    assert (caught.value.context["step"], caught.value.context["checkpoints"]) == (9, [4, 8])


async def test_cancelling_ends_the_child_before_it_returns(tmp_path: Path) -> None:
    folder = a_job(tmp_path)
    pid = folder / "pid"
    running = asyncio.ensure_future(
        a_child(tmp_path, "(job / 'pid').write_text(str(os.getpid())); time.sleep(60)").run(folder)
    )
    await eventually(lambda: pid.is_file() and pid.read_text("ascii") != "")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not alive(int(pid.read_text("ascii")))


async def test_progress_is_passed_on_line_by_line_and_half_a_line_waits(tmp_path: Path) -> None:
    lines: list[Mapping[str, Any]] = []

    async def collect(line: Mapping[str, Any]) -> None:
        lines.append(line)

    body = (
        "f = (job / 'progress.jsonl').open('a')\n"
        'f.write(\'{"state": "TRAINING"}\\n{"step": 1, "loss": 2.5}\\n{"step": 2, \'); f.flush()\n'
        "time.sleep(0.5)\n"
        "f.write('\"loss\": 2.0}\\n'); f.flush()\n"
    )
    await a_child(tmp_path, body + writes({"status": "completed"})).run(a_job(tmp_path), on_progress=collect)
    assert lines == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.0}]


async def test_the_child_gets_its_threads_and_no_network_and_none_of_our_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("L07_SEED", "3")
    body = "(job / 'result.json').write_text(json.dumps({'status': 'completed', 'env': dict(os.environ)}))"
    told = (await a_child(tmp_path, body).run(a_job(tmp_path, threads=2)))["env"]
    assert (told["OMP_NUM_THREADS"], told["HF_HUB_OFFLINE"], told["TOKENIZERS_PARALLELISM"]) == ("2", "1", "false")
    assert "L07_SEED" not in told


async def test_an_interpreter_that_is_not_there_names_the_extra(tmp_path: Path) -> None:
    with pytest.raises(TrainExtraMissing, match=r"pip install 'l07\[train\]'"):
        await ChildTrainer(command=[str(tmp_path / "no-python")]).run(a_job(tmp_path))


async def test_without_the_train_extra_the_message_is_the_install_command(tmp_path: Path) -> None:
    blocked = "import importlib.util, sys\nreal = importlib.util.find_spec\nimportlib.util.find_spec = lambda n, *a: None if n == 'trl' else real(n, *a)\n"
    script = tmp_path / "blocked.py"
    script.write_text(
        blocked + "import runpy\nrunpy.run_module('l07.training', run_name='__main__', alter_sys=True)\n", "utf-8"
    )
    with pytest.raises(TrainExtraMissing, match=r"trl cannot be found: pip install 'l07\[train\]'") as caught:
        await ChildTrainer(command=[sys.executable, str(script)]).run(a_job(tmp_path))
    assert caught.value.code == "E7703"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "dance"}', "{}"])
async def test_a_job_that_cannot_be_read_is_told_by_the_real_child(tmp_path: Path, text: str) -> None:
    folder = a_job(tmp_path)
    (folder / "job.json").write_text(text, "utf-8")
    with pytest.raises(BadJob):
        await ChildTrainer().run(folder)


@pytest.mark.slow
async def test_the_real_child_leaves_when_its_parent_is_killed(tmp_path: Path) -> None:
    """kill -9 of `l07 run` must not leave a trainer behind that writes into the next attempt's folder."""
    folder = a_job(tmp_path)
    (folder / "job.json").unlink()
    os.mkfifo(folder / "job.json")  # the child waits here, its watch on the parent already begun
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, sys, pathlib\nfrom l07.backends import child\nchild.read_job = lambda path: {}\n"
        "asyncio.run(child.ChildTrainer().run(pathlib.Path(sys.argv[1])))\n",
        "utf-8",
    )
    parent = subprocess.Popen([sys.executable, str(script), str(folder)])  # noqa: ASYNC220  # it is killed before anything waits
    children: list[psutil.Process] = []
    await eventually(lambda: bool(children.extend(psutil.Process(parent.pid).children()) or children))
    await eventually((folder / "child.lock").is_file)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    await eventually(lambda: not alive(children[0].pid))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), ChildOutOfMemory),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), ChildOutOfMemory),
        (OSError(errno.ENOSPC, "no"), ChildDiskFull),
        (OSError(errno.EDQUOT, "no"), ChildDiskFull),
        (RuntimeError("I/O error: No space left on device (os error 28)"), ChildDiskFull),
        (LossNotFinite("nan"), LossNotFinite),
        (KeyError("x"), ChildResultMissing),
    ],
)
def test_whatever_goes_wrong_in_the_child_has_a_code(error: BaseException, expected: type[ChildError]) -> None:
    assert type(explain(error)) is expected


def test_a_foreign_errors_text_is_kept_out_because_it_may_quote_a_prompt() -> None:
    assert "secret goal" not in explain(ValueError("bad row: secret goal of a customer")).message
