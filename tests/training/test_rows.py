"""What is learned from, token by token, for templates and tokenizers of several families; and where a long row is cut."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("transformers", reason="needs the extra [train]")

from l07.domain import world
from l07.errors import BaseIncomplete, TemplateUnfit
from l07.training import base, rows
from l07.training.cutting import ends, longest_that_fits
from tests.training import chats

pytestmark = [pytest.mark.training, pytest.mark.slow]

Row = dict[str, Any]


def call(name: str, **arguments: Any) -> Row:
    return {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}


def user(text: str) -> Row:
    return {"role": "user", "content": text}


def says(text: str, *calls: Row) -> Row:
    return {"role": "assistant", "content": text, **({"tool_calls": list(calls)} if calls else {})}


def output(text: str) -> Row:
    return {"role": "tool", "tool_call_id": "c", "name": "f", "content": text}


TOOLS = [{"type": "function", "function": {"name": "cancel_order", "parameters": {"type": "object", "properties": {}}}}]
LONG = {
    "messages": [
        {"role": "system", "content": "be brief"},
        user("cancel otter-42, and caf\u00e9 \U0001f989 too"),
        says("I look.", call("find_order", order_id="otter-42"), call("find_order", order_id="caf\u00e9")),
        output('{"status": "open"}'),
        output('{"status": "gone"}'),
        says("", call("cancel_order", order_id="otter-42")),
        output("ok"),
        says("Done \U0001f989 ."),
        user("and the assistant's fee?"),
        says("None."),
    ],
    "tools": TOOLS,
}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [json.dumps(part["messages"]) for part in world.documents(60, 0)] + [json.dumps(LONG, ensure_ascii=False)]


def solid(text: str, start: int, end: int) -> list[int]:
    """Where a token has no blanks; all of it, where it has nothing else."""
    return [at for at in range(start, end) if not text[at].isspace()] or list(range(start, end))


@pytest.mark.parametrize("kind", chats.KINDS)
@pytest.mark.parametrize("template", chats.TEMPLATES)
def test_each_label_is_on_a_token_of_the_assistant_and_no_token_of_it_is_without(
    template: str, kind: str, texts: list[str]
) -> None:
    tokenizer = chats.a_tokenizer(template, kind, texts)
    pieces = chats.TEMPLATES[template][1](LONG)
    text = "".join(piece for piece, _ in pieces)
    assert tokenizer.apply_chat_template(LONG["messages"], tools=LONG["tools"], tokenize=False) == text
    learned = [said for piece, said in pieces for _ in piece]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    (row,) = rows.tokenise([LONG], tokenizer, 10_000).rows
    assert row.ids == encoded["input_ids"]
    wanted = [
        token if all(learned[at] for at in solid(text, start, end)) else rows.IGNORED
        for token, (start, end) in zip(row.ids, encoded["offset_mapping"], strict=True)
    ]
    assert row.labels == wanted
    marked = {
        at
        for (start, end), label in zip(encoded["offset_mapping"], row.labels, strict=True)
        if label != rows.IGNORED
        for at in range(start, end)
    }
    assert not [at for at in range(len(text)) if learned[at] and at not in marked and not text[at].isspace()]


def test_the_mask_of_transformers_would_have_learned_what_a_tool_said(texts: list[str]) -> None:
    """The reason for a mask of our own: a turn that ends in a blank, and a tokenizer that has no token for it."""
    tokenizer = chats.a_tokenizer("plain", "blanks_dropped", texts)
    theirs = tokenizer.apply_chat_template(
        LONG["messages"], tools=TOOLS, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, ours = rows.encode(LONG, tokenizer)
    assert ids == theirs["input_ids"]

    def learned(mask: list[int]) -> str:
        return str(tokenizer.decode([token for token, one in zip(ids, mask, strict=True) if one]))

    assert "gone" in learned(theirs["assistant_masks"])
    assert "gone" not in learned(ours)


@pytest.mark.parametrize("kind", chats.KINDS)
@pytest.mark.parametrize("template", chats.TEMPLATES)
def test_templates_that_keep_calls_pass_and_one_that_drops_them_does_not(
    template: str, kind: str, texts: list[str]
) -> None:
    tokenizer = chats.a_tokenizer(template, kind, texts)
    rows.check_template(tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace("m.tool_calls", "m.nothing")
    with pytest.raises(TemplateUnfit, match="callword"):
        rows.check_template(tokenizer)


# ------------------------------------------------------------------ the cut


def test_a_row_may_end_after_a_turn_without_calls_or_after_the_last_output() -> None:
    assert ends(LONG["messages"]) == [5, 7, 8]


@pytest.mark.parametrize(
    "messages",
    [
        [user("a"), says("b")],
        [user("a"), says("", call("f")), output("c")],
        [user("a"), says("", call("f")), says("b")],
        [user("a"), says("  "), user("c")],
        [],
    ],
)
def test_nothing_can_be_cut_where_no_turn_to_learn_from_would_stay_whole(messages: list[Row]) -> None:
    assert ends(messages) == []


def test_a_long_row_keeps_as_many_whole_turns_as_fit(texts: list[str]) -> None:
    tokenizer = chats.a_tokenizer("hermes", "byte_level", texts)
    lengths = {n: len(rows.encode({**LONG, "messages": LONG["messages"][:n]}, tokenizer)[0]) for n in (5, 7, 8, 10)}
    for n, longer in [*pairwise(lengths), (10, None)]:
        whole = rows.tokenise([{**LONG, "messages": LONG["messages"][:n]}], tokenizer, 10_000).rows
        for limit in (lengths[n], lengths[longer] - 1 if longer else 10_000):
            done = rows.tokenise([LONG], tokenizer, limit)
            assert done.rows == whole, (n, limit)
            assert (done.cut, done.too_long) == (int(n < 10), 0)
    done = rows.tokenise([LONG], tokenizer, lengths[5] - 1)
    assert (done.rows, done.cut, done.too_long) == ([], 0, 1)


def test_a_cut_never_parts_a_call_from_its_output_in_generated_runs(texts: list[str]) -> None:
    tokenizer = chats.a_tokenizer("hermes", "byte_level", texts)
    runs = [rows.chat({"messages": run.messages, "tools": run.tools}) for run in world.demo_runs(6, 3)]
    cut = 0
    for run in runs:
        length = len(rows.encode(run, tokenizer)[0])
        for limit in range(length // 3, length, 40):
            kept = longest_that_fits(
                run["messages"],
                lambda m, run=run, limit=limit: len(rows.encode({**run, "messages": m}, tokenizer)[0]) <= limit,
            )
            if kept is None:
                continue
            cut += 1
            rest = run["messages"][len(kept) :]
            assert rest[0]["role"] != "tool"
            assert not kept[-1].get("tool_calls")
            assert kept == run["messages"][: len(kept)]
    assert cut > 20, "the runs are long enough for this to mean something"


def test_a_row_in_which_the_assistant_says_nothing_is_left_out_and_counted(texts: list[str]) -> None:
    tokenizer = chats.a_tokenizer("hermes", "byte_level", texts)
    silent = {"messages": [user("a"), says(""), user("b"), says(" \n")], "tools": []}
    done = rows.tokenise([silent, LONG, {"messages": [user("a")], "tools": []}], tokenizer, 10_000)
    assert (len(done.rows), done.empty, done.too_long, done.cut) == (1, 2, 0, 0)


# ------------------------------------------------------------------ what can be wrong


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "{{ raise_exception('roles must alternate') }}" + text,
        lambda text: text.replace("m.content", "m.content.nothing.more"),
        lambda text: text + "{% if %}",
        lambda text: text.replace("{{ m.role }}", "{{ m.role + 1 }}"),
    ],
    ids=["raises", "undefined", "syntax", "type"],
)
def test_a_template_that_fails_is_told_without_what_it_was_given(spoil: Callable[[str], str], texts: list[str]) -> None:
    tokenizer = chats.a_tokenizer("hermes", "byte_level", texts)
    tokenizer.chat_template = spoil(tokenizer.chat_template)
    with pytest.raises(TemplateUnfit, match="the chat template fails with") as caught:
        rows.check_template(tokenizer)
    assert caught.value.code == "E7725"
    with pytest.raises(TemplateUnfit, match="fails on row 0") as caught:
        rows.tokenise([LONG], tokenizer, 10_000)
    assert "otter" not in str(caught.value)


def test_a_tokenizer_without_a_pad_token_pads_with_its_end_token_and_learns_it_all_the_same(
    texts: list[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: "model")
    chats.a_tokenizer("inst", "byte_level", texts, eos_token="</s>", pad_token=None).save_pretrained(tmp_path / "eos")
    _, tokenizer = base.load(tmp_path / "eos")
    assert tokenizer.pad_token == "</s>"
    (row,) = rows.tokenise([LONG], tokenizer, 10_000).rows
    assert row.labels.count(tokenizer.eos_token_id) == 4
    chats.a_tokenizer("inst", "byte_level", texts, eos_token=None, pad_token=None).save_pretrained(tmp_path / "none")
    with pytest.raises(BaseIncomplete, match="neither a pad token nor an end token") as caught:
        base.load(tmp_path / "none")
    assert caught.value.code == "E7723"
