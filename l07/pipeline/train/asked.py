"""A job that a person asks for: the same queue, the same ids, and the same job asked for twice is one."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from l07.domain.job import JobState
from l07.domain.job_ledger import QUEUED, JobLine
from l07.domain.job_ledger import fold as fold_jobs
from l07.domain.methods import check_method, effective_options
from l07.domain.registry import fold as fold_models
from l07.errors import BadTraining, DatasetRevoked, NothingByThatName
from l07.events.outbound import event_id
from l07.pipeline.bases import resolve
from l07.pipeline.train.identity import CONFIG, identity_of, own_of
from l07.ports import ArtifactStore, Entry, Ledger
from l07.settings import Settings, Track


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wants. None and empty: the newest version, the track's own method, options and priority."""

    track: str
    version: str | None = None
    method: str | None = None
    options: Mapping[str, float] = field(default_factory=dict)
    priority: int | None = None
    by: str = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """The job that was asked for. Not `is_new`: it was there already, and nothing was queued."""

    key: str
    job_id: str  # "": no attempt was begun, and the base is not here yet from which it would follow
    standing: str
    is_new: bool
    method: str
    model: str = ""  # of a job that was completed


async def ask(
    asked: Asked, *, jobs: Ledger, datasets: Ledger, registry: Ledger, bases: ArtifactStore, settings: Settings, at: str
) -> Answer:
    """Queue the job, or say that it is there. One that failed or was cancelled is queued anew.

    Raises:
        NothingByThatName: E7903, no such track or version. DatasetRevoked: E7122. BadTraining: E7911, a method or an option
            that is not there. BaseMissing: E7710."""
    track = _track(asked.track, settings)
    method, options = wanted(asked, track)
    resolve(track.base_model, settings.models.aliases)
    version = _version(asked, await datasets.entries())
    ident = identity_of(settings, asked.track, method, options, str(version.body["data"]["digest"]), bases)
    is_own = (method, options) == wanted(Asked(asked.track), track)
    while True:
        entries = await jobs.entries()
        known = fold_jobs(entries)
        lead = f"{version.key}#{_request(version, method, options, track, settings)}."
        same = [job for job in known.values() if _is_same(job, lead, ident, is_own=is_own)]
        if same:
            there = same[-1]
            model = fold_models(await registry.entries()).of_job(asked.track, there.ident)
            return Answer(there.key, there.ident or ident, there.standing, False, method, model.id if model else "")
        key = f"{lead}{1 + sum(key.startswith(lead) for key in known)}"
        body = {**_of_version(version), "track": asked.track, "method": method, "options": options, "by": asked.by}
        body |= {"priority": track.train.priority if asked.priority is None else asked.priority}
        if await jobs.append_after(len(entries), QUEUED, key, body, at=at) is not None:
            return Answer(key, ident, JobState.PENDING.value, True, method)


def wanted(asked: Asked, track: Track) -> tuple[str, dict[str, float]]:
    """Method and effective options: those of the track count while its own method is asked for.

    Raises:
        BadTraining: E7911, with what there is."""
    method = asked.method or track.method
    own = track.options if method == track.method else {}
    try:
        check_method(method)
        return method, effective_options(method, {**own, **asked.options})
    except ValueError as err:
        raise BadTraining(str(err), method=method) from err


def _track(name: str, settings: Settings) -> Track:
    if name not in settings.tracks:
        raise NothingByThatName(f"there is no track {name}; there are {', '.join(settings.tracks)}", id=name)
    return settings.tracks[name]


def _version(asked: Asked, entries: Sequence[Entry]) -> Entry:
    """The entry that created the version; the newest that was not revoked where none is named."""
    created = [e for e in entries if e.kind == "dataset.created" and e.body["data"]["dataset"] == asked.track]
    revoked = {entry.key for entry in entries if entry.kind == "dataset.revoked"}
    named = [e for e in created if asked.version in (None, e.body["data"]["version"])]
    if not named:
        here = ", ".join(entry.key for entry in created[-3:]) or "none yet"
        name = f"{asked.track}:{asked.version}" if asked.version else f"version of {asked.track}"
        raise NothingByThatName(f"there is no dataset {name}; the newest are: {here}", id=name)
    good = [entry for entry in named if entry.key not in revoked]
    if not good:
        raise DatasetRevoked(
            f"{named[-1].key} was revoked, because data had to be erased from it: train on its successor",
            dataset=named[-1].key,
        )
    return good[-1]


def _of_version(version: Entry) -> dict[str, Any]:
    data = version.body["data"]
    created = event_id(f"{version.ledger}/{version.number}/{version.kind}/{version.key}")
    return {
        "version": data["version"], "digest": data["digest"], "uri": data["uri"], "cause": created,
        "correlationid": version.body.get("correlationid"),
    }  # fmt: skip


def _request(version: Entry, method: str, options: Mapping[str, float], track: Track, settings: Settings) -> str:
    """Eight digits of all that is asked for; the job's id follows from more, which a trainer alone may know."""
    config = settings.training.model_dump(include={*CONFIG, "threads", "canaries"})
    base = settings.models.aliases.get(track.base_model, track.base_model)
    parts = [version.body["data"]["digest"], method, dict(options), base, config, settings.seed]
    parts += [own] if (own := own_of(settings, method)) else []
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def _is_same(job: JobLine, lead: str, ident: str, *, is_own: bool) -> bool:
    """Whether this job, which waits, runs or was completed, is the one that is asked for."""
    if job.declined or job.standing in ("FAILED", "CANCELLED", "REPLACED"):
        return False
    asked = job.key.startswith(lead)
    if asked and not job.is_over:
        return True
    if ident and job.ident:
        return job.ident == ident
    return asked or (is_own and not job.is_over and job.key == lead.partition("#")[0])
