"""Out of the exports: those of a revoked version are deleted where they still lie as they were written; the rest is named."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from l07.domain.exports import ERASED, Export, fold
from l07.pipeline.curate import REVOKED
from l07.ports import Ledger

log = logging.getLogger("l07.forget")

SAME, CHANGED, MISSING, FORBIDDEN = "as exported", "changed since", "not there any more", "may not be deleted"


class Erased(NamedTuple):
    """What became of an export of a version that somebody was erased from."""

    path: str
    dataset_id: str
    format: str
    exported_at: str
    deleted: Sequence[str]
    left: Mapping[str, str]  # path -> why it was not touched


async def clean(exports: Ledger, datasets: Ledger, *, at: str) -> dict[str, Mapping[str, str]]:
    """What is left, by export: paths, and why. Seen from this machine: what was written on another one is not there."""
    out: dict[str, Mapping[str, str]] = {}
    for export in await _revoked(exports, datasets):
        deleted, left = await asyncio.to_thread(_delete, export)
        if deleted:
            body = {"of": export.key, "files": deleted}
            await exports.append(ERASED, f"{export.key}/{len(export.files)}", body, at=at)
            log.warning("export_erased", extra={"export": export.key, "files": len(deleted)})
        if left:
            out[export.key] = left
    return out


async def clean_and_tell(exports: Ledger, datasets: Ledger, *, since: int, at: str) -> list[Erased]:
    """As `clean`; with what went after the entry `since`, whoever deleted it."""
    left = await clean(exports, datasets, at=at)
    deleted: dict[str, list[str]] = {}
    for entry in await exports.entries(after=since):
        if entry.kind == ERASED:
            deleted.setdefault(entry.body["of"], []).extend(entry.body["files"])
    return [
        Erased(one.path, one.dataset_id, one.format, one.at, deleted.get(one.key, ()), left.get(one.key, {}))
        for one in fold(await exports.entries())
        if one.key in deleted or one.key in left
    ]


async def _revoked(exports: Ledger, datasets: Ledger) -> list[Export]:
    """Those of versions that were revoked, as far as anything is left of them."""
    gone = {(e.key, e.body["data"]["digest"]) for e in await datasets.entries() if e.kind == REVOKED}
    known = fold(await exports.entries()) if gone else []
    return [export for export in known if export.files and (export.dataset_id, export.digest) in gone]


def state_of(path: Path, digest: str) -> str:
    """A link is none of ours: what it points to may be anybody's."""
    if path.is_symlink():
        return CHANGED
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return MISSING
    except OSError:
        return CHANGED
    return SAME if found == digest else CHANGED


def _delete(export: Export) -> tuple[list[str], dict[str, str]]:
    deleted: list[str] = []
    left: dict[str, str] = {}
    for name, digest in export.files.items():
        state = state_of(Path(name), digest)
        if state == SAME:
            state = _unlink(Path(name))
        if state:
            left[name] = state
        else:
            deleted.append(name)
    _leave(Path(export.path))
    return deleted, left


def _unlink(path: Path) -> str:
    try:
        path.unlink()
    except OSError:
        return FORBIDDEN
    return ""


def _leave(folder: Path) -> None:
    """The folder goes with its last file."""
    try:
        folder.rmdir()
    except OSError:  # a file, somebody's other files, or gone already
        return
