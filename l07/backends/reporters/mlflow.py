"""Runs in MLflow: one an attempt, in the experiment `l07/<track>` of the server that the settings name."""

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from l07.backends.address import masked
from l07.errors import ReporterDown, ReporterUnusable
from l07.settings import Settings

ENDS: Mapping[str, str] = {"COMPLETED": "FINISHED", "FAILED": "FAILED", "CUT_OFF": "KILLED"}
LONGEST = 500  # characters of a parameter's value that every server takes


def opened(settings: Settings) -> Callable[[], "MLflow"]:
    """Raises ReporterUnusable (E7731) where no server is named, or its name is none that MLflow knows."""
    uri = settings.training.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        text = (
            "training.reporters has mlflow: say where, training.mlflow_uri = 'http://HOST:PORT', or MLFLOW_TRACKING_URI"
        )
        raise ReporterUnusable(text, reporter="mlflow")
    try:
        client = MlflowClient(tracking_uri=uri)
    except MlflowException as err:
        text = f"training.mlflow_uri = {masked(uri)!r}: MLflow knows no such server ({err.error_code})"
        raise ReporterUnusable(text, reporter="mlflow") from err
    return lambda: MLflow(client)


class MLflow:
    """Parameters at the beginning, metrics by step, the run's status at the end."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._run = ""

    def begin(self, job: str, attempt: int, about: Mapping[str, Any]) -> None:
        try:
            experiment = self._experiment(f"l07/{about.get('track')}")
            run = self._client.create_run(experiment, run_name=f"{job}/attempt-{attempt}")
            self._run = run.info.run_id
            params = [Param(_name(name), str(value)[:LONGEST]) for name, value in about.items()]
            tags = [RunTag("l07.job", job), RunTag("l07.attempt", str(attempt))]
            self._client.log_batch(self._run, params=params, tags=tags)
        except MlflowException as err:
            raise ReporterDown(f"MLflow did not take the run: {err.error_code}") from err

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        at_ms = int(time.time() * 1000)
        metrics = [Metric(_name(name), value, at_ms, step) for name, value in values.items()]
        try:
            self._client.log_batch(self._run, metrics=metrics)
        except MlflowException as err:
            raise ReporterDown(f"MLflow did not take a step: {err.error_code}") from err

    def end(self, state: str) -> None:
        try:
            self._client.set_terminated(self._run, ENDS.get(state, "FINISHED"))
        except MlflowException as err:
            raise ReporterDown(f"MLflow did not take the run's end: {err.error_code}") from err

    def _experiment(self, name: str) -> str:
        there = self._client.get_experiment_by_name(name)
        if there is not None:
            return str(there.experiment_id)
        return str(self._client.create_experiment(name))


def _name(name: str) -> str:
    """As MLflow takes names."""
    return re.sub(r"[^\w\-. /]", "_", name)
