"""Events and data folders for the tests of the service, which name only what matters."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from l07.backends.worker import InlineCurator
from l07.domain.example import TrainingExample
from l07.errors import L07Error
from l07.service.curating import DatasetCurator
from l07.service.extracting import TrainingDataExtractor
from l07.service.fine_tuning import FineTuningEngine
from l07.service.folder import DataFolder
from l07.service.registering import ModelRegistry
from l07.settings import Settings, load_settings
from tests.fakes import FolderFake, MemoryLedger, ScriptedTrainer

NOW = datetime(2026, 2, 1, tzinfo=UTC)
PLACES = (
    "Bern",
    "Oslo",
    "Rome",
    "Lima",
    "Riga",
    "Kyiv",
    "Doha",
    "Bonn",
    "Cork",
    "Graz",
    "Nice",
    "Pisa",
    "Turin",
    "Varna",
)
RESULT: Mapping[str, Any] = {
    "status": "completed",
    "losses": [{"step": 1, "loss": 2.0}],
    "eval_losses": [],
    "train_loss": 2.0,
    "steps": 2,
    "tokens": 100,
    "seconds": 1.5,
    "rows": {"used": 8, "too_long": 0, "canaries": 8},
    "config": {"lora": {"rank": 16}},
    "versions": {},
    "digest": "d" * 64,
    "peak_rss_bytes": 1,
}


def an_event(kind: str, ident: str, data: Mapping[str, Any], **attributes: Any) -> dict[str, Any]:
    named = {"specversion": "1.0", "id": ident, "source": "/test", "type": kind, "time": "2026-01-12T09:00:00Z"}
    return {**named, "data": dict(data), **attributes}


def a_trace(number: int = 0, **data: Any) -> dict[str, Any]:
    """A run that asks a tool for the weather of a place of its own."""
    place = f"{PLACES[number % len(PLACES)]} {number}"
    call = {"name": "weather_of", "arguments": json.dumps({"place": place, "day": f"day {number * 7}"})}
    messages = [
        {"role": "user", "content": f"Tell me number {number}: how will the weather be in {place}, please?"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "c1", "content": f"rain of {number} mm"},
        {"role": "assistant", "content": f"It rains {number} mm in {place}, take a coat of colour {number * 31}."},
    ]
    run = {"execution_id": f"run-{number}", "task_id": f"task-{number}", "outcome": "success", "messages": messages}
    return an_event("execution.completed", f"trace-{number}", {**run, **data})


def a_score(number: int = 0, quality: float = 90.0, confidence: float = 0.9, **data: Any) -> dict[str, Any]:
    said = {"execution_id": f"run-{number}", "quality_score": quality, "confidence": confidence}
    return an_event("evaluation.completed", f"score-{number}", {**said, **data})


def some_runs(count: int, **score: Any) -> list[dict[str, Any]]:
    return [event for number in range(count) for event in (a_trace(number), a_score(number, **score))]


def examples_of(events: Sequence[Any]) -> list[TrainingExample]:
    return TrainingDataExtractor().extract(events, now=NOW)


def settings_for(root: Path, **overrides: Any) -> Settings:
    return load_settings({}, overrides={"data_dir": root, **overrides}).settings


def a_base(folder: Path) -> Path:
    """What is enough of a base model for everything but the child."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}", "utf-8")
    return folder


def a_folder(root: Path, *answers: Mapping[str, Any] | L07Error, **overrides: Any) -> DataFolder:
    """A data folder in memory, whose trainer answers as it is told."""
    settings = settings_for(root, **overrides)
    store = FolderFake(root)
    ledgers = {name: MemoryLedger(name) for name in ("datasets", "jobs", "registry")}
    return DataFolder(
        settings=settings,
        store=store,
        bases=store,
        trainer=ScriptedTrainer(list(answers) or [RESULT]),
        curator=InlineCurator(),
        **ledgers,
    )


def an_engine(folder: DataFolder, *, simulate: bool = False) -> FineTuningEngine:
    registry, curator = ModelRegistry(folder), DatasetCurator(folder)
    return FineTuningEngine(model_registry=registry, dataset_curator=curator, simulate_training=simulate)


async def a_dataset(engine: FineTuningEngine, count: int = 12) -> str:
    """The id of a dataset of `count` runs."""
    examples = examples_of(some_runs(count))
    made = await engine.dataset_curator.create_dataset(name="mine", examples=examples, now=NOW)
    return made.dataset_id
