"""A job asked for by hand stands in the same queue; the same job asked for twice is one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from l07.domain.job_ledger import fold
from l07.domain.methods import METHODS, MethodSpec, Option
from l07.errors import BadTraining, BaseMissing, DatasetRevoked, NothingByThatName, NothingToTrainOn
from l07.events.outbound import event_id
from l07.pipeline import train
from l07.pipeline.train import identity
from tests.unit.pipeline.test_train import AT, RESULT, Bench, a_version


@pytest.fixture(autouse=True)
def _a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second method, with an option: which ones there are is the table's matter."""
    told = MethodSpec("pairs", "of this test", {"beta": Option(0.1, 0.0, 1.0, "how far")})
    monkeypatch.setitem(METHODS, "other", told)  # type: ignore[arg-type]  # a table that only grows


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    """A track with two versions, neither large enough to be trained by itself."""
    bench = Bench(tmp_path)
    for version in ("1.0.0", "1.1.0"):
        await created(bench, version)
    return bench


async def created(bench: Bench, version: str) -> None:
    data = a_version(version, train_rows=3).data
    body = {"dataset": "default", "version": version, "digest": data.digest, "uri": data.uri, "added": 1}
    await bench.datasets.append("dataset.created", f"default:{version}", {"data": body, "correlationid": "c"}, at=AT)


async def ask(bench: Bench, **asked: Any) -> train.Answer:
    return await train.ask(
        train.Asked(**{"track": "default", "by": "ann", **asked}), jobs=bench.jobs, datasets=bench.datasets,
        registry=bench.registry, bases=bench.desk.bases, settings=bench.settings, at=AT,
    )  # fmt: skip


async def test_the_newest_version_is_queued_with_its_cause_and_whoever_asked(bench: Bench) -> None:
    answer = await ask(bench, priority=5)
    (entry,) = bench.jobs.lines
    assert (answer.is_new, answer.standing, answer.key) == (True, "PENDING", entry.key)
    assert entry.key.startswith("default:1.1.0#")
    created = bench.datasets.lines[1]
    assert (entry.body["by"], entry.body["priority"], entry.body["method"], entry.body["correlationid"]) == (
        "ann", 5, "sft", "c",
    )  # fmt: skip
    assert entry.body["cause"] == event_id(f"datasets/{created.number}/dataset.created/{created.key}")
    (job,) = await bench.due()
    assert (job.version, job.digest, job.method, job.priority) == ("1.1.0", "digest-1.1.0", "sft", 5)


async def test_a_job_asked_for_runs_like_any_other_with_its_own_method(bench: Bench) -> None:
    await ask(bench, version="1.0.0", method="other", options={"beta": 0.5})
    await bench.work()
    (spec,) = bench.trainer.jobs
    assert (spec["method"], spec["options"], spec["dataset_digest"]) == ("other", {"beta": 0.5}, "digest-1.0.0")
    started = next(line.body["data"] for line in bench.jobs.lines if line.kind == "training.started")
    assert started["method"] == "other"
    assert [line.kind for line in bench.registry.lines] == ["model.registered"]


async def test_asked_for_twice_it_is_queued_once_and_said(bench: Bench) -> None:
    first, second = await ask(bench), await ask(bench)
    assert (second.is_new, second.key) == (False, first.key)
    assert len(await bench.due()) == 1


async def test_another_method_option_or_version_is_another_job(bench: Bench) -> None:
    asked: tuple[dict[str, Any], ...] = (
        {}, {"version": "1.0.0"}, {"method": "other"}, {"method": "other", "options": {"beta": 0.2}},
    )  # fmt: skip
    assert len({(await ask(bench, **one)).key for one in asked}) == 4
    assert len(await bench.due()) == 4


async def test_the_options_defaults_are_the_same_job(bench: Bench) -> None:
    first = await ask(bench, method="other")
    assert (await ask(bench, method="other", options={"beta": 0.1})).key == first.key


async def test_what_was_completed_is_not_queued_again_and_its_model_is_named(bench: Bench) -> None:
    first = await ask(bench)
    await bench.work()
    again = await ask(bench)
    assert (again.is_new, again.standing, again.model) == (False, "COMPLETED", "default:1.0.0")
    assert again.key == first.key
    assert again.job_id.startswith("job-")


async def test_what_the_track_does_by_itself_is_the_same_job(bench: Bench) -> None:
    await bench.created(a_version("1.2.0"))
    waiting = await ask(bench)
    assert (waiting.is_new, waiting.key) == (False, "default:1.2.0")
    await bench.work()
    assert (await ask(bench)).standing == "COMPLETED"
    assert (await ask(bench, method="other")).is_new


async def test_with_other_settings_it_is_another_job(bench: Bench) -> None:
    await ask(bench)
    await bench.work()
    training = bench.settings.training.model_copy(update={"epochs": 9.0})
    bench.settings = bench.settings.model_copy(update={"training": training})
    assert (await ask(bench)).is_new


