"""Checkpoints of a running job: whole or not there, told apart from damaged ones by their digests, nothing in them pickled.

A checkpoint is a folder `step-00000040` with safetensors, JSON and a manifest (step, job, SHA-256 of each file). It is
built beside its place, brought to the disk and moved there by one rename. An attempt writes into a folder of its own and
reads from those of the attempts before, so two children of one job never write to the same place.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from l07.domain import checkpoint
from l07.domain.checkpoint import MANIFEST, PREFIX, Change
from l07.errors import CheckpointUnfit
from l07.training.files import file_digests, publish, write_json

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class State:
    """What a checkpoint holds: files of tensors, and documents, each by name without its ending."""

    step: int
    tensors: Mapping[str, Tensors]
    documents: Mapping[str, Any]


@dataclass(slots=True)
class Checkpoints:
    """Those of one attempt in `folder`, and of the attempts before in `earlier`. `job` is `domain.checkpoint.identity`."""

    folder: Path
    job: str
    changes: Sequence[Change] = ()
    earlier: Sequence[Path] = ()
    keep: int = 2
    refused: list[dict[str, Any]] = field(default_factory=list)  # {"step", "code", "why"}

    def save(self, state: State) -> Path:
        """Write one, then remove all but the newest of this attempt. Interrupted anywhere, those before are untouched.

        Raises:
            OSError, SafetensorError: the disk is full; nothing of it is left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self.folder / f"{PREFIX}{state.step:08d}"
        partial = self.folder / f".{place.name}.partial"
        _remove(partial)
        partial.mkdir()
        try:
            self._fill(partial, state)
            _remove(place)  # one that was refused, else we would stand behind it
            publish(partial, place)
        except (OSError, SafetensorError):
            _remove(partial)
            raise
        for old in sorted(self.folder.glob(f"{PREFIX}*"))[: -self.keep]:
            _remove(old)
        return place

    def _fill(self, partial: Path, state: State) -> None:
        for name, tensors in state.tensors.items():
            whole = {key: tensor.detach().to("cpu").contiguous() for key, tensor in tensors.items()}
            save_file(whole, str(partial / f"{name}.safetensors"))
        for name, document in state.documents.items():
            write_json(partial / f"{name}.json", document)
        about = {"schema": checkpoint.SCHEMA, "job": self.job, "step": state.step, "changes": list(self.changes)}
        write_json(partial / MANIFEST, {**about, "files": file_digests(partial)})

    def newest(self) -> tuple[Path, State] | None:
        """The newest that is whole and of this job; each that is not is refused and noted. None: begin at step 0."""
        for folder in self._candidates():
            try:
                manifest = read_manifest(folder, self.job)
                if checkpoint.goes_on(manifest, self.changes):
                    return folder, _load(folder, manifest)
            except CheckpointUnfit as err:
                self.refused.append({"step": _step(folder), "code": err.code, "why": err.message})
        return None

    def steps(self) -> list[int]:
        """Of which there are checkpoints that this attempt could go on from, whole or not; in order, each once."""
        found = set()
        for folder in self._candidates():
            try:
                manifest = read_manifest(folder, self.job)
            except CheckpointUnfit:
                continue
            if checkpoint.goes_on(manifest, self.changes):
                found.add(int(manifest["step"]))
        return sorted(found)

    def _candidates(self) -> Iterator[Path]:
        """Newest first; of one step, this attempt's own first."""
        places = [self.folder, *reversed(self.earlier)]
        found = [path for place in places for path in place.glob(f"{PREFIX}*") if path.is_dir()]
        yield from sorted(found, key=_step, reverse=True)


def read_manifest(folder: Path, job: str) -> dict[str, Any]:
    """Raises CheckpointUnfit: E7727, there is none, or it is another job's."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        why = checkpoint.unfit(manifest, job)
        int(manifest["step"])
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as err:
        raise CheckpointUnfit(f"the manifest of {folder.name} cannot be read") from err
    if why:
        raise CheckpointUnfit(f"{folder.name} is refused: {why}")
    return dict(manifest)


def _load(folder: Path, manifest: Mapping[str, Any]) -> State:
    """Read only after every file was compared with the manifest."""
    try:
        there = file_digests(folder, without=(MANIFEST,))
    except OSError as err:
        raise CheckpointUnfit(f"a file of {folder.name} cannot be read: {err.strerror}") from err
    named = manifest["files"]
    wrong = sorted(name for name in there.keys() | named.keys() if there.get(name) != named.get(name))
    if wrong:
        raise CheckpointUnfit(
            f"{folder.name} is refused: {', '.join(wrong)} is missing, damaged or foreign", files=wrong
        )
    try:
        tensors = {path.stem: load_file(str(path)) for path in sorted(folder.glob("*.safetensors"))}
        documents = {
            path.stem: json.loads(path.read_text("utf-8"))
            for path in sorted(folder.glob("*.json"))
            if path.name != MANIFEST
        }
    except (OSError, ValueError, SafetensorError) as err:
        raise CheckpointUnfit(f"{folder.name} cannot be read: {type(err).__name__}") from err
    return State(int(manifest["step"]), tensors, documents)


def _step(folder: Path) -> int:
    digits = folder.name.removeprefix(PREFIX)
    return int(digits) if digits.isdecimal() else 0


def _remove(folder: Path) -> None:
    """Out of sight at once, then gone: half a checkpoint is never seen."""
    if folder.exists():
        gone = folder.with_name(f".{folder.name.lstrip('.')}.gone-{os.getpid()}")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
