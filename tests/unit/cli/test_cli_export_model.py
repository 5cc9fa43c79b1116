"""`l07 models export`: what a gateway loads, only what may be served, nothing of what was changed, no key anywhere."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from l07.backends.open import open_ledger, open_store
from l07.domain.registry import Stage
from l07.errors import (
    BadArtifactName,
    BadExport,
    FileChanged,
    GatewayRefused,
    GatewayUnfit,
    NotForGateway,
    NothingByThatName,
    OutputTaken,
    SimulatedArtifact,
)
from l07.pipeline import release
from l07.settings import Settings
from tests.gateway import a_gateway

AT = "2026-01-02T03:04:05Z"
D = Path("d")
CONFIG = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 12, "lora_alpha": 24, "modules_to_save": None, "use_dora": False, "bias": "none",
    "base_model_name_or_path": "tiny-base", "revision": "0" * 64,
}  # fmt: skip
LINEAGE = {
    "job_id": "job-1",
    "track": "default",
    "dataset_version": "1.0.0",
    "dataset_digest": "dd",
    "base_digest": "bb",
}


class Shop:
    """A data folder with one registered adapter."""

    def __init__(
        self, *, verdict: str | None = "DEPLOY", stage: Stage | None = Stage.STAGING, labels: Any = (), **config: Any
    ) -> None:
        self.settings = Settings(data_dir=D)
        artifact = D / "jobs" / "job-1" / "out"
        artifact.mkdir(parents=True)
        if "architectures" in config:
            (artifact / "config.json").write_text(json.dumps(config))
            (artifact / "model.safetensors").write_bytes(b"weights")
            (artifact / "tokenizer.json").write_text("{}")
        else:
            (artifact / "adapter_config.json").write_text(json.dumps(CONFIG | config))
            (artifact / "adapter_model.safetensors").write_bytes(b"weights")
        self.base = D.resolve() / "base"
        self.base.mkdir()
        self.ports: dict[str, Any] = {
            "registry": open_ledger(self.settings, "registry"), "store": open_store(self.settings), "key_file": D / "keys" / "registry.pem",
        }  # fmt: skip
        asyncio.run(self._register(artifact, verdict, stage, labels))

    async def _register(self, artifact: Path, verdict: str | None, stage: Stage | None, labels: Any) -> None:
        entry = await release.register(
            name="default", artifact=artifact, lineage=LINEAGE | {"base_folder": str(self.base)}, base_model="tiny-base", rank=12,
            causationid=None, correlationid=None, at=AT, labels=labels, format="peft-lora" if list(artifact.glob("adapter*")) else "full",
            beside=lambda version: {"README.md": "sealed"}, **self.ports,
        )  # fmt: skip
        if verdict:
            stages = [{"stage": "benchmark", "result": "PASS", "n": 200, "estimate": 0.1, "interval": [0.05, 0.15]}]
            data = {
                **entry.body["data"],
                "verdict": verdict,
                "stages": stages,
                "report": "reports/default/1.0.0",
                "report_digest": "r",
            }
            await self.ports["registry"].append(
                "model.validated", entry.key, {"subject": entry.body["subject"], "data": data}, at=AT
            )
        if stage:
            await release.move(
                name="default", version="1.0.0", to=stage, by="ann", reason="because", at=AT, **self.ports
            )

    @property
    def folder(self) -> Path:
        return D / "models" / "default" / "1.0.0"

    def recorded(self) -> list[dict[str, Any]]:
        entries = asyncio.run(self.ports["registry"].entries())
        return [dict(entry.body["data"]) for entry in entries if entry.kind == "model.exported"]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_API_KEY", "LITELLM_MASTER_KEY"):
        monkeypatch.delenv(name, raising=False)


def export(l07: Any, *more: str, to: str = "out", gateway: str = "vllm", status: int = 0) -> Any:
    said = l07("models", "export", "default", "--data-dir", "d", "--json", "--to", to, "--for", gateway, *more)
    assert said.status == status, said.err
    return said


# ------------------------------------------------------------------ folders


def test_vllm_finds_the_folder_by_its_name_and_its_base(l07) -> None:
    shop = Shop()
    said = json.loads(export(l07).out)
    folder = Path("out/default-1.0.0")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["base_model_name_or_path"], config["revision"]) == (
        "LORA",
        str(shop.base),
        None,
    )
    assert (folder / "adapter_model.safetensors").read_bytes() == b"weights"
    assert [path.name for path in Path("out").iterdir()] == ["default-1.0.0"], "nothing half-written beside it"
    serve, call = said["call"]
    assert f"vllm serve {shop.base} --enable-lora --max-lora-rank 16" in serve, "12 is no rank that vLLM takes"
    assert '"lora_name": "default-1.0.0"' in call


def test_the_server_may_have_other_names_for_base_and_model(l07) -> None:
    Shop()
    said = json.loads(export(l07, "--base", "org/base", "--name", "support", "--path", "/mnt/support").out)
    assert json.loads(Path("out/support/adapter_config.json").read_text())["base_model_name_or_path"] == "org/base"
    assert "vllm serve org/base" in said["call"][0]
    assert '"lora_path": "/mnt/support"' in said["call"][1]


def test_the_card_has_the_verdict_and_the_sealed_one_stays(l07) -> None:
    shop = Shop()
    export(l07, gateway="hf")
    text = Path("out/README.md").read_text("utf-8")
    assert "| verdict | DEPLOY |" in text
    assert "| benchmark | PASS | 200 | 0.1 | 0.05 to 0.15 |" in text
    assert "model-index" in text
    assert (shop.folder / "README.md").read_text() == "sealed"
    assert json.loads(export(l07, "--force", gateway="hf").out)["model"] == "default:1.0.0", "the seal still holds"


def test_litellm_gets_an_entry_of_its_config(l07) -> None:
    Shop()
    said = json.loads(export(l07, "--api-base", "http://h:8000/v1", gateway="litellm").out)
    text = Path("out/default-1.0.0.yaml").read_text()
    assert text.startswith('model_list:\n- model_name: "default"\n')
    assert '    model: "hosted_vllm/default-1.0.0"\n    api_base: "http://h:8000/v1"\n' in text
    assert f'    digest: "{said["digest"]}"\n    verdict: "DEPLOY"\n' in text


def test_whole_weights_are_served_as_they_are(l07) -> None:
    Shop(architectures=["LlamaForCausalLM"])
    said = json.loads(export(l07).out)
    assert said["call"] == [f"vllm serve {Path('out/default-1.0.0').resolve()} --served-model-name default-1.0.0"]
    assert "library_name: transformers" in Path("out/default-1.0.0/README.md").read_text()
    assert BadExport.code in export(l07, "--merged", to="other", status=1).err
    with a_gateway() as gateway:
        assert BadExport.code in export(l07, to=gateway.url, status=1).err


def test_mlflow_finds_weights_and_tokenizer_where_it_looks(l07) -> None:
    Shop(architectures=["LlamaForCausalLM"], dtype="bfloat16")
    said = json.loads(export(l07, gateway="mlflow").out)
    assert said["call"][0].startswith("mlflow.transformers.load_model(")
    text = Path("out/MLmodel").read_text()
    assert '    pipeline_model_type: "LlamaForCausalLM"\n' in text
    assert '    torch_dtype: "torch.bfloat16"\n' in text
    assert Path("out/model/model.safetensors").read_bytes() == b"weights"
    assert Path("out/components/tokenizer/tokenizer.json").exists()


def test_no_classifier_is_a_language_model(l07) -> None:
    Shop(architectures=["LlamaForSequenceClassification"])
    assert GatewayUnfit.code in export(l07, gateway="hf", status=1).err


def test_what_stands_there_is_replaced_only_where_it_is_an_export(l07) -> None:
    Shop()
    export(l07)
    assert OutputTaken.code in export(l07, status=1).err
    export(l07, "--force")
    Path("out/default-1.0.0/export.json").unlink()
    assert OutputTaken.code in export(l07, "--force", status=1).err
    assert sorted(path.name for path in Path("out").iterdir()) == ["default-1.0.0"]


# ------------------------------------------------------------------ what may leave


@pytest.mark.parametrize("stage", [None, Stage.ARCHIVED, Stage.QUARANTINED])
def test_below_staging_or_withdrawn_needs_unsafe_which_is_recorded(l07, stage) -> None:
    shop = Shop(stage=stage)
    assert NotForGateway.code in export(l07, status=1).err
    assert not Path("out").exists()
    assert shop.recorded() == []
    export(l07, "--unsafe")
    (told,) = shop.recorded()
    assert (told["unsafe"], told["stage"], told["for"]) == (True, (stage or Stage.DEVELOPMENT).value, "vllm")
    assert told["by"]
    (shown,) = json.loads(l07("models", "show", "default", "--data-dir", "d", "--json").out)["model"]["exports"]
    assert shown["unsafe"] is True


def test_unsafe_says_nothing_where_nothing_is(l07) -> None:
    shop = Shop()
    export(l07, "--unsafe")
    assert [told["unsafe"] for told in shop.recorded()] == [False]


def test_a_simulated_model_goes_nowhere(l07) -> None:
    Shop(stage=None, labels=["simulated"])
    assert SimulatedArtifact.code in export(l07, "--unsafe", status=1).err


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "README.md"])
def test_a_changed_file_is_refused_before_anything_leaves(l07, name) -> None:
    shop = Shop()
    (shop.folder / name).write_bytes(b"changed")
    assert FileChanged.code in export(l07, status=1).err
    with a_gateway() as gateway:
        assert FileChanged.code in export(l07, to=gateway.url, status=1).err
    assert gateway.asked == []
    assert not Path("out").exists()
    assert shop.recorded() == []


@pytest.mark.parametrize(
    "config",
    [
        {"modules_to_save": ["embed_tokens"]},
        {"use_dora": True},
        {"bias": "all"},
        {"r": 1024},
        {"peft_type": "IA3"},
        {"task_type": "SEQ_CLS"},
    ],
)
def test_what_vllm_cannot_load_is_refused(l07, config) -> None:
    Shop(**config)
    assert GatewayUnfit.code in export(l07, status=1).err
    assert not Path("out").exists()


def test_a_reward_model_is_no_causal_model_for_anybody(l07) -> None:
    Shop(task_type="SEQ_CLS")
    assert GatewayUnfit.code in export(l07, gateway="hf", status=1).err


@pytest.mark.parametrize(
    ("gateway", "more", "code"),
    [
        ("hf", {"to": "http://h"}, BadExport.code), ("litellm", {}, BadExport.code), ("vllm", {"to": "ftp://h/x"}, BadExport.code),
        ("vllm", {"to": "http://user:secret@h"}, BadExport.code), ("vllm", {"more": ["--name", "../x"]}, BadArtifactName.code),
        ("vllm", {"to": "http://h", "more": ["--merged"]}, BadExport.code),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(l07, gateway, more, code) -> None:
    shop = Shop()
    err = export(l07, *more.get("more", ()), gateway=gateway, to=more.get("to", "out"), status=1).err
    assert code in err
    assert "secret" not in err
    assert shop.recorded() == []


def test_an_unknown_model_is_said(l07) -> None:
    said = l07("models", "export", "nobody", "--data-dir", "d", "--to", "out", "--for", "hf")
    assert NothingByThatName.code in said.err


# ------------------------------------------------------------------ endpoints


def test_vllm_is_told_and_asked_whether_it_has_it(l07) -> None:
    shop = Shop()
    with a_gateway() as gateway:
        said = json.loads(export(l07, to=gateway.url + "/v1").out)
        assert gateway.adapters == {"default-1.0.0": str(shop.folder.resolve())}
        assert [asked[:2] for asked in gateway.asked] == [
            ("GET", "/v1/models"), ("POST", "/v1/load_lora_adapter"), ("GET", "/v1/models"),
        ]  # fmt: skip
        assert said["done"] == "loaded"
        assert json.loads(export(l07, to=gateway.url).out)["done"] == "there", "told twice, it is loaded once"


def test_a_server_that_lists_nothing_afterwards_is_not_believed(l07) -> None:
    Shop()
    with a_gateway(deaf=True) as gateway:
        assert "does not list it" in export(l07, to=gateway.url, status=1).err
        more = ["--api-base", "http://h:8000/v1"]
        assert "does not list it" in export(l07, *more, to=gateway.url, gateway="litellm", status=1).err


def test_another_model_of_that_name_is_not_replaced(l07) -> None:
    Shop()
    with a_gateway(adapters={"default-1.0.0": "/elsewhere"}) as gateway:
        assert GatewayRefused.code in export(l07, to=gateway.url, status=1).err
    assert gateway.adapters == {"default-1.0.0": "/elsewhere"}


def test_litellm_is_told_once(l07) -> None:
    Shop()
    more = ["--api-base", "http://h:8000/v1"]
    with a_gateway() as gateway:
        said = json.loads(export(l07, *more, to=gateway.url, gateway="litellm").out)
        again = json.loads(export(l07, *more, to=gateway.url, gateway="litellm").out)
    assert (said["done"], again["done"]) == ("loaded", "there")
    (told,) = gateway.models
    assert told["model_name"] == "default"
    assert told["litellm_params"] == {"model": "hosted_vllm/default-1.0.0", "api_base": "http://h:8000/v1"}
    assert (told["model_info"]["version"], told["model_info"]["verdict"]) == ("1.0.0", "DEPLOY")
    assert told["model_info"]["digest"] == said["digest"]


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(l07, monkeypatch) -> None:
    shop = Shop()
    with a_gateway(key="sk-secret") as gateway:
        refused = export(l07, to=gateway.url, status=1)
        monkeypatch.setenv("VLLM_API_KEY", "sk-secret")
        said = export(l07, to=gateway.url)
        gateway.broken, gateway.adapters = "who is sk-secret", {}
        broken = export(l07, to=gateway.url, status=1)
    assert "the key was refused" in refused.err
    assert "who is ***" in broken.err
    assert "$VLLM_API_KEY" in said.out
    assert "sk-secret" not in refused.err + said.out + said.err + broken.err + json.dumps(shop.recorded())


def test_a_redirect_does_not_take_the_key_along(l07, monkeypatch) -> None:
    Shop()
    monkeypatch.setenv("VLLM_API_KEY", "sk-secret")
    with a_gateway() as other, a_gateway(moved=other.url) as gateway:
        assert GatewayRefused.code in export(l07, to=gateway.url, status=1).err
    assert other.asked == []


def test_a_server_that_is_not_there_is_said(l07) -> None:
    Shop()
    with a_gateway() as gateway:
        pass
    assert "did not answer" in export(l07, to=gateway.url, status=1).err
