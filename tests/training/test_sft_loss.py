"""The loss of supervised fine-tuning against torch's own, and the engine's steps against a loop that is written by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from l07.domain import world
from l07.domain.job import JobConfig
from l07.training import engine, rows, sft, tiny
from l07.training.checkpoints import Checkpoints
from l07.training.progress import ProgressFile
from tests.training.worlds import rows_of_world

pytestmark = [
    pytest.mark.training,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing`:FutureWarning"),
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.make_tokenizer([json.dumps(one) for one in world.documents(100, 1)])


def a_model(tokenizer: Any) -> Any:
    torch.manual_seed(1)
    return LlamaForCausalLM(tiny._architecture(tokenizer))


def a_batch(told: list[rows.Tokens]) -> dict[str, torch.Tensor]:
    longest = max(len(row.ids) for row in told)
    out = {
        name: torch.zeros(len(told), longest, dtype=torch.long) for name in ("input_ids", "attention_mask", "labels")
    }
    out["labels"] -= 100
    for number, row in enumerate(told):
        size = len(row.ids)
        out["input_ids"][number, :size] = torch.tensor(row.ids)
        out["attention_mask"][number, :size] = 1
        out["labels"][number, :size] = torch.tensor(row.labels)
    return out


@pytest.mark.parametrize("count", [None, 50])
def test_the_loss_is_the_mean_over_the_labels_with_the_gradient_of_all_logits(
    tokenizer: Any, count: int | None
) -> None:
    told = rows.tokenise(map(rows.chat, rows_of_world(4, 7)), tokenizer, 10_000).rows[:5]
    batch, model, other = a_batch(told), a_model(tokenizer), a_model(tokenizer)
    loss = sft._Trainer.compute_loss(None, model, dict(batch), num_items_in_batch=count)
    logits = other(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    total = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    wanted = total / (count or int((labels != rows.IGNORED).sum()))
    assert torch.allclose(loss, wanted, rtol=1e-5)
    loss.backward()
    wanted.backward()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=1e-5)


def test_a_batch_without_a_label_is_a_loss_of_nothing(tokenizer: Any) -> None:
    batch = a_batch([rows.Tokens([5, 6, 7], [rows.IGNORED] * 3)])
    assert sft._Trainer.compute_loss(None, a_model(tokenizer), batch).item() == 0


def test_the_engine_moves_weights_as_a_loop_by_hand_does(tokenizer: Any, tmp_path: Path) -> None:
    """One batch again and again, so that both see the same; another rate gives other weights."""
    told = rows.tokenise(map(rows.chat, rows_of_world(4, 7)), tokenizer, 10_000).rows[:4]
    config = JobConfig(batch_size=4, max_steps=5, learning_rate=1e-3, max_length=512)
    model, hand = a_model(tokenizer), a_model(tokenizer)
    run = engine.Run(config, 0, 5, ProgressFile(tmp_path), Checkpoints(tmp_path / "kept", "job"))
    measured = sft.train(model, tokenizer, sft.Data(told, []), run)
    batch = a_batch(told)
    optimiser = torch.optim.AdamW(hand.parameters(), lr=1.0, weight_decay=0.0)
    for point in measured["losses"]:
        optimiser.param_groups[0]["lr"] = point["learning_rate"]
        logits = hand(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        loss = functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())
        assert point["loss"] == pytest.approx(loss.item(), rel=1e-3)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(hand.parameters(), config.clip)
        optimiser.step()
        optimiser.zero_grad()
    apart = [float((a - b).detach().abs().max()) for a, b in zip(model.parameters(), hand.parameters(), strict=True)]
    began = [
        float((a - b).detach().abs().max())
        for a, b in zip(model.parameters(), a_model(tokenizer).parameters(), strict=True)
    ]
    assert max(apart) < 1e-4 < min(began)
    assert measured["tokens"] == 5 * int(batch["attention_mask"].sum())
