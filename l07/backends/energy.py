"""Joules that this machine's processors and GPUs used, from counters in hardware; what cannot be read is not estimated.

Source: Linux powercap (`energy_uj` of each RAPL package, on Intel and AMD; since 2020 readable by root only) and NVIDIA's NVML
(`nvmlDeviceGetTotalEnergyConsumption`, Volta and later). The counters are the machine's: whatever ran beside a job is in them.
Memory, disks and power supplies are not.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"
OK = 0  # NVML_SUCCESS


@dataclass(slots=True)
class Meter:
    """Call it: joules since it was made, of all counters together; None where there is none.

    A RAPL counter begins again after some 250 kJ, which a busy package uses in about an hour: call it more often than that."""

    powercap: Path = POWERCAP
    open_gpus: "Callable[[], _Gpus | None]" = field(default_factory=lambda: _gpus)
    _packages: list["_Package"] = field(default_factory=list)
    _gpus: "_Gpus | None" = None
    _gpu_begun: float = 0.0

    def __post_init__(self) -> None:
        found = (_package(folder) for folder in sorted(self.powercap.glob("intel-rapl:*")))
        self._packages = [package for package in found if package is not None]
        self._gpus = self.open_gpus()
        self._gpu_begun = self._gpus.joules() if self._gpus else 0.0

    def __call__(self) -> float | None:
        if not self._packages and self._gpus is None:
            return None
        gpus = self._gpus.joules() - self._gpu_begun if self._gpus else 0.0
        return sum(package.joules() for package in self._packages) + gpus


@dataclass(slots=True)
class _Package:
    """One RAPL counter of a whole processor, in microjoules, with its wraps added up."""

    path: Path
    range_uj: int
    last_uj: int
    sum_uj: int = 0

    def joules(self) -> float:
        now_uj = _read(self.path)
        if now_uj is not None:
            self.sum_uj += (now_uj - self.last_uj) % self.range_uj
            self.last_uj = now_uj
        return self.sum_uj / 1e6


def _package(folder: Path) -> _Package | None:
    """None for a part of a package, which the package's own counter has already, and for what may not be read."""
    if not _text(folder / "name").startswith("package"):
        return None
    now_uj, range_uj = _read(folder / "energy_uj"), _read(folder / "max_energy_range_uj")
    return _Package(folder / "energy_uj", range_uj + 1, now_uj) if now_uj is not None and range_uj else None


def _read(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


@dataclass(slots=True)
class _Gpus:
    """Every GPU whose counter can be read."""

    library: ctypes.CDLL
    handles: list[ctypes.c_void_p]

    def joules(self) -> float:
        """Of all of them since the driver was loaded; the counters are millijoules."""
        return sum(_millijoules(self.library, handle) or 0 for handle in self.handles) / 1e3


def _gpus() -> _Gpus | None:
    """None: no driver, no GPU, or one that does not count."""
    library: ctypes.CDLL | None = None
    with suppress(OSError):
        library = ctypes.CDLL(NVML)
    if library is None or library.nvmlInit_v2() != OK:
        return None
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != OK:
        return None
    handles = []
    for number in range(count.value):
        handle = ctypes.c_void_p()
        found = library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)) == OK
        if found and _millijoules(library, handle) is not None:
            handles.append(handle)
    return _Gpus(library, handles) if handles else None


def _millijoules(library: ctypes.CDLL, handle: ctypes.c_void_p) -> int | None:
    used = ctypes.c_ulonglong()
    status = library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(used))
    return used.value if status == OK else None
