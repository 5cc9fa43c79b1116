"""The teacher of a job that distils: the registered model that its track names, its files checked against their seal."""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l07.domain.registry import ModelVersion
from l07.errors import Refused, TeacherMissing
from l07.pipeline import release
from l07.ports import ArtifactStore, Ledger


def needed(method: str) -> bool:
    return method == "distill"


async def teacher(
    track: str, named: str, *, registry: Ledger, store: ArtifactStore, key_file: Path
) -> Mapping[str, Any]:
    """What the job's job.json says of it, and what its id and its model's lineage follow from.

    Raises:
        TeacherMissing: E7736, none is named, there is no such model, it is tainted, or its files or its base are gone."""
    name, _, version = named.partition(":")
    if not name or not version:
        raise TeacherMissing(f"tracks.{track}.teacher is {named!r}; {_way_out(track)}")
    try:
        found = await release.load_verified(
            name=name, version=version, registry=registry, store=store, key_file=key_file
        )
    except Refused as err:  # nobody asks: one job has a wrong teacher, and the trainer goes on
        raise TeacherMissing(
            f"the teacher {named} cannot be taken: {err.code}, {err.message}; {_way_out(track)}"
        ) from err
    return await asyncio.to_thread(_told, found.model, found.folder, track)


def _told(model: ModelVersion, folder: Path, track: str) -> Mapping[str, Any]:
    base = Path(str(model.lineage.get("base_folder") or "/nonexistent"))
    digest = weights_digest(folder)
    if model.tainted:
        raise TeacherMissing(f"the teacher {model.id} learnt from erased data; {_way_out(track)}")
    if not digest or not base.is_dir():
        raise TeacherMissing(
            f"the teacher {model.id} has no weights, or its base {base} is not here; {_way_out(track)}"
        )
    return {
        "model": model.id, "job_id": model.lineage["job_id"], "digest": digest, "folder": str(folder), "base": str(base),
        "base_digest": model.lineage["base_digest"],
    }  # fmt: skip


def weights_digest(folder: Path) -> str:
    """As the child that trained it has it: over names and contents of the files with weights; "": there are none."""
    lines = ""
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            lines += f"{path.relative_to(folder).as_posix()}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n"
    return hashlib.sha256(lines.encode()).hexdigest() if lines else ""


def _way_out(track: str) -> str:
    return f"set tracks.{track}.teacher to a registered model that `l07 models list` shows, such as {track}:1.0.0"
