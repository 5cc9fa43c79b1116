"""Runs in Weights & Biases: one an attempt, in the project `l07`; offline unless the settings say otherwise, and then sent by
`wandb sync DATA_DIR/wandb/offline-run-*`."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import wandb
from wandb.errors import Error

from l07.errors import ReporterDown
from l07.settings import Settings

PROJECT = "l07"


def opened(settings: Settings) -> Callable[[], "WandB"]:
    return lambda: WandB(settings.data_dir, settings.training.wandb_mode)


class WandB:
    """The key is `WANDB_API_KEY`, which W&B reads itself; offline none is needed."""

    def __init__(self, folder: Path, mode: str) -> None:
        self._folder, self._mode = folder, mode
        self._run: Any = None

    def begin(self, job: str, attempt: int, about: Mapping[str, Any]) -> None:
        ident = hashlib.sha256(f"{self._folder}/{job}/{attempt}".encode()).hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=PROJECT, name=f"{job}/attempt-{attempt}", group=job, id=ident, dir=str(self._folder), mode=self._mode,
                config=dict(about), reinit="create_new",
                settings=wandb.Settings(silent=True, console="off", save_code=False, disable_git=True, x_disable_stats=True),
            )  # fmt: skip
        except Error as err:
            raise ReporterDown(f"Weights & Biases did not take the run: {type(err).__name__}") from err

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        try:
            self._run.log(dict(values), step=step)
        except Error as err:
            raise ReporterDown(f"Weights & Biases did not take a step: {type(err).__name__}") from err

    def end(self, state: str) -> None:
        try:
            self._run.finish(exit_code=0 if state == "COMPLETED" else 1)
        except Error as err:
            raise ReporterDown(f"Weights & Biases did not take the run's end: {type(err).__name__}") from err
