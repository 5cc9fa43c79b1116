"""Exact resume of policies: what is asked, rewarded, checked and priced goes on as if nothing had happened."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from l07.training import checks, course, engine, ppo, resume
from tests.training.worlds import Bench, run_child, scored_rows, write_dataset

pytestmark = [
    pytest.mark.training,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # those of peft about transformers, and that our base is on no hub
]

POLICIES = ("rloo", "grpo", "ppo")
STEPS = 10
# A base that knows nothing leaves every bound that is none of this file's business.
FREE = {"most_kl": 100, "least_entropy": 0, "least_valid": 0, "most_drift": 100}
OPTIONS = {**FREE, "steps": STEPS, "generations": 2, "completion_tokens": 12, "rate_scale": 1}
OWN = {"ppo": {"epochs": 2, "kl_rate": 1, "target_kl": 0.001}}


class CutOff(Exception):
    """Stands for kill -9: nothing after it is written."""


class Asked:
    """A small version whose prompts are all asked within a few steps, and a reward model of the same base."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        self.dataset = folder / "scored"
        self.digest = write_dataset(self.dataset, scored_rows(6, 7))
        home = self.bench.job(folder / "reward", **self.data("reward", {"max_steps": 4}))
        made = run_child(home, json.loads((home / "job.json").read_text("utf-8")))
        base = {"base": str(self.bench.base), "base_digest": self.bench.base_digest}
        self.reward_model = {"folder": str(home / "out"), "digest": made["digest"], **base}

    def data(self, method: str, config: dict[str, Any]) -> dict[str, Any]:
        version = {"dataset": str(self.dataset), "dataset_digest": self.digest}
        return {**version, "method": method, "config": {"lora": {"dropout": 0.1, "rank": 4}, **config}}

    def job(self, folder: Path, method: str, every: int | None = 4, **more: Any) -> Path:
        config = {"max_steps": STEPS, "batch_size": 4, "learning_rate": 1e-2}
        return self.bench.job(
            folder, **self.data(method, config), reward_model=self.reward_model, options={**OPTIONS, **OWN.get(method, {})},
            checkpoints={"steps": every} if every else {}, **more,
        )  # fmt: skip

    def run(self, folder: Path, method: str, every: int | None = 4, **more: Any) -> dict[str, Any]:
        home = self.job(folder, method, every, **more)
        return course.run(json.loads((home / "job.json").read_text("utf-8")), home)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return Asked(tmp_path_factory.mktemp("asked"))


