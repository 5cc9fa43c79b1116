"""Exact resume: wherever a run is cut off, it ends with the same weights; a checkpoint is whole or it is none."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from l07.domain.methods import METHODS
from l07.errors import ChildDiskFull, ChildPreempted, LossNotFinite
from l07.training import checkpoints, course, engine, resume
from l07.training.__main__ import explain
from tests.training.worlds import Bench, scored_rows, write_dataset

pytestmark = [
    pytest.mark.training,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # those of peft about transformers, and that our base is on no hub
]

# Dropout draws from the generator that also draws the order of the rows; 14 steps an epoch, looks at steps 5, 10, ... 30.
CONFIG = {"max_steps": 30, "batch_size": 8, "lora": {"dropout": 0.1, "rank": 4}}
EVERY_4 = {"steps": 4}


class CutOff(Exception):
    """Stands for kill -9: nothing after it is written."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def whole(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that nothing disturbed, and that wrote no checkpoint."""
    return run(bench, tmp_path_factory.mktemp("whole"), checkpoints={})


def run(bench: Bench, folder: Path, **changes: Any) -> dict[str, Any]:
    config = {**CONFIG, **changes.pop("config", {})}
    bench.job(folder, **{"checkpoints": EVERY_4, "config": config, **changes})
    return course.run(json.loads((folder / "job.json").read_text("utf-8")), folder)


def cut_off(monkeypatch: pytest.MonkeyPatch, at: int, act: Callable[[Any], None] | None = None) -> None:
    """The run ends at that step, before its checkpoint would be written, or does `act` there."""

    class Cutting(resume.Keeper):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step == at:
                if act is None:
                    raise CutOff
                act(self)
            super().on_step_end(args, state, control, **more)

    monkeypatch.setattr(engine, "Keeper", Cutting)


def newest(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("step-*"))


def kept_steps(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*"))


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """All that was measured and is no time; of a run that came back, where from is its own."""
    mine = {"train_seconds", "resumed_from", "refused", "memory"}
    apart = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)} - mine
    assert not apart, {name: (one.get(name), other.get(name)) for name in apart}
    return True


