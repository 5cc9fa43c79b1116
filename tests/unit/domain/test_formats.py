"""Rows in the formats of other trainers: nothing that a format can hold is lost, what it cannot hold is said."""

import json
from typing import Any

import pytest

from l07.domain.formats import SHAPES, Shaped, Unfit, openai, sharegpt, trl
from tests.formats import openai_faults, sharegpt_faults

ASK = {"role": "user", "content": "how warm is it?"}
TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}


def a_call(ident: str | None = "c1", name: str = "look", **arguments: Any) -> dict[str, Any]:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*made: dict[str, Any], content: str | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(made)}


def answer(ident: str | None = "c1", content: str | None = "12") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": ident, "name": "look", "content": content}


def says(content: str | None = "12 degrees") -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def a_row(*messages: dict[str, Any], tools: Any = (TOOL,)) -> dict[str, Any]:
    return {
        "key": "execution:1",
        "messages": list(messages or (ASK, calls(a_call()), answer(), says())),
        "tools": list(tools),
    }


def shaped(name: str, row: Any) -> dict[str, Any]:
    made = SHAPES[name](row)
    assert isinstance(made, Shaped), made
    return made.row


def test_trl_gets_the_messages_as_they_are_and_tools_only_where_there_are_some() -> None:
    row = a_row()
    assert shaped("trl", row) == {"key": "execution:1", "messages": row["messages"], "tools": [TOOL]}
    assert "tools" not in shaped("trl", a_row(tools=()))


def test_an_openai_line_keeps_every_word_and_every_argument() -> None:
    deep = {"a": [1, {"b": "ü"}], "c": None}
    line = shaped("openai", a_row(ASK, calls(a_call(**deep), content="I look"), answer(), says()))
    assert openai_faults(line) == []
    assert [message.get("content") for message in line["messages"]] == [ASK["content"], "I look", "12", "12 degrees"]
    assert json.loads(line["messages"][1]["tool_calls"][0]["function"]["arguments"]) == deep
    assert line["tools"] == [TOOL]
    assert line["parallel_tool_calls"] is False


def test_openai_learns_that_calls_may_be_made_together() -> None:
    together = a_row(ASK, calls(a_call("a"), a_call("b")), answer("b"), answer("a"), says())
    line = shaped("openai", together)
    assert openai_faults(line) == []
    assert line["parallel_tool_calls"] is True


@pytest.mark.parametrize("ident", ["call_0", None])
def test_calls_that_share_an_id_are_numbered_with_their_answers(ident: str | None) -> None:
    line = shaped(
        "openai", a_row(ASK, calls(a_call(ident)), answer(ident), calls(a_call(ident)), answer(ident), says())
    )
    assert openai_faults(line) == []
    assert [m["tool_calls"][0]["id"] for m in line["messages"] if "tool_calls" in m] == ["call_1", "call_2"]


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("no_assistant_turn", a_row(ASK)),
        ("role", a_row({"role": "critic", "content": "x"}, says())),
        ("tool_name", a_row(ASK, calls(a_call(name="files.read")), answer(), says())),
        ("tool_name", a_row(ASK, says(), tools=[{"type": "function", "function": {"name": "x" * 65}}])),
        ("too_many_tools", a_row(ASK, says(), tools=[TOOL] * 129)),
        ("empty_turn", a_row(ASK, says(None))),
        ("unanswered_call", a_row(ASK, calls(a_call("a"), a_call("b")), answer("a"), says())),
        ("unanswered_call", a_row(ASK, answer("nobody"), says())),
        ("unanswered_call", a_row(ASK, calls(a_call("a"), a_call("a")), answer("a"), answer("a"), says())),
    ],
)  # fmt: skip
def test_what_openai_cannot_hold_is_left_out_with_its_reason(reason: str, row: Any) -> None:
    assert openai(row) == Unfit(reason)


