"""dataset.created -> a queued job -> training.started ... training.completed and model.registered, or training.failed.

The ledger `jobs` is the queue: `job.queued` and `job.declined` are keyed by dataset version, with the request behind it
where a person asked (`asked.py`); `training.*` by job and attempt. `domain.job_ledger` is the one fold over it.
Whoever works the queue holds the track's lease and folds the ledger; a job that was cut off goes on from its last checkpoint as the
next attempt.
"""

from l07.pipeline.train.asked import Answer, Asked, ask
from l07.pipeline.train.due import Queued, cancel, check, fence_of, let_go, preempted, queue, take
from l07.pipeline.train.job import Desk, work
from l07.pipeline.train.trigger import on_dataset_created

__all__ = [
    "Answer",
    "Asked",
    "Desk",
    "Queued",
    "ask",
    "cancel",
    "check",
    "fence_of",
    "let_go",
    "on_dataset_created",
    "preempted",
    "queue",
    "take",
    "work",
]
