"""What training made enters the registry sealed; its seal is checked at every load and at every move."""

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l07.domain import seal
from l07.domain.registry import DEPLOY, REGISTERED, STAGE_CHANGED, ModelVersion, Stage, check_move, fold, subject_of
from l07.errors import BadArtifactName, MoveNotAllowed, SealOfAnother, disk_errors
from l07.events.outbound import ModelValidated
from l07.ports import ArtifactStore, Entry, Ledger

BY = "l07"  # nobody decided it but the rule
MODEL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class VerifiedModel:
    """A registered version whose files were just found to be what was sealed."""

    model: ModelVersion
    folder: Path
    files: Mapping[str, seal.FileDigest]


async def on_model_validated(cause: ModelValidated, *, registry: Ledger, store: ArtifactStore, key_file: Path) -> None:
    """DEVELOPMENT -> STAGING where the verdict on these very files is DEPLOY and they are not tainted. A repeat finds it moved; a person's own move stays.

    Raises what `load_verified` raises: the artifact is not what was judged."""
    name, version = cause.data.model, cause.data.version
    model = fold(await registry.entries()).find(name, version)
    fits = cause.data.verdict == DEPLOY and cause.data.digest == model.digest and not model.tainted
    if fits and model.stage is Stage.DEVELOPMENT:
        await move(
            name=name, version=version, to=Stage.STAGING, by=BY, reason="verdict DEPLOY", registry=registry, store=store,
            key_file=key_file, at=cause.time, causationid=cause.id, correlationid=cause.correlationid,
        )  # fmt: skip


async def register(
    *,
    name: str,
    artifact: Path,
    lineage: Mapping[str, Any],
    base_model: str,
    rank: int | None,
    causationid: str | None,
    correlationid: str | None,
    registry: Ledger,
    store: ArtifactStore,
    key_file: Path,
    at: str,
    format: str = "peft-lora",
    labels: Sequence[str] = (),
    beside: Callable[[str], Mapping[str, str]] | None = None,
) -> Entry:
    """Seal a copy of `artifact`, publish it as models/<name>/<version>, append model.registered. `artifact` stays.

    Versions of a name are 1.0.0, 2.0.0, ...; a number whose folder is taken by other files is passed over. The same
    `lineage["job_id"]` again returns the entry that is there, so a repeat after a crash registers nothing new. `beside`
    gives files (name -> text) that are sealed with the artifact's, for a version's number; the same ones for the same number.

    Raises: BadArtifactName E7406, Unsealable E7229, KeyExposed E7227, KeyUnreadable E7228, StoreFull E7400."""
    if not MODEL_NAME.fullmatch(name):
        raise BadArtifactName(f"{name!r} is no name for a model: letters, digits, '_', '-', '.'", name=name)
    known = fold(await registry.entries())
    key = await asyncio.to_thread(seal.open_key, key_file)
    job_id = str(lineage["job_id"])
    major = known.next_major(name)
    found = known.of_job(name, job_id)
    entry = await registry.find(REGISTERED, found.id) if found else None
    while entry is None:
        version = f"{major}.0.0"
        more = beside(version) if beside else {}
        digest = await _publish(artifact, more, name=name, version=version, store=store, key=key, labels=labels)
        if digest is not None:
            data: dict[str, Any] = {
                "model": name,
                "version": version,
                "digest": digest,
                "uri": _uri(name, version),
                "format": format,
            }
            data |= {"base_model": base_model, "rank": rank, "lineage": dict(lineage)}
            body = _body(subject_of(name, version), causationid, correlationid, data, labels=sorted(labels))
            entry = await registry.append(REGISTERED, f"{name}:{version}", body, at=at)
            if entry.body["data"]["lineage"]["job_id"] != job_id:  # another job was faster with this number
                entry = None
        major += 1
    return entry


async def load_verified(
    *, name: str, version: str, registry: Ledger, store: ArtifactStore, key_file: Path
) -> VerifiedModel:
    """The folder of a version, after its seal, its signature and its digest in the registry were checked.

    Raises: UnknownModel E7210, what seal.verify raises (E7220-E7230), SealOfAnother E7224, KeyExposed E7227."""
    model = fold(await registry.entries()).find(name, version)
    return await asyncio.to_thread(_verified, model, store, key_file)


