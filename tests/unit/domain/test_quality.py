"""Completeness and gates: every reason is named, none is a rule that good runs of a source break."""

from dataclasses import replace
from typing import Any

import pytest

from l07.domain.example import Provenance, TrainingExample
from l07.domain.quality import COMPLETENESS, Verdict, completeness, judge

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}


def an_example(*messages: dict[str, Any], goal: str = "do it") -> TrainingExample:
    origin = Provenance("e", "/s", "t:0:0", None, None, None, "0" * 64)
    return TrainingExample(
        key="execution:1", messages=messages, tools=(), goal=goal, outcome="success", domain="d", task_type="t", task_id="1",
        agent_id="a", source="/s", difficulty=0.5, quality_score=90.0, confidence=0.9, provenance=origin,
    )  # fmt: skip


def said(**more: Any) -> dict[str, Any]:
    return {"role": "assistant", **more}


@pytest.mark.parametrize(
    ("messages", "reasons"),
    [
        ((said(content="hi"),), ()),
        ((said(tool_calls=[CALL]), {"role": "tool", "content": "x"}), ()),
        ((said(content="hi"), {"role": "user", "content": "###STOP###"}), ()),
        ((), ("no_assistant_turn",)),
        ((said(content=""), {"role": "user", "content": "x"}), ("no_assistant_turn",)),
        ((said(tool_calls=[{"function": {"name": "f", "arguments": "{"}}]),), ("malformed_call",)),
        ((said(tool_calls=[{"function": {"name": "", "arguments": {}}}]),), ("malformed_call",)),
        ((said(tool_calls=[{}]),), ("malformed_call",)),
        (({"role": "tool", "content": "x"}, said(content="hi")), ("answer_without_call",)),
    ],
)
def test_every_lack_has_its_reason(messages: Any, reasons: tuple[str, ...]) -> None:
    assert completeness(an_example(*messages)) == reasons
    assert set(reasons) <= COMPLETENESS


def test_a_call_of_a_tool_that_was_not_offered_is_a_lack_where_tools_are_named() -> None:
    called = an_example(said(tool_calls=[CALL]))
    g, f = ({"type": "function", "function": {"name": name}} for name in "gf")
    assert completeness(replace(called, tools=(g,))) == ("unknown_tool",)
    assert completeness(replace(called, tools=(g, f))) == ()
    assert completeness(replace(called, tools=(g, {"name": "f"}))) == ()


def test_a_blank_goal_is_a_lack() -> None:
    assert completeness(an_example(said(content="hi"), goal="  ")) == ("no_goal",)


def test_gates_and_lacks_are_named_together() -> None:
    good = an_example(said(content="hi"))
    assert judge(good, "ACCEPT", ()) == Verdict("ACCEPT")
    assert judge(good, "REJECT", ("quality_score",)) == Verdict("REJECT", ("quality_score",))
    assert judge(replace(good, messages=()), "ACCEPT", ()) == Verdict("REJECT", ("no_assistant_turn",))
    assert judge(replace(good, messages=()), "REJECT", ("confidence",)).reasons == ("confidence", "no_assistant_turn")
