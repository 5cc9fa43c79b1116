"""`l07 cost`: what the ledgers and folders know of seconds and money, and nothing that they do not."""

import json
from pathlib import Path

import pytest
from cli_builders import record_entries

D = Path("d")
WHERE = ("--data-dir", "d")


def a_job(number: int, *, track: str = "default", **completed: object) -> None:
    ident, dataset = f"job-{number}", f"{track}:1.{number}.0"
    queued = {"track": track, "queued": dataset}
    record_entries(
        D, "jobs",
        ("job.queued", dataset, {"track": track}), ("job.attempt", f"{dataset}/1", {**queued, "job_id": ident}),
        ("training.started", f"{ident}/1", {**queued, "data": {"job_id": ident, "attempt": 1, "method": "sft"}}),
        ("training.completed", ident, {**queued, "data": {"job_id": ident, "tokens": 1000, **completed}}),
        ("job.ended", dataset, {**queued, "job_id": ident, "state": "COMPLETED"}),
    )  # fmt: skip


def a_model(number: int, estimate: float | None, interval: list[float] | None) -> None:
    subject = {"subject": f"models/default:{number}.0.0"}
    data = {"model": "default", "version": f"{number}.0.0", "digest": "m", "uri": "u", "base_model": "b"}
    stage = {"stage": "benchmark", "result": "PASS", "n": 195, "estimate": estimate, "interval": interval}
    record_entries(
        D, "registry",
        ("model.registered", f"default:{number}.0.0", {**subject, "data": data | {"lineage": {"job_id": f"job-{number}"}}}),
        ("model.validated", f"v{number}", {**subject, "data": {"verdict": "DEPLOY", "digest": "m", "stages": [stage]}}),
    )  # fmt: skip


def told(l07, *argv: str) -> dict:
    return json.loads(l07("cost", *WHERE, "--json", *argv).out)


def test_an_empty_folder_has_cost_nothing(l07) -> None:
    assert told(l07)["jobs"] == []
    assert "no job was begun yet" in l07("cost", *WHERE).out
    assert not D.exists()


def test_a_jobs_cost_and_its_models_gain_give_the_cost_of_a_point(l07) -> None:
    a_job(1, spent_s=3600.0, cost=10.0, currency="EUR", energy_j=7200.0)
    a_model(1, 0.05, [0.02, 0.08])
    (job,) = told(l07)["jobs"]
    assert (job["seconds"], job["cost"], job["currency"], job["model"]) == (3600.0, 10.0, "EUR", "default:1.0.0")
    assert job["per_point"] == {"cost": 2.0, "low": 1.25, "high": 5.0}
    said = l07("cost", *WHERE).out
    for text in ("10 EUR", "2 Wh", "+5.00 [+2.00, +8.00], n 195", "2 [1.25, 5] EUR"):
        assert text in said


def test_a_gain_that_may_be_nothing_has_no_upper_bound(l07) -> None:
    a_job(1, spent_s=1.0, cost=10.0, currency="EUR")
    a_model(1, 0.01, [-0.01, 0.04])
    assert "10 [2.5, no bound] EUR" in l07("cost", *WHERE).out


def test_what_was_not_measured_is_not_in_the_sum_and_the_sum_says_so(l07) -> None:
    a_job(1, spent_s=10.0, energy_j=36.0)
    a_job(2, seconds=20.0)
    found = told(l07)
    assert found["total"]["seconds"] == {"value": 30.0, "measured": 2, "of": 2}
    assert found["total"]["joules"] == {"value": 36.0, "measured": 1, "of": 2}
    assert found["total"]["costs"] == {}
    said = l07("cost", *WHERE).out
    assert "(1 of 2)" in said
    assert "no price" in said


def test_without_a_recorded_cost_todays_price_counts(l07, monkeypatch) -> None:
    a_job(1, spent_s=1800.0)
    a_job(2, spent_s=1800.0, cost=9.0, currency="EUR")
    monkeypatch.setenv("L07_TRAINING__PRICE_PER_HOUR", "2")
    found = told(l07)
    assert [(job["cost"], job["currency"]) for job in found["jobs"]] == [(1.0, "USD"), (9.0, "EUR")]
    assert set(found["total"]["costs"]) == {"EUR", "USD"}


def test_a_job_that_never_ended_is_told_by_its_folder(l07) -> None:
    queued = {"track": "default", "queued": "default:1.0.0"}
    record_entries(
        D, "jobs", ("job.queued", "default:1.0.0", {"track": "default"}), ("job.attempt", "1", {**queued, "job_id": "job-9"}),
        ("job.cancelled", "default:1.0.0", {**queued, "by": "ann"}),
    )  # fmt: skip
    own = D / "jobs" / "job-9" / "attempt-1"
    own.mkdir(parents=True)
    (own / "job.json").write_text("{}")
    (own / "spent.json").write_text('{"seconds": 12.5, "joules": null}')
    (job,) = told(l07)["jobs"]
    assert (job["state"], job["seconds"], job["tokens"], job["joules"]) == ("CANCELLED", 12.5, None, None)


def test_one_track_alone(l07) -> None:
    a_job(1, spent_s=10.0)
    a_job(2, track="sales", spent_s=5.0)
    found = told(l07, "--track", "sales")
    assert [job["job"] for job in found["jobs"]] == ["job-2"]
    assert found["total"]["seconds"]["value"] == 5.0
    assert set(told(l07)["tracks"]) == {"default", "sales"}
    assert "all tracks" in l07("cost", *WHERE).out


@pytest.mark.parametrize("argv", [("--track", "nobody")])
def test_an_unknown_track_is_said(l07, argv) -> None:
    said = l07("cost", *WHERE, *argv)
    assert said.status == 1
    assert said.err.startswith("E7903")
