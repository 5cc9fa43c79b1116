"""The registry for a caller in Python: its models, what was measured of them, and the moves that its table allows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l07.domain.registry import SIMULATED, ModelVersion, Stage, fold
from l07.pipeline import release
from l07.service.folder import DataFolder
from l07.service.ingesting import now_text

MEASURED = ("train_loss", "steps", "tokens", "seconds", "peak_rss_bytes")


@dataclass(frozen=True, slots=True)
class ModelArtifact:
    """One registered version. `metrics` were measured while it was trained; None: nothing was."""

    model_id: str  # "<name>:<version>"
    name: str
    version: str
    stage: Stage
    verdict: str | None  # of the last validation of these very files
    digest: str
    folder: Path
    base_model: str
    labels: tuple[str, ...]
    lineage: Mapping[str, Any]
    metrics: Mapping[str, Any] | None

    @property
    def simulated(self) -> bool:
        return SIMULATED in self.labels


@dataclass(slots=True)
class ModelRegistry:
    """The models in one data folder."""

    folder: DataFolder
    total_models: int = 0  # versions, as of the last call

    async def get_model(self, model_id: str) -> ModelArtifact:
        """Raises UnknownModel (E7210), with the versions that are there."""
        name, _, version = model_id.rpartition(":")
        known = fold(await self.folder.registry.entries())
        return await self._artifact(known.find(name or version, version if name else ""))

    async def list_models(self) -> list[ModelArtifact]:
        """Every version of every name, in the order of registration."""
        return [await self._artifact(model) for model in fold(await self.folder.registry.entries()).models.values()]

    async def of_job(self, name: str, job_id: str) -> str | None:
        """The id of the model that this job made."""
        model = fold(await self.folder.registry.entries()).of_job(name, job_id)
        return model.id if model else None

    async def transition_stage(
        self, model_id: str, to: Stage, *, by: str, reason: str, despite_taint: bool = False
    ) -> ModelArtifact:
        """Move a model, if the table and its gates allow it. Repeated, it changes nothing.

        Raises: UnknownModel E7210, MoveNotAllowed E7211, NotDeployable E7212, SimulatedArtifact E7213,
        ReleaseIncomplete E7214, TaintedModel E7123 (unless `by` says `despite_taint`: recorded), and E7220-E7230 when its seal does not hold."""
        model = await self.get_model(model_id)
        folder = self.folder
        await release.move(
            name=model.name, version=model.version, to=Stage(to), by=by, reason=reason, registry=folder.registry,
            store=folder.store, key_file=folder.key_file, at=now_text(), despite_taint=despite_taint,
        )  # fmt: skip
        return await self.get_model(model_id)

    async def refresh(self) -> None:
        self.total_models = len(fold(await self.folder.registry.entries()).models)

    def statistics(self) -> dict[str, Any]:
        return {"total_models": self.total_models}

    async def _artifact(self, model: ModelVersion) -> ModelArtifact:
        return ModelArtifact(
            model_id=model.id,
            name=model.name,
            version=model.version,
            stage=model.stage,
            verdict=model.verdict,
            digest=model.digest,
            folder=self.folder.store.path(model.uri),
            base_model=model.base_model,
            labels=model.labels,
            lineage=model.lineage,
            metrics=await self._metrics(str(model.lineage.get("job_id"))),
        )

    async def _metrics(self, job_id: str) -> Mapping[str, Any] | None:
        done = await self.folder.jobs.find("training.completed", job_id)
        return {name: done.body["data"].get(name) for name in MEASURED} if done else None
