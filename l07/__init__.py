"""The learning layer: agent runs in, a better model out, every step measured. A name is loaded when it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l07.domain.curriculum import CurriculumStage
    from l07.domain.example import TrainingExample
    from l07.domain.job import JobConfig, LoRAConfig, TrainingJob
    from l07.domain.preference import RewardSignal
    from l07.service.curating import Dataset, DatasetCurator
    from l07.service.extracting import TrainingDataExtractor
    from l07.service.filtering import ExampleQualityFilter, FilterConfig
    from l07.service.fine_tuning import FineTuningEngine
    from l07.service.folder import DataFolder
    from l07.service.learning import LearningService
    from l07.service.registering import ModelArtifact, ModelRegistry
    from l07.service.validating import ModelValidator
    from l07.settings import Settings, load_settings

__all__ = [
    "CurriculumStage",
    "DataFolder",
    "Dataset",
    "DatasetCurator",
    "ExampleQualityFilter",
    "FilterConfig",
    "FineTuningEngine",
    "JobConfig",
    "LearningService",
    "LoRAConfig",
    "ModelArtifact",
    "ModelRegistry",
    "ModelValidator",
    "RewardSignal",
    "Settings",
    "TrainingDataExtractor",
    "TrainingExample",
    "TrainingJob",
    "load_settings",
]

_HOMES = {
    "CurriculumStage": "l07.domain.curriculum",
    "DataFolder": "l07.service.folder",
    "Dataset": "l07.service.curating",
    "DatasetCurator": "l07.service.curating",
    "ExampleQualityFilter": "l07.service.filtering",
    "FilterConfig": "l07.service.filtering",
    "FineTuningEngine": "l07.service.fine_tuning",
    "JobConfig": "l07.domain.job",
    "LearningService": "l07.service.learning",
    "LoRAConfig": "l07.domain.job",
    "ModelArtifact": "l07.service.registering",
    "ModelRegistry": "l07.service.registering",
    "ModelValidator": "l07.service.validating",
    "RewardSignal": "l07.domain.preference",
    "Settings": "l07.settings",
    "TrainingDataExtractor": "l07.service.extracting",
    "TrainingExample": "l07.domain.example",
    "TrainingJob": "l07.domain.job",
    "load_settings": "l07.settings",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
