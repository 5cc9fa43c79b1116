"""A job's folder: each attempt works in a folder of its own, and the first that ends well gives the job its result.

So a child whose parent was taken for dead, and is not, writes where nobody looks, and two that end at once leave one result.
"""

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULT = "result.json"


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
    return result


def output(folder: Path, result: Mapping[str, Any]) -> Path:
    """Where the attempt that gave the result left its files."""
    return folder / str(result.get("folder", "")) / "out"


def _completed(path: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("status") == "completed" else None
