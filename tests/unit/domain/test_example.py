"""The extractor: what an example says, and what is measured where the events say nothing."""

import json
from typing import Any

import pytest

from l07.domain.example import (
    DIFFICULTY,
    EASY_BELOW,
    FEATURES,
    HARD_FROM,
    NoExample,
    TrainingExample,
    bucket,
    derive_domain,
    difficulty,
    extract,
    measure,
)
from tests.curation import a_conversation, a_score, a_trace


def extracted(trace: bytes, evaluation: bytes | None = None, key: str = "execution:1") -> TrainingExample:
    found = extract(
        key, trace, evaluation, score=90.0, confidence=0.8, trace_at=("execution.traces", 2, 7),
        evaluation_at=("evaluation.quality_scores", 1, 5) if evaluation else None, batch_id="default-3",
    )  # fmt: skip
    assert isinstance(found, TrainingExample), found
    return found


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}],
    }


def tool(content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "1", "content": content}


def test_a_trace_and_its_score_become_one_example() -> None:
    example = extracted(a_trace("1", goal="tidy the room"), a_score("1", 90.0, failure_classification=None))
    assert (example.goal, example.outcome, example.domain, example.task_id) == ("tidy the room", "success", "home", "1")
    assert (example.source, example.agent_id, example.quality_score, example.confidence) == (
        "/l02/agents",
        "a",
        90.0,
        0.8,
    )
    assert example.messages[1]["tool_calls"][0]["function"]["arguments"] == {"what": "sweep"}


def test_an_example_leads_back_to_its_events() -> None:
    trace = a_trace("1")
    origin = extracted(trace, a_score("1", 90.0)).provenance
    assert (origin.trace_event, origin.trace_source, origin.trace_at) == ("ex-1", "/l02/agents", "execution.traces:2:7")
    assert (origin.score_event, origin.score_at) == ("ev-1", "evaluation.quality_scores:1:5")
    assert origin.batch_id == "default-3"
    assert len(origin.trace_sha256) == 64


def test_a_trace_with_its_own_score_has_no_score_event() -> None:
    origin = extracted(a_trace("1", quality_score=90.0, confidence=0.8)).provenance
    assert (origin.score_event, origin.score_source, origin.score_at) == (None, None, None)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"messages": [{"role": "assistant", "content": "hello"}]}, "no_goal"),
        ({"outcome": None, "messages": a_conversation("hello", "look")[:-1]}, "no_outcome"),
    ],
)
def test_a_run_that_cannot_be_an_example_says_why(data: dict[str, Any], reason: str) -> None:
    found = extract(
        "execution:1", a_trace("1", **data), None, score=90, confidence=0.8, trace_at=("t", 0, 0), evaluation_at=None
    )
    assert found == NoExample("execution:1", reason)


def test_the_score_s_task_type_wins_over_the_trace_s() -> None:
    assert extracted(a_trace("1", task_type="a"), a_score("1", 90.0, task_type="b")).task_type == "b"
    assert extracted(a_trace("1", task_type="a"), a_score("1", 90.0)).task_type == "a"


@pytest.mark.parametrize(
    ("messages", "key", "task_type"),
    [
        (a_conversation("g"), "execution:1", "dialogue"),
        (a_conversation("g", "one"), "execution:1", "single_call"),
        (a_conversation("g", "one", "two"), "execution:1", "multi_step"),
        (a_conversation("g", "one", "two"), "plan:1", "planning"),
    ],
)
def test_a_task_type_that_nobody_names_is_what_the_run_did(messages: Any, key: str, task_type: str) -> None:
    assert extracted(a_trace("1", messages=messages), key=key).task_type == task_type


def test_runs_that_name_no_task_share_one_when_they_share_a_goal() -> None:
    one, same, other = (
        extracted(a_trace("1", goal=g, task_id=None)).task_id for g in ("Tidy  up", "tidy up", "wash up")
    )
    assert one == same != other


# ------------------------------------------------------------------ domain


@pytest.mark.parametrize(
    ("names", "domain"),
    [
        (["github.search", "github.open", "mail.send"], "github"),
        (["jira__create"], "jira"),
        (["execute_sql"], "sql"),
        (["run_bash"], "shell"),
        (["send_money"], "unknown"),
        ([], "unknown"),
    ],
)
def test_a_domain_that_nobody_names_follows_from_the_tools(names: list[str], domain: str) -> None:
    assert derive_domain([call(name) for name in names], ()) == domain


def test_the_event_s_domain_wins() -> None:
    assert extracted(a_trace("1", domain="airline")).domain == "airline"
    assert extracted(a_trace("1", domain=None)).domain == "unknown"


def test_without_calls_the_offered_tools_name_the_domain() -> None:
    assert derive_domain([], [{"type": "function", "function": {"name": "github.search"}}]) == "github"


# ------------------------------------------------------------------ measuring


def test_features_are_counted_from_the_run() -> None:
    talk = [
        {"role": "system", "content": "s" * 500},
        {"role": "user", "content": "goal"},
        call("a", x=1), tool("Error: unknown column"), call("a", x=1), tool(""), call("b"), tool("fine"),
        {"role": "assistant", "content": "answer"},
    ]  # fmt: skip
    found = measure(talk, "goal")
    assert tuple(found) == FEATURES
    assert (found["assistant_turns"], found["tool_calls"], found["distinct_tools"]) == (4, 3, 2)
    assert (found["goal_chars"], found["answer_chars"]) == (4, 6)
    assert found["error_output_share"] == found["empty_output_share"] == round(1 / 3, 6)
    assert (found["longest_repeat"], found["repeated_call_share"]) == (2, round(1 / 3, 6))
    assert found["trace_chars"] < 200  # the system prompt is not the run's doing


def test_nothing_measured_is_zero() -> None:
    assert set(measure([], "").values()) == {0.0}


def test_difficulty_is_between_0_and_1_and_grows_with_each_feature() -> None:
    base = dict.fromkeys(FEATURES, 0.0)
    assert difficulty(base) == 0.0
    assert difficulty(dict.fromkeys(FEATURES, 1e12)) == 1.0
    for name in DIFFICULTY:
        assert difficulty({**base, name: 1.0}) > 0.0


def test_buckets_have_stated_edges() -> None:
    assert [bucket(v) for v in (0.0, EASY_BELOW - 1e-9, EASY_BELOW, HARD_FROM - 1e-9, HARD_FROM, 1.0)] == [
        "easy", "easy", "medium", "medium", "hard", "hard",
    ]  # fmt: skip


def test_content_in_parts_is_measured_as_text() -> None:
    assert measure([{"role": "assistant", "content": [{"type": "text", "text": "hi"}]}], "")["answer_chars"] == len(
        json.dumps([{"type": "text", "text": "hi"}], separators=(",", ":"))
    )
