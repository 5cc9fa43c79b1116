"""A job's folder: each attempt works in a folder of its own, and the first that ends well gives the job its result.

So a child whose parent was taken for dead, and is not, writes where nobody looks, and two that end at once leave one result.
"""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l07.domain import checkpoint
from l07.domain.checkpoint import MANIFEST, PREFIX, Change
from l07.domain.cost import Spent
from l07.errors import disk_errors
from l07.pipeline.documents import read_document

RESULT, SPENT = "result.json", "spent.json"
KEPT = 2  # checkpoints of all attempts together, before another one begins


def begin(folder: Path, job: Mapping[str, Any]) -> Path:
    """A new folder of this attempt, with `job` as its job.json and the place of the output added to it."""
    folder.mkdir(parents=True, exist_ok=True)
    own = next(own for number in itertools.count(1) if _made(own := folder / f"attempt-{number}"))
    document = {**job, "output": str(own / "out")}
    (own / "job.json").write_text(json.dumps(document, indent=1, sort_keys=True), "utf-8")
    return own


def _made(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def finished(folder: Path) -> Mapping[str, Any] | None:
    """The job's one result; that of a child that ended before anybody could say so becomes it now. None: there is none."""
    result = _completed(folder / RESULT)
    if result is not None:
        return result
    ended = (own for own in sorted(folder.glob("attempt-*")) if _completed(own / RESULT) is not None)
    own = next(ended, None)
    return None if own is None else settle(folder, own)


def settle(folder: Path, own: Path) -> Mapping[str, Any]:
    """The result of the attempt in `own`, or of another one that was faster: the first stays."""
    draft = own / "settled.json"
    draft.write_text(json.dumps({**(_completed(own / RESULT) or {}), "folder": own.name}, indent=1), "utf-8")
    try:
        os.link(draft, folder / RESULT)
    except FileExistsError:
        if _completed(folder / RESULT) is None:  # an earlier release left its failed attempts here
            draft.replace(folder / RESULT)
    result = _completed(folder / RESULT)
    assert result is not None  # the caller's attempt was completed
    _clear(folder)
    return result


def _clear(folder: Path) -> None:
    """Nobody goes on from here any more, and nobody takes half an output for one."""
    for own in folder.glob("attempt-*"):
        for name in (checkpoint.FOLDER, "out.partial", "cache"):
            shutil.rmtree(own / name, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Of a failed job: what an attempt could go on from, and its last good weights. Why it failed and what it took stay."""
    _clear(folder)
    for own in folder.glob("attempt-*"):
        shutil.rmtree(own / checkpoint.LAST_GOOD, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """The folders in which attempts have left checkpoints, oldest attempt first."""
    owned = (own / checkpoint.FOLDER for own in folder.glob("attempt-*"))
    return sorted((place for place in owned if place.is_dir()), key=_number)


def _number(place: Path) -> int:
    return int(place.parent.name.removeprefix("attempt-"))


def newest_checkpoint(folder: Path, job: str, changes: Sequence[Change]) -> int | None:
    """The step from which an attempt with these changes will go on: the newest that is whole; None: from the beginning.

    `job` is `domain.checkpoint.identity`. Those that no later attempt could use are removed, all but the two newest too."""
    usable: list[tuple[Path, Mapping[str, Any]]] = []
    for step in _newest_first(folder):
        manifest = _manifest(step)
        if checkpoint.unfit(manifest, job):
            continue  # the child says why
        if checkpoint.goes_on(manifest, changes) and len(usable) < KEPT:
            usable.append((step, manifest))
        else:
            shutil.rmtree(step, ignore_errors=True)
    return next((int(manifest["step"]) for step, manifest in usable if _is_whole(step, manifest)), None)


def _newest_first(folder: Path) -> list[Path]:
    steps = [step for place in checkpoints(folder) for step in place.glob(f"{PREFIX}*")]
    return sorted(steps, key=lambda step: (step.name, _number(step.parent)), reverse=True)


def _manifest(step: Path) -> Mapping[str, Any]:
    """Empty where it cannot be read."""
    return read_document(step / MANIFEST)


def _is_whole(step: Path, manifest: Mapping[str, Any]) -> bool:
    try:
        there = {path.name: _digest(path) for path in step.iterdir() if path.name != MANIFEST}
    except OSError:
        return False
    return there == dict(manifest["files"])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def output(folder: Path, result: Mapping[str, Any]) -> Path:
    """Where the attempt that gave the result left its files."""
    return folder / str(result.get("folder", "")) / "out"


def note_spent(own: Path, spent: Spent) -> None:
    """What this attempt took, however it ended. Raises StoreFull (E7400), FolderNotWritable (E7402)."""
    draft = own / f"{SPENT}.draft"
    with disk_errors(own):
        draft.write_text(json.dumps({"seconds": spent.seconds, "joules": spent.joules}), "utf-8")
        draft.replace(own / SPENT)


def spent(folder: Path, *, since: float = 0.0) -> list[Spent]:
    """What the attempts of this job took, those that were begun at `since` (POSIX seconds) or later.

    Of one whose trainer was killed nobody noted it: there it is from its beginning to its child's last line, which is less."""
    begun = ((own, _modified(own / "job.json")) for own in sorted(folder.glob("attempt-*")))
    return [spent_by(own) for own, at in begun if at is not None and at >= since]


def spent_by(own: Path) -> Spent:
    """What this one attempt took."""
    begun = _modified(own / "job.json") or 0.0
    return _noted(own) or Spent(max(0.0, (_modified(own / "progress.jsonl") or begun) - begun))


def _noted(own: Path) -> Spent | None:
    try:
        said = json.loads((own / SPENT).read_text("utf-8"))
        return Spent(float(said["seconds"]), None if said["joules"] is None else float(said["joules"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _completed(path: Path) -> Mapping[str, Any] | None:
    found = read_document(path)
    return found if found.get("status") == "completed" else None
