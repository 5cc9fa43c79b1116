"""The `fetch_base` kind: a model of the Hugging Face hub at one commit, as a folder that holds nothing which runs.

Weights as safetensors, JSON, tokenizer, templates and licence texts are fetched, from the top of the repository alone; no
pickle, no Python file. A model that would need code of its own repository, or that has its weights only as pickles, is refused.
What the hub says of a file's SHA-256 is compared with what came.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from l07.errors import BaseDiffers, BaseUnsafe, HubRefused, HubUnreachable
from l07.training import base
from l07.training.files import fresh_partial, publish, write_json

FETCHED = (
    "*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", *base.OF_TOKENIZER,
    "README.md", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*",
)  # fmt: skip
NOT_FETCHED = ("*/*", "*.py", "*.bin", "*.pt", "*.pth", "*.pkl")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_OF_HTTP: type[Exception] = HfHubHTTPError.__bases__[0]  # of whatever library the client speaks HTTP with
WITHIN_S = 30.0  # each answer of the hub


def run(job: Mapping[str, Any], job_dir: Path) -> dict[str, Any]:
    """Raises HubUnreachable E7742; HubRefused E7743, it has no such model, or not for us; BaseUnsafe E7744; BaseDiffers
    E7724, another content than the hub says; BaseIncomplete E7723."""
    repo, revision, output = str(job["repo"]), str(job["revision"]), Path(job["output"])
    named = f"{repo}@{revision}"
    partial = fresh_partial(output)
    files = _fetch(repo, revision, partial)
    _check_safe(partial, files, named)
    _check_whole(partial, files, named)
    digest = base.base_digest(partial)
    write_json(partial / base.ABOUT, {"name": repo, "repo": repo, "revision": revision, "digest": digest})
    base.check_base(partial, digest)
    publish(partial, output)
    return {"digest": digest, "files": sorted(path.name for path in output.iterdir())}


def _fetch(repo: str, revision: str, folder: Path) -> list[RepoFile]:
    """Into `folder`; what the repository has, fetched or not."""
    named = f"{repo}@{revision}"
    try:
        listed = HfApi().list_repo_tree(repo, revision=revision, recursive=True)
        files = [file for file in listed if isinstance(file, RepoFile)]
        snapshot_download(
            repo, revision=revision, local_dir=folder, allow_patterns=list(FETCHED), ignore_patterns=list(NOT_FETCHED),
            etag_timeout=WITHIN_S,
        )  # fmt: skip
    except OfflineModeIsEnabled as err:
        raise HubUnreachable(
            f"{named} is not here yet, and HF_HUB_OFFLINE is set; unset it, or fetch the base on another machine and name its folder"
        ) from err
    except (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError) as err:
        raise HubRefused(
            f"the hub has no {named}, or not for this machine ({type(err).__name__}); a gated or private model needs HF_TOKEN"
        ) from err
    except HfHubHTTPError as err:
        status = err.response.status_code
        kind = HubUnreachable if status >= 500 or status == 429 else HubRefused
        raise kind(f"the hub answered {status} when it was asked for {named}") from err
    except (LocalEntryNotFoundError, ConnectionError, TimeoutError, _OF_HTTP) as err:
        raise HubUnreachable(
            f"the hub cannot be reached for {named} ({type(err).__name__}); HF_ENDPOINT names another one, "
            "or fetch the base on another machine and name its folder"
        ) from err
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # of the hub's client, about what it fetched
    return files


def _check_safe(folder: Path, files: list[RepoFile], named: str) -> None:
    config = folder / "config.json"
    about = json.loads(config.read_text("utf-8")) if config.is_file() else {}
    settings = folder / "tokenizer_config.json"
    tokens = json.loads(settings.read_text("utf-8")) if settings.is_file() else {}
    if about.get("auto_map") or tokens.get("auto_map"):
        raise BaseUnsafe(
            f"{named} needs code of its own repository (auto_map), which is not run here; choose another base"
        )
    pickled = sorted(file.path for file in files if file.path.endswith(PICKLES))
    if pickled and not any(folder.glob("*.safetensors")):
        raise BaseUnsafe(
            f"{named} has its weights only as {', '.join(pickled[:3])}, which may hold code; choose a revision with safetensors",
            files=pickled,
        )


def _check_whole(folder: Path, files: list[RepoFile], named: str) -> None:
    for file in files:
        path = folder / file.path
        if file.lfs is None or not path.is_file():
            continue
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != file.lfs.sha256:
            raise BaseDiffers(f"{file.path} of {named} came with digest {found}, the hub says {file.lfs.sha256}")
