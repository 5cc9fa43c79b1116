"""How a job leaves things on disk: JSON by atomic rename, folders that appear whole, digests over names and contents."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Whole or not at all; on disk when it returns. NaN is refused: it is no JSON."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, sort_keys=True, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync_folder(path.parent)


def fresh_partial(output: Path) -> Path:
    """An empty folder beside `output` to build it in; an earlier attempt's leftovers are removed."""
    partial = output.with_name(f"{output.name}.partial")
    for leftover in (partial, output):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def publish(partial: Path, output: Path) -> None:
    """Move a finished folder into place by one rename, after its files are on disk."""
    for path in partial.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
    partial.rename(output)
    _sync_folder(output.parent)


def file_digests(folder: Path, *, without: Iterable[str] = ()) -> dict[str, str]:
    """SHA-256 of each file, by name relative to the folder, in order of names."""
    out = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in without:
            with path.open("rb") as file:
                out[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return out


def fold(digests: Mapping[str, str]) -> str:
    """One digest of many, in the order given: SHA-256 over lines of name, NUL, digest."""
    return hashlib.sha256("".join(f"{name}\0{digest}\n" for name, digest in digests.items()).encode()).hexdigest()


def weights_digest(files: Mapping[str, str]) -> str:
    """One digest of a folder's weights, whatever lies beside them. `files`: what `file_digests` says."""
    return fold({name: digest for name, digest in files.items() if name.endswith(".safetensors")})


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
