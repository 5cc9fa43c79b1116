"""What a checkpoint says of itself, and which attempt of a job may go on from it.

Attempts of one job are alike until something goes wrong; then the next one changes something (`Change`), and a checkpoint
that was made with that change is none for an attempt without it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

FOLDER, PREFIX, MANIFEST, SCHEMA = "checkpoints", "step-", "manifest.json", 1
LAST_GOOD = "last_good"  # folder of a policy's weights before its checks stopped it, beside job.json
# What says nothing of the weights: where things lie (their digests count), and how an attempt is worked on.
_ABOUT = ("attempt", "base", "changes", "checkpoints", "dataset", "memory_limit_bytes", "origins", "output")

Change = Mapping[str, Any]
"""What an attempt does otherwise than the one before: `code` of the error that made it so, and any of `micro_batch_size`
(rows that are learned from at a time; as many as before make a step), `rate_factor` (times the learning rate),
`from_step` (no checkpoint after this step is used)."""


def identity(job: Mapping[str, Any]) -> str:
    """Of a job.json: the same for all attempts of a job, another one for any other job."""
    meant = {name: value for name, value in job.items() if name not in _ABOUT and value is not None}
    return hashlib.sha256(json.dumps(meant, sort_keys=True).encode()).hexdigest()


def unfit(manifest: Mapping[str, Any], job: str) -> str:
    """Why a checkpoint with this manifest cannot be one of the job with that identity; empty: it can."""
    if manifest.get("schema") != SCHEMA:
        return f"its schema is {manifest.get('schema')}, ours is {SCHEMA}"
    if manifest.get("job") != job:
        return "it belongs to another job"
    return "" if isinstance(manifest.get("files"), Mapping) else "its manifest names no files"


def goes_on(manifest: Mapping[str, Any], changes: Sequence[Change]) -> bool:
    """Whether an attempt with these changes may go on from it: it was made with the first of them, and comes before what
    the others want to avoid."""
    made = list(manifest.get("changes") or ())
    later = changes[len(made) :]
    kept = all(int(manifest["step"]) <= change["from_step"] for change in later if change.get("from_step") is not None)
    return made == [dict(change) for change in changes[: len(made)]] and kept


def rate_factor(changes: Sequence[Change]) -> float:
    factor = 1.0
    for change in changes:
        factor *= float(change.get("rate_factor") or 1.0)
    return factor


def micro_batch_size(batch_size: int, changes: Sequence[Change], asked: int | None = None) -> int:
    """Rows at a time, by the last change that says so, else as `asked`; all of a step, where nobody says."""
    changed = [int(change["micro_batch_size"]) for change in changes if change.get("micro_batch_size")]
    return changed[-1] if changed else asked or batch_size


def halved(batch_size: int, micro_batch_size: int) -> int | None:
    """At most half as many rows at a time, of which a whole number makes a step; None: it is one row already."""
    smaller = range(micro_batch_size // 2, 0, -1)
    return next((size for size in smaller if batch_size % size == 0), None)


def before_last(steps: Sequence[int]) -> int:
    """Of the steps of which there are checkpoints, the last but one; 0: the beginning."""
    return sorted(steps)[-2] if len(steps) > 1 else 0
