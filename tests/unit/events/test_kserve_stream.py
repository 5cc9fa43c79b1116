"""A streamed answer is the answer that came whole, wherever it was cut into parts; one without an end is none."""

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l07.events import normalise
from l07.events.dialects.common import Unusable
from l07.events.dialects.kserve import stream
from tests.unit.events.builders import an_event, tight

KIND = "org.kubeflow.serving.inference"
REQUEST = tight(an_event(f"{KIND}.request", {"messages": [{"role": "user", "content": "Go"}]}))


def sse(*chunks: Any, end: str = "\n", done: bool = True) -> str:
    said = [json.dumps(chunk, ensure_ascii=False) for chunk in chunks] + (["[DONE]"] if done else [])
    return "".join(f"data: {text}{end}{end}" for text in said)


def delta(finish: str | None = None, index: int = 0, **said: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": index, "delta": said, "finish_reason": finish}]}


def call(index: int | None, ident: str | None = None, **function: Any) -> dict[str, Any]:
    named = {"index": index, "id": ident, "function": function}
    return delta(tool_calls=[{name: value for name, value in named.items() if value is not None}])


def message(*chunks: Any, **more: Any) -> Any:
    return stream.joined(sse(*chunks, **more))["choices"][0]["message"]


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CALLS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["look", "book"]), "arguments": st.dictionaries(WORDS, WORDS, max_size=2)}
    ),
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(WORDS | st.none(), CALLS, st.integers(0, 10**9), st.sampled_from(["\n", "\r\n", "\r"]))
def test_in_whatever_parts_it_came_the_conversation_is_that_of_the_whole_answer(
    content: str | None, calls: list[dict[str, Any]], seed: int, end: str
) -> None:
    whole: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        whole["tool_calls"] = [
            {"id": f"c{n}", "type": "function", "function": {**one, "arguments": json.dumps(one["arguments"])}}
            for n, one in enumerate(calls)
        ]
    finish = "tool_calls" if calls else "stop"
    unary = an_event(f"{KIND}.response", {"choices": [{"message": whole, "finish_reason": finish}]})
    text = sse(*in_parts(whole, finish, random.Random(seed)), end=end)
    packed = base64.b64encode(text.encode()).decode()
    streamed = {**unary, "datacontenttype": "text/event-stream", "data_base64": packed}
    del streamed["data"]
    assert normalise.normalise_pair(REQUEST, tight(streamed)) == normalise.normalise_pair(REQUEST, tight(unary))


def in_parts(whole: dict[str, Any], finish: str, rng: random.Random) -> list[dict[str, Any]]:
    """The parts of each call in their order, those of different calls mixed."""
    queues = [[delta(content=piece) for piece in pieces(whole["content"], rng)]] if whole["content"] is not None else []
    for place, one in enumerate(whole.get("tool_calls", ())):
        first = call(place, one["id"], name=one["function"]["name"], arguments="")
        queues.append([first, *(call(place, arguments=p) for p in pieces(one["function"]["arguments"], rng))])
    out = [delta(role="assistant")]
    while queues := [queue for queue in queues if queue]:
        out.append(rng.choice(queues).pop(0))
    return [*out, delta(finish), {"id": "c", "choices": [], "usage": {"total_tokens": 1}}]


def pieces(text: str, rng: random.Random) -> Iterator[str]:
    while text:
        at = rng.randint(1, len(text))
        yield text[:at]
        text = text[at:]
    yield ""


def test_comments_other_fields_and_data_of_several_lines_are_read_as_the_standard_says() -> None:
    text = ': hi\n\nevent: message\nid: 7\nretry: 9\ndata: {"choices":\ndata:[{"delta":{"content":"Go"},"finish_reason":"stop"}]}\n\n'
    assert stream.joined(text)["choices"][0]["message"]["content"] == "Go"
    assert stream.joined("\ufeff" + text.rstrip("\n"))["choices"][0]["message"]["content"] == "Go"


def test_an_end_is_a_reason_to_end_or_the_last_word() -> None:
    assert message(delta(content="Go"), delta("stop"), done=False)["content"] == "Go"
    assert message(delta(content="Go"))["content"] == "Go"
    with pytest.raises(Unusable, match="cut_stream"):
        message(delta(content="Go"), done=False)


def test_calls_that_come_whole_and_without_an_index_are_told_apart_by_their_ids() -> None:
    said = message(
        call(None, "a", name="x", arguments="{"), call(None, arguments="}"), call(None, "b", name="y", arguments="{}")
    )
    assert [(one["id"], one["function"]) for one in said["tool_calls"]] == [
        ("a", {"name": "x", "arguments": "{}"}),
        ("b", {"name": "y", "arguments": "{}"}),
    ]


def test_a_function_call_of_old_and_a_refusal_come_in_parts_too() -> None:
    parts = [
        delta(function_call={"name": "go", "arguments": "{"}),
        delta(function_call={"arguments": "}"}),
        delta("function_call"),
    ]
    assert message(*parts)["function_call"] == {"name": "go", "arguments": "{}"}
    assert message(delta(refusal="N"), delta("stop", refusal="o"))["refusal"] == "No"


@pytest.mark.parametrize(
    ("reason", "chunks"),
    [
        ("broken_stream", [call(0, "a", name="x"), call(0, "b")]),
        ("broken_stream", [call(0, "a", name="x"), call(0, name="y")]),
        ("broken_stream", [call(0, "a", name="x", arguments={"n": 1})]),
        ("broken_stream", [call("0", "a", name="x")]),  # type: ignore[arg-type]
        ("broken_stream", [delta(content=["Go"])]),
        ("broken_stream", [delta("stop"), delta(content="more")]),
        ("broken_stream", [delta("stop"), delta("length")]),
        ("broken_stream", [{"choices": {}}]),
        ("broken_stream", [{"choices": [{"delta": "Go"}]}]),
        ("broken_stream", [["no", "object"]]),
        ("unsupported_payload", [{"type": "content_block_delta"}]),
    ],
)
def test_parts_that_do_not_fit_together_are_a_reason(reason: str, chunks: list[Any]) -> None:
    with pytest.raises(Unusable, match=reason):
        stream.joined(sse(*chunks))


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "x", "stop", "{"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    "id choices index delta text content role tool_calls function name arguments error finish_reason".split()
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=15,
    ),
    st.binary(max_size=5),
)
def test_a_stream_of_anything_is_a_run_or_a_reason(chunk: Any, tail: bytes) -> None:
    raw = sse(delta(content="Go"), {"choices": [chunk]}, chunk, delta("stop")).encode() + tail
    event = {**an_event(f"{KIND}.response", {}), "datacontenttype": "text/event-stream"}
    event["data_base64"] = base64.b64encode(raw).decode()
    del event["data"]
    said = normalise.normalise_pair(REQUEST, tight(event))
    assert said.reason or said.messages
