"""What a job's machine is chosen to do, and what is refused on it; no machine is asked."""

from pathlib import Path
from typing import Any

import pytest

from l07.domain.hardware import CHOICES, Machine, Plan, choose
from l07.domain.job import JobConfig
from l07.errors import HardwareUnfit
from l07.pipeline.train.identity import gpus

CPU = Machine()
APPLE = Machine(("mps", "cpu"), "Apple GPU")
PASCAL, VOLTA, HOPPER = (
    Machine(("cuda", "cpu"), name, capability, 80 * 2**30, flash=True)
    for name, capability in {"P100": (6, 0), "V100": (7, 0), "H200": (9, 0)}.items()
)
BARE = Machine(("cuda", "cpu"), "H200", (9, 0), 80 * 2**30, flash=False)


@pytest.mark.parametrize(
    ("machine", "device", "precision", "attention"),
    [
        (CPU, "cpu", "fp32", "sdpa"),
        (APPLE, "mps", "fp32", "sdpa"),
        (PASCAL, "cuda", "fp32", "sdpa"),
        (VOLTA, "cuda", "fp32", "sdpa"),
        (BARE, "cuda", "bf16", "sdpa"),
        (HOPPER, "cuda", "bf16", "flash_attention_2"),
    ],
)
def test_what_nobody_set_follows_from_the_machine(
    machine: Machine, device: str, precision: str, attention: str
) -> None:
    assert choose(JobConfig(), machine) == Plan(device, precision, attention, packing=True)


@pytest.mark.parametrize(
    ("asked", "machine", "name", "value"),
    [
        ({"precision": "bf16"}, CPU, "precision", "bf16"),
        ({"precision": "fp16"}, VOLTA, "precision", "fp16"),
        ({"precision": "fp32"}, HOPPER, "attention", "sdpa"),
        ({"attention": "eager"}, HOPPER, "attention", "eager"),
        ({"device": "cpu"}, HOPPER, "precision", "fp32"),
        ({"gradient_checkpointing": "on"}, CPU, "gradient_checkpointing", True),
        ({"compile": "on"}, CPU, "compile", True),
        ({"packing": "off"}, HOPPER, "packing", False),
    ],
)
def test_what_was_set_wins(asked: dict[str, Any], machine: Machine, name: str, value: object) -> None:
    assert getattr(choose(JobConfig(**asked), machine), name) == value
    assert getattr(choose(JobConfig(), machine), name) != value, "the control"


@pytest.mark.parametrize(
    ("asked", "machine", "missing"),
    [
        ({"device": "cuda"}, CPU, "this trainer has cpu"),
        ({"precision": "fp16"}, CPU, "since Volta"),
        ({"precision": "fp16"}, PASCAL, "since Volta"),
        ({"precision": "bf16"}, VOLTA, "since Ampere"),
        ({"precision": "bf16", "device": "cuda"}, PASCAL, "since Ampere"),
        ({"attention": "flash_attention_2"}, CPU, "a CUDA GPU since Ampere and the package flash-attn"),
        ({"attention": "flash_attention_2"}, BARE, "the package flash-attn"),
        ({"attention": "flash_attention_2", "precision": "fp32"}, HOPPER, "bf16 or fp16"),
    ],
)
def test_what_the_machine_cannot_do_is_refused_with_what_it_can(
    asked: dict[str, Any], machine: Machine, missing: str
) -> None:
    with pytest.raises(HardwareUnfit, match=missing) as caught:
        choose(JobConfig(**asked), machine)
    assert caught.value.code == "E7741"
    assert "trains here" in caught.value.message


def test_only_what_was_set_is_part_of_a_config() -> None:
    assert not CHOICES.keys() & JobConfig().document().keys()
    config = JobConfig(precision="bf16", packing="off")
    assert JobConfig.from_document(config.document()) == config
    with pytest.raises(ValueError, match="packing"):
        JobConfig(packing="perhaps")


def test_gpus_are_known_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus("auto", tmp_path) == []
    for number, model in enumerate(["NVIDIA H200", "NVIDIA A100"]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 5\n", "utf-8")
    assert gpus("auto", tmp_path) == gpus("cuda", tmp_path) == ["NVIDIA A100", "NVIDIA H200"]
    assert gpus("cpu", tmp_path) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus("auto", tmp_path) == []
