"""dataset.created -> a queued job -> training.started ... training.completed and model.registered, or training.failed.

The ledger `jobs` is the queue: `job.queued` and `job.declined` are keyed by dataset version, `training.*` by job and attempt.
Whoever works the queue folds the ledger; a job that was cut off starts again from step 0 as the next attempt.
"""

import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from l07.domain.base import effective_config, setting
from l07.domain.job import job_id
from l07.errors import ChildError, Fatal
from l07.events.outbound import DatasetCreated
from l07.pipeline import release
from l07.pipeline.bases import LIBRARIES, Base, library_version, prepare_base
from l07.ports import ArtifactStore, Entry, Ledger, Progress, Trainer
from l07.settings import Settings

log = logging.getLogger("l07.train")


async def on_dataset_created(cause: DatasetCreated, *, jobs: Ledger, datasets: Ledger, settings: Settings) -> None:
    """Queue a job for this version, or record why not. A newer queued version of a track replaces an older one."""
    data = cause.data
    key = f"{data.dataset}:{data.version}"
    track = settings.tracks.get(data.dataset)
    if track is None:
        await jobs.append("job.declined", key, {"reason": "no such track in the settings"}, at=cause.time)
        return
    reason = await _why_not(cause, jobs=jobs, datasets=datasets, settings=settings)
    body = {
        "track": data.dataset,
        "version": data.version,
        "digest": data.digest,
        "uri": data.uri,
        "cause": cause.id,
        "correlationid": cause.correlationid,
    }
    if reason:
        await jobs.append("job.declined", key, {**body, "reason": reason}, at=cause.time)
    else:
        await jobs.append("job.queued", key, body, at=cause.time)


async def _why_not(cause: DatasetCreated, *, jobs: Ledger, datasets: Ledger, settings: Settings) -> str:
    rule = settings.tracks[cause.data.dataset].train
    rows = cause.data.splits.get("train", 0)
    if rows < rule.min_rows:
        return f"{rows} train rows of the {rule.min_rows} that a job needs"
    last = _last_trained(await jobs.entries(), cause.data.dataset)
    if last is None:
        return ""
    new = await _rows_added_since(
        datasets, cause.data.dataset, str(last.body["data"]["dataset_version"]), cause.data.version
    )
    share = new / max(1, int(last.body["data"]["train_rows"]))
    age_s = (datetime.fromisoformat(cause.time) - datetime.fromisoformat(last.at)).total_seconds()
    if share < rule.min_new_share and age_s < rule.max_age_s:
        return f"{share:.0%} new rows of the {rule.min_new_share:.0%} that a job needs, and the last training is {age_s / 3600:.0f} h old"
    return ""


def _last_trained(entries: Sequence[Entry], track: str) -> Entry | None:
    done = [e for e in entries if e.kind == "training.completed" and e.body["data"]["track"] == track]
    return done[-1] if done else None


async def _rows_added_since(datasets: Ledger, track: str, trained: str, now: str) -> int:
    added, counting = 0, False
    for entry in await datasets.entries():
        if entry.kind != "dataset.created" or entry.body["data"]["dataset"] != track:
            continue
        if counting:
            added += int(entry.body["data"]["added"])
        counting = counting or entry.body["data"]["version"] == trained
        if entry.body["data"]["version"] == now:
            break
    return added


