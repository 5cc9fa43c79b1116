"""What a ledger cannot know of a job that is worked on: whether its trainer lives, and what its child is at."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l07.cli.views import View
from l07.domain.job import JobState
from l07.domain.job_ledger import AT_WORK
from l07.settings import Settings

CUT_OFF = "its trainer is gone; the next one goes on with it"
TAIL_BYTES = 65_536  # of progress.jsonl: its last states and steps


async def look(settings: Settings, jobs: Mapping[str, View]) -> None:
    """Corrects the views of jobs at work: one whose trainer is certainly gone is PENDING again. Reads only."""
    for view in jobs.values():
        if view["state"] not in AT_WORK:
            continue
        if await _is_at_work(settings, view) is False:
            view |= {"state": JobState.PENDING.value, "reason": CUT_OFF}
            view.pop("owner", None)
        elif view["state"] == JobState.TRAINING:
            view["state"] = _phase(settings, view)


async def _is_at_work(settings: Settings, view: View) -> bool | None:
    """None: its trainer is on another machine, and whoever waits for its lease will know."""
    from l07.backends.lock import is_locked
    from l07.backends.open import open_leases

    if view.get("owner"):
        track = str(view["dataset"]).rpartition(":")[0]
        return await open_leases(settings).is_held(f"track-{track}")
    return is_locked(settings.data_dir)  # a caller in Python claims nothing, and has the folder alone


def _phase(settings: Settings, view: View) -> str:
    """What the child said of itself last; TRAINING where its folder is not to be seen from here."""
    from l07.backends.open import open_store

    own = newest_attempt(open_store(settings).path(f"jobs/{view['id']}"))
    told = [line for line in tail(own / "progress.jsonl") if "state" in line] if own else []
    return str(told[-1]["state"]) if told and told[-1]["state"] in AT_WORK else str(view["state"])


def newest_attempt(folder: Path) -> Path | None:
    """The folder in which the job's newest attempt works, or worked; None: none was begun."""
    numbered = {int(own.name[8:]): own for own in folder.glob("attempt-*") if own.name[8:].isdecimal()}
    return numbered[max(numbered)] if numbered else None


def tail(path: Path) -> list[dict[str, Any]]:
    """The last lines of a file of JSON lines that are whole; none where it is not there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            told = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:  # the first may be a piece of a line
            continue
        if isinstance(told, dict):
            found.append(told)
    return found
