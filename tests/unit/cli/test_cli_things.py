import asyncio
import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from cli_builders import a_loop, record_entries

from l07.backends.lock import DataLock
from l07.backends.store import FolderLeases
from l07.cli.lineage import summarise
from l07.cli.views import pick
from l07.errors import NothingByThatName

D = Path("d")


@pytest.mark.parametrize("what", ["datasets", "jobs", "models"])
def test_an_empty_ledger_is_no_error_and_makes_nothing(l07, what) -> None:
    assert json.loads(l07(what, "list", "--data-dir", "d", "--json").out) == {what: []}
    assert f"no {what} yet" in l07(what, "list", "--data-dir", "d").out
    assert not D.exists()


def test_a_job_s_state_follows_its_entries(l07) -> None:
    def states() -> dict[str, str]:
        return {
            job["dataset"]: job["state"]
            for job in json.loads(l07("jobs", "list", "--data-dir", "d", "--json").out)["jobs"]
        }

    queued = {"track": "default", "queued": "default:1.0.0", "job_id": "job-1"}
    steps = [
        ("job.queued", "default:1.0.0", {"track": "default"}, "PENDING"),
        ("job.attempt", "1", queued, "INITIALIZING"),
        ("training.started", "1", {**queued, "data": {"job_id": "job-1", "attempt": 1}}, "TRAINING"),
        ("job.preempted", "1", queued, "PENDING"),
        ("training.started", "2", {**queued, "data": {"job_id": "job-1", "attempt": 1}}, "TRAINING"),
        ("training.completed", "job-1", {**queued, "data": {"job_id": "job-1"}}, "VALIDATING"),
        ("job.ended", "default:1.0.0", {**queued, "state": "COMPLETED"}, "COMPLETED"),
    ]
    with DataLock(D):  # whoever trains it is there
        for kind, key, body, state in steps:
            record_entries(D, "jobs", (kind, key, body))
            assert states() == {"default:1.0.0": state}, kind


def test_a_newer_dataset_replaces_a_waiting_job_of_its_track_only(l07) -> None:
    running = {"queued": "b:1.0.0", "job_id": "job-b"}
    record_entries(
        D, "jobs",
        ("job.queued", "a:1.0.0", {}), ("job.queued", "b:1.0.0", {}), ("job.attempt", "b/1", running),
        ("job.queued", "a:1.1.0", {}), ("job.queued", "b:1.1.0", {}),
    )  # fmt: skip
    with DataLock(D):
        jobs = json.loads(l07("jobs", "list", "--data-dir", "d", "--json").out)["jobs"]
    states = {job["dataset"]: job["state"] for job in jobs}
    assert states == {"a:1.0.0": "REPLACED", "b:1.0.0": "INITIALIZING", "a:1.1.0": "PENDING", "b:1.1.0": "PENDING"}


def test_a_failed_job_says_why_and_a_declined_one_too(l07) -> None:
    failed = {"queued": "default:1.0.0", "data": {"job_id": "job-1", "code": "E7700", "message": "killed"}}
    record_entries(
        D, "jobs",
        ("job.queued", "default:1.0.0", {}), ("training.failed", "job-1", failed),
        ("job.declined", "default:1.0.1", {"reason": "3 train rows of the 500 that a job needs"}),
    )  # fmt: skip
    said = l07("jobs", "list", "--data-dir", "d").out
    assert "E7700" in said
    assert "DECLINED" in said
    assert "3 train rows" in said


def test_a_model_has_the_stage_and_the_verdict_of_its_last_entries(l07) -> None:
    a_loop(D)
    (model,) = json.loads(l07("models", "list", "--data-dir", "d", "--json").out)["models"]
    assert (model["id"], model["stage"], model["verdict"]) == ("default:0.1.0", "STAGING", "DEPLOY")


