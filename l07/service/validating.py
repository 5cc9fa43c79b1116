"""The validator for a caller in Python: the pipeline's own validation, and its recorded verdict in the seed's words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l07.domain.registry import REGISTERED, VALIDATED
from l07.errors import SimulatedArtifact
from l07.events import outbound
from l07.pipeline.release import on_model_validated
from l07.pipeline.validate import validate_model
from l07.service.folder import with_track
from l07.service.ingesting import now_text
from l07.service.registering import ModelRegistry


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """One stage. Estimate, interval and threshold are in the unit of its test; None: too little was measured."""

    name: str
    result: str  # PASS, FAIL or INCONCLUSIVE
    n: int
    estimate: float | None
    interval: Sequence[float] | None
    threshold: float | None
    needed_n: int | None
    detail: str | None
    errors: tuple[str, ...]  # of every check of the stage that did not pass

    @property
    def passed(self) -> bool:
        """INCONCLUSIVE is no pass."""
        return self.result == "PASS"


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What is to happen with a model, and why."""

    model_id: str
    recommendation: str  # DEPLOY, REVIEW or REJECT
    stages: Mapping[str, StageOutcome]  # regression, benchmark, safety, diversity, latency
    baseline: str | None  # what it was compared with
    report: Path  # folder with report.html and report.json


@dataclass(slots=True)
class ModelValidator:
    """Judges the models of one registry. What was judged once is not judged again."""

    registry: ModelRegistry

    async def validate(self, model_id: str) -> ValidationResult:
        """The five stages, and DEVELOPMENT -> STAGING where the verdict is DEPLOY.

        Raises:
            UnknownModel: E7210. SimulatedArtifact: E7213, nothing was trained, so there is nothing to judge.
            ChildKilled: E7700; E7220-E7230: the files are not those that were registered."""
        model, folder = await self.registry.get_model(model_id), self.registry.folder
        if model.simulated:
            raise SimulatedArtifact(f"{model_id} is labelled simulated: nothing was trained", model=model_id)
        registered = await folder.registry.find(REGISTERED, model_id)
        cause = outbound.from_entry(registered) if registered is not None else None
        assert isinstance(cause, outbound.ModelRegistered)  # the fold found the model in this entry
        await validate_model(
            cause, registry=folder.registry, store=folder.store, trainer=folder.trainer,
            settings=with_track(folder.settings, str(model.lineage["track"])), key_file=folder.key_file, now=now_text,
        )  # fmt: skip
        entry = await folder.registry.find(VALIDATED, model_id)
        validated = outbound.from_entry(entry) if entry is not None else None
        assert entry is not None  # the handler appended it
        assert isinstance(validated, outbound.ModelValidated)
        await on_model_validated(validated, registry=folder.registry, store=folder.store, key_file=folder.key_file)
        return _result(model_id, entry.body["data"], folder.store.path(entry.body["data"]["report"]))


def _result(model_id: str, data: Mapping[str, Any], report: Path) -> ValidationResult:
    reasons = data.get("reasons") or ()
    stages = {stage["stage"]: _stage(stage, reasons) for stage in data["stages"]}
    return ValidationResult(model_id, data["verdict"], stages, data.get("baseline"), report)


def _stage(stage: Mapping[str, Any], reasons: Sequence[str]) -> StageOutcome:
    lead = f"{stage['stage']} {stage['result']}: "
    return StageOutcome(
        name=stage["stage"],
        result=stage["result"],
        n=stage["n"],
        estimate=stage.get("estimate"),
        interval=stage.get("interval"),
        threshold=stage.get("threshold"),
        needed_n=stage.get("needed_n"),
        detail=stage.get("detail"),
        errors=tuple(reason.removeprefix(lead) for reason in reasons if reason.startswith(lead)),
    )