# ------------------------------------------------------------------ the queue


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that waits or was cut off. `attempts` were begun and counted so far."""

    key: str  # "<track>:<version>"
    track: str
    version: str
    uri: str
    digest: str
    cause: str
    correlationid: str | None
    attempts: int = 0


def queue(entries: Sequence[Entry]) -> list[Queued]:
    """Jobs that are due: the newest queued version of each track that has not ended, oldest first."""
    due: dict[str, Queued] = {}
    for entry in entries:
        if entry.kind == "job.queued":
            body = entry.body
            due[body["track"]] = Queued(
                entry.key,
                body["track"],
                body["version"],
                body["uri"],
                body["digest"],
                body["cause"],
                body["correlationid"],
            )
            continue
        waiting = (
            due.get(str(entry.body.get("track")))
            if entry.kind in ("job.ended", "job.attempt", "job.preempted")
            else None
        )
        if waiting is None or entry.body["queued"] != waiting.key:
            continue
        if entry.kind == "job.ended":
            del due[waiting.track]
        else:
            due[waiting.track] = replace(
                waiting, attempts=waiting.attempts + (1 if entry.kind == "job.attempt" else -1)
            )
    return list(due.values())


@dataclass(frozen=True, slots=True)
class Desk:
    """What working the queue needs: the ports, the settings, the clock."""

    jobs: Ledger
    registry: Ledger
    store: ArtifactStore
    bases: ArtifactStore  # where tiny bases are kept; may be shared between data folders
    trainer: Trainer
    settings: Settings
    now: Callable[[], str]  # RFC 3339
    publish_progress: Callable[[str, int, int, Mapping[str, Any]], Awaitable[None]]  # job id, attempt, number, progress
    key_file: Path
    tell: Callable[[Mapping[str, Any]], None] = lambda line: None  # progress for a person; no prompts


async def work(job: Queued, desk: Desk) -> None:
    """Train `job` to its end: a registered model, or training.failed. Cut off anywhere, the next call goes on; a finished child is not run again.

    Raises:
        BaseMissing: E7710. A ChildError only where it is Fatal (no extra, no disk): the job waits then; any other becomes
        training.failed with its code."""
    base = await _base(job, desk)
    if base is None:
        return
    spec = _spec(job, base, desk)
    folder = desk.store.path(f"jobs/{spec['job_id']}")
    result = _finished(folder) or await _attempts(job, spec, base, folder, desk)
    if result is not None:
        await _completed(job, spec, base, folder, result, desk)


async def _base(job: Queued, desk: Desk) -> Base | None:
    """The job's base; None: it could not be made, and the job has failed."""
    settings, attempt = desk.settings, 0
    while True:
        attempt += 1
        try:
            return await prepare_base(
                settings.tracks[job.track].base_model,
                aliases=settings.models.aliases,
                store=desk.bases,
                trainer=desk.trainer,
                timeout_s=settings.training.timeout_s,
            )
        except ChildError as err:
            if isinstance(err, Fatal):  # nothing is wrong with the job: it waits until the machine is mended
                raise
            if not err.again or attempt >= settings.training.attempts:
                await _failed(job, "base", err, desk, attempts=attempt)
                return None


async def _attempts(
    job: Queued, spec: Mapping[str, Any], base: Base, folder: Path, desk: Desk
) -> Mapping[str, Any] | None:
    ident = str(spec["job_id"])
    attempt = job.attempts
    while True:
        attempt += 1
        await _begin(job, spec, base, folder, attempt, desk)
        try:
            return await desk.trainer.run(
                folder, timeout_s=desk.settings.training.timeout_s, on_progress=_progress(ident, attempt, desk)
            )
        except ChildError as err:
            if isinstance(err, Fatal):  # nothing is wrong with the job: it waits until the machine is mended
                await preempted(job, jobs=desk.jobs, at=desk.now())
                raise
            if not err.again or attempt >= desk.settings.training.attempts:
                await _failed(job, ident, err, desk, attempts=attempt)
                return None
            log.warning("training_again", extra={"job_id": ident, "attempt": attempt + 1, "code": err.code})


async def preempted(job: Queued, *, jobs: Ledger, at: str) -> None:
    """The run was stopped while `job` was at work: an attempt that was begun since does not count."""
    of_job = [entry for entry in await jobs.entries() if entry.body.get("queued") == job.key]
    begun = [entry for entry in of_job if entry.kind == "job.attempt"]
    if len(begun) - sum(entry.kind == "job.preempted" for entry in of_job) <= job.attempts:
        return
    body = {"track": job.track, "queued": job.key, "job_id": begun[-1].body["job_id"]}
    await jobs.append("job.preempted", begun[-1].key, body, at=at)


def _finished(folder: Path) -> Mapping[str, Any] | None:
    """The result of a child that ended before we could record it."""
    done = folder / "result.json"
    result: Mapping[str, Any] = json.loads(done.read_text("utf-8")) if done.is_file() else {}
    return result if result.get("status") == "completed" else None


def _spec(job: Queued, base: Base, desk: Desk) -> dict[str, Any]:
    training = desk.settings.training
    names = {"learning_rate", "batch_size", "epochs", "max_length", "max_steps", "clip", "early_stop", "lora"}
    asked = training.model_dump(include=names)
    config, origins = effective_config(asked, base.recommended)
    versions = {name: library_version(name) for name in LIBRARIES}
    threads = training.threads or os.cpu_count() or 1
    ident = job_id(
        dataset_digest=job.digest,
        config=config,
        base_digest=base.digest,
        seed=desk.settings.seed,
        threads=threads,
        versions=versions,
        method=desk.settings.tracks[job.track].method,
        canaries=training.canaries,
    )
    return {
        "kind": "train", "job_id": ident, "seed": desk.settings.seed, "threads": threads, "base": str(base.folder), "base_digest": base.digest,
        "dataset": str(desk.store.path(job.uri)), "dataset_digest": job.digest, "method": desk.settings.tracks[job.track].method,
        "config": config, "origins": origins, "canaries": {"n": training.canaries, "seed": desk.settings.seed},
    }  # fmt: skip


