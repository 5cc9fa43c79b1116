"""Scores become rewards, rewards pairs, pairs a reward model, that a policy, and the validator judges what came of it."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from l07.domain import world
from tests.bases import BASES
from tests.story.test_loop import SMALL, asked, l07

pytestmark = [
    pytest.mark.slow,
    pytest.mark.training,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("trl") is None, reason="needs the extra [train]"),
]

SETTINGS = {
    **SMALL,
    "L07_TRACKS__DEFAULT__TRAIN__MIN_ROWS": "50",
    "L07_TRACKS__DEFAULT__BASE_MODEL": "tiny-policy",
    "L07_TRACKS__DEFAULT__METHOD": "reward",
    "L07_MODELS__CACHE_DIR": str(BASES),
    "L07_TRAINING__MAX_STEPS": "4",
    "L07_TRAINING__CANARIES": "0",
    "L07_VALIDATION__ROWS": "20",
    "L07_VALIDATION__LATENCY_PAIRS": "5",
}


def test_scores_become_a_policy_that_is_judged(tmp_path: Path) -> None:
    data = tmp_path / "data"
    events = tmp_path / "events.jsonl"
    lines = world.stream(world.demo_runs(80, 3), seed=3).lines
    events.write_text("".join(line + "\n" for line in lines), "utf-8")
    l07(data, "send", events)
    l07(data, "run", "--until-idle", **SETTINGS)
    told = [json.loads(line) for line in l07(data, "events", **SETTINGS).splitlines()]
    (rewarded,) = [event["data"] for event in told if event["type"] == "training.completed"]
    assert rewarded["method"] == "reward"
    assert not [event for event in told if event["type"] == "model.registered"], "a reward model is never released"

    few = ["--option", "generations=4", "--option", "completion_tokens=32"]
    l07(data, "train", "default", "--method", "rloo", *few, "--wait", **SETTINGS)
    l07(data, "run", "--until-idle", **SETTINGS)
    (model,) = asked(data, "status", **SETTINGS)["models"]
    shown = asked(data, "models", "show", model["id"], **SETTINGS)["model"]
    lineage = shown["lineage"]
    assert (lineage["method"], lineage["reward_model"]["job_id"]) == ("rloo", rewarded["job_id"])
    assert lineage["reward_model"]["digest"] == rewarded["digest"]
    assert lineage["reward_model"]["dataset"] == f"default:{rewarded['dataset_version']}"
    assert model["verdict"] in ("REVIEW", "REJECT"), "four steps deserve no release"
    l07(data, "ledger", "verify", **SETTINGS)
