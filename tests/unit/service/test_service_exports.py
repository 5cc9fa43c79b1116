"""What `import l07` offers, and what it costs."""

import subprocess
import sys

import pytest

import l07

SEED = [
    "TrainingDataExtractor",
    "ExampleQualityFilter",
    "FilterConfig",
    "DatasetCurator",
    "FineTuningEngine",
    "ModelValidator",
    "ModelRegistry",
    "JobConfig",
    "LoRAConfig",
    "TrainingExample",
    "Dataset",
    "TrainingJob",
    "ModelArtifact",
    "RewardSignal",
    "CurriculumStage",
    "LearningService",
]


@pytest.mark.parametrize("name", SEED)
def test_each_name_of_the_seed_is_a_class(name: str) -> None:
    assert isinstance(getattr(l07, name), type)
    assert getattr(l07, name).__name__ == name


def test_every_exported_name_is_there_and_listed() -> None:
    assert [name for name in l07.__all__ if not hasattr(l07, name)] == []
    assert set(l07.__all__) == set(l07._HOMES) <= set(dir(l07))


@pytest.mark.parametrize("name", ["RLHFEngine", "BehavioralPattern"])
def test_what_is_not_real_yet_is_not_exported(name: str) -> None:
    with pytest.raises(AttributeError):
        getattr(l07, name)


@pytest.mark.slow
def test_the_import_brings_in_nothing_at_all() -> None:
    code = "import sys, l07; print([m for m in sys.modules if m.startswith('l07.')], 'asyncio' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[] False"
