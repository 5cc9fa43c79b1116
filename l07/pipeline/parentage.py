"""Which registered models a base's weights come from, as far as its folder tells: taint passes along these."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from l07.domain.registry import ModelVersion
from l07.pipeline.bases import ABOUT
from l07.pipeline.documents import read_document
from l07.ports import ArtifactStore

ADAPTER, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MOST = 16  # bases that an adapter names, one after the other


def parents_of(base: Path, models: Iterable[ModelVersion], store: ArtifactStore) -> list[str]:
    """Ids: those that `parents` in its base.json names, whether we know them or not; the model in whose folder it lies; and
    those whose adapter it holds. Of an adapter, those of its own base too."""
    homes = [(model.id, store.path(model.uri)) for model in models]
    found = {name for folder in _line(base) for name in _of_folder(folder, homes)}
    return sorted(found)


def _line(base: Path) -> Iterator[Path]:
    """The folder, and the bases below the adapters in it."""
    seen: list[Path] = []
    while base.is_dir() and base not in seen and len(seen) < MOST:
        seen.append(base)
        yield base
        named = read_document(base / ADAPTER).get("base_model_name_or_path")
        if not isinstance(named, str) or not named:
            return
        base = Path(named).resolve()


def _of_folder(folder: Path, homes: Iterable[tuple[str, Path]]) -> Iterator[str]:
    said = read_document(folder / ABOUT).get("parents")
    if isinstance(said, list):
        yield from (name for name in said if isinstance(name, str))
    weights = _sha256(folder / WEIGHTS)
    for name, home in homes:
        if folder.resolve().is_relative_to(home.resolve()) or (weights and weights == _sha256(home / WEIGHTS)):
            yield name


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
