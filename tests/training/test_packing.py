"""Rows of a batch behind each other: none sees another, a step learns what it learns from the rows alone, a run comes back."""

import json
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from l07.domain import world
from l07.domain.job import JobConfig
from l07.errors import BadJob
from l07.training import course, engine, packing, resume, rows, sft, tiny
from l07.training.checkpoints import Checkpoints
from l07.training.hardware import Plan
from l07.training.progress import ProgressFile
from tests.training.worlds import Bench, rows_of_world, write_curriculum

pytestmark = [
    pytest.mark.training,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # those of peft about transformers, and that our base is on no hub
]

LENGTHS = [90, 21, 40, 2, 33, 64, 1, 57]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.make_tokenizer([json.dumps(one) for one in world.documents(100, 1)])


def a_model(tokenizer: Any) -> Any:
    torch.manual_seed(1)
    return LlamaForCausalLM(tiny._architecture(tokenizer))


def some_rows(lengths: list[int]) -> list[rows.Tokens]:
    """Every token of half the rows is learned from, the first one too; of the others the second half."""
    draw = torch.Generator().manual_seed(3)
    out = []
    for number, length in enumerate(lengths):
        ids = torch.randint(5, 200, (length,), generator=draw).tolist()
        begin = 0 if number % 2 else length // 2
        out.append(rows.Tokens(ids, [rows.IGNORED] * begin + ids[begin:]))
    return out


def examples(told: list[rows.Tokens]) -> list[dict[str, Any]]:
    return [{"input_ids": row.ids, "labels": row.labels} for row in told]


BOTH = pytest.mark.parametrize("one_line", [False, True])

# ------------------------------------------------------------------ where rows lie


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 60))
def test_each_row_has_one_place_and_no_line_is_too_long(lengths: list[int], room: int) -> None:
    made = packing.lines(lengths, room)
    assert sorted(number for line in made for number in line) == list(range(len(lengths)))
    assert all(len(line) == 1 or sum(lengths[number] for number in line) <= room for line in made)
    assert made == packing.lines(lengths, room)


@BOTH
def test_a_line_has_whole_rows_whose_positions_begin_anew(one_line: bool) -> None:
    told = some_rows(LENGTHS)
    batch = packing.Batches(0, packed=True, one_line=one_line)(examples(told))
    room = sum(LENGTHS) if one_line else max(LENGTHS)
    assert batch["input_ids"].shape[1] == room
    assert int(batch["attention_mask"].sum()) == sum(LENGTHS)
    found = []
    for line in range(len(batch["input_ids"])):
        starts = (batch["position_ids"][line] == 0).nonzero().flatten().tolist()
        for start, end in zip(starts, [*starts[1:], room], strict=True):
            assert batch["position_ids"][line, start:end].tolist() == list(range(end - start))
            if batch["attention_mask"][line, start]:
                found.append((batch["input_ids"][line, start:end].tolist(), batch["labels"][line, start:end].tolist()))
    assert sorted(found) == sorted((row.ids, [rows.IGNORED, *row.labels[1:]]) for row in told)


def test_where_no_two_rows_fit_on_a_line_it_is_a_padded_batch() -> None:
    told = examples(some_rows([20, 15, 18]))
    padded, packed = packing.Batches(0)(told), packing.Batches(0, packed=True)(told)
    assert padded.keys() == packed.keys() == {"input_ids", "labels", "attention_mask"}
    assert all(torch.equal(padded[name], packed[name]) for name in padded)


def test_few_lines_hold_what_was_padded() -> None:
    padded = packing.Batches(0)(examples(some_rows(LENGTHS)))["input_ids"].shape
    packed = packing.Batches(0, packed=True)(examples(some_rows(LENGTHS)))["input_ids"].shape
    assert padded == (8, 90)
    assert packed == (4, 90)


# ------------------------------------------------------------------ what is learned


@BOTH
def test_the_logits_of_each_token_are_those_of_its_row_alone(tokenizer: Any, one_line: bool) -> None:
    told, model = some_rows(LENGTHS), a_model(tokenizer)
    assert max(apart(model, told, one_line, packing.read)) < 1e-4


@BOTH
def test_a_mask_that_lets_rows_see_each_other_gives_other_logits(tokenizer: Any, one_line: bool) -> None:
    """The control: the mask of a padded batch, which says only what is padding."""

    def crossing(batch: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in batch.items() if name != "labels"}

    told, model = some_rows(LENGTHS), a_model(tokenizer)
    found = apart(model, told, one_line, crossing)
    assert max(found) > 1e-2
    assert min(found) < 1e-4, "the first row of a line has none before it"


