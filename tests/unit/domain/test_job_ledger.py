"""A job's state is a fold over the ledger: each entry in each state, cut off anywhere, and it never says what is not so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any

import pytest

from l07.domain.job import NEXT_STATES, JobState
from l07.domain.job_ledger import WAYS, JobLine, claimed, fold

S = JobState
KEY = "default:1.0.0"
ENDS = (S.COMPLETED, S.FAILED, S.CANCELLED)


@dataclass(frozen=True)
class Line:
    """As much of a ledger's entry as the fold looks at."""

    kind: str
    key: str = KEY
    body: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    at: str = "2026-01-05T09:00:00Z"
    ledger: str = "jobs"
    hash: str = ""


def entries(*lines: Line) -> list[Line]:
    return [Line(one.kind, one.key, one.body, number) for number, one in enumerate(lines, 1)]


def an_entry(kind: str, key: str = KEY, **body: Any) -> Line:
    own = kind in ("job.queued", "job.declined", "job.cancelled", "job.ended")
    return Line(kind, key if own else f"{key}/{kind}", {"queued": key, **body})


ENTRIES = {
    "claimed": an_entry("job.claimed", fence=2, owner="two"),
    "released": an_entry("job.released", fence=1),
    "attempt": an_entry("job.attempt", job_id="job-1"),
    "started": an_entry("training.started", data={"job_id": "job-1", "attempt": 1}),
    "preempted": an_entry("job.preempted", job_id="job-1", fence=1),
    "failed again": an_entry("training.failed", data={"job_id": "job-1", "code": "E7701", "again": True}),
    "failed": an_entry("training.failed", data={"job_id": "job-1", "code": "E7701", "again": False}),
    "completed": an_entry("training.completed", data={"job_id": "job-1"}),
    "ended": an_entry("job.ended", job_id="job-1", state="COMPLETED"),
    "ended badly": an_entry("job.ended", job_id="job-1", state="FAILED"),
    "cancelled": an_entry("job.cancelled", by="ann"),
}
BEGUN = (an_entry("job.queued", track="default"), an_entry("job.claimed", fence=1, owner="one"), ENTRIES["attempt"])
STATES: Mapping[JobState, tuple[Line, ...]] = {
    S.PENDING: BEGUN[:1],
    S.INITIALIZING: BEGUN,
    S.TRAINING: (*BEGUN, ENTRIES["started"]),
    S.RETRYING: (*BEGUN, ENTRIES["started"], ENTRIES["failed again"]),
    S.VALIDATING: (*BEGUN, ENTRIES["started"], ENTRIES["completed"]),
    S.COMPLETED: (*BEGUN, ENTRIES["started"], ENTRIES["completed"], ENTRIES["ended"]),
    S.FAILED: (*BEGUN, ENTRIES["started"], ENTRIES["failed"], ENTRIES["ended badly"]),
    S.CANCELLED: (*BEGUN, ENTRIES["cancelled"]),
}
# What each entry makes of a job that has not ended; one that has ended stays as it is.
BECOMES = {
    "claimed": S.RETRYING,  # of one that waits: it goes on waiting until an attempt begins
    "released": S.PENDING,
    "attempt": S.INITIALIZING,
    "started": S.TRAINING,
    "preempted": S.PENDING,
    "failed again": S.RETRYING,
    "failed": S.FAILED,
    "completed": S.VALIDATING,
    "ended": S.COMPLETED,
    "ended badly": S.FAILED,
    "cancelled": S.CANCELLED,
}


def one(*lines: Line) -> JobLine:
    return fold(entries(*lines))[KEY]


@pytest.mark.parametrize("state", list(STATES))
def test_a_ledger_leads_to_each_state(state: JobState) -> None:
    assert one(*STATES[state]).state is state


@pytest.mark.parametrize(("state", "entry"), list(product(STATES, ENTRIES)))
def test_each_entry_in_each_state(state: JobState, entry: str) -> None:
    found = one(*STATES[state], ENTRIES[entry])
    if state in ENDS:
        assert found == one(*STATES[state])
    elif state is S.PENDING and entry == "claimed":
        assert (found.state, found.owner) == (S.PENDING, "two")
    else:
        assert found.state is BECOMES[entry]


@pytest.mark.parametrize("state", list(S))
def test_the_ways_are_those_of_the_table_and_an_end_leads_nowhere(state: JobState) -> None:
    assert WAYS[state] >= {state} | NEXT_STATES[state]
    assert (WAYS[state] == {state}) is (state in ENDS)


def test_whatever_order_entries_come_in_an_end_is_never_left() -> None:
    for order in permutations(ENTRIES, 3):
        seen = [BEGUN[0]]
        ended: JobState | None = None
        for name in order:
            seen.append(ENTRIES[name])
            state = one(*seen).state
            assert ended is None or state is ended, order
            ended = state if state in ENDS else None


# ------------------------------------------------------------------ attempts