def test_a_model_leads_back_to_its_job_and_dataset(l07) -> None:
    a_loop(D)
    found = json.loads(l07("models", "show", "default", "--data-dir", "d", "--json").out)
    assert found["lineage"]["job"]["id"] == "job-1"
    assert found["lineage"]["dataset"]["digest"] == "d1"
    assert [entry["kind"] for entry in found["model"]["entries"]] == [
        "model.registered",
        "model.validated",
        "model.stage_changed",
    ]


@pytest.mark.parametrize(
    ("what", "name"), [("datasets", "default:1.0.0"), ("jobs", "job-1"), ("models", "default:0.1.0")]
)
def test_show_as_text_names_every_ledger_entry(l07, what, name) -> None:
    a_loop(D)
    said = l07(what, "show", name, "--data-dir", "d")
    assert said.status == 0
    assert name in said.out
    assert "hash" in said.out


def test_a_dataset_shows_its_card_and_what_our_own_models_did_over_its_versions(l07) -> None:
    for version, share in (("1.0.0", 0.0), ("1.1.0", 0.25), ("1.2.0", 0.5)):
        data = {"dataset": "default", "version": version, "uri": f"datasets/default/{version}", "own_share": share}
        record_entries(D, "datasets", ("dataset.created", f"default:{version}", {"data": data}))
    card = D / "datasets" / "default" / "1.1.0" / "README.md"
    card.parent.mkdir(parents=True)
    card.write_text("# default 1.1.0", "utf-8")
    shown = json.loads(l07("datasets", "show", "default:1.1.0", "--data-dir", "d", "--json").out)["dataset"]
    assert shown["card"] == str(card)
    assert shown["own_trend"] == [{"version": "1.0.0", "share": 0.0}, {"version": "1.1.0", "share": 0.25}]
    said = l07("datasets", "show", "default", "--data-dir", "d").out
    assert "0.000 -> 0.500" in said
    assert "card" not in said


def test_an_unknown_name_is_a_coded_error_that_says_what_is_there(l07) -> None:
    a_loop(D)
    said = l07("models", "show", "defualt", "--data-dir", "d")
    assert said.status == 1
    assert said.err.startswith(f"{NothingByThatName.code}: there is no model defualt; the newest are: default:0.1.0")


def test_a_name_without_version_is_its_newest() -> None:
    views = {"a:1": {"id": "a:1"}, "a:2": {"id": "a:2"}, "ab:3": {"id": "ab:3"}}
    assert pick(views, "a") == {"id": "a:2"}
    assert pick(views, "a:1") == {"id": "a:1"}
    assert pick(views, "b") is None


ROWS = [
    {"key": "execution:1", "trace_at": "t:a:0:7", "score_at": "s:1:3"},
    {"key": "execution:2", "trace_at": "t:a:0:5", "score_at": None},
    {"key": "execution:3", "trace_at": "t:a:0:9", "score_at": "s:1:2"},
]


def test_lineage_counts_events_and_spans_offsets_by_partition() -> None:
    found = summarise(ROWS, rows=1)
    assert (found["rows"], found["events"], len(found["sample"])) == (3, 5, 1)
    assert found["partitions"] == {
        "s:1": {"records": 2, "first": 2, "last": 3},
        "t:a:0": {"records": 3, "first": 5, "last": 9},
    }


@pytest.mark.parametrize(("rows", "shown"), [(-1, 3), (0, 0), (2, 2), (9, 3)])
def test_lineage_shows_as_many_rows_as_asked(rows, shown) -> None:
    assert len(summarise(ROWS, rows=rows)["sample"]) == shown


@pytest.mark.slow
def test_a_model_leads_down_to_the_events_and_offsets_of_its_dataset(l07) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    a_loop(D)
    folder = D / "datasets" / "default" / "1.0.0"
    folder.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(ROWS), folder / "provenance.parquet")
    for what, name in (("models", "default"), ("jobs", "job-1"), ("datasets", "default:1.0.0")):
        events = json.loads(l07(what, "show", name, "--data-dir", "d", "--json", "--rows", "1").out)["lineage"][
            "events"
        ]
        assert (events["rows"], events["events"], events["sample"]) == (3, 5, [ROWS[0]])
    said = l07("models", "show", "default", "--data-dir", "d").out
    assert "from 5 events in 3 rows" in said
    assert "t:a:0:9" in said


