"""Out of what was made of a dataset: rows of measurements, and copies that a child that was killed left behind."""

import json
import shutil
from collections.abc import Collection
from pathlib import Path

import msgspec

from l07.domain.erasure import Tombstones
from l07.domain.marks import KEY
from l07.domain.measurements import Measurements, decode
from l07.ports import ArtifactStore

RECORD = "measurements.json"


def clean(store: ArtifactStore, revoked: Collection[str], tombstones: Tombstones) -> int:
    """How many files changed or went. `revoked`: URIs of the versions whose copies go."""
    folders = {str(store.path(uri)) for uri in revoked}
    jobs, reports = store.path("jobs"), store.path("reports")
    done = 0
    for job in jobs.glob("*/attempt-*/job.json"):
        cache = job.parent / "cache"
        if cache.exists() and _dataset_of(job) in folders:
            shutil.rmtree(cache)
            done += 1
    records = [*jobs.glob(f"*/attempt-*/out/{RECORD}"), *reports.glob(f"*/*/{RECORD}")]
    return done + sum(_without(record, tombstones) for record in records)


def _dataset_of(job: Path) -> str:
    try:
        return str(json.loads(job.read_text("utf-8")).get("dataset"))
    except (OSError, ValueError, AttributeError):
        return ""


def _without(path: Path, tombstones: Tombstones) -> bool:
    """Without the rows of what was erased; what was concluded from them stays."""
    try:
        measured = decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return False
    rows = tuple(row for row in measured.rows if not tombstones.stands_for(KEY, row.key))
    if len(rows) == len(measured.rows):
        return False
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_bytes(msgspec.json.encode(_with_rows(measured, rows)))
    draft.replace(path)
    return True


def _with_rows(measured: Measurements, rows: tuple[object, ...]) -> Measurements:
    return msgspec.structs.replace(measured, rows=rows)