def test_attempts_are_those_that_count_and_a_preempted_one_does_not() -> None:
    job = one(*BEGUN, ENTRIES["preempted"])
    assert (job.state, job.attempts, job.preempted, job.owner) == (S.PENDING, 0, 1, "")
    again = one(*BEGUN, ENTRIES["preempted"], an_entry("job.claimed", fence=2, owner="two"), ENTRIES["attempt"])
    assert (again.state, again.attempts, again.preempted, again.owner) == (S.INITIALIZING, 1, 1, "two")


def test_a_job_whose_trainer_was_killed_is_retrying_once_another_claims_it_and_its_attempt_counts() -> None:
    job = one(*STATES[S.TRAINING], ENTRIES["claimed"])
    assert (job.state, job.attempts, job.owner, job.fence) == (S.RETRYING, 1, "two", 2)


def test_a_retry_says_what_failed() -> None:
    job = one(*STATES[S.RETRYING])
    assert (job.state, job.code, job.attempts) == (S.RETRYING, "E7701", 1)


def test_a_claim_that_was_given_back_before_an_attempt_leaves_a_job_that_waits() -> None:
    job = one(*BEGUN[:2], ENTRIES["released"])
    assert (job.state, job.owner, job.attempts, job.is_due) == (S.PENDING, "", 0, True)


def test_whoever_was_taken_over_does_not_give_back_what_the_other_one_has() -> None:
    job = one(*BEGUN, ENTRIES["claimed"], ENTRIES["released"])  # the claim is of fence 2, what is given back of fence 1
    assert (job.state, job.owner) == (S.RETRYING, "two")


# ------------------------------------------------------------------ beside each other


def test_a_newer_version_replaces_what_waits_of_its_track_only() -> None:
    jobs = fold(
        entries(an_entry("job.queued", "a:1.0.0"), an_entry("job.queued", "b:1.0.0"), an_entry("job.queued", "a:1.1.0"))
    )
    assert {key: job.standing for key, job in jobs.items()} == {
        "a:1.0.0": "REPLACED", "b:1.0.0": "PENDING", "a:1.1.0": "PENDING",
    }  # fmt: skip
    assert jobs["a:1.0.0"].reason == "by a:1.1.0"
    assert [job.is_settled for job in jobs.values()] == [True, False, False]


def test_what_runs_is_not_called_replaced_until_it_would_wait_again() -> None:
    newer = an_entry("job.queued", "default:1.1.0")
    running = one(*BEGUN, ENTRIES["started"], newer)
    assert (running.standing, running.is_due) == ("TRAINING", False)
    assert one(*BEGUN, ENTRIES["started"], newer, ENTRIES["ended"]).standing == "COMPLETED"
    assert one(*BEGUN, newer, ENTRIES["preempted"]).standing == "REPLACED"


def test_what_a_person_asked_for_is_replaced_by_nothing_and_replaces_nothing() -> None:
    jobs = fold(
        entries(
            an_entry("job.queued", "a:1.0.0#1f.1", track="a"), an_entry("job.queued", "a:1.0.0", track="a"),
            an_entry("job.queued", "a:1.0.0#2e.1", track="a"), an_entry("job.queued", "a:1.1.0", track="a"),
        )
    )  # fmt: skip
    assert [key for key, job in jobs.items() if job.is_due] == ["a:1.0.0#1f.1", "a:1.0.0#2e.1", "a:1.1.0"]
    assert {job.dataset for job in jobs.values() if job.asked} == {"a:1.0.0"}


def test_a_claim_on_a_track_says_that_the_job_before_was_cut_off() -> None:
    other = "default:1.0.0#1f.1"
    jobs = fold(
        entries(
            *STATES[S.TRAINING], an_entry("job.queued", other, track="default"),
            an_entry("job.claimed", other, fence=2, owner="two"),
        )
    )  # fmt: skip
    assert (jobs[KEY].state, jobs[KEY].attempts, jobs[KEY].owner, jobs[KEY].is_due) == (S.PENDING, 1, "", True)
    assert {track: job.key for track, job in claimed(jobs.values()).items()} == {"default": other}


def test_an_end_lets_the_claim_go() -> None:
    for state in ENDS:
        assert claimed([one(*STATES[state])]) == {}
    assert set(claimed([one(*STATES[S.TRAINING])])) == {"default"}


def test_a_declined_version_is_no_job_that_is_due() -> None:
    job = one(an_entry("job.declined", reason="3 train rows of the 500 that a job needs"))
    assert (job.standing, job.is_over, job.is_due) == ("DECLINED", True, False)


def test_a_job_that_never_stood_in_the_queue_is_told_and_not_due() -> None:
    """A caller in Python trains without a queue."""
    job = fold(entries(an_entry("job.attempt", "mine:1.0.0#aa.1", job_id="job-9")))["mine:1.0.0#aa.1"]
    assert (job.track, job.dataset, job.ident, job.state, job.is_due) == (
        "mine", "mine:1.0.0", "job-9", S.INITIALIZING, False,
    )  # fmt: skip


def test_other_kinds_are_passed_over() -> None:
    assert fold(entries(Line("job.simulated", "simulated-1", {"job_id": "simulated-1"}), Line("dataset.created"))) == {}
