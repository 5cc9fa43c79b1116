"""What the ledger `jobs` says of each job: a fold over its entries, for the queue, for people, and for what it cost.

A job's key is "<track>:<version>" where a dataset's version asked for it, and "<track>:<version>#<request>.<n>" where a person
or a program did. The fold takes the ways of `NEXT_STATES` only: an entry that comes after a job's end changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from l07.domain.job import NEXT_STATES, JobState
from l07.events.outbound import EntryLike

QUEUED, DECLINED, CLAIMED, RELEASED = "job.queued", "job.declined", "job.claimed", "job.released"
ATTEMPT, PREEMPTED, ENDED, CANCELLED = "job.attempt", "job.preempted", "job.ended", "job.cancelled"
STARTED, COMPLETED, FAILED = "training.started", "training.completed", "training.failed"
_S = JobState
AT_WORK = frozenset({_S.INITIALIZING, _S.PREPARING_DATA, _S.TRAINING, _S.VALIDATING, _S.RETRYING})


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job as the ledger has it. `attempts` were begun and count, `preempted` were begun and do not."""

    key: str
    number: int  # of its first entry: of two jobs that are equally urgent the smaller one goes first
    body: Mapping[str, Any] = field(default_factory=dict)  # of `job.queued`; empty: it never stood in the queue
    state: JobState = JobState.PENDING
    ident: str = ""  # "job-...", once an attempt was begun
    attempts: int = 0
    preempted: int = 0
    owner: str = ""  # whoever claimed it, while the claim stands
    fence: int = 0
    code: str = ""  # of the last attempt that failed
    reason: str = ""  # why it was declined, cancelled, replaced or failed
    declined: bool = False
    replaced: bool = False  # a newer version of its track stands in the queue

    @property
    def dataset(self) -> str:
        """The version that it learns from, "<track>:<version>"."""
        return self.key.partition("#")[0]

    @property
    def track(self) -> str:
        return self.dataset.rpartition(":")[0]

    @property
    def asked(self) -> bool:
        """By a person or a program: a newer version does not take its place."""
        return "#" in self.key

    @property
    def priority(self) -> int:
        return int(self.body.get("priority") or 0)

    @property
    def is_over(self) -> bool:
        return self.declined or not NEXT_STATES[self.state]

    @property
    def is_settled(self) -> bool:
        """Nothing will be done for it any more."""
        return self.is_over or self.standing == "REPLACED"

    @property
    def is_due(self) -> bool:
        """Whether it waits in the queue, or is worked on and would go back there."""
        return bool(self.body) and not self.is_over and not self.replaced

    @property
    def standing(self) -> str:
        """The state for a person: DECLINED was never a job, REPLACED will not be begun any more."""
        if self.declined:
            return "DECLINED"
        return "REPLACED" if self.replaced and self.state is _S.PENDING else self.state.value


def fold(entries: Iterable[EntryLike]) -> dict[str, JobLine]:
    """Every job by its key, oldest first. Kinds that are not about jobs are passed over."""
    jobs: dict[str, JobLine] = {}
    live: dict[str, set[str]] = {}  # by track, the keys of those that another one's entry may still touch
    for entry in entries:
        if (step := _STEPS.get(entry.kind)) is None:
            continue
        key = str(entry.body.get("queued") or (entry.key if entry.kind in _OWN_KEY else ""))
        if not key:
            continue
        before = jobs.get(key) or JobLine(key, entry.number)
        if before.is_over:
            continue
        job = step(before, entry)
        mates = live.setdefault(job.track, set())
        if (say := _BESIDE.get(entry.kind)) is not None:
            for mate in mates - {key}:
                jobs[mate] = say(jobs[mate], job)
        jobs[key] = job
        mates.add(key)
        mates -= {mate for mate in mates if jobs[mate].is_settled}
    return jobs


def claimed(jobs: Iterable[JobLine]) -> dict[str, JobLine]:
    """Track -> the job that is claimed there and was not let go: what the group works on, and what a killed trainer left."""
    return {job.track: job for job in jobs if job.owner}


def _ways(here: JobState) -> frozenset[JobState]:
    """Where moves that the table allows lead; a state leads to itself."""
    seen, open_ = {here}, [here]
    while open_:
        new = NEXT_STATES[open_.pop()] - seen
        seen |= new
        open_ += new
    return frozenset(seen)


WAYS: Mapping[JobState, frozenset[JobState]] = {state: _ways(state) for state in JobState}


