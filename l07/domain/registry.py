"""Which model versions there are and where each stands: a fold over the registry's entries, the moves, the gates."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from l07.errors import (
    MoveNotAllowed,
    NotDeployable,
    ReleaseIncomplete,
    SimulatedArtifact,
    TaintedModel,
    UnknownModel,
)
from l07.events.outbound import EntryLike

SIMULATED = "simulated"
REGISTERED, VALIDATED, STAGE_CHANGED = "model.registered", "model.validated", "model.stage_changed"
TAINTED = "model.tainted"
EXPORTED = "model.exported"  # internal: it changes no model
DEPLOY = "DEPLOY"


class Stage(StrEnum):
    DEVELOPMENT = "DEVELOPMENT"
    STAGING = "STAGING"
    PRODUCTION = "PRODUCTION"
    ARCHIVED = "ARCHIVED"
    QUARANTINED = "QUARANTINED"


NEXT_STAGES: Mapping[Stage, frozenset[Stage]] = {
    Stage.DEVELOPMENT: frozenset({Stage.STAGING, Stage.ARCHIVED, Stage.QUARANTINED}),
    Stage.STAGING: frozenset({Stage.PRODUCTION, Stage.ARCHIVED, Stage.QUARANTINED}),
    Stage.PRODUCTION: frozenset({Stage.ARCHIVED, Stage.QUARANTINED}),
    Stage.ARCHIVED: frozenset({Stage.QUARANTINED}),
    Stage.QUARANTINED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One sealed artifact. `verdict` is the last one on exactly these files; None: none yet."""

    name: str
    version: str  # "1.0.0", "2.0.0": each training may answer anything differently, so each is a major number
    digest: str  # of the sealed files
    uri: str
    base_model: str
    lineage: Mapping[str, Any]
    registered_at: str
    entry: int  # number of the entry that last changed it
    stage: Stage = Stage.DEVELOPMENT
    verdict: str | None = None
    labels: tuple[str, ...] = ()
    moves: int = 0
    tainted: str = ""  # by when it is to be trained anew or withdrawn: it, or a parent, learnt from erased data

    @property
    def id(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def subject(self) -> str:
        return subject_of(self.name, self.version)

    @property
    def parents(self) -> Sequence[str]:
        """Ids of the registered models that its base's weights come from, and of its teacher."""
        return tuple(self.lineage.get("parents", ()))


@dataclass(frozen=True, slots=True)
class Registry:
    """The state after some entries; models by subject, in the order of their registration."""

    models: Mapping[str, ModelVersion] = field(default_factory=dict)

    def find(self, name: str, version: str) -> ModelVersion:
        """Raises UnknownModel: E7210, with the versions that are there."""
        model = self.models.get(subject_of(name, version))
        if model is None:
            here = ", ".join(model.version for model in self.versions(name)) or "none"
            raise UnknownModel(f"there is no model {name}:{version}; versions of {name}: {here}", name=name)
        return model

    def versions(self, name: str) -> list[ModelVersion]:
        return [model for model in self.models.values() if model.name == name]

    def holder(self, name: str, stage: Stage) -> ModelVersion | None:
        """The version of `name` that came into `stage` last and is still there."""
        there = [model for model in self.versions(name) if model.stage is stage]
        return max(there, key=lambda model: model.entry, default=None)

    def of_job(self, name: str, job_id: str) -> ModelVersion | None:
        return next((model for model in self.versions(name) if model.lineage.get("job_id") == job_id), None)

    def line_of(self, models: Iterable[ModelVersion]) -> list[ModelVersion]:
        """These and all that were trained upon them, however many steps away, in the order of their registration."""
        ids = {model.id for model in models}
        for model in self.models.values():  # a parent is registered before its children
            if not ids.isdisjoint(model.parents):
                ids.add(model.id)
        return [model for model in self.models.values() if model.id in ids]

    def next_major(self, name: str) -> int:
        return 1 + max((int(model.version.partition(".")[0]) for model in self.versions(name)), default=0)


def subject_of(name: str, version: str) -> str:
    return f"models/{name}:{version}"


# ------------------------------------------------------------------ fold


def fold(entries: Iterable[EntryLike]) -> Registry:
    """The state after `entries`, in their order. Kinds that are not about models are passed over."""
    models: dict[str, ModelVersion] = {}
    for entry in entries:
        subject = str(entry.body.get("subject"))
        if entry.kind == REGISTERED:
            models[subject] = _registered(entry)
        elif (step := STEPS.get(entry.kind)) is not None and subject in models:
            models[subject] = step(models[subject], entry)
    return Registry(_inherited(models))


def _inherited(models: Mapping[str, ModelVersion]) -> Mapping[str, ModelVersion]:
    """What was trained upon a tainted model is tainted from its first day, whoever has announced it yet."""
    due = {model.id: model.tainted for model in models.values() if model.tainted}
    if not due:
        return models
    out = {}
    for subject, model in models.items():
        tainted = model.tainted or min((due[parent] for parent in model.parents if parent in due), default="")
        if tainted:
            due[model.id] = tainted
        out[subject] = replace(model, tainted=tainted)
    return out


def _registered(entry: EntryLike) -> ModelVersion:
    data = entry.body["data"]
    return ModelVersion(
        name=data["model"],
        version=data["version"],
        digest=data["digest"],
        uri=data["uri"],
        base_model=data["base_model"],
        lineage=data["lineage"],
        registered_at=entry.at,
        entry=entry.number,
        labels=tuple(entry.body.get("labels", ())),
    )


def _validated(model: ModelVersion, entry: EntryLike) -> ModelVersion:
    data = entry.body["data"]
    if data.get("digest") != model.digest:  # a verdict on other files says nothing about these
        return model
    return replace(model, verdict=data["verdict"], entry=entry.number)


def _stage_changed(model: ModelVersion, entry: EntryLike) -> ModelVersion:
    return replace(model, stage=Stage(entry.body["data"]["to"]), moves=model.moves + 1, entry=entry.number)


def _tainted(model: ModelVersion, entry: EntryLike) -> ModelVersion:
    return replace(model, tainted=entry.body["data"]["due"], entry=entry.number)


STEPS: Mapping[str, Callable[[ModelVersion, EntryLike], ModelVersion]] = {
    VALIDATED: _validated,
    STAGE_CHANGED: _stage_changed,
    TAINTED: _tainted,
}


# ------------------------------------------------------------------ gates


def check_move(model: ModelVersion, to: Stage, *, despite_taint: bool = False) -> None:
    """Withdrawing (ARCHIVED, QUARANTINED) has no gate: it must always be possible.

    Raises:
        MoveNotAllowed: E7211, not in NEXT_STAGES.
        SimulatedArtifact: E7213, at every gate.
        TaintedModel: E7123, at every gate, unless a person says `despite_taint`.
        NotDeployable: E7212, STAGING without a DEPLOY verdict on the same digest.
        ReleaseIncomplete: E7214, PRODUCTION: says what is missing."""
    if to not in NEXT_STAGES[model.stage]:
        allowed = ", ".join(sorted(NEXT_STAGES[model.stage])) or "nowhere"
        raise MoveNotAllowed(f"{model.id} is in {model.stage} and can go to {allowed}, not to {to}", model=model.id)
    if (gate := GATES.get(to)) is not None:
        check_trained(model)
        if model.tainted and not despite_taint:
            text = f"{model.id}, or a model that it is built on, learnt from data that was erased since; it is to be replaced by {model.tainted}"
            raise TaintedModel(text, model=model.id)
        gate(model)


def check_trained(model: ModelVersion) -> None:
    """Raises SimulatedArtifact: E7213."""
    if SIMULATED in model.labels:
        raise SimulatedArtifact(f"{model.id} is labelled {SIMULATED}: nothing was trained", model=model.id)


def _staging(model: ModelVersion) -> None:
    if model.verdict != DEPLOY:
        raise NotDeployable(
            f"the verdict on {model.id} is {model.verdict or 'not there'}, not {DEPLOY}", model=model.id
        )


def _production(model: ModelVersion) -> None:
    missing = "two signed approvals by people who did not train it, and a canary that passed"
    raise ReleaseIncomplete(f"{model.id} needs {missing}; a later release can record both", model=model.id)


GATES: Mapping[Stage, Callable[[ModelVersion], None]] = {Stage.STAGING: _staging, Stage.PRODUCTION: _production}