@pytest.mark.parametrize("at", [3, 6, 14, 15, 19, 29, 30])
def test_wherever_it_is_cut_off_it_ends_with_the_same_weights_and_figures(
    bench: Bench, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Before the first checkpoint, between two, at an epoch's end and after it, at a look, at the last step."""
    with monkeypatch.context() as patch:
        cut_off(patch, at)
        with pytest.raises(CutOff):
            run(bench, tmp_path)
    again = run(bench, tmp_path)
    assert again["resumed_from"] == ((at - 1) // 4 * 4 or None)
    assert again["digest"] == whole["digest"]
    assert same(again, whole)


def test_a_run_that_is_cut_off_again_and_again_ends_with_the_same_weights(
    bench: Bench, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt in a folder of its own, as the job engine has it; a checkpoint at every epoch's end among them."""
    earlier: list[str] = []
    for number, at in enumerate([9, 15, 17, 23, 29], 1):
        with monkeypatch.context() as patch:
            cut_off(patch, at)
            with pytest.raises(CutOff):
                run(bench, tmp_path / str(number), checkpoints={"steps": 14 if number == 2 else 3, "earlier": earlier})
        earlier.append(str(tmp_path / str(number) / "checkpoints"))
    again = run(bench, tmp_path / "last", checkpoints={"steps": 3, "earlier": earlier})
    assert again["resumed_from"] == 27
    assert same(again, whole)


def test_another_order_of_rows_comes_back_too(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainers of other methods draw rows with a sampler that has a generator of its own."""
    arguments = engine.arguments
    monkeypatch.setattr(
        engine,
        "arguments",
        lambda kind, run, **own: arguments(kind, run, **{**own, "train_sampling_strategy": "random"}),
    )
    quiet = run(bench, tmp_path / "quiet", checkpoints={})
    with monkeypatch.context() as patch:
        cut_off(patch, 19)
        with pytest.raises(CutOff):
            run(bench, tmp_path / "cut")
    assert run(bench, tmp_path / "cut")["digest"] == quiet["digest"]


LEARNT = [name for name, spec in METHODS.items() if spec.feed in ("pairs", "labels")]  # `sft` is all of the above


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A small dataset with rejected runs, so that an epoch is short."""
    folder = tmp_path_factory.mktemp("scored") / "dataset"
    return {"dataset_digest": write_dataset(folder, scored_rows(6, 7)), "dataset": str(folder)}


@pytest.mark.parametrize("method", LEARNT)
def test_every_method_comes_back_to_the_same_weights_and_figures(
    bench: Bench, scored: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """In a later epoch than the first; a method's own figures too."""
    job = {**scored, "method": method, "config": {"max_steps": 10, "batch_size": 4}}
    quiet = run(bench, tmp_path / "quiet", **{**job, "checkpoints": {}})
    assert quiet["epochs"] > 1.0
    with monkeypatch.context() as patch:
        cut_off(patch, 10)
        with pytest.raises(CutOff):
            run(bench, tmp_path / "cut", **job)
    again = run(bench, tmp_path / "cut", **job)
    assert again["resumed_from"] == 8
    assert same(again, quiet)


def test_early_stop_comes_at_the_same_look(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks that get worse: the best weights lie before the checkpoint that the run comes back to."""
    told = resume.Watch.on_evaluate

    def worse(self: Any, args: Any, state: Any, control: Any, metrics: Any = None, **more: Any) -> Any:
        risen = metrics["eval_loss"] + (state.global_step - 10) ** 2 / 10
        return told(self, args, state, control, metrics={**metrics, "eval_loss": risen}, **more)

    monkeypatch.setattr(resume.Watch, "on_evaluate", worse)
    config = {"max_steps": 30, "early_stop": 2}
    quiet = run(bench, tmp_path / "quiet", checkpoints={}, config=config)
    assert quiet["kept_step"] < quiet["steps"] - 4 < 26, "the control: it did stop early"
    with monkeypatch.context() as patch:
        cut_off(patch, quiet["steps"] - 1)
        with pytest.raises(CutOff):
            run(bench, tmp_path / "cut", config=config)
    shutil.copytree(tmp_path / "cut", tmp_path / "forgetful")
    assert same(run(bench, tmp_path / "cut", config=config), quiet)
    monkeypatch.setattr(resume.Watch, "restore", lambda *_: None)
    assert run(bench, tmp_path / "forgetful", config=config)["digest"] != quiet["digest"], "the control"


@pytest.mark.parametrize("part", ["epoch", "now", "optimizer"])
def test_each_part_of_a_checkpoint_is_needed(
    bench: Bench, whole: dict[str, Any], cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """The control: a run that comes back without the order of its epoch, the generators or the moments is another run."""
    folder = tmp_path / "job"
    shutil.copytree(cut, folder)
    if part == "optimizer":
        monkeypatch.setattr(resume.Keeper, "load_optimizer", lambda self: None)
    else:
        restore = resume.Keeper._restore
        monkeypatch.setattr(
            resume.Keeper, "_restore", lambda self, which: None if which == part else restore(self, which)
        )
    assert run(bench, folder)["digest"] != whole["digest"]


# ------------------------------------------------------------------ what a checkpoint is


@pytest.fixture(scope="module")
def cut(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was cut off at step 21, in its second epoch, with checkpoints of steps 16 and 20."""
    folder = tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch:
        cut_off(patch, 21)
        with pytest.raises(CutOff):
            run(bench, folder)
    return folder


def test_the_two_newest_are_kept_and_hold_no_pickle(cut: Path) -> None:
    assert kept_steps(cut) == [16, 20]
    names = {path.name for path in newest(cut).iterdir()}
    assert {path.suffix for path in newest(cut).iterdir()} == {".json", ".safetensors"}
    assert {
        "weights.safetensors",
        "optimizer.safetensors",
        "rng.safetensors",
        "best.safetensors",
        "manifest.json",
    } < names
    assert not [path for path in (cut / "checkpoints").iterdir() if not path.name.startswith("step-")]


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(data)


def foreign(path: Path) -> None:
    manifest = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**manifest, "job": "0" * 64}), "utf-8")


def strange(path: Path) -> None:
    path.with_name("more.pkl").write_bytes(b"x")


SPOILS = [
    ("weights.safetensors", halve), ("optimizer.safetensors", flip), ("rng.json", flip), ("best.safetensors", Path.unlink),
    ("manifest.json", halve), ("manifest.json", Path.unlink), ("manifest.json", foreign), ("run.json", strange),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spoil"), SPOILS)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_taken(
    bench: Bench, whole: dict[str, Any], cut: Path, tmp_path: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    folder = tmp_path / "job"
    shutil.copytree(cut, folder)
    spoil(newest(folder) / name)
    again = run(bench, folder)
    assert again["resumed_from"] == 16
    assert [(one["step"], one["code"]) for one in again["refused"]] == [(20, "E7727")]
    assert again["digest"] == whole["digest"]


def test_with_no_whole_checkpoint_left_it_begins_at_step_0(
    bench: Bench, whole: dict[str, Any], cut: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "job"
    shutil.copytree(cut, folder)
    for place in (folder / "checkpoints").iterdir():
        halve(place / "rng.safetensors")
    again = run(bench, folder)
    assert (again["resumed_from"], len(again["refused"])) == (None, 2)
    assert again["digest"] == whole["digest"]


def test_a_checkpoint_of_another_job_is_not_gone_on_from(bench: Bench, cut: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    shutil.copytree(cut, folder)
    other = run(bench, folder, seed=8)
    assert (other["resumed_from"], [one["step"] for one in other["refused"]]) == (None, [20, 16])


def test_a_full_disk_at_a_checkpoint_leaves_the_one_before(
    bench: Bench, whole: dict[str, Any], cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "job"
    shutil.copytree(cut, folder)
    write = checkpoints.write_json

    def full(path: Path, document: Any) -> None:
        if path.name == "trainer_state.json":
            raise OSError(28, "No space left on device")
        write(path, document)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_json", full)
        with pytest.raises(OSError, match="No space") as caught:
            run(bench, folder)
    assert isinstance(explain(caught.value), ChildDiskFull)
    assert kept_steps(folder) == [16, 20]
    assert not list((folder / "checkpoints").glob(".*"))
    assert run(bench, folder)["digest"] == whole["digest"]


# ------------------------------------------------------------------ what an attempt changes


def test_asked_to_leave_it_writes_a_checkpoint_first(
    bench: Bench, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        cut_off(patch, 7, act=lambda keeper: os.kill(os.getpid(), 15))
        with pytest.raises(ChildPreempted) as caught:
            run(bench, tmp_path)
    left_at = caught.value.context["step"]
    assert left_at in (7, 8), "a signal is seen between two steps"
    assert caught.value.context["checkpoints"][-1] == left_at
    again = run(bench, tmp_path)
    assert again["resumed_from"] == left_at
    assert same(again, whole)


def test_fewer_rows_at_a_time_make_the_same_steps(
    bench: Bench, whole: dict[str, Any], cut: Path, tmp_path: Path
) -> None:
    """Memory ran out: half the rows at a time, as many a step. Sums are rounded and dropout is drawn otherwise, no more."""
    folder = tmp_path / "job"
    shutil.copytree(cut, folder)
    change = {"attempt": 2, "code": "E7701", "micro_batch_size": 4}
    again = run(bench, folder, changes=[change])
    assert (again["resumed_from"], again["steps"]) == (20, whole["steps"])
    for one, other in list(zip(again["losses"], whole["losses"], strict=True))[20:28]:  # to the end of the epoch
        assert one["loss"] == pytest.approx(other["loss"], rel=0.05)
        assert one["learning_rate"] == other["learning_rate"]


def test_a_smaller_rate_from_an_earlier_checkpoint(
    bench: Bench, whole: dict[str, Any], cut: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "job"
    shutil.copytree(cut, folder)
    change = {"attempt": 2, "code": "E7726", "rate_factor": 0.5, "from_step": 16}
    again = run(bench, folder, changes=[change])
    assert again["resumed_from"] == 16
    rates = [(a["learning_rate"], b["learning_rate"]) for a, b in zip(again["losses"], whole["losses"], strict=True)]
    assert [one for one in rates[:16] if one[0] != one[1]] == []
    assert [one for one in rates[16:] if one[0] != pytest.approx(one[1] / 2)] == []


def test_after_a_change_the_checkpoints_without_it_are_passed_over(
    bench: Bench, cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt that broke left one of step 20; the one that goes on with half the rate has its own of steps 18 and 21."""
    change = {"attempt": 2, "code": "E7726", "rate_factor": 0.5, "from_step": 16}
    later = {"steps": 3, "earlier": [str(cut / "checkpoints")]}
    with monkeypatch.context() as patch:
        cut_off(patch, 22)
        with pytest.raises(CutOff):
            run(bench, tmp_path / "2", changes=[change], checkpoints=later)
    last = {"steps": 3, "earlier": [*later["earlier"], str(tmp_path / "2" / "checkpoints")]}  # type: ignore[misc]
    assert run(bench, tmp_path / "3", changes=[change], checkpoints=last)["resumed_from"] == 21
    quiet = run(bench, tmp_path / "quiet", changes=[change], checkpoints=later)
    assert run(bench, tmp_path / "4", changes=[change], checkpoints=last)["digest"] == quiet["digest"]


def test_a_loss_that_is_no_number_says_which_checkpoints_there_are(
    bench: Bench, cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "job"
    shutil.copytree(cut, folder)

    def poison(keeper: Any) -> None:
        with resume.torch.no_grad():
            next(iter(dict(resume.moving(keeper._trainer.model)).values())).fill_(float("nan"))

    cut_off(monkeypatch, 24, act=poison)
    with pytest.raises(LossNotFinite) as caught:
        run(bench, folder)
    assert caught.value.context["checkpoints"] == [16, 20], "a checkpoint of step 24 would hold what is broken"


def test_nothing_is_pickled_or_unpickled() -> None:
    """The sources: no torch.load, torch.save, pickle or numpy object array; what is read is safetensors and JSON."""
    words = ("torch.load", "torch.save(", "pickle.", "import pickle", "allow_pickle", "joblib")
    texts = {path.name: path.read_text("utf-8") for path in Path(resume.__file__).parent.glob("*.py")}
    assert {name: word for name, text in texts.items() for word in words if word in text} == {}