async def _begin(job: Queued, spec: Mapping[str, Any], base: Base, folder: Path, attempt: int, desk: Desk) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {**spec, "attempt": attempt, "output": str(folder / "out")}
    (folder / "job.json").write_text(json.dumps(document, indent=1, sort_keys=True), "utf-8")
    at = desk.now()
    settings = {name: f"{setting(spec['config'], name)} ({origin})" for name, origin in spec["origins"].items()}
    desk.tell({"phase": "train", "job_id": spec["job_id"], "attempt": attempt, "settings": settings})
    await desk.jobs.append(
        "job.attempt",
        f"{job.key}/{spec['job_id']}/{attempt}/{at}",
        {"track": job.track, "queued": job.key, "job_id": spec["job_id"]},
        at=at,
    )
    data = {
        "job_id": spec["job_id"], "track": job.track, "method": spec["method"], "base_model": base.resolved.name, "base_digest": base.digest,
        "asked_base_model": base.resolved.asked, "dataset_version": job.version, "dataset_digest": job.digest,
        "config": spec["config"], "origins": spec["origins"], "attempt": attempt,
    }  # fmt: skip
    body = {
        "subject": f"jobs/{spec['job_id']}",
        "causationid": job.cause,
        "correlationid": job.correlationid,
        "data": data,
        "queued": job.key,
    }
    await desk.jobs.append("training.started", f"{spec['job_id']}/{attempt}", body, at=at)


def _progress(job: str, attempt: int, desk: Desk) -> Progress:
    numbers = iter(range(1_000_000_000))

    async def report(line: Mapping[str, Any]) -> None:
        await desk.publish_progress(job, attempt, next(numbers), line)

    return report


async def _completed(
    job: Queued, spec: Mapping[str, Any], base: Base, folder: Path, result: Mapping[str, Any], desk: Desk
) -> None:
    at = desk.now()
    data = {
        "job_id": spec["job_id"], "track": job.track, "dataset_version": job.version, "train_rows": result["rows"]["used"],
        "rows": result["rows"], "losses": result["losses"], "eval_losses": result["eval_losses"], "train_loss": result["train_loss"],
        "steps": result["steps"], "tokens": result["tokens"], "seconds": result["seconds"], "peak_rss_bytes": result.get("peak_rss_bytes"),
        "digest": result["digest"],
    }  # fmt: skip
    body = {
        "subject": f"jobs/{spec['job_id']}",
        "causationid": job.cause,
        "correlationid": job.correlationid,
        "data": data,
        "queued": job.key,
    }
    await desk.jobs.append("training.completed", str(spec["job_id"]), body, at=at)
    lineage = {
        "job_id": spec["job_id"], "track": job.track, "dataset": job.uri, "dataset_version": job.version, "dataset_digest": job.digest,
        "base_model": base.resolved.name, "asked_base_model": base.resolved.asked, "base_digest": base.digest, "base_folder": str(base.folder),
        "seed": spec["seed"], "threads": spec["threads"], "versions": result["versions"], "config": result["config"], "canaries": spec["canaries"],
    }  # fmt: skip
    await release.register(
        name=job.track, artifact=folder / "out", lineage=lineage, rank=result["config"]["lora"]["rank"], base_model=base.resolved.name,
        causationid=f"{spec['job_id']}", correlationid=job.correlationid, registry=desk.registry, store=desk.store, key_file=desk.key_file, at=desk.now(),
    )  # fmt: skip
    await desk.jobs.append(
        "job.ended",
        job.key,
        {"track": job.track, "queued": job.key, "job_id": spec["job_id"], "state": "COMPLETED"},
        at=desk.now(),
    )


async def _failed(job: Queued, ident: str, err: ChildError, desk: Desk, *, attempts: int) -> None:
    data = {
        "job_id": ident,
        "track": job.track,
        "dataset_version": job.version,
        "code": err.code,
        "message": err.message,
        "attempts": attempts,
        "again": False,
    }
    body = {
        "subject": f"jobs/{ident}",
        "causationid": job.cause,
        "correlationid": job.correlationid,
        "data": data,
        "queued": job.key,
    }
    await desk.jobs.append("training.failed", f"{ident}/{job.key}", body, at=desk.now())
    await desk.jobs.append(
        "job.ended", job.key, {"track": job.track, "queued": job.key, "job_id": ident, "state": "FAILED"}, at=desk.now()
    )
