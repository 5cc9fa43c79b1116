"""A policy's job is rewarded by the model that another job made; that model is never released."""

from pathlib import Path
from typing import Any

import pytest

from l07.pipeline.forget import datasets as forgetting
from l07.pipeline.forget.datasets import Shelf
from tests.fakes import MemoryLedger
from tests.unit.pipeline.test_train import RESULT, Bench, a_version

REWARD = {**RESULT, "digest": "reward-digest"}
POLICY = {**RESULT, "digest": "policy-digest", "curves": {}}


async def by(bench: Bench, method: str, version: str, **track: object) -> None:
    """One version trained on by this method."""
    own = bench.settings.tracks["default"].model_copy(update={"method": method, "options": {}, **track})
    tracks = {**bench.settings.tracks, "default": own}
    bench.settings = bench.settings.model_copy(update={"tracks": tracks})
    bench.desk = type(bench.desk)(
        **{name: getattr(bench.desk, name) for name in bench.desk.__slots__} | {"settings": bench.settings}
    )
    await bench.created(a_version(version))
    await bench.work()


def named(bench: Bench, kind: str) -> list[dict[str, object]]:
    return [entry.body.get("data", entry.body) for entry in bench.jobs.lines if entry.kind == kind]


async def test_a_reward_model_completes_and_is_no_model_of_the_registry(tmp_path: Path) -> None:
    bench = Bench(tmp_path, REWARD)
    await by(bench, "reward", "1.0.0")
    assert [data["method"] for data in named(bench, "training.completed")] == ["reward"]
    assert bench.registry.kinds() == []


async def test_a_policy_is_told_the_newest_reward_model_and_its_lineage_names_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, REWARD, POLICY)
    await by(bench, "reward", "1.0.0")
    await by(bench, "rloo", "2.0.0")
    (judge,) = [data for data in named(bench, "training.completed") if data["method"] == "reward"]
    told = bench.trainer.jobs[-1]["reward_model"]
    assert (told["job_id"], told["digest"]) == (judge["job_id"], "reward-digest")
    assert told["base_digest"] == bench.trainer.jobs[-1]["base_digest"]
    (model,) = [entry.body["data"] for entry in bench.registry.lines if entry.kind == "model.registered"]
    assert model["lineage"]["reward_model"] == {
        "job_id": judge["job_id"],
        "digest": "reward-digest",
        "dataset": "default:1.0.0",
    }


@pytest.mark.parametrize(("names", "says"), [("", "no job of track default"), ("job-0", "job-0 made no reward model")])
async def test_a_policy_without_its_reward_model_fails_and_says_how_to_get_one(
    tmp_path: Path, names: str, says: str
) -> None:
    bench = Bench(tmp_path, POLICY)
    await by(bench, "grpo", "1.0.0", reward_model=names)
    (failed,) = named(bench, "training.failed")
    assert failed["code"] == "E7311"
    assert says in str(failed["message"])
    assert "l07 train default --method reward" in str(failed["message"])
    assert bench.trainer.jobs == []


async def test_a_policy_that_is_rewarded_by_checks_alone_needs_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path, POLICY)
    await by(bench, "rloo", "1.0.0", options={"reward_weight": 0.0})
    assert "reward_model" not in bench.trainer.jobs[-1]
    assert bench.registry.kinds()


async def test_what_a_revoked_version_taught_a_reward_model_taints_its_policy_and_rewards_no_other(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, REWARD, POLICY)
    await by(bench, "reward", "1.0.0")
    await by(bench, "rloo", "2.0.0")
    curator: Any = None
    shelf = Shelf(
        bench.datasets, bench.jobs, bench.registry, MemoryLedger("exports"), bench.desk.store, curator, bench.settings, bench.now
    )  # fmt: skip
    first = next(entry for entry in bench.datasets.lines if entry.key == "default:1.0.0")
    (tainted,) = await forgetting._models_of(first, shelf)
    assert tainted.lineage["dataset_version"] == "2.0.0"
    await forgetting._drop_scorers(first, shelf)
    await by(bench, "rloo", "3.0.0")
    (failed,) = named(bench, "training.failed")
    assert (failed["code"], "are gone" in str(failed["message"])) == ("E7311", True)
