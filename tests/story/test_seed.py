"""Every Python block of the document that asked for this product runs, with its imports changed and nothing else.

`events`, ids, engine and path come from fixtures. Training is real: the tiny base, a few rows, a few steps. The base model
that the blocks name is not here; an alias in the settings says what stands in for it.
"""

import ast
import asyncio
import importlib.util
import inspect
import io
import logging
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import l07
from l07.domain.world import Noise, demo_runs, stream
from tests.bases import BASES

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "seed"
HEADING = re.compile(r"^## (.+?)\n\n```python\n(.*?)^```$", flags=re.M | re.S)
BLOCKS = dict(HEADING.findall((HERE / "seed_blocks.txt").read_text("utf-8")))
EVENTS = list(stream(demo_runs(12, 3), seed=3, noise=Noise(broken=0)).lines)
SETTINGS = {
    "MODELS__ALIASES": '{ "gpt-4-turbo-2024-04" = "tiny-base" }',
    "TRAINING__MAX_STEPS": "3",
    "TRAINING__THREADS": "1",
    "TRAINING__CANARIES": "0",
    "VALIDATION__ROWS": "4",
    "VALIDATION__CALLS_PER_ROW": "1",
    "VALIDATION__LATENCY_PAIRS": "5",
    "VALIDATION__RESAMPLES": "200",
}
NO_TORCH = importlib.util.find_spec("torch") is None
really_trains = [
    pytest.mark.slow,
    pytest.mark.timeout(400),  # the first one makes the tiny base
    pytest.mark.training,
    pytest.mark.skipif(NO_TORCH, reason="torch is not installed: pip install 'l07[train]'"),
]


