"""Records become one batch: each item where it belongs, each part with its fence."""

import json
from typing import Any

from l07.events.record import Record, TopicPartition
from l07.pipeline.ingest import IngestRules, check_resume, ingest, ingest_rules, record_digest
from l07.ports import Half, Ignored, IngestBatch, Slice, Unreadable
from l07.settings import load_settings

TRACES = TopicPartition("execution.traces", 0)
SCORES = TopicPartition("evaluation.quality_scores", 1)


def rules(**overrides: Any) -> IngestRules:
    return ingest_rules(
        load_settings({}, overrides={name.replace("__", "."): v for name, v in overrides.items()}).settings,
        cluster="test",
    )


def an_event(type_: str, data: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "type": type_, "source": "/l02/agents", "id": "e-1", "data": data, **attributes}


def a_trace(execution: str = "x-1", **data: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "add 1 and 2"}, {"role": "assistant", "content": "3"}]
    return an_event(
        "execution.completed", {"execution_id": execution, "outcome": "success", "messages": messages, **data}
    )


def a_score(execution: str = "x-1", score: float = 90.0, confidence: float = 0.9) -> dict[str, Any]:
    return an_event(
        "evaluation.completed",
        {"execution_id": execution, "quality_score": score, "confidence": confidence, "evaluation_id": "ev-1"},
    )


def a_slice(tp: TopicPartition, *values: Any, start: int = 0) -> Slice:
    records = [
        Record(
            tp.topic,
            tp.partition,
            start + i,
            1_767_600_000_000 + i,
            None,
            v if isinstance(v, bytes) else json.dumps(v).encode(),
        )
        for i, v in enumerate(values)
    ]
    return Slice(tp, start, start + len(records), records)


def only(batch: IngestBatch) -> Any:
    (item,) = batch.items
    return item


def test_a_trace_becomes_a_half_of_its_run_on_the_first_track_that_takes_it() -> None:
    half = only(
        ingest(
            [a_slice(TRACES, a_trace("x-7", domain="sql"))],
            rules=rules(tracks__sql__match__domains=["sql"], tracks__rest__base_model="tiny-base"),
        )
    )
    assert isinstance(half, Half)
    assert (half.key, half.side, half.track, half.reason) == ("execution:x-7", "trace", "sql", "")


def test_a_trace_of_no_track_is_rejected_with_its_reason() -> None:
    item = only(ingest([a_slice(TRACES, a_trace(domain="law"))], rules=rules(tracks__sql__match__domains=["sql"])))
    assert isinstance(item, Ignored)
    assert item.reason == "no_track"


def test_a_score_becomes_the_other_half_with_both_numbers() -> None:
    half = only(ingest([a_slice(SCORES, a_score("x-7", 70.5, 0.61))], rules=rules()))
    assert isinstance(half, Half)
    assert (half.key, half.side, half.score, half.confidence, half.tiebreak) == (
        "execution:x-7",
        "score",
        70.5,
        0.61,
        "ev-1",
    )


def test_a_trace_with_its_own_score_is_both_halves() -> None:
    half = only(ingest([a_slice(TRACES, a_trace(quality_score=88.0, confidence=0.9))], rules=rules()))
    assert (half.side, half.score, half.confidence) == ("both", 88.0, 0.9)


def test_a_type_that_nobody_reads_is_ignored_with_its_reason() -> None:
    item = only(ingest([a_slice(TRACES, an_event("billing.paid", {}))], rules=rules()))
    assert item == Ignored(0, 0, "type_not_read")


def test_one_bad_record_costs_nothing_else() -> None:
    batch = ingest([a_slice(TRACES, a_trace("x-1"), b"{", a_trace("x-2"))], rules=rules())
    assert [type(item) for item in batch.items] == [Half, Unreadable, Half]
    letter = json.loads(batch.items[1].message.value)  # type: ignore[union-attr]
    assert letter["data"]["code"].startswith("E70")
    assert (letter["data"]["topic"], letter["data"]["partition"], letter["data"]["offset"]) == (
        "execution.traces",
        0,
        1,
    )


def test_the_same_bad_record_gives_the_same_dead_letter() -> None:
    one, two = (only(ingest([a_slice(TRACES, b"\xff")], rules=rules())) for _ in range(2))
    assert one == two


def test_a_large_bad_record_is_kept_by_place_and_digest_only() -> None:
    letter = json.loads(only(ingest([a_slice(TRACES, b"[" + b" " * 70_000)], rules=rules())).message.value)
    assert letter["data"]["raw"] is None
    assert letter["data"]["length"] == 70_001


