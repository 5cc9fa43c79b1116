"""model.registered -> five stages -> model.validated. What follows from the verdict is the release's work.

What was measured lies in the job's folder, what was decided in the registry and in reports/<model>/<version>. A repeat
measures and decides nothing twice: the job's finished result, the report and the ledger's entry are used as they stand.
"""

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from l07.domain.measurements import Measurements, decode
from l07.domain.registry import SIMULATED, VALIDATED, ModelVersion, Stage, fold
from l07.domain.verdict import Plan, Verdict, as_data, decide, undecided
from l07.errors import ChildError
from l07.events.outbound import ModelRegistered
from l07.pipeline import attempts, release
from l07.pipeline.report import as_document, as_page
from l07.ports import ArtifactStore, Entry, Ledger, Trainer
from l07.settings import Settings

log = logging.getLogger("l07.validate")

RECORD = "measurements.json"
LOOKALIKES = 1024  # of a canary, at least
LOOKALIKES_PER_CANARY = 128  # so that one first place stays significant after Bonferroni, however many are planted


async def validate_model(
    cause: ModelRegistered,
    *,
    registry: Ledger,
    store: ArtifactStore,
    trainer: Trainer,
    settings: Settings,
    key_file: Path,
    now: Callable[[], str] | None = None,
) -> None:
    """Judge the registered version; without `now` (RFC 3339) the entries carry the cause's time.

    Raises:
        Refused: E7210, E7220-E7230, the artifact is not what was registered: nothing of it is loaded.
        ChildKilled: E7700, tried again. Every other failure of the child is a verdict, REVIEW, that names its code."""
    name, version = cause.data.model, cause.data.version
    if SIMULATED in fold(await registry.entries()).find(name, version).labels:
        log.warning("simulated_model_not_judged", extra={"model": name, "version": version})
        return
    desk = _Desk(registry, store, trainer, settings, key_file, now or (lambda: cause.time))
    if await registry.find(VALIDATED, f"{name}:{version}") is None:
        await _judge(cause, desk)


@dataclass(frozen=True, slots=True)
class _Desk:
    """What judging needs: the ports, the settings, the clock."""

    registry: Ledger
    store: ArtifactStore
    trainer: Trainer
    settings: Settings
    key_file: Path
    now: Callable[[], str]

    async def verified(self, model: ModelVersion) -> Path:
        """The folder of a version whose seal was just checked."""
        checked = await release.load_verified(
            name=model.name, version=model.version, registry=self.registry, store=self.store, key_file=self.key_file
        )
        return checked.folder


async def _judge(cause: ModelRegistered, desk: _Desk) -> Entry:
    known = fold(await desk.registry.entries())
    model = known.find(cause.data.model, cause.data.version)
    job, about = await _job(model, known.holder(model.name, Stage.PRODUCTION), desk)
    measured, why = await _measured(model, job, desk)
    plan = Plan(resamples=desk.settings.validation.resamples, seed=desk.settings.seed)
    verdict = await asyncio.to_thread(decide, measured, plan) if measured else undecided(why)
    uri, digest = await _publish_report(model, about, verdict, measured, desk)
    data = {
        "model": model.name, "version": model.version, "digest": model.digest, "verdict": verdict.decision,
        "stages": [as_data(stage) for stage in verdict.stages], "baseline": about["baseline"],
        "report": uri, "report_digest": digest, "reasons": list(verdict.reasons), "needed_n": verdict.needed_n,
        "seconds": round(sum(measured.seconds.values()), 3) if measured else None,
    }  # fmt: skip
    body = {"subject": model.subject, "causationid": cause.id, "correlationid": cause.correlationid, "data": data}
    return await desk.registry.append(VALIDATED, model.id, body, at=desk.now())


# ------------------------------------------------------------------ what to compare with what


