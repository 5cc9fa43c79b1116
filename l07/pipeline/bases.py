"""Base models by name: a folder, a tiny base that the project makes itself, a model of the hub at one commit, or an alias."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from l07.domain import world
from l07.domain.base import RECIPES, Recipe
from l07.errors import BaseMissing, BaseNotPinned
from l07.pipeline.provenance import UNKNOWN, Provenance, provenance
from l07.ports import ArtifactStore, Trainer

log = logging.getLogger("l07.bases")

ABOUT = "base.json"
LIBRARIES = ("torch", "transformers", "trl", "peft", "tokenizers")  # weights follow from their versions


_HUB = re.compile(r"([\w.-]+/[\w.-]+)(?:@(\S*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of the Hugging Face hub at one commit."""

    repo: str
    revision: str

    @property
    def uri(self) -> str:
        """Where it is kept once it was fetched."""
        return f"bases/hub-{self.repo.replace('/', '--')}-{self.revision}"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a base model's name means here. Exactly one of `folder`, `recipe` and `hub` is set."""

    asked: str
    name: str
    folder: Path | None
    recipe: Recipe | None
    hub: "HubModel | None" = None

    @property
    def alias_of(self) -> str | None:
        """The base that stands in for the name that was asked for; None when it is the same."""
        return self.name if self.name != self.asked else None


def resolve(asked: str, aliases: Mapping[str, str]) -> Resolved:
    """The folder, recipe or model of the hub that `asked` names, through at most one alias.

    Raises:
        BaseNotPinned: E7745, a name as the hub has them, without a commit.
        BaseMissing: E7710, neither a folder with a config.json, nor a tiny base, nor an alias; says what is here."""
    name = aliases.get(asked, asked)
    if name in RECIPES:
        return Resolved(asked, name, None, RECIPES[name])
    folder = Path(name)
    if (folder / "config.json").is_file():
        return Resolved(asked, name, folder.resolve(), None)
    if meant := _HUB.fullmatch(name):
        if not _COMMIT.fullmatch(meant[2] or ""):
            raise BaseNotPinned(
                f"{name!r} is no folder here, and as a model of the hub it needs its commit, which pins what is trained: "
                f"{meant[1]}@COMMIT, 40 hex digits (`git ls-remote https://huggingface.co/{meant[1]}`). Or set an alias: "
                f'L07_MODELS__ALIASES=\'{{ "{asked}" = "tiny-base" }}\'',
                asked=asked,
            )
        return Resolved(asked, name, None, None, HubModel(meant[1], meant[2]))
    here = ", ".join([*RECIPES, *(f"{alias} (alias of {target})" for alias, target in aliases.items())])
    raise BaseMissing(
        f"the base model {asked!r} is not here; here are: {here}. Name a folder that holds a config.json, "
        f'or a model of the hub as ORG/NAME@COMMIT, or set an alias: L07_MODELS__ALIASES=\'{{ "{asked}" = "tiny-base" }}\'',
        asked=asked,
    )


@dataclass(frozen=True, slots=True)
class Base:
    """A base model that is here, on disk."""

    resolved: Resolved
    folder: Path
    digest: str
    recommended: Mapping[str, Any]
    provenance: Provenance = field(default_factory=lambda: Provenance(UNKNOWN, "", None))

    @property
    def revision(self) -> str | None:
        """The commit of a model of the hub."""
        return self.resolved.hub.revision if self.resolved.hub else None


async def prepare_base(
    asked: str, *, aliases: Mapping[str, str], store: ArtifactStore, trainer: Trainer, timeout_s: float
) -> Base:
    """The base's folder; a tiny base is made at first use (about half a minute) and kept, a model of the hub is fetched once.

    Raises:
        BaseMissing: E7710. BaseNotPinned: E7745. ChildError: the child that makes or fetches it failed."""
    resolved = resolve(asked, aliases)
    if resolved.alias_of:
        log.warning("base_model_alias", extra={"asked": resolved.asked, "used": resolved.name})
    folder = resolved.folder
    if resolved.hub is not None:
        folder = await _fetch(resolved.hub, store=store, trainer=trainer, timeout_s=timeout_s)
    elif folder is None:
        folder = await _make(RECIPES[resolved.name], store=store, trainer=trainer, timeout_s=timeout_s)
    return _read(resolved, folder)


