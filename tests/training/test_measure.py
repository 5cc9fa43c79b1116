"""The evaluation child on a random-weight model: what is asked, how answers are read, what is recorded."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

from l07.domain import world
from l07.domain.canary import canaries, lookalikes
from l07.domain.measurements import decode
from l07.errors import BadJob, DatasetDiffers
from l07.training import measure, tiny
from l07.training.measure.answers import _generate, json_equal, read_call
from l07.training.measure.memory import likelihoods
from l07.training.measure.model import Model, call_mark, common_start, load
from l07.training.measure.questions import held_out_rows, questions_of
from tests.training.worlds import rows_of_world, write_dataset, write_golden

pytestmark = [pytest.mark.slow, pytest.mark.training]
MARK = "<tool_call>"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that knows nothing, with the tokenizer and template of the tiny bases."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = tiny.make_tokenizer([json.dumps(one) for one in world.documents(200, 1)])
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(1)
    LlamaForCausalLM(tiny._architecture(tokenizer)).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "1.0.0"
    write_dataset(folder, rows_of_world(40, 1))
    return folder


def a_job(base: Path, dataset: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    job = {
        "kind": "evaluate", "seed": 1, "threads": 1, "candidate": {"base": str(base), "adapter": None},
        "baseline": {"base": str(base), "adapter": None}, "dataset": str(dataset), "golden": None, "rows": 3,
        "calls_per_row": 4, "latency": {"pairs": 5, "new_tokens": 4}, "canaries": {"n": 2, "seed": 1, "lookalikes": 20},
        "output": str(folder / "out"),
    }  # fmt: skip
    return job | changes


@cache
def loaded(base: Path) -> Model:
    return load({"base": str(base), "adapter": None})


def measured(job: dict[str, Any], folder: Path) -> Any:
    result = measure.run(job, folder)
    record = (Path(job["output"]) / result["measurements"]).read_bytes()
    return decode(record)


# ------------------------------------------------------------------ reading


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ('<tool_call>{"name": "find", "arguments": {"id": 3}}</tool_call>', ("find", {"id": 3})),
        ('I look it up. <tool_call>\n{"name": "find", "arguments": {}}', ("find", {})),
        ('<tool_call>{"name": "find", "parameters": {"a": 1}}</tool_call>', ("find", {"a": 1})),
        ('<tool_call>{"name": "a", "arguments": {}}</tool_call><tool_call>{"name": "b"}', ("a", {})),
        ("I cannot do that.", None),
        ('{"name": "find", "arguments": {}}', None),
        ('<tool_call>{"name": "find", "arguments": {"id": 3}', None),
        ('<tool_call>{"name": "find", "arguments": "id"}</tool_call>', None),
        ('<tool_call>{"name": 3, "arguments": {}}</tool_call>', None),
        ('<tool_call>{"name": "find", "arguments": {"x": NaN}}</tool_call>', None),
        ("<tool_call>[1]</tool_call>", None),
        ("<tool_call>" + "[" * 100_000, None),
        ("<tool_call>", None),
    ],
)
def test_the_first_call_is_read_or_nothing(text, call):
    assert read_call(text, MARK) == call


def test_a_template_without_a_mark_means_bare_json():
    assert read_call('{"name": "find", "arguments": {}}', "") == ("find", {})
    assert read_call("no", "") is None


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1.0}, True),
        ({"a": True}, {"a": 1}, False),
        ({"a": False}, {"a": 0}, False),
        ([1, 2], [2, 1], False),
        ({"a": None}, {}, False),
        ({"a": "1"}, {"a": 1}, False),
        (True, True, True),
        ([], {}, False),
    ],
)
def test_json_equality(one, other, equal):
    assert json_equal(one, other) is equal
    assert json_equal(other, one) is equal


def test_the_mark_is_what_the_template_writes_before_a_call(base):
    tokenizer = load({"base": str(base), "adapter": None}).tokenizer
    assert call_mark(tokenizer) == MARK
    tokenizer.chat_template = str(tokenizer.chat_template).replace(MARK, "[TOOL]")
    assert call_mark(tokenizer) == "[TOOL]"
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert call_mark(tokenizer) == ""


# ------------------------------------------------------------------ questions


def questions(base: Path, dataset: Path, tmp_path: Path, **changes: Any) -> Any:
    model = loaded(base)
    job = a_job(base, dataset, tmp_path, **changes)
    asked, skipped = questions_of(held_out_rows(job, tmp_path), [model], job)
    return asked, skipped, model


def test_a_prompt_is_all_that_stands_before_the_call_and_nothing_of_it(base, dataset, tmp_path):
    asked, _, model = questions(base, dataset, tmp_path, rows=9)
    second = next(one for one in asked if one.message > 1)
    text = model.tokenizer.decode(second.prompt(model.tokenizer))
    first = next(one for one in asked if (one.row, one.message) == (second.row, 1))
    assert text.endswith("assistant\n")
    assert f'"name": "{first.name}"' in text  # the record's own first call, not the model's
    assert f'"name": "{second.name}"' not in text


def test_a_second_call_of_one_message_sees_the_first(base, tmp_path, dataset):
    row = next(row for row in rows_of_world(20, 1) if sum("tool_calls" in m for m in row["messages"]) == 2)
    calls = [message["tool_calls"][0] for message in row["messages"] if "tool_calls" in message]
    row = {**row, "messages": [row["messages"][0], {"role": "assistant", "content": "", "tool_calls": calls}]}
    golden = tmp_path / "golden.jsonl"
    golden.write_text(json.dumps(row))
    asked, _, model = questions(base, dataset, tmp_path, golden=str(golden))
    first, second = (one.prompt(model.tokenizer) for one in asked if one.source.set == "golden")
    assert second[: len(first)] == first
    tail = model.tokenizer.decode(second[len(first) :])
    assert calls[0]["function"]["name"] in tail
    assert tail.endswith("</tool_call>")


def test_rows_are_spread_over_domains_and_groups_before_any_group_repeats(base, dataset, tmp_path):
    asked, skipped, _ = questions(base, dataset, tmp_path, rows=3)
    rows = {one.row: one.source.about for one in asked}
    assert len({about["domain"] for about in rows.values()}) == 3
    assert len({about["group"] for about in rows.values()}) == 3
    assert skipped.rows_beyond_limit > 0


def test_calls_beyond_the_limit_are_not_asked(base, dataset, tmp_path):
    asked, _, _ = questions(base, dataset, tmp_path, rows=9, calls_per_row=1)
    assert len({one.row for one in asked}) == len(asked)


def test_a_prompt_that_does_not_fit_is_counted(base, dataset, tmp_path):
    small = replace(loaded(base), context=60)
    job = a_job(base, dataset, tmp_path, rows=9)
    asked, skipped = questions_of(held_out_rows(job, tmp_path), [small], job)
    assert asked == []
    assert skipped.calls_too_long > 0


def test_a_row_without_a_tool_list_may_call_what_train_has_seen(base, dataset, tmp_path):
    golden = tmp_path / "golden.jsonl"
    golden.write_text(json.dumps({**rows_of_world(1, 1)[0], "tools": []}))
    job = a_job(base, dataset, tmp_path, golden=str(golden))
    row = next(row for row, _ in held_out_rows(job, tmp_path) if row.set == "golden")
    assert {tool["function"]["name"] for domain in world.DOMAINS for tool in world.tool_schemas(domain)} == row.tools


def test_a_golden_set_that_is_no_json_is_named(base, dataset, tmp_path):
    golden = tmp_path / "golden.jsonl"
    golden.write_text("{")
    with pytest.raises(BadJob):
        measure.run(a_job(base, dataset, tmp_path, golden=str(golden)), tmp_path)


# ------------------------------------------------------------------ answers


def test_answers_do_not_depend_on_who_shares_the_batch(base, dataset, tmp_path):
    asked, _, model = questions(base, dataset, tmp_path, rows=9)
    prompts = sorted((one.prompt(model.tokenizer) for one in asked), key=len)
    some = [prompts[0], prompts[len(prompts) // 2], prompts[-1]]
    assert len({len(prompt) for prompt in some}) > 1
    assert _generate(model, some) == [_generate(model, [prompt])[0] for prompt in some]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks transformers by an old name
def test_the_adapter_is_merged_into_what_is_measured(base, tmp_path):
    adapted = get_peft_model(
        LlamaForCausalLM.from_pretrained(str(base)), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    torch.manual_seed(2)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.05)
    adapted.save_pretrained(str(tmp_path / "adapter"))
    ids = torch.tensor([[5, 6, 7, 8]])
    merged = load({"base": str(base), "adapter": str(tmp_path / "adapter")})
    with torch.inference_mode():
        expected, found = adapted.eval()(input_ids=ids).logits, merged.net(input_ids=ids).logits
        plain = loaded(base).net(input_ids=ids).logits
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, plain, atol=1e-2)
    assert not isinstance(merged.net, PeftModel)


# ------------------------------------------------------------------ the whole child


def test_the_record_holds_answers_of_both_models_and_no_prompt(base, dataset, tmp_path):
    golden = write_golden(tmp_path / "golden.jsonl", 2, 1)
    job = a_job(base, dataset, tmp_path, golden=str(golden), rows=4)
    record = measured(job, tmp_path)
    assert {row.set for row in record.rows} == {"test", "golden"}
    assert record.golden
    assert all(call.candidate == call.baseline for row in record.rows for call in row.calls)  # they are the same model
    text = (tmp_path / "out" / "measurements.json").read_text("utf-8")
    asked = [json.loads(line)["messages"][0]["content"] for line in golden.read_text("utf-8").splitlines()]
    assert not any(goal in text for goal in asked)


def test_the_same_job_gives_the_same_answers(base, dataset, tmp_path):
    one, other = (measured(a_job(base, dataset, tmp_path), tmp_path) for _ in range(2))
    assert (one.rows, one.canaries) == (other.rows, other.canaries)


def test_without_baseline_and_canaries_only_the_candidate_is_asked(base, dataset, tmp_path):
    record = measured(a_job(base, dataset, tmp_path, baseline=None, canaries=None), tmp_path)
    assert (record.has_baseline, record.canaries, record.latency) == (False, None, ())
    assert all(call.baseline is None for row in record.rows for call in row.calls)


def test_latency_has_a_time_for_each_token_of_each_pair(base, dataset, tmp_path):
    record = measured(a_job(base, dataset, tmp_path), tmp_path)
    assert [(len(pair.candidate), len(pair.baseline)) for pair in record.latency] == [(4, 4)] * 5
    assert all(seconds > 0 for pair in record.latency for seconds in (*pair.candidate, *pair.baseline))


def test_a_dataset_that_is_not_the_named_one_is_not_measured(base, dataset, tmp_path):
    with pytest.raises(DatasetDiffers):
        measure.run(a_job(base, dataset, tmp_path, dataset_digest="0" * 64), tmp_path)


def test_trl_is_not_needed(base, dataset, tmp_path):
    import subprocess
    import sys

    code = "import sys; import l07.training.measure; sys.exit('trl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# ------------------------------------------------------------------ canaries


def test_likelihoods_with_a_shared_beginning_equal_those_computed_row_by_row(base):
    model = loaded(base)
    canary = canaries(1, 3)[0]
    rows = [canary, *lookalikes(canary, 9, 3)]
    assert likelihoods(model, rows, batch=4) == pytest.approx([slowly(model, row, rows) for row in rows], abs=2e-3)


def slowly(model: Model, row: Any, rows: Any) -> float:
    from l07.domain.canary import as_messages
    from l07.training.measure.model import token_ids

    ids = token_ids(model.tokenizer, as_messages(row), None)
    start = len(common_start([token_ids(model.tokenizer, as_messages(one), None) for one in rows]))
    with torch.inference_mode():
        each = model.net(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return sum(float(each[at, token]) for at, token in enumerate(ids[1:]) if at + 1 >= start)