# ------------------------------------------------------------------ jobs that are worked on

BEGUN = (
    ("job.queued", "default:1.0.0", {"track": "default"}),
    ("job.claimed", "default/1", {"track": "default", "queued": "default:1.0.0", "fence": 1, "owner": "here/1"}),
    ("job.attempt", "1", {"track": "default", "queued": "default:1.0.0", "job_id": "job-1"}),
    ("training.started", "1", {"queued": "default:1.0.0", "data": {"job_id": "job-1", "attempt": 1, "method": "sft"}}),
)


def the_job(l07) -> dict:
    (job,) = json.loads(l07("jobs", "list", "--data-dir", "d", "--json").out)["jobs"]
    return job


def test_a_job_whose_trainer_is_gone_is_not_said_to_be_training(l07) -> None:
    leases = FolderLeases(D / "leases", ttl_s=90.0)
    lease = asyncio.run(leases.claim("track-default", "here/1"))
    assert lease is not None
    record_entries(D, "jobs", *BEGUN)
    job = the_job(l07)
    assert (job["state"], job["owner"], job["attempt"], job["method"]) == ("TRAINING", "here/1", 1, "sft")
    os.close(leases._held[lease].fd)  # as the kernel does when its process is killed
    job = the_job(l07)
    assert (job["state"], job["attempt"], "owner" in job) == ("PENDING", 1, False)
    assert "trainer is gone" in job["reason"]


def test_a_job_is_where_its_child_says_that_it_is(l07) -> None:
    asyncio.run(FolderLeases(D / "leases", ttl_s=90.0).claim("track-default", "here/1"))
    record_entries(D, "jobs", *BEGUN)
    told = {
        "attempt-2": '{"state": "TRAINING"}\n',
        "attempt-10": '{"state": "INITIALIZING"}\n{"state": "PREPARING_DATA"}\n{"state": "TRAI',
    }
    for name, lines in told.items():
        own = D / "jobs" / "job-1" / name
        own.mkdir(parents=True)
        (own / "progress.jsonl").write_text(lines, "utf-8")
    assert the_job(l07)["state"] == "PREPARING_DATA"


@pytest.mark.parametrize(("held", "state"), [(True, "TRAINING"), (False, "PENDING")])
def test_a_job_of_a_caller_in_python_stands_while_he_has_the_folder(l07, held, state) -> None:
    queued = {"queued": "mine:1.0.0#aa.1"}
    record_entries(
        D,
        "jobs",
        ("job.attempt", "1", {**queued, "job_id": "job-1"}),
        ("training.started", "1", {**queued, "data": {}}),
    )
    with DataLock(D, purpose="LearningService") if held else nullcontext():
        assert the_job(l07)["state"] == state


def test_of_two_jobs_with_one_id_both_are_told(l07) -> None:
    """Asked for again after it had failed."""
    for number, state in ((1, "FAILED"), (2, "COMPLETED")):
        key = f"default:1.0.0#aa.{number}"
        body = {"track": "default", "queued": key, "job_id": "job-1"}
        record_entries(
            D, "jobs", ("job.queued", key, {"track": "default"}), ("job.ended", key, {**body, "state": state})
        )
    jobs = json.loads(l07("jobs", "list", "--data-dir", "d", "--json").out)["jobs"]
    assert [(job["id"], job["state"]) for job in jobs] == [("job-1", "FAILED"), ("job-1", "COMPLETED")]
    shown = json.loads(l07("jobs", "show", "job-1", "--data-dir", "d", "--json").out)["job"]
    assert shown["state"] == "COMPLETED"
