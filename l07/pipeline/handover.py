"""A registered model leaves the store: stage and seal are checked, its files are copied, and the registry's ledger is told."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l07.domain import model_card
from l07.domain.registry import EXPORTED, REGISTERED, VALIDATED, ModelVersion, Stage, check_trained, fold
from l07.errors import FileChanged, GatewayUnfit, NotForGateway, disk_errors
from l07.pipeline import release
from l07.pipeline.documents import read_document
from l07.pipeline.release import VerifiedModel
from l07.ports import ArtifactStore, Entry, Ledger

SERVED = frozenset({Stage.STAGING, Stage.PRODUCTION})
ADAPTER, MODEL, CARD = "adapter_config.json", "config.json", "README.md"
CAUSAL = "CAUSAL_LM"
CHUNK = 1 << 20  # bytes


async def checked(
    *, name: str, version: str, unsafe: bool, registry: Ledger, store: ArtifactStore, key_file: Path
) -> VerifiedModel:
    """The model, if it may be served and its files are those that were registered. `unsafe`: at any stage, tainted or not.

    Raises: UnknownModel E7210, SimulatedArtifact E7213, NotForGateway E7215, and what `release.load_verified` raises."""
    model = fold(await registry.entries()).find(name, version)
    check_trained(model)
    why = _why_not(model)
    if why and not unsafe:
        text = f"{model.id} {why}; --unsafe hands it over all the same, and is recorded"
        raise NotForGateway(text, model=model.id, stage=model.stage.value)
    return await release.load_verified(name=name, version=version, registry=registry, store=store, key_file=key_file)


def _why_not(model: ModelVersion) -> str:
    if model.stage not in SERVED:
        return f"is in {model.stage}, and only a model in {' or '.join(sorted(SERVED))} is served"
    return f"is tainted: it is to be replaced by {model.tainted}" if model.tainted else ""


def kind_of(verified: VerifiedModel) -> str:
    """`adapter` or `whole`. Raises GatewayUnfit E7216: it is no causal language model."""
    folder, ident = verified.folder, verified.model.id
    if (folder / ADAPTER).is_file():
        task = read_document(folder / ADAPTER).get("task_type")
        if task != CAUSAL:
            raise GatewayUnfit(f"{ident} is an adapter for {task}, and answers nobody: {CAUSAL} is served", model=ident)
        return "adapter"
    named = read_document(folder / MODEL).get("architectures") or [] if (folder / MODEL).is_file() else []
    if not any(str(name).endswith("ForCausalLM") for name in named):
        raise GatewayUnfit(f"{ident} is neither an adapter nor a causal language model", model=ident)
    return "whole"


def copy_out(verified: VerifiedModel, target: Path) -> dict[str, str]:
    """The sealed files into `target`, each checked on its way; their SHA-256 by name. The seal itself stays: an export has
    another card.

    Raises: FileChanged E7225. StoreFull E7400, FolderNotWritable E7402."""
    digests = {}
    for name, sealed in sorted(verified.files.items()):
        digests[name] = _copy(verified.folder / name, target / name)
        if digests[name] != sealed.sha256:
            raise FileChanged(f"{name} of {verified.model.id} is not what was sealed", file=name)
    return digests


def _copy(source: Path, target: Path) -> str:
    digest = hashlib.sha256()
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as read, target.open("xb") as written:
            while chunk := read.read(CHUNK):
                digest.update(chunk)
                written.write(chunk)
    return digest.hexdigest()


async def facts(verified: VerifiedModel, *, registry: Ledger, jobs: Ledger, merged: bool) -> model_card.Facts:
    """What is known of the model now."""
    model = verified.model
    about = [entry for entry in await registry.entries() if entry.body.get("subject") == model.subject]
    judged = [
        entry.body["data"]
        for entry in about
        if entry.kind == VALIDATED and entry.body["data"].get("digest") == model.digest
    ]
    registered = next(entry.body["data"] for entry in about if entry.kind == REGISTERED)
    done = await jobs.find("training.completed", str(model.lineage.get("job_id")))
    return model_card.Facts(
        model.name, model.version, model.base_model, model.lineage, done.body["data"] if done else {},
        judged[-1] if judged else None, model.stage.value, model.digest, model_card.MERGED if merged else str(registered.get("format")),
    )  # fmt: skip


async def record(
    model: ModelVersion, told: Mapping[str, Any], *, by: str, unsafe: bool, registry: Ledger, at: str
) -> Entry:
    """That it was handed over: to whom, by whom, and how it stood then. `told`: `for`, `to`, `name`, digests."""
    data = {
        "model": model.name, "version": model.version, "digest": model.digest, "stage": model.stage.value,
        "verdict": model.verdict, "by": by, "unsafe": unsafe and bool(_why_not(model)), **told,
    }  # fmt: skip
    mark = hashlib.sha256(json.dumps([at, data], sort_keys=True).encode()).hexdigest()[:12]
    return await registry.append(EXPORTED, f"{model.id}@{mark}", {"subject": model.subject, "data": data}, at=at)
