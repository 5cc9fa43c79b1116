"""What leaves the registry answers as what was trained: each layout that can be loaded here gives the same logits."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from l07.backends.child import ChildTrainer
from l07.backends.open import open_ledger, open_store
from l07.errors import BadJob, BaseDiffers
from l07.pipeline import bases, parentage, release
from l07.service.handing import Handover, hand_over
from l07.settings import Settings
from tests.training.worlds import Bench

pytestmark = [
    pytest.mark.training,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # peft asks for it
]

AT = "2026-01-02T03:04:05Z"
CLOSE = 1e-4  # merged and unmerged sum in another order


class Shop:
    """A trained adapter in a registry."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder / "bench")
        self.settings = Settings(data_dir=folder / "d")
        self.job = self.bench.job(folder / "job", config={"learning_rate": 0.01, "max_steps": 4})
        self.ports: dict[str, Any] = {
            "registry": open_ledger(self.settings, "registry"), "store": open_store(self.settings),
            "key_file": folder / "d" / "keys" / "registry.pem",
        }  # fmt: skip

    async def fill(self) -> None:
        await ChildTrainer().run(self.job)
        lineage = {
            "job_id": "job-1", "track": "default", "dataset_version": "1.0.0", "dataset_digest": self.bench.digest,
            "base_digest": self.bench.base_digest, "base_folder": str(self.bench.base),
        }  # fmt: skip
        await release.register(
            name="default", artifact=self.job / "out", lineage=lineage, base_model="tiny-base", rank=16, causationid=None,
            correlationid=None, at=AT, **self.ports,
        )  # fmt: skip

    async def export(self, to: Path, gateway: str, **how: Any) -> dict[str, Any]:
        return await hand_over(Handover("default", "1.0.0", str(to), gateway, "ann", unsafe=True, **how), self.settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layouts")


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = tokenizer("cancel order otter-42, and refund falcon-7", return_tensors="pt").input_ids
    with torch.no_grad():
        return model.eval()(ids).logits


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() < CLOSE)


@pytest.mark.timeout(400)  # four children, each of which imports torch
async def test_every_layout_that_loads_here_gives_the_same_logits(folder: Path) -> None:
    shop = Shop(folder)
    await shop.fill()
    base = AutoModelForCausalLM.from_pretrained(shop.bench.base, dtype=torch.float32)
    bare = logits(base, AutoTokenizer.from_pretrained(shop.bench.base))
    told = await shop.export(folder / "hf", "hf")
    await shop.export(folder / "cache", "vllm")
    merged = await shop.export(folder / "merged", "hf", merged=True)
    tokenizer = AutoTokenizer.from_pretrained(folder / "hf")
    expected = logits(PeftModel.from_pretrained(base, str(shop.job / "out")), tokenizer)
    assert not same(expected, bare), "the adapter changes something, or the rest proves nothing"
    auto = AutoPeftModelForCausalLM.from_pretrained(str(folder / "hf"), dtype=torch.float32)
    assert same(logits(auto, tokenizer), expected)
    again = AutoModelForCausalLM.from_pretrained(shop.bench.base, dtype=torch.float32)
    served = PeftModel.from_pretrained(again, str(folder / "cache" / "default-1.0.0"))
    assert same(logits(served, AutoTokenizer.from_pretrained(folder / "cache" / "default-1.0.0")), expected)
    whole = AutoModelForCausalLM.from_pretrained(folder / "merged")
    assert same(logits(whole, AutoTokenizer.from_pretrained(folder / "merged")), expected)
    _of_merged(shop, folder / "merged", merged)
    assert "merged_digest" not in told


@pytest.mark.timeout(400)
async def test_mlflow_loads_its_folder_with_the_same_logits(tmp_path: Path) -> None:
    flavour = pytest.importorskip("mlflow.transformers", reason="needs MLflow")
    shop = Shop(tmp_path)
    await shop.fill()
    await shop.export(tmp_path / "ml", "mlflow")
    base = AutoModelForCausalLM.from_pretrained(shop.bench.base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(shop.bench.base)
    expected = logits(PeftModel.from_pretrained(base, str(shop.job / "out")), tokenizer)
    loaded = flavour.load_model(str(tmp_path / "ml"), return_type="components")
    assert same(logits(loaded["model"], loaded["tokenizer"]), expected)
    assert loaded["tokenizer"].chat_template == tokenizer.chat_template


def _of_merged(shop: Shop, merged: Path, told: Mapping[str, Any]) -> None:
    """Nothing of the adapter, the template as it was, and an erasure finds its way to whatever is trained upon it."""
    names = {path.name for path in merged.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    assert not {name for name in names if name.startswith("adapter")}
    assert (merged / "chat_template.jinja").read_bytes() == (shop.bench.base / "chat_template.jinja").read_bytes()
    assert json.loads((merged / "export.json").read_text("utf-8"))["merged_digest"] == told["merged_digest"]
    assert "library_name: transformers" in (merged / "README.md").read_text("utf-8")
    assert parentage.parents_of(merged, [], shop.ports["store"]) == ["default:1.0.0"]
    found = bases.known_base(str(merged), aliases={}, store=shop.ports["store"])
    assert found is not None
    assert found.digest == bases.folder_digest(merged), "it can be a base itself"


def _merge_job(shop: Bench, folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    job = {
        "kind": "merge", "name": "m", "threads": 1, "base": str(shop.base), "base_digest": shop.base_digest, "parents": [],
        "adapter": str(folder / "adapter"), "output": str(folder / "out"), **changes,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job), "utf-8")
    return folder


async def test_a_merge_upon_another_base_or_of_no_adapter_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(BaseDiffers):
        await ChildTrainer().run(_merge_job(bench, tmp_path / "one", base_digest="0" * 64))
    with pytest.raises(BadJob, match="does not load"):
        await ChildTrainer().run(_merge_job(bench, tmp_path / "two"))
    assert not (tmp_path / "two" / "out").exists()
