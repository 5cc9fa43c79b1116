"""Trackers: said at the start where they cannot be told; the real libraries where they are installed, else their calls."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from l07.backends.reporters import BRANDS, reporters
from l07.errors import ReporterDown, ReporterUnusable
from l07.settings import load_settings

ABOUT = {"track": "default", "dataset": "default:1.0.0", "method": "sft", "learning_rate": 0.005}


def settings(tmp_path: Path, *names: str, **training: Any) -> Any:
    asked = {f"training.{name}": value for name, value in training.items()}
    return load_settings({}, overrides={"data_dir": tmp_path, "training.reporters": list(names), **asked}).settings


def a_run(reporter: Any) -> None:
    reporter.begin("job-1", 1, ABOUT)
    reporter.tell(1, {"loss": 2.0, "rewards/margins": 0.5})
    reporter.tell(2, {"loss": 1.0})
    reporter.end("COMPLETED")


# ------------------------------------------------------------------ at the start


def test_none_is_asked_for_by_default(tmp_path: Path) -> None:
    assert reporters(settings(tmp_path)) == {}


@pytest.mark.parametrize("name", list(BRANDS))
def test_a_library_that_is_not_installed_is_said_with_its_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ReporterUnusable, match=rf"l07\[{name}\]") as caught:
        reporters(settings(tmp_path, name))
    assert caught.value.code == "E7731"


def test_each_tracker_is_an_extra_of_its_own_and_in_no_other() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name, brand in BRANDS.items():
        assert [one for one in extras[name] if one.startswith(brand.library)]
        elsewhere = [
            *project["dependencies"],
            *(one for extra, all_ in extras.items() if extra != name for one in all_),
        ]
        assert not [one for one in elsewhere if one.startswith(brand.library)]


# ------------------------------------------------------------------ their calls


class Recorder:
    """Stands for a library: remembers each call, and fails where it is told to."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.error = error

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **words: Any) -> Any:
            self.calls.append((name, args, words))
            if self.error is not None:
                raise self.error("no")
            return {"create_run": SimpleNamespace(info=SimpleNamespace(run_id="r1")), "create_experiment": "7"}.get(
                name
            )

        return call

    def named(self, name: str) -> list[dict[str, Any]]:
        return [words | {"args": args} for called, args, words in self.calls if called == name]


class MlflowError(Exception):
    error_code = "INTERNAL_ERROR"
    message = "no such store"


def fake(monkeypatch: pytest.MonkeyPatch, brand: str, **modules: dict[str, Any]) -> None:
    """`modules` by name with "." as "__"; the reporter's own module is imported anew."""
    for name, content in modules.items():
        monkeypatch.setitem(sys.modules, name.replace("__", "."), SimpleNamespace(**content))
    monkeypatch.setitem(sys.modules, BRANDS[brand].module, SimpleNamespace())  # so that it is gone afterwards
    del sys.modules[BRANDS[brand].module]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())


