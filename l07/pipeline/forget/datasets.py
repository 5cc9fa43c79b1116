"""Out of the datasets: a successor without whoever was erased, his versions revoked, what was made of them tainted.

Successor first, then the revocations, then the files: cut off in between, the next look finds what is left to do in the
ledgers. A version that a curator was building meanwhile is looked into like any other, once it is recorded.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from l07.domain.erasure import LOOKED, Tombstones
from l07.domain.job_ledger import COMPLETED
from l07.domain.job_ledger import fold as fold_jobs
from l07.domain.methods import METHODS
from l07.domain.registry import TAINTED, ModelVersion, fold
from l07.pipeline import train
from l07.pipeline.curate import CREATED, KEPT, REVOKED, Asked, Batch, Standing, next_version
from l07.pipeline.forget import exports, files
from l07.pipeline.forget.known import Known
from l07.ports import ArtifactStore, Curator, Entry, Ledger
from l07.settings import Settings

CAUSE = "erasure"
BY = "l07 forget"


@dataclass(slots=True)
class Shelf:
    """The ledgers and files of datasets and of what was made of them."""

    datasets: Ledger
    jobs: Ledger
    registry: Ledger
    exports: Ledger
    store: ArtifactStore
    curator: Curator
    settings: Settings
    now: Callable[[], str]  # RFC 3339
    _followed: tuple[int, ...] = field(default=(), init=False)  # how long the ledgers were when all was done


async def is_due(known: Known, shelf: Shelf) -> bool:
    """Whether a version came that nobody looked into, or something was made since of one that is revoked."""
    if not known.tombstones:
        return False
    entries = await shelf.datasets.entries()
    return known.state.looked_at != (len(entries), known.tombstones.number) or await _sizes(shelf) != shelf._followed


async def clean(known: Known, shelf: Shelf) -> dict[str, int]:
    """What was done; nothing, where all is as it should be."""
    done = {"versions": 0, "rows": 0}
    tombstones = known.tombstones
    while tombstones and known.state.looked_at != (len(entries := await shelf.datasets.entries()), tombstones.number):
        for track, versions in _unlooked(known, entries).items():
            rows = await _look(track, versions, tombstones, shelf)
            done = {"versions": done["versions"] + bool(rows), "rows": done["rows"] + rows}
        looked = {"datasets": len(entries), "tombstones": tombstones.number}
        await known.note(LOOKED, f"{tombstones.number}/{len(entries)}", looked, at=shelf.now())
    await follow_up(shelf, tombstones)
    return done


async def found(known: Known, shelf: Shelf) -> dict[str, list[str]]:
    """Natural keys, by version that holds any."""
    out = {}
    for track in _tracks(await shelf.datasets.entries()):
        for version in Standing.of(await shelf.datasets.entries(), track).versions:
            if keys := await _erased_in(version, known.tombstones, shelf):
                out[version.key] = list(keys)
    return out


def _unlooked(known: Known, entries: Sequence[Entry]) -> Mapping[str, list[Entry]]:
    """Versions that nobody looked into by these tombstones yet."""
    number, tombstones = known.state.looked_at
    since = number if tombstones == known.tombstones.number else 0
    return {t: [v for v in Standing.of(entries, t).versions if v.number > since] for t in _tracks(entries)}


def _tracks(entries: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(e.body["data"]["dataset"] for e in entries if e.kind in (CREATED, KEPT)))


async def _look(track: str, versions: Sequence[Entry], tombstones: Tombstones, shelf: Shelf) -> int:
    """How many rows had to leave the newest version."""
    hits = {version.key: len(await _erased_in(version, tombstones, shelf)) for version in versions}
    hits = {key: number for key, number in hits.items() if number}
    if not hits:
        return 0
    state = Standing.of(await shelf.datasets.entries(), track)
    successor = state.newest
    assert successor is not None  # a hit is one of its versions
    if successor.key in hits:
        name = f"erasure-{tombstones.number}"
        cause = Asked(name, Batch(track, name))
        made = await next_version(
            cause, [], state, ledger=shelf.datasets, store=shelf.store, curator=shelf.curator, settings=shelf.settings,
            erased=tombstones, at=shelf.now(),
        )  # fmt: skip
        assert isinstance(made, Entry)  # with tombstones there always is a version
        successor = made
    for version in versions:
        if version.key in hits:
            await _revoke(version, hits[version.key], successor, shelf)
    return max(hits.values())


async def _erased_in(version: Entry, tombstones: Tombstones, shelf: Shelf) -> Sequence[str]:
    uri = version.body["data"]["uri"]
    return await shelf.curator.erased_in(shelf.store.path(uri), tombstones) if shelf.store.exists(uri) else ()


async def _revoke(version: Entry, rows: int, successor: Entry, shelf: Shelf) -> None:
    data, at = version.body["data"], shelf.now()
    known = fold(await shelf.registry.entries())
    made = [model.subject for model in known.line_of(await _models_of(version, shelf))]
    body = {
        "subject": f"datasets/{version.key}",
        "data": {
            **{name: data[name] for name in ("dataset", "version", "digest")},
            "cause": CAUSE,
            "affected": made,
            "due": _due(at, shelf.settings),
            "rows": rows,
            "successor": successor.body["data"]["version"],
        },
    }
    await shelf.datasets.append(REVOKED, version.key, body, at=at)


def _due(at: str, settings: Settings) -> str:
    due = datetime.fromisoformat(at) + timedelta(seconds=settings.erasure.due_s)
    return due.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ------------------------------------------------------------------ what follows from a revocation


async def follow_up(shelf: Shelf, tombstones: Tombstones) -> None:
    """Models are tainted, jobs cancelled, files deleted: also of what was made of a version after it was revoked."""
    if await _sizes(shelf) == shelf._followed:
        return
    entries = await shelf.datasets.entries()
    versions = {entry.key: entry for entry in entries if entry.kind in (CREATED, KEPT)}
    for revoked in [entry for entry in entries if entry.kind == REVOKED]:
        version = versions[revoked.key]
        for model in await _models_of(version, shelf):
            await _taint(model, [revoked.body["subject"]], shelf)
        await _cancel_job(version, shelf)
        await _drop_scorers(version, shelf)
        await shelf.store.remove(version.body["data"]["uri"])
    await _pass_on(shelf)
    uris = [versions[entry.key].body["data"]["uri"] for entry in entries if entry.kind == REVOKED]
    await asyncio.to_thread(files.clean, shelf.store, uris, tombstones)
    await exports.clean(shelf.exports, shelf.datasets, at=shelf.now())
    shelf._followed = await _sizes(shelf)


async def _sizes(shelf: Shelf) -> tuple[int, ...]:
    ledgers = shelf.datasets, shelf.jobs, shelf.registry, shelf.exports
    return tuple([len(await ledger.entries()) for ledger in ledgers])


async def _models_of(version: Entry, shelf: Shelf) -> list[ModelVersion]:
    """That learnt from it themselves, or from a reward model that did."""
    uri = version.body["data"]["uri"]
    models = fold(await shelf.registry.entries()).models.values()
    return [
        model
        for model in models
        if model.lineage.get("dataset") == uri or model.lineage.get("reward_model", {}).get("dataset") == version.key
    ]


async def _drop_scorers(version: Entry, shelf: Shelf) -> None:
    """No policy is trained any more by a reward model that learnt from it."""
    for entry in await shelf.jobs.entries():
        data = entry.body.get("data", {}) if entry.kind == COMPLETED else {}
        method = METHODS.get(str(data.get("method")))
        made_of = f"{data.get('track')}:{data.get('dataset_version')}"
        if method is not None and method.makes == "scorer" and made_of == version.key:
            await shelf.store.remove(f"jobs/{data['job_id']}")


async def _pass_on(shelf: Shelf) -> None:
    """What was trained upon a tainted model is announced too; the fold knows it already."""
    known = fold(await shelf.registry.entries())
    tainted = {model.id: model.subject for model in known.models.values() if model.tainted}
    for model in known.models.values():
        if parents := [tainted[parent] for parent in model.parents if parent in tainted]:
            await _taint(model, parents, shelf)


async def _taint(model: ModelVersion, affected: Sequence[str], shelf: Shelf) -> None:
    at = shelf.now()
    data: dict[str, Any] = {"model": model.name, "version": model.version, "digest": model.digest, "cause": CAUSE}
    data |= {"affected": list(affected), "due": _due(at, shelf.settings), "stage": model.stage.value}
    body = {"subject": model.subject, "data": data}
    await shelf.registry.append(TAINTED, model.id, body, at=at)


async def _cancel_job(version: Entry, shelf: Shelf) -> None:
    lines = fold_jobs(await shelf.jobs.entries()).values()
    for job in [job for job in lines if job.dataset == version.key and job.body and not job.is_over]:
        reason = f"{version.key} was revoked"
        await train.cancel(job.key, jobs=shelf.jobs, by=BY, reason=reason, at=shelf.now())
