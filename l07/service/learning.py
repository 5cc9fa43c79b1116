"""The whole loop as one object, for people who call it from Python: the seed's `LearningService`."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from l07.domain.example import TrainingExample
from l07.domain.job import JobConfig, JobState, TrainingJob
from l07.errors import Fatal, L07Error, ServiceNotOpen
from l07.service.curating import Dataset, DatasetCurator
from l07.service.extracting import TrainingDataExtractor
from l07.service.filtering import ExampleQualityFilter, FilterConfig
from l07.service.fine_tuning import FineTuningEngine
from l07.service.folder import DataFolder
from l07.service.registering import ModelRegistry
from l07.service.validating import ModelValidator, ValidationResult
from l07.settings import Settings, load_settings

POLICY = "ppo"  # the method of a service with `enable_rlhf`


@dataclass(frozen=True, slots=True)
class _Parts:
    """What exists while the service is open."""

    curator: DatasetCurator
    registry: ModelRegistry
    engine: FineTuningEngine
    validator: ModelValidator


class LearningService:
    """Events in, examples, a dataset, a trained and judged model; each step by itself, or all in one.

    It holds the data folder's lock from `initialize` to `cleanup`; no bus and no buffer: a run's trace and score are
    joined when they come in one call. `storage_path` is the data folder; without `settings` they are read as the
    command line reads them. `enable_rlhf`: `train_model` trains a reward model from what the evaluator preferred, then a
    policy that it rewards (PPO), in the place of the track's own method."""

    def __init__(
        self, storage_path: str | Path | None = None, enable_rlhf: bool = False, settings: Settings | None = None
    ) -> None:
        self.enable_rlhf = enable_rlhf
        found = settings or load_settings().settings
        self.settings = found if storage_path is None else found.model_copy(update={"data_dir": Path(storage_path)})
        self.training_data_extractor = TrainingDataExtractor(self.settings)
        self.example_quality_filter = ExampleQualityFilter(FilterConfig.of(self.settings))
        self._stack = AsyncExitStack()
        self._parts: _Parts | None = None

    async def initialize(self) -> None:
        """Opens the data folder. Twice is once.

        Raises:
            FolderInUse: E7405, an `l07 run` or another service works on it. FolderNotWritable: E7402."""
        if self._parts is not None:
            return
        folder = await self._stack.enter_async_context(DataFolder.open(self.settings))
        curator, registry = DatasetCurator(folder, self.training_data_extractor), ModelRegistry(folder)
        engine = FineTuningEngine(model_registry=registry, dataset_curator=curator)
        self._stack.push_async_callback(engine.close)
        for part in (curator, registry, engine):
            await part.refresh()
        self._parts = _Parts(curator, registry, engine, ModelValidator(registry))

    async def cleanup(self) -> None:
        """Ends the job that runs, and lets go of the folder. Twice is once; `initialize` opens it again."""
        self._parts = None
        await self._stack.aclose()

    async def __aenter__(self) -> "LearningService":
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cleanup()

    @property
    def dataset_curator(self) -> DatasetCurator:
        return self._open.curator

    @property
    def model_registry(self) -> ModelRegistry:
        return self._open.registry

    @property
    def fine_tuning_engine(self) -> FineTuningEngine:
        return self._open.engine

    @property
    def model_validator(self) -> ModelValidator:
        return self._open.validator

    @property
    def _open(self) -> _Parts:
        if self._parts is None:
            folder = str(self.settings.data_dir)
            raise ServiceNotOpen(f"the service on {folder} is not open: await initialize() first", folder=folder)
        return self._parts

    async def process_events_batch(self, events: Iterable[Any]) -> list[TrainingExample]:
        """Every run whose trace and score are both in `events` (dicts, JSON text or bytes), as they become complete.

        What cannot be read is counted by its code in `get_statistics()["extractor"]["errors"]`; it costs no more."""
        return await asyncio.to_thread(self.training_data_extractor.extract, list(events), now=datetime.now(UTC))

    async def filter_examples(self, examples: Sequence[TrainingExample]) -> list[TrainingExample]:
        """Those that pass. `example_quality_filter.judge(examples)` tells why the others do not."""
        return await self.example_quality_filter.filter(examples)

    async def create_training_dataset(self, name: str, examples: Sequence[TrainingExample]) -> Dataset:
        """The next version of the track `name`; see DatasetCurator.create_dataset.

        Raises:
            TooFewGroups: E7101, fewer than ten groups of accepted runs."""
        return await self._open.curator.create_dataset(name=name, examples=examples, now=datetime.now(UTC))

    async def train_model(self, dataset_id: str, base_model_id: str, config: JobConfig | None = None) -> TrainingJob:
        """Returns at once; see FineTuningEngine.train_model. With `enable_rlhf` two jobs are begun, and that of the policy is
        returned; of a track that names its reward model, the policy's alone. The policy begins at the base as it is, so
        that has to know its task already.

        Raises:
            NothingByThatName: E7903, no such dataset. BaseMissing: E7710, with the bases that are here."""
        engine = self._open.engine
        ask = partial(engine.train_model, dataset_id=dataset_id, base_model_id=base_model_id, config=config)
        if not self.enable_rlhf:
            return await ask()
        track = (await engine.dataset_curator.get_dataset(dataset_id)).name
        if self.settings.track(track).reward_model:
            return await ask(method=POLICY)
        judge = await ask(method="reward")
        return await ask(method=POLICY, rewarded_by=judge.job_id)

    async def validate_model(self, model_id: str) -> ValidationResult:
        """The verdict on a model; see ModelValidator.validate."""
        return await self._open.validator.validate(model_id)

    async def end_to_end_pipeline(
        self, events: Iterable[Any], dataset_name: str, base_model_id: str, config: JobConfig | None = None
    ) -> dict[str, Any]:
        """Every step in turn. `status`: "completed", or the step that could not be done ("dataset_refused",
        "training_refused", "training_failed", "validation_refused") with its `code` and `message`; what was not reached
        is None.

        Raises:
            Fatal: the machine must be mended first (a full disk, a broken ledger)."""
        examples = await self.process_events_batch(events)
        unknown = ("code", "message", "dataset_id", "job_id", "model_id", "validation_recommendation")
        result: dict[str, Any] = {"status": "dataset_refused", "examples": len(examples), **dict.fromkeys(unknown)}
        try:
            await self._all_steps(result, examples, dataset_name, base_model_id, config)
        except Fatal:
            raise
        except L07Error as err:
            result |= {"code": err.code, "message": err.message}
        return result

    async def _all_steps(
        self,
        result: dict[str, Any],
        examples: Sequence[TrainingExample],
        name: str,
        base: str,
        config: JobConfig | None,
    ) -> None:
        """`status` names the step that is tried, until it is done."""
        await self.filter_examples(examples)  # counts; the dataset takes the others as its contrast
        dataset = await self.create_training_dataset(name=name, examples=examples)
        result |= {"status": "training_refused", "dataset_id": dataset.dataset_id}
        job = await self.train_model(dataset.dataset_id, base, config)
        job = await self._open.engine.wait(job.job_id)
        result |= {"status": "training_failed", "job_id": job.job_id, "model_id": job.output_model_id}
        if job.state is not JobState.COMPLETED or job.output_model_id is None:
            result |= {"code": job.error_code, "message": job.error_message}
            return
        result["status"] = "validation_refused"
        verdict = await self.validate_model(job.output_model_id)
        result |= {"status": "completed", "validation_recommendation": verdict.recommendation}

    def get_statistics(self) -> dict[str, Any]:
        """`extractor`, `filter`: what this service did; `curator`, `registry`, `fine_tuning`: what is in the folder."""
        parts = self._open
        return {
            "extractor": self.training_data_extractor.statistics(),
            "filter": self.example_quality_filter.statistics(),
            "curator": parts.curator.statistics(),
            "registry": parts.registry.statistics(),
            "fine_tuning": parts.engine.statistics(),
        }
