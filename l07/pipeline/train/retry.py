"""RETRYING: what the next attempt of a job does otherwise, by what ended the one before.

Out of memory: half as many rows at a time, as many a step. No number in the loss: from the checkpoint before the last, at half
the rate. Killed, or out of time: nothing, it goes on from the last checkpoint.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from l07.domain import checkpoint
from l07.domain.checkpoint import Change
from l07.domain.job import JobConfig
from l07.errors import ChildError, ChildOutOfMemory, ChildTimedOut, LossNotFinite
from l07.ports import Entry

CHANGE = "change"  # in the body of a `training.failed` after which the job is tried again


def after(err: ChildError, config: Mapping[str, Any], changes: Sequence[Change], *, ranks: int = 1) -> Change | None:
    """What to change; empty: nothing. None: another attempt would end as this one did.

    `config` is that of the job, `changes` are those of the attempt that ended; `ranks` share the rows, and each has one."""
    if isinstance(err, ChildOutOfMemory):
        asked = JobConfig.from_document(config)
        size = checkpoint.micro_batch_size(asked.batch_size, changes, asked.micro_batch_size)
        fewer = checkpoint.halved(asked.batch_size, size)
        return None if fewer is None or fewer < ranks else {"code": err.code, "micro_batch_size": fewer}
    if isinstance(err, LossNotFinite):
        steps = err.context.get("checkpoints")
        back_to = checkpoint.before_last(steps if isinstance(steps, list) else [])
        return {"code": err.code, "rate_factor": 0.5, "from_step": back_to}
    return {} if err.again or isinstance(err, ChildTimedOut) else None


def made(entries: Sequence[Entry], key: str) -> list[Change]:
    """All changes of this job so far, in order: whoever works on it next makes them too."""
    failed = (entry.body for entry in entries if entry.kind == "training.failed" and entry.body.get("queued") == key)
    return [body[CHANGE] for body in failed if body.get(CHANGE)]
