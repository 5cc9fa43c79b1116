"""How a job uses its machine: number formats, attention, what is computed again to save memory. What nobody set is chosen here,
from what the machine is, by rules that give the same choice each time: a job's weights follow from it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from l07.errors import HardwareUnfit

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
ATTENTION = ("auto", "eager", "sdpa", "flash_attention_2")
SWITCH = ("auto", "on", "off")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "device": DEVICES, "precision": PRECISIONS, "attention": ATTENTION,
    "gradient_checkpointing": SWITCH, "compile": SWITCH, "packing": SWITCH,
}  # fmt: skip
BF16_FROM, FP16_FROM, FLASH_FROM = (8, 0), (7, 0), (8, 0)  # compute capability: Ampere, Volta, Ampere


class Wishes(Protocol):
    """What the settings say of CHOICES; a job's config has it."""

    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def attention(self) -> str: ...
    @property
    def gradient_checkpointing(self) -> str: ...
    @property
    def compile(self) -> str: ...
    @property
    def packing(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Machine:
    """What is there. `memory_bytes`: what a job may use of the GPU's memory, or of the machine's within its control group;
    None: nobody says. `flash`: the package flash-attn is installed."""

    devices: tuple[str, ...] = ("cpu",)  # best first
    name: str = "CPU"
    capability: tuple[int, int] | None = None  # of a CUDA GPU
    memory_bytes: int | None = None
    flash: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """How a job uses its machine."""

    device: str = "cpu"
    precision: str = "fp32"
    attention: str = "sdpa"
    gradient_checkpointing: bool = False
    compile: bool = False
    packing: bool = False

    def document(self) -> dict[str, Any]:
        return asdict(self)


def choose(wishes: Wishes, machine: Machine) -> Plan:
    """What was set, else what the machine is for.

    Half precision is chosen where the hardware is made for it and the exponent's range is float32's: bf16 from Ampere on. fp16
    is taken only where it is asked for, as its range needs a scaled loss. Gradient checkpointing is chosen later, where
    memory asks for it (`memory.py`). Packing was measured to be faster where rows differ in length, and no slower where they do
    not. Compiling was not measured to pay, so nobody but a person chooses it.

    Raises:
        HardwareUnfit: E7741, something was set that this machine cannot do."""
    device = _device(wishes, machine)
    precision = _precision(wishes, machine, device)
    attention = _attention(wishes, machine, device, precision)
    return Plan(
        device, precision, attention,
        gradient_checkpointing=wishes.gradient_checkpointing == "on",
        compile=wishes.compile == "on",
        packing=wishes.packing != "off",
    )  # fmt: skip


def _device(wishes: Wishes, machine: Machine) -> str:
    if wishes.device == "auto":
        return machine.devices[0]
    if wishes.device not in machine.devices:
        raise _unfit("device", wishes.device, f"this trainer has {', '.join(machine.devices)}", machine.devices[0])
    return wishes.device


def _precision(wishes: Wishes, machine: Machine, device: str) -> str:
    capability = (machine.capability or (0, 0)) if device == "cuda" else (0, 0)
    if wishes.precision == "auto":
        return "bf16" if capability >= BF16_FROM else "fp32"
    if wishes.precision == "fp16" and capability < FP16_FROM:
        raise _unfit("precision", "fp16", f"it needs a CUDA GPU since Volta, this is {machine.name}", "fp32")
    if wishes.precision == "bf16" and device != "cpu" and capability < BF16_FROM:
        raise _unfit("precision", "bf16", f"it needs a CUDA GPU since Ampere, this is {machine.name}", "fp32")
    return wishes.precision


def _attention(wishes: Wishes, machine: Machine, device: str, precision: str) -> str:
    missing = [
        name
        for name, there in {
            "a CUDA GPU since Ampere": device == "cuda" and (machine.capability or (0, 0)) >= FLASH_FROM,
            "the package flash-attn": machine.flash,
            "training.precision bf16 or fp16": precision in ("bf16", "fp16"),
        }.items()
        if not there
    ]
    if wishes.attention == "flash_attention_2" and missing:
        raise _unfit("attention", "flash_attention_2", f"it needs {' and '.join(missing)}", "sdpa")
    if wishes.attention != "auto":
        return wishes.attention
    return "sdpa" if missing else "flash_attention_2"


def _unfit(setting: str, value: str, why: str, other: str) -> HardwareUnfit:
    return HardwareUnfit(
        f"training.{setting} = {value}: {why}; training.{setting} = {other} or auto trains here", setting=setting
    )