def apart(
    model: Any, told: list[rows.Tokens], one_line: bool, read: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[float]:
    """How far the logits of each packed row are from those of the row alone, at most."""
    room = sum(LENGTHS) if one_line else max(LENGTHS)
    batch = packing.Batches(0, packed=True, one_line=one_line)(examples(told))
    with torch.no_grad():
        logits = model(**read(batch), use_cache=False).logits
        out = []
        for number, line in enumerate(packing.lines(LENGTHS, room)):
            ends = accumulate(LENGTHS[row] for row in line)
            for row, end in zip(line, ends, strict=True):
                alone = model(input_ids=torch.tensor([told[row].ids]), use_cache=False).logits[0]
                out.append(float((logits[number, end - LENGTHS[row] : end] - alone).abs().max()))
    return out


@BOTH
def test_loss_and_gradient_are_those_of_the_rows_alone(tokenizer: Any, one_line: bool) -> None:
    told, alone, model = some_rows(LENGTHS), a_model(tokenizer), a_model(tokenizer)
    count = sum(label != rows.IGNORED for row in told for label in row.labels[1:])
    total = 0.0
    for row in told:
        loss = sft._Trainer.compute_loss(None, alone, packing.Batches(0)(examples([row])), num_items_in_batch=count)
        loss.backward()
        total += float(loss)
    packed = packing.Batches(0, packed=True, one_line=one_line)(examples(told))
    assert int((packed["labels"][:, 1:] != rows.IGNORED).sum()) == count
    loss = sft._Trainer.compute_loss(None, model, packed, num_items_in_batch=count)
    loss.backward()
    assert float(loss) == pytest.approx(total, rel=1e-5)
    for one, other in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-5)


def test_a_first_token_is_no_answer_to_the_row_before() -> None:
    """The control: labels as they stand would teach one, with every row but the first of a line."""
    told = some_rows([4, 4])
    packed = packing.Batches(0, packed=True, one_line=True)(examples(told))["labels"]
    as_they_stand = [label for row in told for label in row.labels]
    assert as_they_stand[4] != rows.IGNORED
    assert packed[0, 4] == rows.IGNORED


def test_the_engine_ends_with_the_weights_of_a_run_without_packing(tokenizer: Any, tmp_path: Path) -> None:
    told = some_rows([30, 12, 7, 90, 41, 22, 16, 64, 5, 33, 28, 70])
    ends, measured = {}, {}
    for packed in (False, True):
        config = JobConfig(batch_size=4, max_steps=9, learning_rate=1e-3, max_length=512)
        kept = Checkpoints(tmp_path / str(packed), "job")
        run = engine.Run(config, 0, 9, ProgressFile(tmp_path), kept, plan=Plan(packing=packed))
        ends[packed] = a_model(tokenizer)
        measured[packed] = sft.train(ends[packed], tokenizer, sft.Data(told, some_rows([9, 70, 33] * 20)), run)
    assert measured[True]["tokens"] == measured[False]["tokens"]
    looks = [[look["loss"] for look in measured[packed]["eval_losses"]] for packed in (False, True)]
    assert looks[0] == pytest.approx(looks[1], rel=1e-4)
    began = a_model(tokenizer)
    moved = [float((a - b).abs().max()) for a, b in pairs(ends[True], began)]
    apart = [float((a - b).abs().max()) for a, b in pairs(ends[True], ends[False])]
    assert max(apart) < 2e-4
    assert min(moved) > 1e-3


def pairs(one: Any, other: Any) -> Any:
    return zip([w.detach() for w in one.parameters()], [w.detach() for w in other.parameters()], strict=True)


# ------------------------------------------------------------------ a model that looks across


class Leaking(torch.nn.Module):
    """Each token's logits have the sum of all tokens before, as a recurrent layer's would."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(50, 8)

    def forward(self, input_ids: Any, **_: Any) -> Any:
        return type("Out", (), {"logits": self.table(input_ids).cumsum(dim=1)})


def test_a_model_whose_rows_see_each_other_is_found(tokenizer: Any) -> None:
    assert packing.crosses(Leaking())
    assert not packing.crosses(a_model(tokenizer))


# ------------------------------------------------------------------ a job

CONFIG = {"max_steps": 18, "batch_size": 8, "lora": {"dropout": 0.1, "rank": 4}, "packing": "on"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(tmp_path_factory.mktemp("bench"))
    made.digest = write_curriculum(made.dataset, rows_of_world(40, 7), seed=7)
    return made


def run(bench: Bench, folder: Path, which: int, **changes: Any) -> dict[str, Any]:
    config = {**CONFIG, **changes.pop("config", {})}
    bench.job(folder, config=config, options={"curriculum": which}, **{"checkpoints": {"steps": 4}, **changes})
    return course.run(json.loads((folder / "job.json").read_text("utf-8")), folder)


class CutOff(Exception):
    """Stands for kill -9: nothing after it is written."""


@pytest.mark.parametrize("which", [0, 1])
def test_a_packed_run_that_is_cut_off_ends_with_the_same_weights(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    whole = run(bench, tmp_path / "whole", which, checkpoints={})

    class Cutting(resume.Keeper):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step == 15:
                raise CutOff
            super().on_step_end(args, state, control, **more)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "Keeper", Cutting)
        with pytest.raises(CutOff):
            run(bench, tmp_path / "again", which)
    again = run(bench, tmp_path / "again", which)
    assert again["resumed_from"] == 12
    assert again["digest"] == whole["digest"]
    assert again["rows"] == whole["rows"]
    assert whole["rows"]["packed"] == whole["rows"]["used"] + whole["rows"]["canaries"] > whole["rows"]["used"]


def test_a_base_that_cannot_be_packed_is_refused_where_it_was_asked_for(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "crosses", lambda model: True)
    with pytest.raises(BadJob, match="packing"):
        run(bench, tmp_path / "asked", 0)
    left = run(bench, tmp_path / "auto", 0, config={"packing": "auto", "max_steps": 1})
    assert "packed" not in left["rows"]