def fake_mlflow(monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    entities = {name: (lambda *args: args) for name in ("Metric", "Param", "RunTag")}
    fake(
        monkeypatch, "mlflow", mlflow={}, mlflow__entities=entities, mlflow__exceptions={"MlflowException": MlflowError},
        mlflow__tracking={"MlflowClient": client},
    )  # fmt: skip


def test_mlflow_is_called_as_its_client_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Recorder()
    fake_mlflow(monkeypatch, lambda tracking_uri: client)
    made = reporters(settings(tmp_path, "mlflow", mlflow_uri="http://there:5000"))["mlflow"]
    a_run(made())
    assert client.named("create_experiment")[0]["args"] == ("l07/default",)
    assert client.named("create_run")[0] == {"args": ("7",), "run_name": "job-1/attempt-1"}
    first, *steps = client.named("log_batch")
    assert ("learning_rate", "0.005") in first["params"]
    assert [(name, value, step) for one in steps for name, value, _, step in one["metrics"]] == [
        ("loss", 2.0, 1), ("rewards/margins", 0.5, 1), ("loss", 1.0, 2),
    ]  # fmt: skip
    assert client.named("set_terminated")[0]["args"] == ("r1", "FINISHED")


def test_mlflow_without_a_server_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    fake_mlflow(monkeypatch, lambda tracking_uri: Recorder())
    with pytest.raises(ReporterUnusable, match="MLFLOW_TRACKING_URI"):
        reporters(settings(tmp_path, "mlflow"))

    def refused(tracking_uri: str) -> None:
        raise MlflowError

    fake_mlflow(monkeypatch, refused)
    with pytest.raises(ReporterUnusable, match="INTERNAL_ERROR") as caught:
        reporters(settings(tmp_path, "mlflow", mlflow_uri="ftp://ann:secret@there"))
    assert "secret" not in caught.value.message


def test_a_tracker_that_refuses_is_down_and_says_no_more_than_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_mlflow(monkeypatch, lambda tracking_uri: Recorder(MlflowError))
    made = reporters(settings(tmp_path, "mlflow", mlflow_uri="http://there:5000"))["mlflow"]
    for call in (lambda r: r.begin("job-1", 1, ABOUT), lambda r: r.tell(1, {"loss": 1.0}), lambda r: r.end("FAILED")):
        with pytest.raises(ReporterDown, match="INTERNAL_ERROR"):
            call(made())


def test_wandb_is_offline_unless_it_is_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked = Recorder(), []

    def init(**words: Any) -> Recorder:
        asked.append(words)
        return run

    fake(
        monkeypatch, "wandb", wandb={"init": init, "Settings": lambda **words: words}, wandb__errors={"Error": MlflowError}
    )  # fmt: skip
    for mode in ("offline", "online"):
        a_run(reporters(settings(tmp_path, "wandb", wandb_mode=mode))["wandb"]())
    assert [one["mode"] for one in asked] == ["offline", "online"]
    assert asked[0]["config"] == ABOUT
    assert asked[0]["id"] == asked[1]["id"], "the same attempt is the same run"
    assert run.named("log")[0] == {"args": ({"loss": 2.0, "rewards/margins": 0.5},), "step": 1}
    assert run.named("finish")[0]["exit_code"] == 0


# ------------------------------------------------------------------ the real ones, where they are


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    a_run(reporters(settings(tmp_path, "tensorboard"))["tensorboard"]())
    found = EventAccumulator(str(tmp_path / "tensorboard" / "job-1" / "attempt-1"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(1, 2.0), (2, 1.0)]
    assert [event.value for event in found.Scalars("rewards/margins")] == [0.5]


def test_tensorboard_s_folder_that_cannot_be_written_is_down(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(ReporterDown):
        reporters(settings(tmp_path, "tensorboard"))["tensorboard"]().begin("job-1", 1, ABOUT)


def test_mlflow_keeps_what_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    a_run(reporters(settings(tmp_path, "mlflow", mlflow_uri=uri))["mlflow"]())
    a_run(reporters(settings(tmp_path, "mlflow", mlflow_uri=uri))["mlflow"]())  # the experiment is there by now
    client = mlflow.tracking.MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("l07/default").experiment_id])
    assert len(runs) == 2
    assert (runs[0].info.status, runs[0].data.params["method"], runs[0].data.metrics["loss"]) == (
        "FINISHED",
        "sft",
        1.0,
    )
    assert [point.step for point in client.get_metric_history(runs[0].info.run_id, "loss")] == [1, 2]


def test_mlflow_refuses_a_store_that_it_does_not_know_at_the_start(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(ReporterUnusable):
        reporters(settings(tmp_path, "mlflow", mlflow_uri="ftp://nowhere"))


def test_wandb_leaves_a_run_that_can_be_synced(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    a_run(reporters(settings(tmp_path, "wandb"))["wandb"]())
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
