"""One job from its claim to its end: the base, the attempts, the result, the model."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from l07.domain import model_card
from l07.domain.base import setting
from l07.domain.checkpoint import Change, identity
from l07.domain.cost import Limit, Spent
from l07.domain.methods import METHODS, effective_options
from l07.domain.registry import fold
from l07.errors import AttemptsUsedUp, ChildError, ChildPreempted, ChildTimedOut, Fatal, TeacherMissing
from l07.pipeline import attempts, release
from l07.pipeline.bases import Base, prepare_base
from l07.pipeline.parentage import parents_of
from l07.pipeline.train import budget, retry, rewarding, sweep, teaching
from l07.pipeline.train.due import Queued, check, preempted, record
from l07.pipeline.train.identity import identify
from l07.pipeline.train.telling import Nobody, about
from l07.ports import ArtifactStore, Entry, Ledger, Progress, Trainer, Watcher
from l07.settings import Settings

log = logging.getLogger("l07.train")


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
    clock: Callable[[], float] = time.monotonic
    meter: Callable[[], float | None] = lambda: None  # joules since some time in the past; None: not to be read here
    draw: Callable[[Path], None] = lambda folder: None  # the curves of a job's folder, as files, after each attempt
    watcher: Callable[[], Watcher] = Nobody  # told each attempt
    tell: Callable[[Mapping[str, Any]], None] = lambda line: None  # progress for a person; no prompts

    async def record(
        self, job: Queued, kind: str, key: str, body: Mapping[str, Any], *, at: str | None = None
    ) -> Entry:
        return await record(job, kind, key, body, jobs=self.jobs, at=at or self.now())


async def work(job: Queued, desk: Desk) -> None:
    """Train `job` to its end: a registered model, or training.failed. Cut off anywhere, the next call goes on; a finished child is not run again.

    Nothing is written about a job that is no longer ours, and one result is all that a job has, whoever worked on it.

    Raises:
        BaseMissing: E7710. JobTaken: E7707, another trainer has it, or it was cancelled.
        ChildError: only where it is Fatal (no extra, no disk) or the child was preempted; the job waits then. After any
            other it is tried again, changed where that helps, or becomes training.failed."""
    base = await _base(job, desk)
    if base is None:
        return
    try:
        spec = await _spec(job, base, desk)
    except ChildError as err:  # the job's teacher or its reward model is not there
        missing = "teacher" if isinstance(err, TeacherMissing) else "reward"
        await _failed(job, missing, err, desk, attempts=0)
        return
    folder = desk.store.path(f"jobs/{spec['job_id']}")
    before = attempts.finished(folder)
    result = before or await _attempts(job, spec, base, folder, desk)
    if result is not None:
        await _completed(job, spec, base, folder, result, desk)
        reason = "the same job had its result already" if before and not job.attempts else ""
        await _ended(job, str(spec["job_id"]), "COMPLETED", desk, reason=reason)


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
    ident, most = str(spec["job_id"]), desk.settings.training.attempts
    if job.attempts >= most:  # each was cut off by the end of its trainer, which a child that eats all memory may cause
        text = f"{job.attempts} attempts were begun and none ended: their trainers were killed"
        await _failed(job, ident, AttemptsUsedUp(text), desk, attempts=job.attempts)
        return None
    attempt = job.attempts
    while True:
        entries = await desk.jobs.entries()
        limit = budget.tightest(job, folder, entries, desk.store, desk.settings, desk.now())
        if limit is not None and limit.left_s <= 0:
            await _failed(job, ident, budget.broken(limit, job, desk.settings), desk, attempts=attempt)
            return None
        attempt += 1
        changes = retry.made(entries, job.key)
        own = await _begin(job, spec, base, folder, attempt, changes, desk)
        try:
            await _run(job, own, limit, ident, attempt, desk)
            await check(job, jobs=desk.jobs)
            return attempts.settle(folder, own)
        except ChildError as err:
            if isinstance(err, Fatal | ChildPreempted):  # nothing is wrong with the job: it waits
                await preempted(job, jobs=desk.jobs, at=desk.now())
                raise
            change = retry.after(err, spec["config"], changes, ranks=int(spec.get("ranks", 1)))
            if change is None or attempt >= most:
                await _failed(job, ident, err, desk, attempts=attempt)
                return None
            await _again(job, ident, err, change, desk, attempts=attempt)
            log.warning("training_again", extra={"job_id": ident, "attempt": attempt + 1, "code": err.code, **change})


async def _run(job: Queued, own: Path, limit: Limit | None, ident: str, attempt: int, desk: Desk) -> None:
    """One attempt, no longer than its time limit and what is left of its budget. Raises BudgetSpent (E7730) where that ended it."""
    most = desk.settings.training.timeout_s
    timeout_s = most if limit is None else min(most, limit.left_s)
    watcher, state = desk.watcher(), "CUT_OFF"
    watcher.begin(ident, attempt, about(job, own))
    progress = _progress(ident, attempt, watcher, desk)
    run = partial(desk.trainer.run, own, timeout_s=timeout_s, on_progress=progress)
    try:
        await budget.measured(run, own, clock=desk.clock, meter=desk.meter)
        state = "COMPLETED"
    except ChildError as err:
        state = "CUT_OFF" if isinstance(err, Fatal | ChildPreempted) else "FAILED"
        if not isinstance(err, ChildTimedOut) or limit is None or limit.left_s > most:
            raise
        took_s = attempts.spent_by(own).seconds
        raise budget.broken(replace(limit, spent_s=limit.spent_s + took_s), job, desk.settings) from err
    finally:
        desk.draw(own.parent)
        await watcher.end(state)


async def _spec(job: Queued, base: Base, desk: Desk) -> dict[str, Any]:
    """Raises TeacherMissing (E7736), RewardModelMissing (E7311)."""
    settings, track = desk.settings, desk.settings.tracks[job.track]
    method = job.method or track.method
    options = effective_options(method, track.options if job.options is None else job.options)
    taught_by = await _teacher(job, desk) if teaching.needed(method) else None
    rewarded_by = await _judge(job, base, desk) if rewarding.needed(method, options) else None
    known = identify(settings, method, options, job.digest, base, taught_by=taught_by, rewarded_by=rewarded_by)
    return {
        "kind": "train", "job_id": known.job_id, "seed": settings.seed, "threads": known.threads, "base": str(base.folder), "base_digest": base.digest,
        "dataset": str(desk.store.path(job.uri)), "dataset_digest": job.digest, "method": method, "options": options,
        "config": known.config, "origins": known.origins, "canaries": {"n": settings.training.canaries, "seed": settings.seed},
        **({"base_revision": base.revision} if base.revision else {}), **known.own,
    }  # fmt: skip


async def _teacher(job: Queued, desk: Desk) -> Mapping[str, Any]:
    named = desk.settings.tracks[job.track].teacher
    return await teaching.teacher(job.track, named, registry=desk.registry, store=desk.store, key_file=desk.key_file)


async def _judge(job: Queued, base: Base, desk: Desk) -> Mapping[str, Any]:
    entries = await desk.jobs.entries()
    return rewarding.reward_model(job.track, base, entries=entries, store=desk.store, settings=desk.settings)


async def _begin(
    job: Queued, spec: Mapping[str, Any], base: Base, folder: Path, attempt: int, changes: Sequence[Change], desk: Desk
) -> Path:
    """The folder in which the child will work; the ledger says that the attempt began, and from which step."""
    resumed = await asyncio.to_thread(attempts.newest_checkpoint, folder, identity(spec), changes)
    own, at = (
        attempts.begin(folder, {**spec, **_ways(folder, desk), "attempt": attempt, "changes": changes}),
        desk.now(),
    )
    settings = {name: f"{setting(spec['config'], name)} ({origin})" for name, origin in spec["origins"].items()}
    desk.tell({"phase": "train", "job_id": spec["job_id"], "attempt": attempt, "settings": settings})
    queued = {"track": job.track, "queued": job.key, "job_id": spec["job_id"]}
    await desk.record(job, "job.attempt", f"{job.key}/{spec['job_id']}/{attempt}/{at}", queued, at=at)
    data = {
        "job_id": spec["job_id"], "track": job.track, "method": spec["method"], "base_model": base.resolved.name, "base_digest": base.digest,
        "asked_base_model": base.resolved.asked, "dataset_version": job.version, "dataset_digest": job.digest,
        "config": spec["config"], "origins": spec["origins"], "attempt": attempt,
        **({"resumed_from": resumed} if resumed else {}), **({"changes": list(changes)} if changes else {}),
    }  # fmt: skip
    body = {
        "subject": f"jobs/{spec['job_id']}",
        "causationid": job.cause,
        "correlationid": job.correlationid,
        "data": data,
        "queued": job.key,
    }
    number = own.name.removeprefix("attempt-")  # of all who asked for the job; `attempt` begins anew with each
    await desk.record(job, "training.started", f"{spec['job_id']}/{number}", body, at=at)
    return own


def _ways(folder: Path, desk: Desk) -> dict[str, Any]:
    """How often the child saves, and where it finds what earlier attempts saved."""
    training = desk.settings.training
    earlier = [str(place) for place in attempts.checkpoints(folder)]
    return {
        "checkpoints": {"steps": training.checkpoint_steps, "seconds": training.checkpoint_s, "earlier": earlier},
    }


def _progress(job: str, attempt: int, watcher: Watcher, desk: Desk) -> Progress:
    numbers = iter(range(1_000_000_000))

    async def report(line: Mapping[str, Any]) -> None:
        if "hardware" in line:
            desk.tell({"phase": "machine", "job_id": job, **_found(line)})
            return
        watcher.tell(line)
        await desk.publish_progress(job, attempt, next(numbers), line)

    return report


def _found(line: Mapping[str, Any]) -> dict[str, Any]:
    """How the job uses its machine, and what it will take of it, for a person."""
    memory = {name.removesuffix("_bytes"): size for name, size in line["memory"].items() if size is not None}
    needs = {name: f"{memory[name] / 2**30:.2f} GiB" for name in ("total", "room") if name in memory}
    return {**line["hardware"], **{{"total": "needs", "room": "of"}[name]: text for name, text in needs.items()}}


async def _completed(
    job: Queued, spec: Mapping[str, Any], base: Base, folder: Path, result: Mapping[str, Any], desk: Desk
) -> None:
    at = desk.now()
    data = {
        "job_id": spec["job_id"], "track": job.track, "dataset_version": job.version, "train_rows": result["rows"]["used"],
        "rows": result["rows"], "losses": result["losses"], "eval_losses": result["eval_losses"], "train_loss": result["train_loss"],
        "steps": result["steps"], "tokens": result["tokens"], "seconds": result["seconds"], "peak_rss_bytes": result.get("peak_rss_bytes"),
        "digest": result["digest"], "method": spec["method"], **_spent(folder, desk), **_story(result),
    }  # fmt: skip
    body = {
        "subject": f"jobs/{spec['job_id']}",
        "causationid": job.cause,
        "correlationid": job.correlationid,
        "data": data,
        "queued": job.key,
    }
    await desk.record(job, "training.completed", str(spec["job_id"]), body, at=at)
    if METHODS[str(spec["method"])].makes == "scorer":  # it is asked by policies and never released
        return
    lineage = {
        "job_id": spec["job_id"], "track": job.track, "dataset": job.uri, "dataset_version": job.version, "dataset_digest": job.digest,
        "base_model": base.resolved.name, "asked_base_model": base.resolved.asked, "base_digest": base.digest, "base_folder": str(base.folder),
        **base.provenance.document(), **({"base_revision": base.revision} if base.revision else {}),
        "seed": spec["seed"], "threads": spec["threads"], "versions": result["versions"], "config": result["config"], "canaries": spec["canaries"],
        "method": spec["method"], "options": spec["options"], "cost": {"tokens": result["tokens"], **_spent(folder, desk)},
        "hardware": result.get("hardware"), "memory": result.get("memory"), **({"changes": result["changes"]} if result.get("changes") else {}),
    }  # fmt: skip
    if "ranks" in spec:
        lineage["ranks"] = spec["ranks"]
    if taught_by := spec.get("teacher"):
        lineage["teacher"] = {name: taught_by[name] for name in ("model", "job_id", "digest")}
    if "reward_model" in spec:
        lineage["reward_model"] = {name: spec["reward_model"][name] for name in ("job_id", "digest", "dataset")}
    if parents := {*await _parents(base, desk), *([taught_by["model"]] if taught_by else [])}:
        lineage["parents"] = sorted(parents)
    rank = _rank(result["config"])
    kind = model_card.ADAPTER if rank is not None else model_card.FULL
    beside = partial(_beside, job.track, base.resolved.name, lineage, data, kind, _pictures(folder))
    await release.register(
        name=job.track, artifact=attempts.output(folder, result), lineage=lineage, beside=beside,
        format=kind, rank=rank, base_model=base.resolved.name,
        causationid=f"{spec['job_id']}", correlationid=job.correlationid, registry=desk.registry, store=desk.store, key_file=desk.key_file, at=desk.now(),
    )  # fmt: skip


def _pictures(folder: Path) -> dict[str, str]:
    """The curves that the last attempt left, for the card."""
    return {name: (folder / name).read_text("utf-8") for name in model_card.PICTURES if (folder / name).is_file()}


def _beside(
    name: str,
    base: str,
    lineage: Mapping[str, Any],
    measured: Mapping[str, Any],
    kind: str,
    pictures: Mapping[str, str],
    version: str,
) -> dict[str, str]:
    """The card of this version and its pictures."""
    facts = model_card.Facts(name, version, base, lineage, measured, format=kind)
    return {
        "README.md": model_card.card(facts, pictures),
        **{f"plots/{picture}": drawn for picture, drawn in pictures.items()},
    }


def _rank(config: Mapping[str, Any]) -> int | None:
    """None: no adapter, the whole model was trained."""
    return None if config.get("adapter") == "full" else int(config["lora"]["rank"])


def _spent(folder: Path, desk: Desk) -> dict[str, Any]:
    """Of all attempts of the job, whoever asked for it and when."""
    return Spent.total(attempts.spent(folder)).document(budget.price_of(desk.settings))


async def _parents(base: Base, desk: Desk) -> list[str]:
    models = fold(await desk.registry.entries()).models.values()
    return await asyncio.to_thread(parents_of, base.folder, models, desk.store)


def _story(result: Mapping[str, Any]) -> dict[str, Any]:
    """How the attempt that gave the result came to it."""
    return {name: result[name] for name in ("attempt", "resumed_from", "changes", "refused") if result.get(name)}


async def _failed(job: Queued, ident: str, err: ChildError, desk: Desk, *, attempts: int) -> None:
    body = _failure(job, ident, err, attempts=attempts, again=False)
    if ident.startswith("job-"):  # what all attempts took together is said once, at the end
        body["data"] |= _spent(desk.store.path(f"jobs/{ident}"), desk)
    await desk.record(job, "training.failed", f"{ident}/{job.key}", body)
    await _ended(job, ident, "FAILED", desk)
    await sweep.sweep(job.track, jobs=desk.jobs, store=desk.store)


async def _again(job: Queued, ident: str, err: ChildError, change: Change, desk: Desk, *, attempts: int) -> None:
    """RETRYING. What the next attempt changes is written down first, for whoever makes it."""
    body = _failure(job, ident, err, attempts=attempts, again=True)
    body |= {retry.CHANGE: {"attempt": attempts + 1, **change}} if change else {}
    await desk.record(job, "training.failed", f"{ident}/{job.key}/{attempts}/{desk.now()}", body)


def _failure(job: Queued, ident: str, err: ChildError, *, attempts: int, again: bool) -> dict[str, Any]:
    data = {
        "job_id": ident, "track": job.track, "dataset_version": job.version, "code": err.code, "message": err.message, "attempts": attempts,
        "again": again,
    }  # fmt: skip
    about = {"causationid": job.cause, "correlationid": job.correlationid, "queued": job.key}
    return {"subject": f"jobs/{ident}", "data": data, **about}


async def _ended(job: Queued, ident: str, state: str, desk: Desk, *, reason: str = "") -> None:
    body = {"track": job.track, "queued": job.key, "job_id": ident, "state": state}
    body |= {"reason": reason} if reason else {}
    await desk.record(job, "job.ended", job.key, body)
