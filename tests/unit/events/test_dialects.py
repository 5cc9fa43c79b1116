"""Whatever the dialect, a run becomes one conversation; what cannot be learnt from has a reason and is no error."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l07.errors import BadEvent
from l07.events import inbound, normalise
from tests.unit.events.builders import STEPS, a_score, a_trace, an_event, decoded, tight

WIRE = Path(__file__).parents[2] / "corpus" / "wire"
GOLDEN = sorted((WIRE / "golden").glob("*.json"))
PAIRS = sorted((WIRE / "pairs").glob("*.json"))


def talk(**data: Any) -> normalise.Conversation:
    return normalise.normalise(
        tight(an_event("execution.completed", {"execution_id": "e", "outcome": "success", **data}))
    )


def a_chat(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "Go"}, *messages]


def a_call(arguments: Any, **more: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "go", "arguments": arguments}, **more}],
    }


@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_golden(path: Path) -> None:
    golden = json.loads(path.read_text("utf-8"))
    event = decoded(golden["event"])
    assert isinstance(event, inbound.Trace)
    conversation = normalise.normalise(event.body)
    assert json.loads(json.dumps(msgspec.structs.asdict(conversation))) == golden["conversation"]
    assert event.dialect == conversation.dialect
    assert event.reason in ("", conversation.reason)


@pytest.mark.parametrize("path", PAIRS, ids=[path.stem for path in PAIRS])
def test_golden_pair(path: Path) -> None:
    golden = json.loads(path.read_text("utf-8"))
    request, response = decoded(golden["request"]), decoded(golden["response"])
    assert isinstance(request, inbound.Payload)
    assert isinstance(response, inbound.Payload)
    conversation = normalise.normalise_pair(request.body, response.body)
    assert json.loads(json.dumps(msgspec.structs.asdict(conversation))) == golden["conversation"]
    for part in (response, request):
        assert part.reason in ("", conversation.reason)
        assert part.key == f"execution:{golden['request']['id']}"


def test_every_dialect_has_a_golden_file() -> None:
    assert {json.loads(path.read_text("utf-8"))["conversation"]["dialect"] for path in (*GOLDEN, *PAIRS)} == {
        "steps",
        "task_definition",
        "chat",
        "plans",
        "genai",
        "kserve",
    }


def genai(*messages: Any, **more: Any) -> dict[str, Any]:
    asked = {"role": "user", "parts": [{"type": "text", "content": "Go"}]}
    return {"gen_ai.input.messages": [asked, *messages], **more}


def test_of_several_spans_the_one_that_holds_most_of_the_run_counts() -> None:
    def span(answer: str, *before: str) -> dict[str, Any]:
        told = [{"role": "assistant", "parts": [{"type": "text", "content": text}]} for text in (*before, answer)]
        return {"attributes": genai(*told)}

    spans = [span("one"), span("three", "one", "two"), span("two", "one")]
    assert [message["content"] for message in talk(spans=spans).messages] == ["Go", "one", "two", "three"]


def test_an_error_of_a_call_that_was_tried_again_is_not_the_runs() -> None:
    answer = {"role": "assistant", "parts": [{"type": "text", "content": "Gone"}]}
    inner = {"attributes": {"error.type": "timeout"}, "parent_span_id": "a"}
    outer = {"attributes": genai(answer), "span_id": "a"}
    assert talk(outcome=None, spans=[inner, outer]).outcome == "Gone"
    failed = {"attributes": {**genai(answer), "error.type": "timeout"}}
    assert talk(outcome=None, spans=[inner, failed]).outcome == "error: timeout"


@pytest.mark.parametrize("kind", [[], {}, ["reasoning"], 7])
def test_a_kind_that_is_no_text_is_none_that_we_know(kind: Any) -> None:
    part = {"role": "assistant", "parts": [{"type": kind, "content": "Gone"}]}
    assert talk(attributes=genai(part)).reason == "unsupported_content"
    around = {"openinference.span.kind": kind, "input.value": "Go", "output.value": "Gone"}
    assert talk(attributes=around).reason == "no_messages"


def test_an_evaluation_is_a_share_and_needs_a_confidence_to_count() -> None:
    evaluated = {"name": "gen_ai.evaluation.result", "attributes": {"gen_ai.evaluation.score.value": 0.07}}
    data = {"execution_id": "e", "attributes": genai(), "events": [evaluated]}
    alone = decoded(an_event("execution.completed", data))
    sure = decoded(an_event("execution.completed", {**data, "confidence": 0.5}))
    assert isinstance(alone, inbound.Trace)
    assert isinstance(sure, inbound.Trace)
    assert (alone.score, alone.confidence) == (None, None)
    assert (sure.score, sure.confidence) == (7.0, 0.5)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["user", "x", "[]", "{", "tool_call"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    "role parts type content name id arguments attributes events key value llm.input_messages.0.message.role "
                    "gen_ai.input.messages arrayValue values llm tools input_messages message tool_calls".split()
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_attributes_of_any_form_are_a_run_or_a_reason(attributes: Any) -> None:
    conversation = talk(attributes=attributes, spans=[attributes, {"attributes": attributes, "events": attributes}])
    assert conversation.reason or conversation.messages


def test_with_several_dialects_chat_wins() -> None:
    assert talk(trace=STEPS, messages=a_chat({"role": "assistant", "content": "Gone"})).dialect == "chat"


@pytest.mark.parametrize(
    ("arguments", "read"), [('{"n": 1}', {"n": 1}), ({"n": 1}, {"n": 1}), ("", {}), (" ", {}), (None, {})]
)
def test_arguments_become_objects(arguments: Any, read: dict[str, Any]) -> None:
    conversation = talk(messages=a_chat(a_call(arguments, id="c")))
    assert conversation.messages[1]["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "go", "arguments": read}}
    ]


@pytest.mark.parametrize(
    "arguments", ["{n", "[1]", "7", '"x"', [1], 7, True, "1e999", '{"a":' * 70 + "1" + "}" * 70, "[" * 100_000]
)
def test_arguments_that_are_no_object_are_a_reason(arguments: Any) -> None:
    conversation = talk(messages=a_chat(a_call(arguments)))
    assert (conversation.reason, conversation.messages) == ("bad_arguments", ())


def test_an_answer_without_an_id_answers_the_first_open_call() -> None:
    calls = {
        "role": "assistant",
        "tool_calls": [{"id": i, "function": {"name": "go", "arguments": {}}} for i in ("a", "b")],
    }
    said = talk(
        messages=a_chat(
            calls, {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}, {"role": "tool", "content": "3"}
        )
    )
    assert [message["tool_call_id"] for message in said.messages[2:]] == ["a", "b", ""]


def test_a_refusal_is_what_the_assistant_says() -> None:
    assert (
        talk(messages=a_chat({"role": "assistant", "content": None, "refusal": "No."})).messages[1]["content"] == "No."
    )


@pytest.mark.parametrize(
    ("said", "outcome"), [(True, "success"), (False, "failure"), ({"b": 1, "a": 2}, '{"a":2,"b":1}'), ("done", "done")]
)
def test_an_outcome_is_text(said: Any, outcome: str) -> None:
    assert talk(trace=STEPS, outcome=said).outcome == outcome


def test_the_answer_is_the_outcome_of_a_run_that_names_none() -> None:
    assert talk(trace=STEPS, outcome=None).outcome == "1"


def test_a_goal_of_data_counts_where_the_dialect_has_none() -> None:
    assert talk(trace={**STEPS, "task_description": " "}, goal="Count").goal == "Count"
    assert talk(messages=[{"role": "assistant", "content": "Hi"}], task_description="Greet").goal == "Greet"


def test_of_a_plan_the_plan_is_the_answer() -> None:
    body = tight(
        an_event(
            "planning.completed",
            {"plan_id": "p", "plan": {"task_description": "x", "steps": ["a"], "expected_outcome": "y"}},
        )
    )
    said = normalise.normalise(body)
    assert [message["role"] for message in said.messages] == ["user", "assistant"]
    assert said.final_answer == "1. a"


def test_a_score_is_read_from_a_score_and_from_a_trace() -> None:
    score = normalise.read_score(
        tight(a_score(failure_classification={"kind": "timeout"}, model_version="m:1", task_type="sql"))
    )
    assert (score.quality_score, score.confidence, score.evaluation_id) == (90.5, 0.9, "q1")
    assert (score.failure, score.model_version, score.task_type, score.event_id, score.source) == (
        '{"kind":"timeout"}',
        "m:1",
        "sql",
        "1",
        "/test",
    )
    own = normalise.read_score(tight(a_trace(quality_score=1, confidence_level=0.5)))
    assert (own.quality_score, own.confidence, own.evaluation_id, own.failure) == (1.0, 0.5, "", None)
    none = normalise.read_score(tight(a_trace()))
    assert (none.quality_score, none.confidence) == (None, None)


SCALARS = st.sampled_from([None, "", " ", "x", "{}", 1, 1.5, True, [], {}, ["x"], {"a": 1}])
KEYS = [
    "goal", "outcome", "final_answer", "trace", "steps", "messages", "role", "content", "tool_calls", "function", "name", "arguments", "task_definition",
    "execution_trace", "action", "parameters", "plan", "planning_trace", "context", "tools", "tool_name", "output", "task_description",
]  # fmt: skip
SHAPES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), SHAPES, max_size=6), st.sampled_from(["user", "assistant", "tool"]))
def test_what_was_decoded_is_always_normalised(data: dict[str, Any], role: str) -> None:
    data = {**data, "execution_id": "e"}
    if isinstance(data.get("messages"), list):
        data["messages"] = [
            {"role": role, **message} if isinstance(message, dict) else message for message in data["messages"]
        ]
    try:
        event = decoded(an_event("execution.completed", data))
    except BadEvent:
        return
    assert isinstance(event, inbound.Trace)
    conversation = normalise.normalise(event.body)
    assert event.reason in ("", conversation.reason)
    assert conversation.reason or (
        conversation.goal.strip() and conversation.outcome.strip() and len(conversation.messages) > 1
    )
