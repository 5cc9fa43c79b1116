"""The ledger `jobs` as a queue: what is due, who works on it, and who may still write about it.

A trainer's claim stands in the ledger under its lease's fence. Whatever a trainer writes is appended only onto a ledger in
which nobody claimed the track after it: one that was taken for dead and wakes up is refused, however late it looks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from l07.domain.job_ledger import CANCELLED, CLAIMED, RELEASED, JobLine, claimed, fold
from l07.errors import JobMoveRefused, JobTaken, NothingByThatName
from l07.ports import Entry, Ledger


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that waits or was cut off. `attempts` were begun and counted so far; `fence` is of the lease under which it is
    worked on, 0 where one process alone has the data folder."""

    key: str  # as in `domain.job_ledger`
    track: str
    version: str
    uri: str
    digest: str
    cause: str
    correlationid: str | None
    attempts: int = 0
    fence: int = 0
    priority: int = 0  # higher goes first
    method: str = ""  # empty: the track's
    options: Mapping[str, float] | None = None  # of the method; None: the track's


def queue(entries: Sequence[Entry]) -> list[Queued]:
    """Jobs that are due, the most urgent first, of those the oldest: of each track its newest version, and what was asked
    for by hand."""
    due = [job for job in fold(entries).values() if job.is_due]
    return [_queued(job) for job in sorted(due, key=lambda job: (-job.priority, job.number))]


def _queued(job: JobLine) -> Queued:
    body = job.body
    return Queued(
        key=job.key, track=body["track"], version=body["version"], uri=body["uri"], digest=body["digest"], cause=body["cause"],
        correlationid=body["correlationid"], attempts=job.attempts, priority=job.priority,
        method=str(body.get("method") or ""), options=body.get("options"),
    )  # fmt: skip


def fence_of(entries: Sequence[Entry], track: str) -> int:
    """Of the last claim of this track; 0: there was none."""
    claims = (entry.body["fence"] for entry in entries if entry.kind == CLAIMED and entry.body["track"] == track)
    return max(claims, default=0)


async def take(track: str, *, fence: int, owner: str, jobs: Ledger, at: str, most: int = 0) -> Queued | None:
    """Record that the holder of this lease works on the track's job; None: nothing is due there any more, or `most` other
    tracks are claimed (0: any number)."""
    while True:
        entries = await jobs.entries()
        job = next((job for job in queue(entries) if job.track == track), None)
        if job is None or fence_of(entries, track) >= fence:
            return None
        if most and len(claimed(fold(entries).values()).keys() - {track}) >= most:
            return None
        body = {"track": track, "queued": job.key, "fence": fence, "owner": owner}
        if await jobs.append_after(len(entries), CLAIMED, f"{track}/{fence}", body, at=at) is not None:
            return replace(job, fence=fence)


async def let_go(job: JobLine, *, jobs: Ledger, at: str) -> None:
    """Record that nobody works on this claim any more; of one that was taken over meanwhile it says nothing."""
    body = {"track": job.track, "queued": job.key, "fence": job.fence}
    await jobs.append(RELEASED, f"{job.track}/{job.fence}", body, at=at)


async def check(job: Queued, *, jobs: Ledger) -> None:
    """Raises JobTaken: E7707, as `record` would."""
    _check(job, await jobs.entries())


async def record(job: Queued, kind: str, key: str, body: Mapping[str, Any], *, jobs: Ledger, at: str) -> Entry:
    """Append to the ledger while the job is ours.

    Raises:
        JobTaken: E7707, another trainer has claimed the track since, or the job was cancelled; nothing was written."""
    if not job.fence:
        return await jobs.append(kind, key, body, at=at)
    entry = None
    while entry is None:
        entries = await jobs.entries()
        _check(job, entries)
        entry = await jobs.append_after(len(entries), kind, key, {**body, "fence": job.fence}, at=at)
    return entry


def _check(job: Queued, entries: Sequence[Entry]) -> None:
    if not job.fence:
        return
    if fence_of(entries, job.track) > job.fence:
        raise JobTaken(
            f"the job {job.key} was taken over by another trainer: it had not heard of this one", job=job.key
        )
    if any(entry.kind == CANCELLED and entry.key == job.key for entry in entries):
        raise JobTaken(f"the job {job.key} was cancelled", job=job.key)


async def preempted(job: Queued, *, jobs: Ledger, at: str) -> None:
    """The run was stopped while `job` was at work: an attempt that was begun since does not count.

    Raises:
        JobTaken: E7707, it is no longer ours to say so."""
    of_job = [entry for entry in await jobs.entries() if entry.body.get("queued") == job.key]
    begun = [entry for entry in of_job if entry.kind == "job.attempt"]
    if len(begun) - sum(entry.kind == "job.preempted" for entry in of_job) <= job.attempts:
        return
    body = {"track": job.track, "queued": job.key, "job_id": begun[-1].body["job_id"]}
    await record(job, "job.preempted", begun[-1].key, body, jobs=jobs, at=at)


async def cancel(name: str, *, jobs: Ledger, by: str, at: str, reason: str = "") -> Entry:
    """End the job for good, by its id or "<track>:<version>". Its trainer sees it and ends the child.

    Raises:
        NothingByThatName: E7903. JobMoveRefused: E7720, the job has ended, or has its result already."""
    while True:
        entries = await jobs.entries()
        key = _key_of(name, entries)
        done = next((entry for entry in entries if entry.kind == CANCELLED and entry.key == key), None)
        if done is not None:
            return done
        if any(e.kind in ("training.completed", "job.ended") and e.body.get("queued") == key for e in entries):
            raise JobMoveRefused(f"job {name} has its result, or has ended: it cannot be cancelled", job=name)
        body = {"track": key.rpartition(":")[0], "queued": key, "by": by, **({"reason": reason} if reason else {})}
        entry = await jobs.append_after(len(entries), CANCELLED, key, body, at=at)
        if entry is not None:
            return entry


def _key_of(name: str, entries: Sequence[Entry]) -> str:
    for entry in reversed(entries):
        if entry.kind == "job.queued" and entry.key == name:
            return entry.key
        if entry.kind == "job.attempt" and entry.body["job_id"] == name:
            return str(entry.body["queued"])
    known = [entry.key for entry in entries if entry.kind == "job.queued"]
    raise NothingByThatName(f"there is no job {name}; queued were last: {', '.join(known[-3:]) or 'none yet'}", id=name)
