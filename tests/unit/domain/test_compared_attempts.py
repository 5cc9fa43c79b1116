"""What of two runs is compared: where they part, by what was said and not by ids, or all that came after the prompt."""

from typing import Any

import pytest

from l07.domain.attempts import attempt_of, cut, pair_row, prompts_of, row_as_said
from l07.domain.preference import Attempt, PreferenceRules, candidate_pairs, preference_pairs

Row = dict[str, Any]
ASK = {"role": "user", "content": "cancel otter-42"}


def call(name: str, ident: str = "c1", **arguments: str) -> Row:
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": ident, "type": "function", "function": function}]}


def output(text: str, ident: str = "c1") -> Row:
    return {"role": "tool", "tool_call_id": ident, "content": text}


def said(text: str) -> Row:
    return {"role": "assistant", "content": text}


def a_row(key: str, *messages: Row, score: float = 90.0, **changes: Any) -> Row:
    decision = "ACCEPT" if score >= 70 else "REJECT"
    row = {
        "key": key, "messages": [ASK, *messages], "tools": [], "decision": decision, "reasons": [],
        "quality_score": score, "confidence": 0.9, "split": "train", "domain": "shop", "task_id": "t1",
    }  # fmt: skip
    return {**row, **changes}


def pairs(good: Row, bad: Row, compare: Any = "turn") -> list[Row]:
    rules = PreferenceRules(compare=compare, balance_length=False)
    attempts = [attempt for row in (good, bad) if (attempt := attempt_of(row))]
    found = preference_pairs(candidate_pairs(attempts, rules), rules)
    rows = {"good": good, "bad": bad}
    return [pair_row(pair, rows[pair.chosen.key], rows[pair.rejected.key]) for pair in found]


GOOD = a_row("good", call("look", key="1"), output("open"), call("cancel", key="1"), output("ok"), said("Done."))
BLIND = a_row("bad", call("cancel", key="1"), output("refused"), said("I could not."), score=10.0)
WRONG = a_row("bad", call("look", "x9", key="1"), output("open", "x9"), call("hand_over", key="1"), score=10.0)


def test_what_is_compared_is_the_first_turn_that_differs() -> None:
    (pair,) = pairs(GOOD, BLIND)
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == ([ASK], [GOOD["messages"][1]], [BLIND["messages"][1]])


def test_turns_that_went_alike_become_the_prompt_whatever_their_ids() -> None:
    (pair,) = pairs(GOOD, WRONG)
    assert pair["prompt"] == GOOD["messages"][:3]
    assert [pair[side][0]["tool_calls"][0]["function"]["name"] for side in ("chosen", "rejected")] == [
        "cancel",
        "hand_over",
    ]


def test_what_came_after_goes_with_it_unless_the_turn_alone_is_compared() -> None:
    (pair,) = pairs(GOOD, WRONG, "rest")
    assert pair["prompt"] == GOOD["messages"][:3]
    assert (pair["chosen"], pair["rejected"]) == (GOOD["messages"][3:], WRONG["messages"][3:])


@pytest.mark.parametrize(
    "bad",
    [
        a_row("bad", call("look", key="1"), output("gone"), said("It is gone."), score=10.0),
        a_row("bad", call("look", key="1"), output("open"), score=10.0),
    ],
    ids=["the world answered otherwise", "one run ended"],
)
def test_runs_that_part_for_no_deed_of_the_agent_are_no_pair(bad: Row) -> None:
    assert pairs(GOOD, bad) == []
    assert len(pairs(GOOD, bad, "run")) == 1


def test_a_comparison_of_runs_holds_all_that_came_after_the_prompt() -> None:
    (pair,) = pairs(GOOD, WRONG, "run")
    assert (pair["prompt"], pair["chosen"]) == ([ASK], GOOD["messages"][1:])
    assert pair["rejected"] == WRONG["messages"][1:]


@pytest.mark.parametrize("compare", ["turn", "rest"])
def test_the_length_of_a_pair_is_that_of_the_turn_in_which_it_parts(compare: Any) -> None:
    rules = PreferenceRules(compare=compare)
    attempts = [attempt_of(row) for row in (GOOD, BLIND)]
    (pair,) = candidate_pairs([attempt for attempt in attempts if attempt], rules)
    assert (pair.chosen.length, pair.rejected.length) == (len('look{"key":"1"}'), len('cancel{"key":"1"}'))


def test_what_came_after_the_last_answer_is_in_no_completion() -> None:
    halves = cut(a_row("k", call("look", key="1"), output("open")))
    assert (halves["prompt"], halves["completion"]) == ([ASK], [call("look", key="1")])


@pytest.mark.parametrize(
    "row",
    [
        a_row("k"),
        a_row("k", said("Hi."), decision="REVIEW"),
        a_row("k", said("Hi."), reasons=["doubtful_label"]),
        a_row("k", said("Hi."), score=5.0, reasons=["low_score", "low_confidence"]),
    ],
    ids=["never answered", "in review", "doubted", "unsure"],
)
def test_a_row_that_says_nothing_takes_no_part(row: Row) -> None:
    assert attempt_of(row) is None
    assert isinstance(attempt_of(a_row("k", said("Hi."))), Attempt)


def test_a_policy_is_asked_where_the_agent_called_a_tool_or_else_where_it_spoke() -> None:
    assert prompts_of(GOOD) == [1, 3]
    assert prompts_of(a_row("k", said("Hi."), ASK, said("Ho."))) == [1, 3]


def test_a_stored_row_is_read_as_it_was_said() -> None:
    stored = {"role": "assistant", "content": None, "name": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}  # fmt: skip
    row = row_as_said({"key": "k", "messages": [stored], "tools": "[]"})
    function = {"name": "f", "arguments": {"a": 1}}
    assert row == {
        "key": "k",
        "tools": [],
        "messages": [{"role": "assistant", "content": None, "tool_calls": [{"function": function}]}],
    }