def move(job: JobLine, to: JobState) -> JobLine:
    """`job` in that state, or as it is where no way of NEXT_STATES leads there."""
    return replace(job, state=to) if to in WAYS[job.state] else job


# ------------------------------------------------------------------ what an entry says of the track's other jobs


def _queued_beside(other: JobLine, job: JobLine) -> JobLine:
    """A newer version takes the place of the one that waits; what a person asked for stays."""
    if other.asked or job.asked:
        return other
    return replace(other, replaced=True, reason=f"by {job.key}")


def _claimed_beside(other: JobLine, job: JobLine) -> JobLine:
    """One job a track at a time: whoever had this one was cut off."""
    return replace(move(other, _S.PENDING), owner="", fence=0)


# ------------------------------------------------------------------ entries


def _queued(job: JobLine, entry: EntryLike) -> JobLine:
    return replace(job, body=dict(entry.body))


def _declined(job: JobLine, entry: EntryLike) -> JobLine:
    return replace(job, declined=True, reason=str(entry.body.get("reason") or ""))


def _claimed(job: JobLine, entry: EntryLike) -> JobLine:
    """Claimed while it was worked on: its trainer was cut off, and its attempt counts."""
    body = entry.body
    taken = replace(job, owner=str(body.get("owner") or "unknown"), fence=int(body.get("fence") or 0))
    return move(taken, _S.RETRYING) if job.state in AT_WORK else taken


def _let_go(job: JobLine, entry: EntryLike) -> JobLine:
    """Of a claim that is not the last any more it says nothing."""
    if job.owner and job.fence != int(entry.body.get("fence") or 0):
        return job
    return replace(move(job, _S.PENDING) if job.state in AT_WORK else job, owner="", fence=0)


def _attempt(job: JobLine, entry: EntryLike) -> JobLine:
    return replace(move(job, _S.INITIALIZING), ident=_ident(entry) or job.ident, attempts=job.attempts + 1)


def _started(job: JobLine, entry: EntryLike) -> JobLine:
    return move(replace(job, ident=_ident(entry) or job.ident), _S.TRAINING)


def _preempted(job: JobLine, entry: EntryLike) -> JobLine:
    return replace(
        move(job, _S.PENDING), attempts=job.attempts - 1, preempted=job.preempted + 1, owner="", fence=0
    )  # fmt: skip


def _completed(job: JobLine, entry: EntryLike) -> JobLine:
    return move(replace(job, ident=_ident(entry) or job.ident), _S.VALIDATING)


def _failed(job: JobLine, entry: EntryLike) -> JobLine:
    """`again`: an attempt failed, and the next one is coming."""
    data = entry.body.get("data") or {}
    if data.get("again"):
        return replace(move(job, _S.RETRYING), code=str(data.get("code") or ""), reason=str(data.get("message") or ""))
    ident = _ident(entry)
    named = replace(job, ident=ident if ident.startswith("job-") else job.ident)
    said = replace(named, code=str(data.get("code") or ""), reason=str(data.get("message") or ""))
    return replace(move(said, _S.FAILED), owner="", fence=0)


def _ended(job: JobLine, entry: EntryLike) -> JobLine:
    ident = _ident(entry)
    named = replace(job, ident=ident if ident.startswith("job-") else job.ident)
    over = replace(move(named, JobState(entry.body["state"])), owner="", fence=0)
    if over.state is _S.COMPLETED:  # what an earlier attempt failed of is not why it ended
        return replace(over, code="", reason=str(entry.body.get("reason") or ""))
    return over


def _cancelled(job: JobLine, entry: EntryLike) -> JobLine:
    reason = str(entry.body.get("reason") or "")
    return replace(move(job, _S.CANCELLED), owner="", fence=0, reason=reason)


def _ident(entry: EntryLike) -> str:
    return str((entry.body.get("data") or {}).get("job_id") or entry.body.get("job_id") or "")


_OWN_KEY = frozenset({QUEUED, DECLINED, CANCELLED, ENDED})
_BESIDE: Mapping[str, Callable[[JobLine, JobLine], JobLine]] = {QUEUED: _queued_beside, CLAIMED: _claimed_beside}
_STEPS: Mapping[str, Callable[[JobLine, EntryLike], JobLine]] = {
    QUEUED: _queued,
    DECLINED: _declined,
    CLAIMED: _claimed,
    RELEASED: _let_go,
    ATTEMPT: _attempt,
    STARTED: _started,
    PREEMPTED: _preempted,
    COMPLETED: _completed,
    FAILED: _failed,
    ENDED: _ended,
    CANCELLED: _cancelled,
}
