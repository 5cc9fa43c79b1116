"""`l07 jobs cancel`: the one way in which a job becomes CANCELLED."""

import json
from pathlib import Path

from cli_builders import a_loop, record_entries

D = Path("d")


def states(l07) -> dict[str, str]:
    found = json.loads(l07("jobs", "list", "--data-dir", "d", "--json").out)["jobs"]
    return {job["dataset"]: job["state"] for job in found}


def test_a_job_is_cancelled_by_its_dataset_or_by_its_id(l07) -> None:
    begun = {"track": "b", "queued": "b:1.0.0", "job_id": "job-b"}
    record_entries(
        D, "jobs",
        ("job.queued", "a:1.0.0", {"track": "a"}), ("job.queued", "b:1.0.0", {"track": "b"}), ("job.attempt", "1", begun),
    )  # fmt: skip
    assert "a:1.0.0 is cancelled" in l07("jobs", "cancel", "a:1.0.0", "--data-dir", "d").out
    said = json.loads(l07("jobs", "cancel", "job-b", "--data-dir", "d", "--json").out)
    assert (said["dataset"], said["state"]) == ("b:1.0.0", "CANCELLED")
    assert states(l07) == {"a:1.0.0": "CANCELLED", "b:1.0.0": "CANCELLED"}


def test_what_has_ended_is_not_cancelled_and_an_unknown_job_is_said(l07) -> None:
    a_loop(D)
    done = l07("jobs", "cancel", "job-1", "--data-dir", "d")
    assert done.status == 1
    assert "E7720" in done.err
    assert "E7903" in l07("jobs", "cancel", "job-9", "--data-dir", "d").err
    assert states(l07) == {"default:1.0.0": "COMPLETED"}