async def move(
    *,
    name: str,
    version: str,
    to: Stage,
    by: str,
    reason: str,
    registry: Ledger,
    store: ArtifactStore,
    key_file: Path,
    at: str,
    approvals: Sequence[str] = (),
    causationid: str | None = None,
    correlationid: str | None = None,
    despite_taint: bool = False,
) -> Entry:
    """Append model.stage_changed after the gates and the seal. Where the version is already in `to`, the entry that
    brought it there comes back.

    QUARANTINED needs no good seal: what was tampered with must be possible to withdraw.

    Raises: UnknownModel E7210, MoveNotAllowed E7211, NotDeployable E7212, SimulatedArtifact E7213,
    ReleaseIncomplete E7214, TaintedModel E7123 unless `by` says `despite_taint`, which is recorded; and what
    `load_verified` raises."""
    known = fold(await registry.entries())
    model = known.find(name, version)
    if model.moves and model.stage is to:
        return await _last_move(model, registry)
    check_move(model, to, despite_taint=despite_taint)
    if to is not Stage.QUARANTINED:
        await asyncio.to_thread(_verified, model, store, key_file)
    before = known.holder(name, to)
    data: dict[str, Any] = {
        "model": name,
        "version": version,
        "from": model.stage.value,
        "to": to.value,
        "by": by,
        "reason": reason,
    }
    data |= {"approvals": list(approvals), "previous": before.version if before else None, "digest": model.digest}
    despite = {"despite_taint": True} if model.tainted and despite_taint else {}
    body = _body(model.subject, causationid, correlationid, data, **despite)
    # The number of the move is its key: of two people who move it at once, one is told that it has moved.
    entry = await registry.append(STAGE_CHANGED, f"{model.id}#{model.moves + 1}", body, at=at)
    if entry.body["data"]["to"] != to.value:
        raise MoveNotAllowed(f"{model.id} was moved to {entry.body['data']['to']} at the same time", model=model.id)
    return entry


async def _last_move(model: ModelVersion, registry: Ledger) -> Entry:
    entry = await registry.find(STAGE_CHANGED, f"{model.id}#{model.moves}")
    assert entry is not None  # the fold counted it
    return entry


def _verified(model: ModelVersion, store: ArtifactStore, key_file: Path) -> VerifiedModel:
    folder = store.path(model.uri)
    manifest = seal.verify(folder, subject=model.subject, key=seal.open_key(key_file).public)
    if manifest.digest != model.digest:
        raise SealOfAnother(f"{folder} holds other files than were registered as {model.id}", folder=str(folder))
    return VerifiedModel(model, folder, manifest.files)


async def _publish(
    artifact: Path,
    beside: Mapping[str, str],
    *,
    name: str,
    version: str,
    store: ArtifactStore,
    key: seal.SigningKey,
    labels: Sequence[str],
) -> str | None:
    """The digest of what lies under the version then; None: other files are there."""
    uri, subject = _uri(name, version), subject_of(name, version)
    scratch = store.scratch(f"{name}-{version}")
    manifest = await asyncio.to_thread(_sealed_copy, artifact, beside, scratch, subject, key, labels)
    await store.publish(scratch, uri)
    there = await asyncio.to_thread(seal.verify, store.path(uri), subject=subject, key=key.public)
    return manifest.digest if (there.digest, there.labels) == (manifest.digest, manifest.labels) else None


def _sealed_copy(
    artifact: Path, beside: Mapping[str, str], scratch: Path, subject: str, key: seal.SigningKey, labels: Sequence[str]
) -> seal.Manifest:
    """A copy, so that the job's own folder can be registered again after a crash."""
    with disk_errors(scratch):
        for here, folders, names in os.walk(artifact):
            for source in (Path(here, part) for part in (*folders, *names)):
                target = scratch / source.relative_to(artifact)
                if source.is_dir() and not source.is_symlink():
                    target.mkdir()
                else:
                    shutil.copyfile(source, target, follow_symlinks=False)  # a link stays one, and is refused below
        for part, text in beside.items():
            (scratch / part).parent.mkdir(parents=True, exist_ok=True)
            (scratch / part).write_text(text, "utf-8")
    return seal.seal(scratch, subject=subject, key=key, labels=labels)


def _uri(name: str, version: str) -> str:
    return f"models/{name}/{version}"


def _body(
    subject: str, causationid: str | None, correlationid: str | None, data: Mapping[str, Any], **beside: Any
) -> dict[str, Any]:
    return {
        "subject": subject,
        "causationid": causationid,
        "correlationid": correlationid,
        "data": dict(data),
        **beside,
    }