@pytest.fixture(scope="module")
def wholes(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Runs that nothing disturbed, and that wrote no checkpoint; each once."""
    made: dict[str, dict[str, Any]] = {}

    def whole(method: str) -> dict[str, Any]:
        if method not in made:
            made[method] = asked.run(tmp_path_factory.mktemp(f"whole-{method}"), method, None)
        return made[method]

    return whole


@pytest.fixture(scope="module")
def cuts(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], Path]:
    """A copy of a run that was cut off at step 7, behind its checkpoint of step 4."""
    made: dict[str, Path] = {}

    def cut(method: str, copy: Path) -> Path:
        if method not in made:
            made[method] = tmp_path_factory.mktemp(f"cut-{method}")
            with pytest.MonkeyPatch.context() as patch:
                cut_off(patch, 7)
                with pytest.raises(CutOff):
                    asked.run(made[method], method)
        shutil.copytree(made[method], copy)
        return copy

    return cut


def cut_off(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    class Cutting(resume.Keeper):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step == at:
                raise CutOff
            super().on_step_end(args, state, control, **more)

    monkeypatch.setattr(engine, "Keeper", Cutting)


def told(result: dict[str, Any]) -> dict[str, Any]:
    """All that was measured of the policy: no time, and nothing of the process."""
    own = ("train_seconds", "resumed_from", "refused", "memory")
    return {name: value for name, value in result.items() if name not in own}


@pytest.mark.parametrize("method", POLICIES)
def test_a_policy_comes_back_to_the_same_weights_curves_and_looks(
    asked: Asked, wholes: Any, cuts: Any, tmp_path: Path, method: str
) -> None:
    whole = wholes(method)
    assert whole["epochs"] > 1.0
    assert len({point["loss"] for point in whole["losses"]}) > 5, "the control: something is learned"
    again = asked.run(cuts(method, tmp_path / "cut"), method)
    assert again["resumed_from"] == 4
    assert told(again) == told(whole)


@pytest.mark.parametrize("method", POLICIES)
def test_a_killed_child_comes_back_to_the_same_weights(asked: Asked, wholes: Any, tmp_path: Path, method: str) -> None:
    """A real child and a real kill -9, as soon as its second checkpoint is there."""
    home = asked.job(tmp_path, method, 3)
    child = subprocess.Popen(
        [sys.executable, "-m", "l07.training", str(home)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 540
    while not (home / "checkpoints" / "step-00000006").is_dir():
        assert child.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL
    again = run_child(home, json.loads((home / "job.json").read_text("utf-8")))
    assert again["resumed_from"] >= 6
    assert again["digest"] == wholes(method)["digest"]


@pytest.mark.parametrize("method", POLICIES)
def test_what_the_checks_hold_a_run_against_is_kept(
    asked: Asked, wholes: Any, cuts: Any, tmp_path: Path, monkeypatch: Any, method: str
) -> None:
    """The control: without it a run that comes back begins its looks anew, and takes what it has become for its start."""
    monkeypatch.setattr(checks.Checks, "restore", lambda *_: None)
    again = asked.run(cuts(method, tmp_path / "cut"), method)
    assert again["digest"] == wholes(method)["digest"], "they look on and change nothing"
    assert again["looks"] != wholes(method)["looks"]


def _without_head(keeper: resume.Keeper) -> None:
    kept = keeper._resumed.tensors["weights"]  # type: ignore[union-attr]
    for name in [name for name in kept if ppo.HEAD in name]:
        kept[name] = kept[name] * 0  # type: ignore[index]
    resume_weights(keeper)


resume_weights = resume.Keeper.load_weights
DROPPED: dict[str, tuple[Any, str, Any]] = {
    "the price of KL": (ppo.Price, "restore", lambda *_: None),
    "the value head": (resume.Keeper, "load_weights", _without_head),
    "the optimiser": (resume.Keeper, "load_optimizer", lambda *_: None),
    "the generators": (resume.Keeper, "load_generators", lambda *_: None),
}


@pytest.mark.parametrize("part", DROPPED)
def test_without_a_part_of_its_state_ppo_becomes_another_policy(
    asked: Asked, wholes: Any, cuts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """The control of the equal bytes above."""
    monkeypatch.setattr(*DROPPED[part])
    assert asked.run(cuts("ppo", tmp_path / "cut"), "ppo")["digest"] != wholes("ppo")["digest"]


def test_the_value_head_is_in_the_checkpoint_and_in_no_artifact(cuts: Any, asked: Asked, tmp_path: Path) -> None:
    from safetensors import safe_open

    folder = cuts("ppo", tmp_path / "cut")
    newest = max((folder / "checkpoints").glob("step-*"))
    assert {path.suffix for path in newest.iterdir()} == {".json", ".safetensors"}
    with (
        safe_open(str(newest / "weights.safetensors"), "pt") as kept,
        safe_open(str(newest / "optimizer.safetensors"), "pt") as moments,
    ):
        assert any(ppo.HEAD in name for name in kept.keys())  # noqa: SIM118  # no mapping
        assert any(ppo.HEAD in name for name in moments.keys())  # noqa: SIM118
    asked.run(folder, "ppo")
    with safe_open(str(folder / "out" / "adapter_model.safetensors"), "pt") as made:
        assert not any(ppo.HEAD in name for name in made.keys())  # noqa: SIM118
