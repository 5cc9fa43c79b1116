"""Starts the processes of one job on this machine and waits for them: `python -m l07.training.launch JOB_DIR [--attached] ...`.

This is what `torchrun` does, by torch's own agent, with an end that says what happened: each process (rank) leaves
`rank-N.json`, and of those comes result.json. When one ends, all end. On the other machines of a job it is run as
`python -m l07.training.launch --node N ...` without a folder: rank 0 says which one it is.
"""

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from l07.errors import ChildKilled, ChildPreempted, ChildResultMissing
from l07.training.__main__ import STATUS, leave_with_parent, of_rank
from l07.training.files import write_json

NAME = "l07"  # of a meeting of machines
MEET_S = 900.0  # within which all machines of a job have to be there


def main(arguments: list[str]) -> int:
    asked = _parser().parse_args(arguments)
    if asked.attached:
        threading.Thread(target=leave_with_parent, daemon=True).start()
    if asked.folder is None:
        return _lend(asked)
    lock = (asked.folder / "child.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # until those of an earlier attempt have left
    for path in (asked.folder / "result.json", asked.folder / "progress.jsonl", *asked.folder.glob("rank-*.json")):
        path.unlink(missing_ok=True)
    fcntl.flock(lock, fcntl.LOCK_SH)  # together with the ranks
    try:
        _run(asked)
        failures: Mapping[int, ProcessFailure] = {}
    except ChildFailedError as err:
        failures = err.failures
    except SignalException:
        return _asked_to_leave(asked.folder)
    return _settle(asked.folder, failures)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m l07.training.launch", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="of the job; none on any machine but the first")
    parser.add_argument("--attached", action="store_true", help="leave when standard input ends")
    parser.add_argument("--processes", type=int, default=1, help="on each machine")
    parser.add_argument("--nodes", type=int, default=1, help="machines")
    parser.add_argument("--node", type=int, default=0, help="number of this machine, 0 where the trainer runs")
    parser.add_argument("--rendezvous", default="", help="HOST:PORT of machine 0, which all others can reach")
    parser.add_argument("--grace-s", type=float, default=20.0, help="from SIGTERM to SIGKILL")
    return parser


def _run(asked: argparse.Namespace) -> None:
    """Raises ChildFailedError: a rank failed, and the others were ended. SignalException: we were asked to leave, all have left."""
    meeting: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
    meeting["run_id"] = str(uuid.uuid4())
    if asked.nodes > 1:
        how = {"rank": asked.node, "timeout": MEET_S}
        meeting = {"rdzv_backend": "static", "rdzv_endpoint": asked.rendezvous, "rdzv_configs": how}
        meeting["run_id"] = NAME  # what machines say to each other stands under it: with two names they wait for ever
    config = LaunchConfig(
        min_nodes=asked.nodes, max_nodes=asked.nodes, nproc_per_node=asked.processes, max_restarts=0,
        shutdown_timeout=max(1, int(asked.grace_s)), **meeting,
    )  # fmt: skip
    where = [str(asked.folder)] if asked.folder else []
    elastic_launch(config, sys.executable)("-m", "l07.training", *where, "--rank", *["--attached"] * asked.attached)


def _lend(asked: argparse.Namespace) -> int:
    """Of a machine that only helps: what became of the job says the first one."""
    try:
        _run(asked)
    except (ChildFailedError, SignalException):
        return 1
    return 0


def _asked_to_leave(folder: Path) -> int:
    said = _said(folder)
    if said.get(0, {}).get("status") == "completed" or any(
        one.get("code") == ChildPreempted.code for one in said.values()
    ):
        return _settle(folder, {})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing was learned yet
    os.kill(os.getpid(), signal.SIGTERM)
    return 1


def _settle(folder: Path, failures: Mapping[int, ProcessFailure]) -> int:
    """What the job came to: what a rank says of itself, else how one was killed, else what another one noticed of that."""
    said = _said(folder)
    failed = sorted((one for one in said.values() if one["status"] == "failed"), key=lambda one: float(one["at"]))
    own = [one for one in failed if one["code"] not in (ChildKilled.code, ChildResultMissing.code)]
    done = {number for number, one in said.items() if one["status"] == "completed"}
    if 0 in done and not failed and failures.keys() <= done:  # one that fell after its work was done took nothing along
        write_json(folder / "result.json", said[0])
        return 0
    if own:
        return _fail(folder, own[0])
    for status in STATUS.values():  # a rank that could not even say so
        if any(failure.exitcode == status for failure in failures.values()):
            return status
    killed = {number: one for number, one in failures.items() if one.exitcode < 0}
    if killed:
        number, failure = min(killed.items(), key=lambda item: item[1].timestamp)
        text = f"process {number} of the job was killed by {failure.signal_name()}, and the others were ended"
        return _fail(folder, {"status": "failed", "code": ChildKilled.code, "message": text})
    if failed:
        return _fail(folder, min(failed, key=lambda one: str(one["code"])))
    return 1


def _fail(folder: Path, result: Mapping[str, Any]) -> int:
    write_json(folder / "result.json", result)
    return STATUS.get(str(result["code"]), 1)


def _said(folder: Path) -> dict[int, dict[str, Any]]:
    """By rank. One that was killed may have said nothing."""
    found = {}
    for path in folder.glob("rank-*.json"):
        number = of_rank(path.name)
        if number is not None:
            found[number] = json.loads(path.read_text("utf-8"))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