async def _job(
    model: ModelVersion, released: ModelVersion | None, desk: _Desk
) -> tuple[dict[str, Any], dict[str, Any]]:
    """job.json of the evaluation, and what the report says of it."""
    settings, lineage = desk.settings, model.lineage
    track = settings.tracks.get(str(lineage["track"]))
    golden = Path(track.golden) if track and track.golden else None
    there = golden if golden and golden.is_file() else None
    candidate = {"base": lineage["base_folder"], "adapter": str(await desk.verified(model))}
    if released is not None and not (track and track.baseline == "base"):
        baseline = {"base": released.lineage["base_folder"], "adapter": str(await desk.verified(released))}
        against = f"{released.id}, released"
    else:
        baseline, against = {"base": lineage["base_folder"], "adapter": None}, f"the base model {model.base_model}"
    job = {
        "kind": "evaluate", "seed": settings.seed, "threads": settings.training.threads or os.cpu_count() or 1,
        "candidate": candidate, "baseline": baseline,
        "dataset": str(desk.store.path(str(lineage["dataset"]))), "dataset_digest": lineage["dataset_digest"],
        "golden": str(there) if there else None, "rows": settings.validation.rows,
        "calls_per_row": settings.validation.calls_per_row,
        "latency": {"pairs": settings.validation.latency_pairs, "new_tokens": 32},
        "canaries": _canaries(lineage, desk.store),
    }  # fmt: skip
    about = {
        "model": model.name, "version": model.version, "digest": model.digest, "baseline": against,
        "base_model": model.base_model, "asked_base_model": lineage.get("asked_base_model"), "job": lineage["job_id"],
        "dataset": lineage["dataset"], "dataset_digest": lineage["dataset_digest"],
        "golden": str(golden) if golden else None, "golden_sha256": _sha256(there) if there else None,
        "resamples": settings.validation.resamples, "seed": settings.seed,
    }  # fmt: skip
    return job, about


def _canaries(lineage: Mapping[str, Any], store: ArtifactStore) -> dict[str, int] | None:
    """Only canaries that were really learned from are asked for: the child may have left some out as too long."""
    asked = lineage.get("canaries") or {"n": 0}
    result = store.path(f"jobs/{lineage['job_id']}") / "result.json"
    rows = json.loads(result.read_text("utf-8")).get("rows", {}) if result.is_file() else {}
    planted = int(rows.get("canaries", asked["n"]))
    if not planted or planted != asked["n"]:
        return None
    return {"n": planted, "seed": asked["seed"], "lookalikes": max(LOOKALIKES, LOOKALIKES_PER_CANARY * planted)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ------------------------------------------------------------------ the child


async def _measured(model: ModelVersion, job: Mapping[str, Any], desk: _Desk) -> tuple[Measurements | None, str]:
    """What the child recorded, or why there is nothing."""
    if not (Path(job["candidate"]["base"]) / "config.json").is_file():
        return None, f"the base model {model.base_model} is no longer at {job['candidate']['base']}"
    ident = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:12]
    folder = desk.store.path(f"jobs/evaluate-{model.name}-{model.version}-{ident}")
    try:
        record = await _record(folder, job, desk)
    except ChildError as err:
        if err.again:
            raise
        return None, f"the evaluation failed, {err.code}: {err.message}"
    try:
        return decode(record.read_bytes()), ""
    except (OSError, msgspec.DecodeError) as err:
        return None, f"measurements.json of {folder.name} cannot be read: {type(err).__name__}"


async def _record(folder: Path, job: Mapping[str, Any], desk: _Desk) -> Path:
    """Where the child's measurements lie; run again where those of an earlier run are gone."""
    result = attempts.finished(folder)
    if result is None or not (record := attempts.output(folder, result) / RECORD).is_file():
        own = attempts.begin(folder, job)
        await desk.trainer.run(own, timeout_s=desk.settings.validation.timeout_s)
        record = attempts.output(folder, attempts.settle(folder, own)) / RECORD
    return record


# ------------------------------------------------------------------ the report


async def _publish_report(
    model: ModelVersion, about: Mapping[str, Any], verdict: Verdict, measured: Measurements | None, desk: _Desk
) -> tuple[str, str]:
    """URI of the report, and the SHA-256 of its report.json."""
    scratch = desk.store.scratch(f"report-{model.name}-{model.version}")
    document = as_document(about, verdict, measured)
    (scratch / "report.json").write_text(json.dumps(document, indent=1, sort_keys=True), "utf-8")
    training = _of_training(desk.store.path(f"jobs/{about['job']}"))
    for name, content in training.items():
        (scratch / name).write_text(content, "utf-8")
    drawn = {name: content for name, content in training.items() if name.endswith(".svg")}
    (scratch / "report.html").write_text(as_page(about, verdict, measured, drawn), "utf-8")
    if measured is not None:
        (scratch / "measurements.json").write_bytes(msgspec.json.encode(measured))
    uri = await desk.store.publish(scratch, f"reports/{model.name}/{model.version}")
    return uri, _sha256(desk.store.path(uri) / "report.json")


def _of_training(folder: Path) -> dict[str, str]:
    """The job's curves as its trainer left them, data and pictures; none where its folder is not here."""
    files = [*folder.glob("curve.*"), *folder.glob("*.svg")]
    return {path.name: path.read_text("utf-8") for path in sorted(files) if path.is_file()}
