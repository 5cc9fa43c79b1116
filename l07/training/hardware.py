"""What the machine is that a job finds itself on, as torch and the kernel see it."""

import os
import resource
from importlib.util import find_spec
from pathlib import Path

import torch

from l07.domain.hardware import Machine, Plan

CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def detect(limit: int | None = None) -> Machine:
    """`limit`: bytes that the job was given, where that is less than the machine has."""
    flash = find_spec("flash_attn") is not None
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        return Machine(("cuda", "cpu"), about.name, (about.major, about.minor), int(about.total_memory), flash)
    memory = host_memory(limit)
    if torch.backends.mps.is_available():
        return Machine(("mps", "cpu"), "Apple GPU", None, memory, flash)
    return Machine(("cpu",), f"CPU, {torch.get_num_threads()} threads", None, memory, flash)


def peak(plan: Plan) -> dict[str, int]:
    """The most that was used: of a GPU what was allocated on it, else of this process."""
    if plan.device == "cuda":
        return {"peak_bytes": int(torch.cuda.max_memory_allocated())}
    return {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def frozen_type(plan: Plan, adapter: str) -> torch.dtype:
    """Of a base's weights as they are read: of those that stay as they are, half the bytes do where numbers are computed in
    half precision; those that move are kept in float32."""
    if adapter == "full":
        return torch.float32
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(plan.precision, torch.float32)


def host_memory(limit: int | None = None) -> int | None:
    """The machine's memory, or what its control group or the job may use of it, where that is less."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        machine = 0
    found = [one for one in (machine, limit, *map(_limit, CGROUPS)) if one]
    return min(found) if found else None


def _limit(path: Path) -> int | None:
    """None: there is no limit. Version 1 of control groups says so by a number that is no machine's."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
