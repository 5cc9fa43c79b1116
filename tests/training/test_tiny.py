"""The small base models: made from nothing, made from one another, the same each time."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from transformers import LlamaForCausalLM

from l07.backends.child import ChildTrainer
from l07.domain import world
from l07.errors import BadJob, BaseDiffers
from l07.training import rows, tiny
from l07.training.base import base_digest, load
from tests.training.worlds import FOUR_STEPS

pytestmark = [pytest.mark.training, pytest.mark.slow]


async def make(folder: Path, **job: Any) -> dict[str, Any]:
    """A base of four steps of pretraining: it knows nothing, but it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps({**FOUR_STEPS, "output": str(folder / "out"), **job}), "utf-8")
    return dict(await ChildTrainer().run(folder))


def examples(path: Path, count: int = 12) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in world.mixed_runs(count, seed=0)), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.make_tokenizer(tiny._texts(world.documents(200, 0), 0))


async def test_the_same_job_makes_the_same_base_and_another_seed_another(tmp_path: Path) -> None:
    first, again, other = [await make(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert first["digest"] == again["digest"] == base_digest(tmp_path / "a" / "out")
    assert first["digest"] != other["digest"]


async def test_a_base_says_what_it_is_and_holds_nothing_pickled(tmp_path: Path) -> None:
    made = await make(tmp_path)
    facts = json.loads((tmp_path / "out" / "base.json").read_text("utf-8"))
    assert facts == {name: made[name] for name in facts}
    assert facts["recommended"]["lora"]["embeddings"] is False, "embeddings trained whole memorise canaries"
    assert 400_000 < facts["parameters"] < 700_000
    assert facts["measured"]["steps"] == 4
    assert {path.suffix for path in (tmp_path / "out").iterdir()} <= {".json", ".jinja", ".safetensors"}
    model, tokenizer = load(tmp_path / "out")
    assert len(tokenizer) == model.config.vocab_size
    assert not list(tmp_path.glob("*.partial"))


def test_words_that_no_text_has_stay_as_far_apart_as_chance_put_them(tokenizer: Any) -> None:
    model = LlamaForCausalLM(tiny._architecture(tokenizer))
    words = model.get_input_embeddings().weight
    texts = [tiny._document_tokens(one, tokenizer) for one in world.documents(16, 0)]
    unseen, [(ids, labels)] = tiny.unseen_of(texts, len(tokenizer)), list(tiny.batches(texts, seed=0))
    assert 100 < int(unseen.sum()) < len(tokenizer) - 100
    tiny.loss_of(model, ids, labels, torch.zeros_like(unseen)).backward()
    pushed = torch.nn.functional.normalize(words.grad[unseen], dim=-1)
    assert (pushed @ pushed.T).mean() > 0.5, "left in the softmax, they are all pushed the same way"
    model.zero_grad()
    tiny.loss_of(model, ids, labels, unseen).backward()
    assert not words.grad[unseen].any()
    assert words.grad[~unseen].any()


async def test_words_that_no_text_has_are_as_long_as_others(tmp_path: Path) -> None:
    await make(tmp_path)
    model, tokenizer = load(tmp_path / "out")
    texts = [
        *(tiny._document_tokens(one, tokenizer) for one in world.documents(45, 0)),
        *(tiny._drill_tokens(pair, tokenizer) for pair in world.drills(19, 0)),
    ]
    unseen, words = tiny.unseen_of(texts, len(tokenizer)), model.get_input_embeddings().weight.detach()
    lengths = words.norm(dim=-1)
    assert torch.allclose(lengths[unseen], lengths[~unseen].mean().expand(int(unseen.sum())), rtol=1e-4)
    assert lengths[~unseen].std() > 1e-3, "others have lengths of their own"
    directions = torch.nn.functional.normalize(words[unseen], dim=-1)
    assert (directions @ directions.T).mean() < 0.1, "and no two of them are much alike"


async def test_a_policy_goes_on_from_a_base_and_is_whole_again(tmp_path: Path) -> None:
    parent = await make(tmp_path / "base")
    job = {"name": "tiny-policy", "from": str(tmp_path / "base" / "out"), "examples": examples(tmp_path / "runs.jsonl")}
    policy, again = await make(tmp_path / "p", **job), await make(tmp_path / "q", **job)
    assert policy["digest"] == again["digest"] != parent["digest"]
    assert policy["parameters"] == parent["parameters"]
    assert policy["measured"]["rows"] == 12
    assert not list((tmp_path / "p" / "out").glob("adapter*"))


async def test_a_policy_is_not_made_from_a_damaged_base_or_from_nothing(tmp_path: Path) -> None:
    await make(tmp_path / "base")
    parent = tmp_path / "base" / "out"
    with pytest.raises(BadJob, match="examples"):
        await make(tmp_path / "p", **{"from": str(parent)})
    with (parent / "tokenizer.json").open("a", encoding="utf-8") as file:
        file.write(" ")
    with pytest.raises(BaseDiffers) as caught:
        await make(tmp_path / "q", **{"from": str(parent), "examples": examples(tmp_path / "runs.jsonl")})
    assert caught.value.code == "E7724"
    assert not (tmp_path / "q" / "out").exists()


def test_the_template_keeps_tools_calls_and_outputs_and_marks_what_the_assistant_said(tokenizer: Any) -> None:
    rows.check_template(tokenizer)


def test_an_id_is_the_same_tokens_wherever_it_stands(tokenizer: Any) -> None:
    alone = tokenizer("otter-42", add_special_tokens=False)["input_ids"]
    for text in ("refund otter-42 please", '{"order_id": "otter-42"}', "otter-42, kettle"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert any(ids[at : at + len(alone)] == alone for at in range(len(ids))), text


def test_any_text_survives_the_tokenizer(tokenizer: Any) -> None:
    for text in ("SELECT name FROM cars WHERE id = 7;\n", "Grüße, 東京 ", "a_b__c 007 1234567", "\x00\t\u200b"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_runs_of_the_world_fit_the_recommended_length(tokenizer: Any) -> None:
    longest = max(
        len(rows.encode({"messages": [dict(m) for m in run.messages], "tools": run.tools}, tokenizer)[0])
        for run in world.demo_runs(60, 7)
    )
    assert longest <= tiny.RECOMMENDED["max_length"]
