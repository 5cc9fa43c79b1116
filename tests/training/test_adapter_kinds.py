"""Each kind of adapter, and none at all: what is left behind, and that it is evaluated as what it is."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from l07.backends.child import ChildTrainer
from l07.domain.job import JobConfig
from l07.errors import BadJob, QuantisationMissing
from l07.training import base, course
from l07.training.measure.model import load
from tests.training.worlds import Bench

pytestmark = [pytest.mark.training, pytest.mark.slow]
IDS = torch.arange(9)[None]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def logits(net: Any) -> torch.Tensor:
    with torch.inference_mode():
        out: torch.Tensor = net(IDS).logits
    return out


def plain(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # what peft asks for
@pytest.mark.parametrize("kind", ["dora", "rslora"])
async def test_an_adapter_of_each_kind_learns_and_is_evaluated_as_that_kind(
    bench: Bench, tmp_path: Path, kind: str
) -> None:
    config = {"max_steps": 4, "lora": {"kind": kind, "rank": 4, "alpha": 8}}
    result = await ChildTrainer().run(bench.job(tmp_path, config=config))
    assert result["config"]["lora"]["kind"] == kind
    told = json.loads((tmp_path / "out" / "adapter_config.json").read_text("utf-8"))
    assert (told["use_dora"], told["use_rslora"]) == (kind == "dora", kind == "rslora")
    lengths = [name for name in load_file(tmp_path / "out" / "adapter_model.safetensors") if "magnitude" in name]
    assert bool(lengths) == (kind == "dora")
    evaluated = logits(load({"base": str(bench.base), "adapter": str(tmp_path / "out")}).net)
    unmerged = logits(PeftModel.from_pretrained(plain(bench.base), str(tmp_path / "out")).eval())
    assert torch.allclose(evaluated, unmerged, atol=1e-4)
    assert not torch.allclose(evaluated, logits(plain(bench.base)), atol=1e-4), "it learned something"
    plainly = tmp_path / "plainly"
    shutil.copytree(tmp_path / "out", plainly)
    told |= {"use_dora": False, "use_rslora": False}
    (plainly / "adapter_config.json").write_text(json.dumps(told), "utf-8")
    misread = logits(load({"base": str(bench.base), "adapter": str(plainly)}).net)
    assert not torch.allclose(evaluated, misread, atol=1e-4), "read as plain LoRA it is another model"


async def test_a_model_trained_whole_is_kept_whole_and_takes_the_place_of_its_base(
    bench: Bench, tmp_path: Path
) -> None:
    config = {"max_steps": 4, "adapter": "full", "learning_rate": 1e-3}
    result = await ChildTrainer().run(bench.job(tmp_path, config=config))
    out = tmp_path / "out"
    assert result["config"]["adapter"] == "full"
    assert result["losses"][-1]["loss"] < result["losses"][0]["loss"]
    assert not (out / "adapter_config.json").exists()
    assert str(tmp_path) not in (out / "config.json").read_text("utf-8")
    before, after = load_file(bench.base / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    assert not [name for name in before if torch.equal(before[name], after[name])], "every weight moved"
    evaluated = logits(load({"base": str(bench.base), "adapter": str(out)}).net)
    assert torch.equal(evaluated, logits(plain(out)))
    base.check_base(out, base.base_digest(out))


async def test_a_whole_model_is_the_same_after_a_kill(bench: Bench, tmp_path: Path) -> None:
    config = {"max_steps": 4, "adapter": "full", "learning_rate": 1e-3}
    whole = await ChildTrainer().run(bench.job(tmp_path / "whole", config=config))
    folder = bench.job(tmp_path / "killed", config=config, checkpoints={"steps": 2})
    task = asyncio.create_task(ChildTrainer().run(folder))
    while not list(folder.glob("checkpoints/step-*")) and not task.done():  # noqa: ASYNC110  # folders have no event
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    again = await ChildTrainer().run(bench.job(tmp_path / "killed", config=config, checkpoints={"steps": 2}, attempt=2))
    assert again["digest"] == whole["digest"]


async def test_qlora_without_a_gpu_is_refused_before_a_weight_is_read(bench: Bench, tmp_path: Path) -> None:
    """The base has no weights that could be read, and that is not what is told."""
    unreadable = tmp_path / "base"
    shutil.copytree(bench.base, unreadable)
    (unreadable / "model.safetensors").write_bytes(b"\0" * 64)
    job = bench.job(
        tmp_path / "job", base=str(unreadable), base_digest=base.base_digest(unreadable), config={"adapter": "qlora"}
    )
    with pytest.raises(QuantisationMissing, match=r"training\.adapter = lora") as caught:
        await ChildTrainer().run(job)
    assert caught.value.code == "E7735"
    assert not (tmp_path / "job" / "out").exists()


def test_a_method_that_keeps_its_base_as_reference_trains_no_whole_model() -> None:
    course.check_adapter(JobConfig(adapter="full"), "sft")
    with pytest.raises(BadJob, match=r"dpo trains an adapter only.*sft"):
        course.check_adapter(JobConfig(adapter="full"), "dpo")
