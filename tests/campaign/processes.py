"""Child processes that never outlive the campaign: each has a group of its own, and dies with its parent."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _with_parent() -> None:
    os.nice(5)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(
    command: Sequence[str | Path], log: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Started with its output appended to `log`. From the main thread: Linux ends a child with the thread that made it."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd,
            start_new_session=True, preexec_fn=_with_parent,
        )  # fmt: skip


def end(process: "subprocess.Popen[bytes] | None") -> None:
    """kill -9, frozen or not; returns when it is gone."""
    if process is None:
        return
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