def test_each_part_carries_its_fence_and_the_mark_of_its_last_record() -> None:
    traces, scores = a_slice(TRACES, a_trace(), a_trace("x-2"), start=5), a_slice(SCORES, a_score(), start=9)
    batch = ingest([traces, scores], rules=rules(), order=[scores.records[0], *traces.records])
    assert [(part.tp, part.start, part.next) for part in batch.parts] == [(TRACES, 5, 7), (SCORES, 9, 10)]
    assert batch.parts[0].last_digest == record_digest(traces.records[-1])
    assert [item.part for item in batch.items] == [1, 0, 0]


def test_an_empty_slice_still_moves_its_offset() -> None:
    batch = ingest([Slice(TRACES, 3, 8, [])], rules=rules())
    assert (batch.parts[0].start, batch.parts[0].next, batch.parts[0].last_digest) == (3, 8, b"")


def test_another_record_at_the_last_offset_is_noticed() -> None:
    record = a_slice(TRACES, a_trace()).records[0]
    assert check_resume(TRACES, record, record_digest(record))
    assert not check_resume(TRACES, record._replace(value=b"{}"), record_digest(record))
    assert check_resume(TRACES, None, b"\0" * 16)  # compaction or retention took it: nothing to compare


def test_a_review_is_checked_and_counted_and_changes_nothing_yet() -> None:
    def a_review(verdict: str) -> dict[str, Any]:
        return an_event("review.recorded", {"execution_id": "x-1", "verdict": verdict, "reviewer": "mia"})

    batch = ingest([a_slice(TRACES, a_review("reject"), a_review("maybe"))], rules=rules())
    assert batch.items[0] == Ignored(0, 0, "review")
    assert json.loads(batch.items[1].message.value)["data"]["code"] == "E7023"  # type: ignore[union-attr]


def test_which_types_are_reviews_is_a_setting() -> None:
    event = an_event("desk.judged", {"execution_id": "x-1", "verdict": "accept", "reviewer": "mia"})
    item = only(ingest([a_slice(TRACES, event)], rules=rules(types__review=["desk.judged"])))
    assert item == Ignored(0, 0, "review")


def test_the_same_place_in_a_topic_that_was_made_again_is_another_dead_letter() -> None:
    """Else one id would stand for two contents, and whoever drops repeats by id would drop the second."""
    old, new, again = (only(ingest([a_slice(TRACES, raw)], rules=rules())).message for raw in (b"{", b"[", b"{"))
    assert old == again
    assert old.key != new.key


def a_payload(part: str, body: Any, **attributes: Any) -> dict[str, Any]:
    return an_event(f"org.kubeflow.serving.inference.{part}", body, **attributes)


ASKED = {"messages": [{"role": "user", "content": "add 1 and 2"}]}
ANSWERED = {"choices": [{"message": {"role": "assistant", "content": "3"}, "finish_reason": "stop"}]}


def test_a_request_and_its_response_are_parts_of_one_run_once_their_topic_is_named() -> None:
    read = a_slice(TRACES, a_payload("request", ASKED), a_payload("response", ANSWERED))
    request, response = ingest([read], rules=rules(topics__payloads="inference.logs")).items
    assert isinstance(request, Half)
    assert isinstance(response, Half)
    assert (request.side, response.side) == ("request", "response")
    assert {(half.key, half.track, half.reason, half.score) for half in (request, response)} == {
        ("execution:e-1", "default", "", None)
    }
    assert request.content != response.content
    assert all(item.reason == "type_not_read" for item in ingest([read], rules=rules()).items)  # type: ignore[union-attr]


def test_a_payload_that_nobody_can_read_is_rejected_with_its_run_and_a_broken_one_is_a_dead_letter() -> None:
    read = a_slice(TRACES, a_payload("request", {"instances": [[1, 2]]}), a_payload("response", None))
    numbers, broken = ingest([read], rules=rules(topics__payloads="inference.logs")).items
    assert isinstance(numbers, Half)
    assert numbers.reason == "unsupported_payload"
    assert isinstance(broken, Unreadable)
    assert json.loads(broken.message.value)["data"]["code"] == "E7018"


def test_white_space_in_a_body_makes_no_other_request() -> None:
    wide = json.dumps(a_payload("request", ASKED), indent=1).encode()
    tight = json.dumps(a_payload("request", ASKED), separators=(",", ":")).encode()
    one, two = ingest([a_slice(TRACES, wide, tight)], rules=rules(topics__payloads="inference.logs")).items
    assert isinstance(one, Half)
    assert isinstance(two, Half)
    assert one.content == two.content


def test_a_response_of_a_source_that_no_track_takes_is_rejected() -> None:
    made = rules(topics__payloads="inference.logs", tracks__sql__match__sources=["/kserve"])
    read = a_slice(TRACES, a_payload("response", ANSWERED), a_payload("response", ANSWERED, source="/kserve"))
    other, ours = ingest([read], rules=made).items
    assert isinstance(other, Ignored)
    assert other.reason == "no_track"
    assert isinstance(ours, Half)
    assert ours.track == "sql"
