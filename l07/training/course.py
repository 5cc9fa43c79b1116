"""The course of a `train` job, whatever its method: checks, data, adapter, training, the finished folder."""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from typing import Any, cast

import torch
from datasets import disable_progress_bars
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from l07.domain import checkpoint
from l07.domain.hardware import choose
from l07.domain.job import JobConfig
from l07.domain.methods import effective_options
from l07.errors import BadJob, QuantisationMissing
from l07.training import base, footprint, hardware, lora, packing, ranks, rows
from l07.training.files import fresh_partial, publish
from l07.training.progress import ProgressFile
from l07.training.task import Method, Task, about

WHOLE = ("sft",)  # methods that can train without an adapter
LIBRARIES = ("torch", "transformers", "trl", "peft", "tokenizers", "datasets")


def run(job: Mapping[str, Any], job_dir: Path) -> dict[str, Any]:
    """The `train` kind. The same job gives the same weights, whatever happened to an earlier attempt.

    Raises:
        BadJob: E7706, a method that is not there, or an option that it does not have."""
    progress = ProgressFile(job_dir, silent=not ranks.is_first())
    progress.state("INITIALIZING")
    method, options = named(job)
    fix(job["seed"], job["threads"])
    folder, output = Path(job["base"]), Path(job["output"])
    partial = fresh_partial(output) if ranks.is_first() else None
    base.check_base(folder, job["base_digest"])
    rows.check_dataset(Path(job["dataset"]), job["dataset_digest"])
    facts, name = base.about(folder), str(job.get("method") or "sft")
    asked = JobConfig.from_document(job["config"], facts.get("recommended"))
    check_adapter(asked, name)
    ranks.check(asked, name)
    machine = hardware.detect(job.get("memory_limit_bytes"))
    plan = choose(asked, machine)
    shape, tokenizer = footprint.shape_of(folder, base.read_config(folder)), base.read_tokenizer(folder)
    rows.check_template(tokenizer)
    config = fitted(asked, base.context(base.read_config(folder)))
    task = Task(job, job_dir, config, options, tokenizer, str(facts.get("name", folder.name)), progress, plan)
    progress.state("PREPARING_DATA")
    data, counts = method.prepare(task)
    rmtree(task.cache, ignore_errors=True)
    micro = checkpoint.micro_batch_size(config.batch_size, job.get("changes") or (), config.micro_batch_size)
    plan, needed = footprint.fitted(task, data, shape, plan, machine, micro=micro)
    progress.told(
        {"machine": machine.name, **plan.document()}, {**needed.document(), "room_bytes": machine.memory_bytes}
    )
    model = base.read_model(
        folder,
        in_4_bits=asked.adapter == "qlora",
        dtype=hardware.frozen_type(plan, asked.adapter),
        attention=plan.attention,
    )
    plan = replace(plan, packing=name == "sft" and packing.allowed(plan, model, asked.packing))
    task = replace(task, plan=plan)
    if asking := getattr(method, "ask", None):
        data, counts = asking(task, model, data)
        plan, needed = footprint.fitted(task, data, shape, plan, machine, micro=micro)  # what it brought may be longer
        task = replace(task, plan=plan)
    adapted = method.attach(task, model)
    progress.state("TRAINING")
    measured = method.fit(task, adapted, data)
    if partial is None:  # what there is to write, rank 0 writes
        return {}
    base.copy_tokenizer(folder, partial)
    files, digest = lora.save(adapted, partial, about(task))
    publish(partial, output)
    return {
        **measured,
        "attempt": job.get("attempt"),
        "rows": {**counts, **({"packed": counts["used"] + counts["canaries"]} if plan.packing else {})},
        "config": config.document(),
        "hardware": {"machine": machine.name, **plan.document()},
        "memory": {**needed.document(), **hardware.peak(plan)},
        "options": dict(options),
        "versions": {name: version(name) for name in LIBRARIES},
        "files": files,
        "digest": digest,
    }


def named(job: Mapping[str, Any]) -> tuple[Method, dict[str, float]]:
    """The job's method and its options. Raises BadJob (E7706)."""
    name = str(job.get("method") or "sft")
    try:
        options = effective_options(name, job.get("options") or {})
    except ValueError as err:
        raise BadJob(str(err)) from err
    return cast(Method, importlib.import_module(f"l07.training.{name}")), options


def check_adapter(config: JobConfig, method: str) -> None:
    """Before any weight is read.

    Raises:
        BadJob: E7706, a method that keeps the base as its reference cannot move it.
        QuantisationMissing: E7735, qlora without what reads 4-bit weights."""
    if config.adapter == "full" and method not in WHOLE:
        raise BadJob(
            f"{method} trains an adapter only; set training.adapter to lora, or the method to {', '.join(WHOLE)}"
        )
    if config.adapter == "qlora":
        there = {"a CUDA GPU": torch.cuda.is_available(), "bitsandbytes": find_spec("bitsandbytes") is not None}
        if missing := [name for name, found in there.items() if not found]:
            raise QuantisationMissing(
                f"training.adapter = qlora needs {' and '.join(missing)}, which this trainer has not; "
                "training.adapter = lora trains the same adapter over a base in full precision",
                missing=missing,
            )


def fitted(config: JobConfig, context: int) -> JobConfig:
    """With a `max_length` that the base can look at."""
    return replace(config, max_length=min(config.max_length or 2048, context))


def fix(seed: int, threads: int) -> None:
    """Seeds, threads, quiet libraries: before anything is read."""
    torch.set_num_threads(max(1, threads // ranks.here()))
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = (
        False  # filling what is written next anyway took a third of the time
    )
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    set_seed(seed)
