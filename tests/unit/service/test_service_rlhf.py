"""`LearningService(enable_rlhf=True)`: a reward model first, then a policy that it rewards; nothing else is trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from service_builders import RESULT, a_base, settings_for, some_runs

from l07 import LearningService
from l07.backends import open as backends
from l07.errors import L07Error, NothingToTrainOn
from tests.fakes import ScriptedTrainer


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> ScriptedTrainer:
    answers: list[Mapping[str, Any] | L07Error] = [RESULT, {**RESULT, "digest": "e" * 64}]
    told = ScriptedTrainer(answers)
    monkeypatch.setattr(backends, "open_trainer", lambda settings: told)
    return told


async def ran(tmp_path: Path, **overrides: Any) -> dict[str, Any]:
    settings = settings_for(tmp_path / "data", **overrides)
    async with LearningService(enable_rlhf=True, settings=settings) as service:
        return await service.end_to_end_pipeline(some_runs(12), "mine", str(a_base(tmp_path / "base")))


async def test_the_policy_is_rewarded_by_the_reward_model_that_was_trained_for_it(
    tmp_path: Path, trainer: ScriptedTrainer
) -> None:
    result = await ran(tmp_path)
    judge, policy = trainer.jobs[:2]
    assert (judge["method"], policy["method"]) == ("reward", "ppo")
    assert policy["reward_model"]["job_id"] == judge["job_id"]
    assert (result["status"], result["job_id"], result["model_id"]) == ("completed", policy["job_id"], "mine:1.0.0")


async def test_without_a_reward_model_there_is_no_policy(tmp_path: Path, trainer: ScriptedTrainer) -> None:
    trainer.answers[:] = [NothingToTrainOn("no pair")]
    result = await ran(tmp_path)
    assert (result["status"], result["code"], result["model_id"]) == ("training_failed", "E7721", None)
    assert "reward model could not be trained: no pair" in result["message"]
    assert len(trainer.jobs) == 1


async def test_a_track_that_names_its_reward_model_is_rewarded_by_that(
    tmp_path: Path, trainer: ScriptedTrainer
) -> None:
    result = await ran(tmp_path, tracks={"mine": {"reward_model": "job-0"}})
    assert (result["status"], result["code"]) == ("training_failed", "E7311")
    assert trainer.jobs == [], "the one that is named is not there, and no other is made in its place"
