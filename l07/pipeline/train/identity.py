"""The id of a job before it runs: from all that its weights follow from, and the one place that puts this together."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from l07.domain.base import effective_config
from l07.domain.hardware import CHOICES
from l07.domain.job import job_id
from l07.domain.methods import check_method
from l07.pipeline.bases import LIBRARIES, Base, known_base, library_version
from l07.pipeline.train import rewarding, teaching
from l07.ports import ArtifactStore
from l07.settings import Settings

CONFIG = frozenset(
    {
        "learning_rate",
        "batch_size",
        "micro_batch_size",
        "epochs",
        "max_length",
        "max_steps",
        "clip",
        "early_stop",
        "adapter",
        "lora",
        *CHOICES,
    }
)  # of the settings, what a base may recommend and a job's id follows from


NVIDIA = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU


@dataclass(frozen=True, slots=True)
class Identity:
    """A job's id, and the configuration that it follows from, each value with where it came from. `own`: what the method
    is told beside, and what its job.json has."""

    job_id: str
    config: Mapping[str, Any]
    origins: Mapping[str, str]
    threads: int
    own: Mapping[str, Any]


def identify(
    settings: Settings,
    method: str,
    options: Mapping[str, float],
    digest: str,
    base: Base,
    *,
    taught_by: Mapping[str, Any] | None = None,
    rewarded_by: Mapping[str, Any] | None = None,
) -> Identity:
    """Of a job on the dataset with this digest. `taught_by`: of a job that distils, its teacher; `rewarded_by`: of a policy,
    its reward model; where those lie does not count."""
    training = settings.training
    config, origins = effective_config(training.model_dump(include=set(CONFIG)), base.recommended)
    threads = training.threads or os.cpu_count() or 1
    own = own_of(settings, method)
    ident = job_id(
        dataset_digest=digest,
        config=config,
        base_digest=base.digest,
        seed=settings.seed,
        threads=threads,
        versions={name: library_version(name) for name in LIBRARIES},
        method=method,
        canaries=training.canaries,
        options=options,
        gpus=gpus(training.device),
        own=own
        | ({"teacher": [taught_by["digest"], taught_by["base_digest"]]} if taught_by else {})
        | ({"reward_model": str(rewarded_by["digest"])} if rewarded_by else {}),
    )
    others = {"teacher": taught_by, "reward_model": rewarded_by}
    return Identity(ident, config, origins, threads, own | {name: dict(one) for name, one in others.items() if one})


def gpus(device: str, drivers: Path = NVIDIA) -> list[str]:
    """Models of the NVIDIA GPUs that a job may use, without torch; none where it was told to use another device."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if device not in ("auto", "cuda") or visible in ("", "-1"):
        return []
    told = [path.read_text("utf-8", errors="replace") for path in sorted(drivers.glob("*/information"))]
    return sorted(
        line.partition(":")[2].strip() for text in told for line in text.splitlines() if line.startswith("Model:")
    )


def own_of(settings: Settings, method: str) -> dict[str, Any]:
    """The rules of pairs and labels, for a method that learns from them: the exporter goes by the same. How many processes
    share the work, where that is not one: they sum in another order."""
    many = {"ranks": settings.training.ranks} if settings.training.ranks > 1 else {}
    if check_method(method).feed not in ("pairs", "labels"):
        return many
    return {"preference": asdict(settings.contrast.rules(settings.seed)), **many}


def identity_of(
    settings: Settings, track: str, method: str, options: Mapping[str, float], digest: str, bases: ArtifactStore
) -> str:
    """The id that the job would get in this process; "" where its base is not made yet, the libraries are elsewhere, or a
    teacher or a reward model is looked up only when it begins."""
    if library_version("torch") == "absent" or teaching.needed(method) or rewarding.needed(method, options):
        return ""
    base = known_base(settings.tracks[track].base_model, aliases=settings.models.aliases, store=bases)
    return identify(settings, method, options, digest, base).job_id if base else ""
