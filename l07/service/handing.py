"""A model handed to a gateway: a folder that it loads, or a call to its endpoint; and the command that loads it by hand."""

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l07.backends import open as backends
from l07.backends.gateways import litellm, mlflow, vllm
from l07.backends.gateways.calls import Endpoint, is_url
from l07.domain import model_card
from l07.errors import BadArtifactName, BadExport, OutputTaken, disk_errors
from l07.pipeline import handover
from l07.pipeline.release import MODEL_NAME, VerifiedModel
from l07.service.ingesting import now_text
from l07.settings import Settings

MARK = "export.json"


@dataclass(frozen=True, slots=True)
class Handover:
    """What is asked for. `to`: a folder, or the root URL of an endpoint."""

    model: str
    version: str
    to: str
    gateway: str
    by: str
    name: str = ""  # as the gateway calls it; empty: NAME-VERSION
    base: str = ""  # as the gateway calls the base; empty: its folder here, else its name
    path: str = ""  # where the server sees the folder that its endpoint is told; empty: as we see it
    api_base: str = ""  # of the vLLM behind LiteLLM
    merged: bool = False
    unsafe: bool = False
    force: bool = False  # replace an export that stands there

    @property
    def served(self) -> str:
        return self.name or f"{self.model}-{self.version}"

    @property
    def output(self) -> Path:
        """What appears below `to`."""
        folder = Path(self.to)
        below = {"vllm": folder / self.served, "litellm": folder / f"{self.served}.yaml"}
        return below.get(self.gateway, folder)


async def hand_over(asked: Handover, settings: Settings) -> dict[str, Any]:
    """Do it; what was done, and the `call` that loads it. Nothing of a model that is refused leaves its place.

    Raises: BadExport E7921, OutputTaken E7920, BadArtifactName E7406; NotForGateway E7215, GatewayUnfit E7216,
    GatewayRefused E7217; what `handover.checked` raises; with `merged` a ChildError."""
    _check(asked)
    registry, store = backends.open_ledger(settings, "registry"), backends.open_store(settings)
    verified = await handover.checked(
        name=asked.model, version=asked.version, unsafe=asked.unsafe, registry=registry, store=store,
        key_file=settings.data_dir / "keys" / "registry.pem",
    )  # fmt: skip
    kind = handover.kind_of(verified)
    config = _config(verified)
    if asked.gateway in ("vllm", "litellm") and kind == "adapter" and not asked.merged:
        vllm.check(config, verified.model.id)
    if asked.merged and kind != "adapter":
        raise BadExport(f"{verified.model.id} has whole weights already: leave --merged out")
    work = _Work(asked, settings, verified, kind, config)
    return await (work.call() if is_url(asked.to) else work.write())


def _check(asked: Handover) -> None:
    """Raises BadExport E7921, OutputTaken E7920, BadArtifactName E7406."""
    url = is_url(asked.to)
    if not MODEL_NAME.fullmatch(asked.served):
        raise BadArtifactName(
            f"{asked.served!r} is no name for a model: letters, digits, '_', '-', '.'", name=asked.served
        )
    if "://" in asked.to and not url:
        raise BadExport(f"{asked.to.partition('://')[0]}: is neither http nor https, and no folder")
    if asked.gateway in ("hf", "mlflow") and url:
        raise BadExport(f"{asked.gateway} is a folder: name one with --to")
    if asked.gateway == "litellm" and not asked.api_base:
        raise BadExport("LiteLLM is told where the vLLM is that serves the model: --api-base http://HOST:PORT/v1")
    if asked.gateway == "litellm" and asked.merged:
        raise BadExport("LiteLLM is told a name, not weights: hand the merged weights to vLLM")
    if asked.merged and url:
        raise BadExport("an endpoint loads adapters: hand merged weights over as a folder")
    if not url:
        _check_place(asked)