async def test_other_rules_of_pairs_are_another_request_of_a_method_that_learns_from_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the id is not known before it runs, too."""
    monkeypatch.setattr("l07.pipeline.train.asked.identity_of", lambda *_: "")
    first = [await ask(bench), await ask(bench, method="other")]
    contrast = bench.settings.contrast.model_copy(update={"min_margin": 55.0})
    bench.settings = bench.settings.model_copy(update={"contrast": contrast})
    second = [await ask(bench), await ask(bench, method="other")]
    assert [a.key == b.key for a, b in zip(first, second, strict=True)] == [True, False]


async def test_a_failed_or_cancelled_one_is_queued_anew_under_the_next_number(tmp_path: Path) -> None:
    bench = Bench(tmp_path, NothingToTrainOn("no row fits"), RESULT)
    await created(bench, "1.0.0")
    first = await ask(bench)
    await bench.work()
    second = await ask(bench)
    assert (second.is_new, second.key) == (True, first.key.replace(".1", ".2"))
    await train.cancel(second.key, jobs=bench.jobs, by="ann", at=AT)
    third = await ask(bench)
    assert third.is_new
    await bench.work()
    states = [job.standing for job in fold(bench.jobs.lines).values()]
    assert states == ["FAILED", "CANCELLED", "COMPLETED"]


async def test_the_same_job_of_another_request_is_not_run_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that asks has no libraries, so it cannot know the id; the trainer does."""
    await ask(bench)
    await bench.work()
    monkeypatch.setattr("l07.pipeline.train.asked.identity_of", lambda *_: "")
    monkeypatch.setattr("l07.pipeline.train.asked._request", lambda *_: "00000000")
    assert (await ask(bench)).is_new
    await bench.work()
    assert len(bench.trainer.jobs) == 1
    assert bench.jobs.kinds().count("training.completed") == len(bench.registry.lines) == 1
    first, second = fold(bench.jobs.lines).values()
    assert (first.ident, first.standing) == (second.ident, second.standing)
    assert "same job" in second.reason


async def test_a_newer_version_does_not_replace_what_was_asked_for(bench: Bench) -> None:
    first = await ask(bench, version="1.0.0")
    await bench.created(a_version("1.2.0"))
    assert [job.key for job in await bench.due()] == [first.key, "default:1.2.0"]


async def test_what_is_more_urgent_goes_first_then_the_oldest(bench: Bench) -> None:
    await bench.created(a_version("1.2.0"))
    low = await ask(bench, version="1.0.0", priority=-1)
    high = await ask(bench, version="1.1.0", priority=3)
    same = await ask(bench, version="1.0.0", method="other")
    assert [job.key for job in await bench.due()] == [high.key, "default:1.2.0", same.key, low.key]
    taken = await train.take("default", fence=1, owner="one", jobs=bench.jobs, at=AT)
    assert taken is not None
    assert taken.key == high.key


async def test_the_tracks_priority_counts_where_none_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tracks__default__train__priority=7)
    await bench.created(a_version())
    await created(bench, "1.0.1")
    await ask(bench, version="1.0.1")
    await ask(bench, version="1.0.1", method="other", priority=0)
    assert [job.priority for job in await bench.due()] == [7, 7, 0]


# ------------------------------------------------------------------ what cannot be


async def test_an_unknown_track_or_version_says_what_is_there(bench: Bench) -> None:
    with pytest.raises(NothingByThatName, match="there are default"):
        await ask(bench, track="sales")
    with pytest.raises(NothingByThatName, match=r"default:1\.0\.0, default:1\.1\.0"):
        await ask(bench, version="9.0.0")
    assert bench.jobs.lines == []


async def test_a_track_without_a_version_says_so(tmp_path: Path) -> None:
    with pytest.raises(NothingByThatName, match="none yet"):
        await ask(Bench(tmp_path))


async def test_a_revoked_version_is_refused_and_the_newest_is_one_that_is_not(bench: Bench) -> None:
    await bench.datasets.append("dataset.revoked", "default:1.1.0", {"data": {}}, at=AT)
    with pytest.raises(DatasetRevoked, match=r"default:1\.1\.0"):
        await ask(bench, version="1.1.0")
    assert (await ask(bench)).key.startswith("default:1.0.0#")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"method": "magic"}, "there are sft"),
        ({"method": "other", "options": {"gamma": 1.0}}, "it has beta"),
        ({"method": "other", "options": {"beta": 7.0}}, "beta: 0 to 1"),
        ({"method": "other", "options": {"beta": float("nan")}}, "beta: 0 to 1"),
    ],
)
async def test_a_method_or_an_option_that_is_not_there_names_those_that_are(
    bench: Bench, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadTraining, match=says) as caught:
        await ask(bench, **asked)
    assert caught.value.code == "E7911"
    assert bench.jobs.lines == []


async def test_a_base_that_is_not_here_is_said_before_anything_is_queued(bench: Bench) -> None:
    track = bench.settings.tracks["default"].model_copy(update={"base_model": "gpt-4"})
    bench.settings = bench.settings.model_copy(update={"tracks": {"default": track}})
    with pytest.raises(BaseMissing):
        await ask(bench)
    assert bench.jobs.lines == []


# ------------------------------------------------------------------ the id before it runs


async def test_the_id_is_known_before_it_runs_where_the_base_is_here(bench: Bench) -> None:
    answer = await ask(bench)
    await bench.work()
    assert bench.trainer.jobs[0]["job_id"] == answer.job_id


async def test_the_id_is_unknown_where_the_base_is_not_made_yet_or_torch_is_elsewhere(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = bench.settings.tracks["default"].model_copy(update={"base_model": "tiny-base"})
    bench.settings = bench.settings.model_copy(update={"tracks": {"default": tiny}})
    assert (await ask(bench)).job_id == ""
    bench.settings = bench.desk.settings
    monkeypatch.setattr(identity, "library_version", lambda name: "absent")
    assert (await ask(bench, version="1.0.0")).job_id == ""


async def test_another_thread_count_where_it_is_asked_is_not_another_job(bench: Bench) -> None:
    """Which threads a job gets is the trainer's matter; as long as it is not over it is the same job."""
    first = await ask(bench)
    job = replace((await bench.due())[0], fence=0)
    await bench.jobs.append(
        "job.attempt", "a", {"track": "default", "queued": job.key, "job_id": "job-elsewhere"}, at=AT
    )
    assert (await ask(bench)).key == first.key
