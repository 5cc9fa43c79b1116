"""What a training method is given, and what it must have: one file a method, called by `course.py` and by nobody else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from l07.domain.hardware import Plan
from l07.domain.job import JobConfig
from l07.training import lora, ranks
from l07.training.progress import ProgressFile


@dataclass(frozen=True, slots=True)
class Task:
    """One job, checked: base and dataset are those that it names. `options` are the method's own (`domain/methods.py`)."""

    job: Mapping[str, Any]
    job_dir: Path
    config: JobConfig
    options: Mapping[str, float]
    tokenizer: Any
    base_name: str
    progress: ProgressFile
    plan: Plan = field(default_factory=Plan)

    @property
    def dataset(self) -> Path:
        return Path(self.job["dataset"])

    @property
    def seed(self) -> int:
        return int(self.job["seed"])

    @property
    def cache(self) -> Path:
        """A folder for whatever a library keeps while data is read; gone at the end."""
        return self.job_dir / (f"cache-{ranks.rank()}" if ranks.rank() else "cache")


class Method(Protocol):
    """A module of `l07/training/`. `prepare` reads the data and counts it (`used`: what is learned from), `attach` says which
    weights may move, `fit` trains the model in place and returns what it measured: at least `losses`, `train_loss`,
    `steps`, `epochs`, `tokens`, `train_seconds`. A method with an `ask` of the arguments of `fit` has the base add to the data
    before anything moves; it returns what `prepare` does."""

    def prepare(self, task: Task) -> tuple[Any, dict[str, int]]: ...

    def attach(self, task: Task, model: Any) -> Any: ...

    def fit(self, task: Task, model: Any, data: Any) -> dict[str, Any]: ...


def adapter(task: Task, model: Any) -> Any:
    """The adapter of the job's config: what `attach` is for most methods. Without one all weights move."""
    if task.config.adapter == "full":
        return model
    revision = str(
        task.job.get("base_revision") or task.job["base_digest"]
    )  # of the hub, its commit: others load it by that
    return lora.attach(model, task.config.lora_config, base_name=task.base_name, base_digest=revision)


def about(task: Task) -> dict[str, Any]:
    """What an adapter's l07.json says of it."""
    names = ("base_digest", "dataset_digest", "job_id")
    return {"base": task.base_name, **{name: task.job[name] for name in names}, "method": task.job.get("method", "sft")}
