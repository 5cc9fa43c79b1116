"""A job as its plan says: number formats, gradient checkpointing, attention; recorded in its result."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from l07.domain.hardware import Plan
from l07.errors import HardwareUnfit
from l07.training import course, hardware, sft
from tests.training.worlds import Bench

pytestmark = [
    pytest.mark.training,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # those of peft about transformers, and that our base is on no hub
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def run(bench: Bench, folder: Path, **config: Any) -> dict[str, Any]:
    bench.job(folder, config={"max_steps": 4, "lora": {"dropout": 0.1}, **config})
    return course.run(json.loads((folder / "job.json").read_text("utf-8")), folder)


@pytest.fixture(scope="module")
def plain(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(bench, tmp_path_factory.mktemp("plain"), device="cpu")


def test_a_result_says_what_was_chosen(plain: dict[str, Any]) -> None:
    said = dict(plain["hardware"])
    assert said.pop("machine").startswith("CPU")
    assert said == Plan(packing=True).document()


def test_gradient_checkpointing_gives_the_same_bytes(
    bench: Bench, plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it may be chosen by memory, and no job's id follows from it. Dropout draws again what it drew."""
    kept: list[int] = []
    forward = sft._Trainer.compute_loss

    def counted(self: Any, model: Any, *given: Any, **named: Any) -> Any:
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
            out = forward(self, model, *given, **named)
        kept.append(sum(saved))
        return out

    monkeypatch.setattr(sft._Trainer, "compute_loss", counted)
    on = run(bench, tmp_path / "on", device="cpu", gradient_checkpointing="on")
    fewer = kept[0]
    kept.clear()
    off = run(bench, tmp_path / "off", device="cpu")
    assert fewer < kept[0] / 2, "the control: it did something"
    assert on["digest"] == off["digest"] == plain["digest"]
    assert on["hardware"]["gradient_checkpointing"]


def test_bf16_computes_in_half_precision_and_moves_weights_in_full(
    bench: Bench, plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    forward = sft._Trainer.compute_loss

    def looked(self: Any, model: Any, *given: Any, **named: Any) -> Any:
        for weight in model.parameters():
            seen.setdefault("moves" if weight.requires_grad else "stays", set()).add(weight.dtype)
        low = next(module for name, module in model.named_modules() if name.endswith("lora_A.default"))
        low.register_forward_hook(lambda _, given, out: seen.setdefault("computed", set()).add(out.dtype))
        return forward(self, model, *given, **named)

    monkeypatch.setattr(sft._Trainer, "compute_loss", looked)
    half = run(bench, tmp_path, device="cpu", precision="bf16", lora={"dropout": 0.1, "embeddings": True})
    assert seen["moves"] == {torch.float32}
    assert seen["stays"] == seen["computed"] == {torch.bfloat16}
    assert half["hardware"]["precision"] == "bf16"
    assert half["losses"][0]["loss"] == pytest.approx(plain["losses"][0]["loss"], rel=0.05)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_is_the_one_that_was_set(
    bench: Bench, plain: dict[str, Any], tmp_path: Path, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    forward = sft._Trainer.compute_loss

    def looked(self: Any, model: Any, *given: Any, **named: Any) -> Any:
        seen.append(model.config._attn_implementation)
        return forward(self, model, *given, **named)

    monkeypatch.setattr(sft._Trainer, "compute_loss", looked)
    told = run(bench, tmp_path, device="cpu", attention=attention)
    assert set(seen) == {attention}
    assert told["losses"][-1]["loss"] == pytest.approx(plain["losses"][-1]["loss"], rel=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_what_this_machine_cannot_do_ends_before_a_weight_is_read(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course.base, "load", lambda *_, **__: pytest.fail("weights were read"))
    with pytest.raises(HardwareUnfit, match="E7741"):
        run(bench, tmp_path, precision="fp16")


def test_the_least_limit_of_memory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "memory.max"
    monkeypatch.setattr(hardware, "CGROUPS", (group, tmp_path / "absent"))
    whole = hardware.host_memory()
    assert whole
    group.write_text("max\n", "ascii")
    assert hardware.host_memory() == whole
    group.write_text("123456789\n", "ascii")
    assert hardware.host_memory() == 123456789
    assert hardware.host_memory(1000) == 1000