def _check_place(asked: Handover) -> None:
    output = asked.output
    if not (output.exists() or output.is_symlink()):
        return
    if not asked.force:
        raise OutputTaken(f"{output} is there already; --force replaces it", output=str(output))
    ours = output.is_file() if asked.gateway == "litellm" else (output / MARK).is_file() and not output.is_symlink()
    if not ours:
        raise OutputTaken(f"{output} is not an export, so --force does not replace it", output=str(output))


def _config(verified: VerifiedModel) -> dict[str, Any]:
    path = verified.folder / handover.ADAPTER
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


@dataclass(frozen=True, slots=True)
class _Work:
    asked: Handover
    settings: Settings
    verified: VerifiedModel
    kind: str  # of what is registered
    config: Mapping[str, Any]  # adapter_config.json; empty for whole weights

    # -------------------------------------------------------------- endpoints

    async def call(self) -> dict[str, Any]:
        import asyncio

        asked, model = self.asked, self.verified.model
        url = asked.to
        if asked.gateway == "vllm":
            if self.kind != "adapter":
                raise BadExport(
                    f"{model.id} has whole weights, and an endpoint loads adapters: hand it over as a folder"
                )
            path = asked.path or str(self.verified.folder.resolve())
            endpoint, body = Endpoint(url, os.environ.get(vllm.KEY, "")), vllm.body(asked.served, path)
            call = _curl(f"{endpoint.url}/v1/load_lora_adapter", body, vllm.KEY)
            await self._record({})
            done = await asyncio.to_thread(vllm.load, endpoint, asked.served, path)
        else:
            endpoint, entry = Endpoint(url, os.environ.get(litellm.KEY, "")), self._entry()
            call = _curl(f"{endpoint.url}/model/new", entry, litellm.KEY)
            await self._record({})
            done = await asyncio.to_thread(litellm.add, endpoint, entry)
        return {**self._said(), "done": done, "call": [call]}

    def _entry(self) -> dict[str, Any]:
        asked, model = self.asked, self.verified.model
        about = {"version": model.version, "digest": model.digest, "verdict": model.verdict, "stage": model.stage.value}
        return litellm.entry(asked.model, asked.served, asked.api_base, about)

    # -------------------------------------------------------------- folders

    async def write(self) -> dict[str, Any]:
        output = self.asked.output
        scratch = output.with_name(f".{output.name}.{os.getpid()}")
        try:
            with disk_errors(output):
                output.parent.mkdir(parents=True, exist_ok=True)
            told = await self._fill(scratch)
            await self._record(told)  # before it appears: nothing is served of which the ledger does not know
            with disk_errors(output):
                _into_place(scratch, output)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.unlink(missing_ok=True)
        return {**self._said(), **told, "output": str(output), "call": self._calls()}

    async def _fill(self, scratch: Path) -> dict[str, Any]:
        if self.asked.gateway == "litellm":
            with disk_errors(scratch):
                scratch.write_text(litellm.as_yaml(self._entry()), "utf-8")
            return {}
        place = scratch / mlflow.MODEL if self.asked.gateway == "mlflow" else scratch
        merged = await self._merge(place) if self._merges else {}
        if not merged:
            handover.copy_out(self.verified, place)
            self._name_base(place)
        facts = await self._facts()
        with disk_errors(scratch):
            if self.asked.gateway == "mlflow":
                mlflow.lay_out(scratch, self.asked.served)
            plots = sorted(path.name for path in (self.verified.folder / "plots").glob("*.svg"))
            (place / handover.CARD).write_text(model_card.card(facts, plots), "utf-8")
            said = {
                **self._said(),
                **merged,
                "base": self._base(),
                "stage": facts.stage,
                "verdict": (facts.validated or {}).get("verdict"),
            }
            (scratch / MARK).write_text(json.dumps(said, indent=1, sort_keys=True), "utf-8")
        return merged

    @property
    def _merges(self) -> bool:
        return self.kind == "adapter" and (self.asked.merged or self.asked.gateway == "mlflow")

    def _name_base(self, scratch: Path) -> None:
        """The copy names its base as its reader finds it; what is sealed has no path of this machine."""
        if self.config:
            changed = {**self.config, "base_model_name_or_path": self._base(), "revision": None}
            (scratch / handover.ADAPTER).write_text(json.dumps(changed, indent=1, sort_keys=True), "utf-8")

    async def _merge(self, scratch: Path) -> dict[str, Any]:
        """In the child, because only that has torch; from a checked copy of the adapter."""
        model, lineage = self.verified.model, self.verified.model.lineage
        folder = backends.open_store(self.settings).scratch(f"merge-{self.asked.served}")
        handover.copy_out(self.verified, folder / "adapter")
        job = {
            "kind": "merge", "name": self.asked.served, "threads": self.settings.training.threads or os.cpu_count() or 1,
            "base": str(lineage["base_folder"]), "base_digest": lineage["base_digest"], "adapter": str(folder / "adapter"),
            "parents": [model.id], "output": str(folder / "out"),
        }  # fmt: skip
        (folder / "job.json").write_text(json.dumps(job), "utf-8")
        result = await backends.open_trainer(self.settings).run(folder, timeout_s=self.settings.training.timeout_s)
        with disk_errors(scratch):
            shutil.copytree(folder / "out", scratch)
            if (self.verified.folder / "plots").is_dir():
                shutil.copytree(self.verified.folder / "plots", scratch / "plots")
        shutil.rmtree(folder, ignore_errors=True)
        return {"merged_digest": result["digest"]}

    async def _facts(self) -> model_card.Facts:
        registry, jobs = (backends.open_ledger(self.settings, name) for name in ("registry", "jobs"))
        return await handover.facts(self.verified, registry=registry, jobs=jobs, merged=self._merges)

    # -------------------------------------------------------------- what is said

    def _base(self) -> str:
        here = Path(str(self.verified.model.lineage.get("base_folder") or ""))
        return self.asked.base or (
            str(here) if here.is_absolute() and here.is_dir() else self.verified.model.base_model
        )

    def _said(self) -> dict[str, Any]:
        model = self.verified.model
        return {"model": model.id, "digest": model.digest, "for": self.asked.gateway, "name": self.asked.served}

    async def _record(self, told: Mapping[str, Any]) -> None:
        place = self.asked.to if is_url(self.asked.to) else str(self.asked.output.resolve())
        await handover.record(
            self.verified.model, {"for": self.asked.gateway, "to": place, "name": self.asked.served, **told},
            by=self.asked.by, unsafe=self.asked.unsafe, registry=backends.open_ledger(self.settings, "registry"), at=now_text(),
        )  # fmt: skip

    def _calls(self) -> list[str]:
        asked, output = self.asked, self.asked.output.resolve()
        whole = self._merges or self.kind != "adapter"
        if asked.gateway == "mlflow":
            return [mlflow.load(str(output))]
        if asked.gateway == "litellm":
            return [f"litellm --config {shlex.quote(str(output))}"]
        if asked.gateway == "hf":
            kind = "transformers.AutoModelForCausalLM" if whole else "peft.AutoPeftModelForCausalLM"
            return [f"{kind}.from_pretrained({json.dumps(str(output))})"]
        if whole:
            return [vllm.serve_whole(str(output), asked.served)]
        url = "http://HOST:8000/v1/load_lora_adapter"
        return [
            vllm.serve(self._base(), str(output.parent), int(self.config.get("r") or 1)),
            _curl(url, vllm.body(asked.served, asked.path or str(output)), vllm.KEY),
        ]


def _into_place(scratch: Path, output: Path) -> None:
    """By one rename; an older export there is moved aside first."""
    if scratch.is_dir() and output.exists():
        aside = output.with_name(f".{output.name}.{os.getpid()}.old")
        output.rename(aside)
        scratch.rename(output)
        shutil.rmtree(aside)
        return
    scratch.replace(output)


def _curl(url: str, body: Mapping[str, Any], key: str) -> str:
    """The call by hand; the key is named, never shown."""
    head = f'curl -X POST {shlex.quote(url)} -H "Authorization: Bearer ${key}" -H "Content-Type: application/json"'
    return f"{head} -d {shlex.quote(json.dumps(body))}"