def known_base(asked: str, *, aliases: Mapping[str, str], store: ArtifactStore) -> Base | None:
    """The base where it is on disk; None: a tiny one that nobody has made yet, or one of the hub that nobody has fetched.

    Raises:
        BaseMissing: E7710. BaseNotPinned: E7745."""
    resolved = resolve(asked, aliases)
    uri = resolved.hub.uri if resolved.hub else ""
    if resolved.recipe is not None:
        uri = f"bases/{resolved.recipe.folder(maker_digest())}"
    if uri and not store.exists(uri):
        return None
    return _read(resolved, resolved.folder or store.path(uri))


def _read(resolved: Resolved, folder: Path) -> Base:
    about = folder / ABOUT
    facts = json.loads(about.read_text("utf-8")) if about.is_file() else {}
    digest = facts.get("digest") or folder_digest(folder)
    return Base(resolved, folder, digest, facts.get("recommended", {}), provenance(folder))


async def _fetch(hub: HubModel, *, store: ArtifactStore, trainer: Trainer, timeout_s: float) -> Path:
    if store.exists(hub.uri):
        return store.path(hub.uri)
    scratch = store.scratch(hub.uri.removeprefix("bases/"))
    job = {"kind": "fetch_base", "repo": hub.repo, "revision": hub.revision, "output": str(scratch / "out")}
    (scratch / "job.json").write_text(json.dumps(job), "utf-8")
    log.info("base_model_fetching", extra={"base": f"{hub.repo}@{hub.revision}"})
    await trainer.run(scratch, timeout_s=timeout_s)
    await store.publish(scratch / "out", hub.uri)
    return store.path(hub.uri)


async def _make(recipe: Recipe, *, store: ArtifactStore, trainer: Trainer, timeout_s: float) -> Path:
    folder = recipe.folder(maker_digest())
    uri = f"bases/{folder}"
    if store.exists(uri):
        return store.path(uri)
    parent = (
        await _make(RECIPES[recipe.parent], store=store, trainer=trainer, timeout_s=timeout_s)
        if recipe.parent
        else None
    )
    scratch = store.scratch(folder)
    examples = _write_examples(recipe, scratch / "examples.jsonl") if recipe.examples else None
    job = {
        "kind": "make_base", "name": recipe.name, "seed": recipe.seed, "threads": 1,
        "from": str(parent) if parent else None, "examples": str(examples) if examples else None, "output": str(scratch / "out"),
    }  # fmt: skip
    (scratch / "job.json").write_text(json.dumps(job), "utf-8")
    log.info("base_model_making", extra={"base": recipe.name})
    await trainer.run(scratch, timeout_s=timeout_s)
    await store.publish(scratch / "out", uri)
    return store.path(uri)


def _write_examples(recipe: Recipe, path: Path) -> Path:
    """Runs of good and bad agents of the generated world, as the policy that is to be improved has seen them."""
    with path.open("w", encoding="utf-8") as out:
        for run in world.mixed_runs(recipe.examples, seed=recipe.seed):
            out.write(json.dumps(run) + "\n")
    return path


@cache
def maker_digest() -> str:
    """SHA-256 over the code that makes a base and the versions of its libraries: when either changes, a base is made anew."""
    root = Path(__file__).parents[1]
    sources = sorted([*(root / "training").glob("*.py"), *(root / "domain" / "world").glob("*.py")])
    digest = hashlib.sha256(json.dumps({name: library_version(name) for name in LIBRARIES}).encode())
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def library_version(name: str) -> str:
    """The installed version, read without importing it; "absent" where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a model folder's files, but base.json: what the child that trains looks for."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / ABOUT):
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(folder)}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
