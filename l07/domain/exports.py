"""What was exported of which version, to where, and what became of it: a fold over the ledger `exports`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from l07.events.outbound import EntryLike

EXPORTED, ERASED = "dataset.exported", "export.erased"


@dataclass(frozen=True, slots=True)
class Export:
    """One export as it was written, less what was written over or erased since."""

    key: str
    at: str
    dataset_id: str  # "<track>:<version>"
    digest: str  # of the version
    format: str
    output: str  # as it was asked for
    path: str  # the same from the root
    files: Mapping[str, str]  # path from the root -> sha256
    erased: int = 0  # files


def fold(entries: Iterable[EntryLike]) -> list[Export]:
    """Oldest first. One whose files were all written over by later exports is none any more."""
    exports: dict[str, Export] = {}
    for entry in entries:
        if entry.kind == ERASED:
            gone = set(entry.body["files"])
            export = exports[entry.body["of"]]
            stay = {path: digest for path, digest in export.files.items() if path not in gone}
            exports[export.key] = replace(export, files=stay, erased=export.erased + len(export.files) - len(stay))
        elif entry.kind == EXPORTED:
            data = entry.body["data"]
            left = {key: _without(one, data["files"]) for key, one in exports.items()}
            exports = {key: one for key, one in left.items() if one.files or one.erased}
            exports[entry.key] = Export(entry.key, entry.at, **data)
    return list(exports.values())


def _without(export: Export, written: Iterable[str]) -> Export:
    """What is left of it, now that others lie at these paths."""
    over = set(written)
    return replace(export, files={path: digest for path, digest in export.files.items() if path not in over})