def run(heading: str, **names: Any) -> dict[str, Any]:
    """Executes the block under `heading`; what it defined. A path and the `events` that it writes out are ours."""
    text = BLOCKS[heading].replace('"/tmp/l07"', "STORAGE").replace("[...]", "EVENTS")
    code = compile(text, heading, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    space: dict[str, Any] = {name: getattr(l07, name) for name in ("LearningService", "FineTuningEngine")}
    space |= {"__name__": "seed", "EVENTS": EVENTS, "events": EVENTS, **names}
    begun = eval(code, space)
    if inspect.iscoroutine(begun):
        asyncio.get_event_loop().run_until_complete(begun)
    return space


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Variables that bound what is trained; the folder where all data folders of this file lie."""
    root = tmp_path_factory.mktemp("seed")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("L07_")]:
            patch.delenv(name)
        for name, value in {
            **SETTINGS,
            "DATA_DIR": str(root / "data"),
            "MODELS__CACHE_DIR": str(BASES),
        }.items():
            patch.setenv(f"L07_{name}", value)
        yield root


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One loop for the fixtures and the block of a test."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    asyncio.set_event_loop(None)
    made.close()


@dataclass(frozen=True)
class Done:
    """What the block "End-to-End Pipeline" printed."""

    printed: str
    model_id: str


@pytest.fixture(scope="module")
def pipeline(settings: Path) -> Done:
    """The block, once for all tests that need what it leaves."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        asyncio.run(run("End-to-End Pipeline", LearningService=l07.LearningService)["run_pipeline"]())
    found = re.search(r"Model ID: (\S+)", printed.getvalue())
    return Done(printed.getvalue(), found.group(1) if found else "")


@pytest.fixture
def service(settings: Path, loop: asyncio.AbstractEventLoop) -> Iterator[l07.LearningService]:
    made = l07.LearningService()
    loop.run_until_complete(made.initialize())
    yield made
    loop.run_until_complete(made.cleanup())


@pytest.mark.skipif(not SHARED.is_dir(), reason="the document is not at hand")
def test_the_blocks_are_those_of_the_document() -> None:
    text = next(SHARED.glob("*.txt")).read_text("utf-8")
    theirs = re.findall(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)
    changed = [re.sub(r"^from src\.L07_learning\.\S+ import", "from l07 import", block, flags=re.M) for block in theirs]
    assert list(BLOCKS.values()) == changed


def test_each_block_has_its_test() -> None:
    source = Path(__file__).read_text("utf-8")
    assert [heading for heading in BLOCKS if f'"{heading}"' not in source] == []


class TestBlocksThatTrain:
    pytestmark = really_trains

    def test_basic_usage(self, settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run("Basic Usage", STORAGE=str(tmp_path / "l07"))
        assert re.search(r"^Validation: (DEPLOY|REVIEW|REJECT)$", capsys.readouterr().out, flags=re.M)
        assert (tmp_path / "l07" / "models" / "my-dataset" / "1.0.0" / "manifest.sig").is_file()

    def test_end_to_end_pipeline(self, pipeline: Done) -> None:
        lines = pipeline.printed.splitlines()
        assert lines[:2] == ["Status: completed", "Model ID: auto-dataset:1.0.0"]
        assert re.fullmatch(r"Validation: (DEPLOY|REVIEW|REJECT)", lines[2])

    def test_training_failures(
        self,
        pipeline: Done,
        service: l07.LearningService,
        loop: asyncio.AbstractEventLoop,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        job_id = loop.run_until_complete(_job_of(service))
        run("Training Failures", service=service, job_id=job_id)
        assert capsys.readouterr().out == "Status: COMPLETED, Error: None\n"

    def test_validation_failures(
        self, pipeline: Done, service: l07.LearningService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run("Validation Failures", service=service, model_id=pipeline.model_id)
        said = capsys.readouterr().out
        assert re.findall(r"^(\w+): (?:PASS|FAIL)$", said, flags=re.M) == [
            "regression",
            "benchmark",
            "safety",
            "diversity",
            "latency",
        ]
        assert "regression: FAIL\n  Errors: " in said  # no golden set was named: inconclusive is no pass

    def test_real_training(self, pipeline: Done, service: l07.LearningService, loop: asyncio.AbstractEventLoop) -> None:
        """The engine of the block trains: its model has measured figures and may be judged."""
        registry, curator = service.model_registry, service.dataset_curator
        engine = run("Real Training", registry=registry, curator=curator)["engine"]
        asked = engine.train_model(dataset_id="auto-dataset:1.0.0", base_model_id="gpt-4-turbo-2024-04")
        job = loop.run_until_complete(engine.wait(loop.run_until_complete(asked).job_id))
        model = loop.run_until_complete(registry.get_model(job.output_model_id))
        assert model.metrics["train_loss"] > 0
        assert not model.simulated
        assert model.lineage["asked_base_model"] == "gpt-4-turbo-2024-04"
        assert model.base_model == "tiny-base"


async def _job_of(service: l07.LearningService) -> str:
    """The pipeline's job, asked for again: it is finished, so nothing is trained."""
    job = await service.train_model("auto-dataset:1.0.0", "gpt-4-turbo-2024-04")
    return (await service.fine_tuning_engine.wait(job.job_id)).job_id


def test_training_configuration() -> None:
    config = run("Training Configuration")["config"]
    assert (config.learning_rate, config.batch_size, config.num_epochs) == (2e-5, 16, 3)
    assert (config.lora_config.rank, config.lora_config.alpha, config.lora_config.dropout) == (16, 32, 0.05)


def test_filter_configuration() -> None:
    assert run("Filter Configuration")["filter_config"] == l07.FilterConfig()


def test_rlhf() -> None:
    """What it then trains is told in tests/unit/service/test_service_rlhf.py."""
    assert run("RLHF")["service"].enable_rlhf


def test_get_statistics(tmp_path: Path, loop: asyncio.AbstractEventLoop, capsys: pytest.CaptureFixture[str]) -> None:
    service = l07.LearningService(settings=l07.Settings(data_dir=tmp_path))
    loop.run_until_complete(service.initialize())
    loop.run_until_complete(service.process_events_batch(EVENTS))
    run("Get Statistics", service=service)
    loop.run_until_complete(service.cleanup())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] != "Extracted: 0"
    assert lines[1:] == ["Filtered: 0", "Datasets: 0", "Models: 0", "Training Jobs: 0"]


def test_logging() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        run("Logging")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