def test_sharegpt_takes_turns_with_calls_and_observations() -> None:
    row = a_row({"role": "system", "content": "be brief"}, ASK, calls(a_call(city="Bern")), answer(), says())
    line = shaped("sharegpt", row)
    assert sharegpt_faults(line) == []
    assert [turn["from"] for turn in line["conversations"]] == ["human", "function_call", "observation", "gpt"]
    assert json.loads(line["conversations"][1]["value"]) == {"name": "look", "arguments": {"city": "Bern"}}
    assert (line["system"], json.loads(line["tools"])) == (
        "be brief",
        [{"name": "look", "description": "d", "parameters": {"type": "object", "properties": {}}}],
    )


def test_sharegpt_s_tools_have_what_its_formatter_looks_up_unasked() -> None:
    days = {"type": "integer", "enum": [1, "two", None]}
    tools = [{"name": "bare"}, {"name": "wait", "parameters": {"properties": {"days": days}, "required": ["days"]}}]
    line = shaped("sharegpt", a_row(tools=tools))
    assert sharegpt_faults(line) == []
    bare, wait = json.loads(line["tools"])
    assert bare["parameters"] == {"type": "object", "properties": {}}
    assert wait["parameters"]["required"] == ["days"]
    assert wait["parameters"]["properties"]["days"] == {"type": "integer", "enum": ["1", "two", "null"]}


def test_answers_to_calls_of_one_turn_are_one_observation_in_their_order() -> None:
    line = shaped(
        "sharegpt", a_row(ASK, calls(a_call("a"), a_call("b", x=1)), answer("a", "1"), answer("b", "2"), says())
    )
    assert sharegpt_faults(line) == []
    assert [call["arguments"] for call in json.loads(line["conversations"][1]["value"])] == [{}, {"x": 1}]
    assert json.loads(line["conversations"][2]["value"]) == ["1", "2"]


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("no_assistant_turn", a_row(ASK)),
        ("role", a_row(ASK, {"role": "system", "content": "late"}, says())),
        ("text_beside_calls", a_row(ASK, calls(a_call(), content="I look"), answer(), says())),
        ("empty_turn", a_row(ASK, says(None))),
        ("turn_order", a_row(ASK, ASK, says())),
        ("turn_order", a_row(says())),
        ("tool_schema", a_row(ASK, says(), tools=[{"name": "x", "parameters": {"properties": []}}])),
        ("tool_schema", a_row(ASK, says(), tools=[{"name": "x", "parameters": {"properties": {"a": True}}}])),
        (
            "tool_schema",
            a_row(ASK, says(), tools=[{"name": "x", "parameters": {"properties": {"a": {"items": [{}]}}}}]),
        ),
    ],
)
def test_what_sharegpt_cannot_hold_is_left_out_with_its_reason(reason: str, row: Any) -> None:
    assert sharegpt(row) == Unfit(reason)


@pytest.mark.parametrize("name", ["openai", "sharegpt"])
def test_turns_after_the_assistant_s_last_are_cut_and_noted(name: str) -> None:
    made = SHAPES[name](a_row(ASK, says(), {"role": "user", "content": "###STOP###"}))
    assert isinstance(made, Shaped)
    assert made.notes == ("cut_after_last_answer",)
    assert "###STOP###" not in json.dumps(made.row)
    assert "###STOP###" in json.dumps(shaped("trl", a_row(ASK, says(), {"role": "user", "content": "###STOP###"})))


def test_calls_of_a_run_that_names_no_tools_are_noted() -> None:
    assert SHAPES["openai"](a_row(tools=())).notes == ("calls_without_tool_list",)  # type: ignore[union-attr]


def test_no_shape_changes_the_row_it_is_given() -> None:
    row = a_row(ASK, calls(a_call(None)), answer(None), says())
    before = json.dumps(row)
    for shape in (trl, openai, sharegpt):
        shape(row)
    assert json.dumps(row) == before
