"""Events in a list become examples; what cannot be read is counted with its code and costs nothing else."""

import json
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from service_builders import NOW, a_score, a_trace, examples_of, some_runs

from l07.domain.example import TrainingExample, extract
from l07.service.extracting import TrainingDataExtractor, as_row
from l07.settings import Settings


def test_a_dict_its_text_and_its_bytes_are_one_event() -> None:
    events = some_runs(3)
    texts = [json.dumps(event) for event in events]
    assert examples_of(events) == examples_of(texts) == examples_of([text.encode() for text in texts])
    assert [example.key for example in examples_of(events)] == ["execution:run-0", "execution:run-1", "execution:run-2"]


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ('{"specversion": "1.0", ', "E7005"),
        (b"\xff\xfe", "E7003"),
        ("", "E7000"),
        (None, "E7008"),
        (object(), "E7005"),
        ({**a_trace(9), "specversion": "0.3"}, "E7010"),
        ({name: value for name, value in a_trace(9).items() if name != "id"}, "E7009"),
        (a_score(9, quality=101), "E7020"),
        (a_score(9, quality=float("nan")), "E7007"),
        ({**a_trace(9), "data": {"execution_id": "\ud800"}}, "E7003"),
    ],
)
def test_a_bad_event_is_counted_with_its_code_and_loses_nothing_else(broken: object, code: str) -> None:
    extractor = TrainingDataExtractor()
    events = some_runs(2)
    found = extractor.extract([events[0], broken, *events[1:]], now=NOW)
    assert [example.key for example in found] == ["execution:run-0", "execution:run-1"]
    assert extractor.statistics()["errors"] == {code: 1}
    assert (extractor.statistics()["total_events"], extractor.statistics()["total_extracted"]) == (5, 2)


def test_parts_of_two_calls_are_not_joined() -> None:
    extractor = TrainingDataExtractor()
    assert extractor.extract([a_trace()], now=NOW) == []
    assert extractor.extract([a_score()], now=NOW) == []
    assert extractor.statistics()["waiting"] == 2


def test_a_run_that_can_be_no_example_is_counted_with_its_reason() -> None:
    extractor = TrainingDataExtractor()
    assert extractor.extract([a_trace(messages=[{"role": "assistant", "content": "hello"}]), a_score()], now=NOW) == []
    assert extractor.statistics()["reasons"] == {"no_goal": 1}


def test_every_track_is_read_because_the_caller_names_it_with_the_dataset() -> None:
    tracks = {"sql": {"match": {"domains": ["sql"]}}}
    extractor = TrainingDataExtractor(Settings.model_validate({"tracks": tracks}))
    assert len(extractor.extract(some_runs(1), now=NOW)) == 1


def test_an_example_leads_back_to_its_events_until_it_is_changed() -> None:
    extractor = TrainingDataExtractor()
    (example,) = extractor.extract(some_runs(1), now=NOW)
    row = extractor.row_of(example)
    assert row is not None
    assert json.loads(row.trace)["id"] == example.provenance.trace_event == "trace-0"
    assert extractor.row_of(replace(example, quality_score=71.0)) is None


def test_an_example_that_was_changed_becomes_the_row_of_what_it_says_now() -> None:
    (example,) = examples_of(some_runs(1))
    last = {"role": "assistant", "content": "Rain."}
    changed = replace(example, quality_score=71.0, messages=(*example.messages[:-1], last))
    row = as_row(changed, number=4, settings=Settings())
    numbers = {"score": row.score, "confidence": row.confidence}
    again = extract(row.key, row.trace, None, **numbers, trace_at=row.trace_at, evaluation_at=None)
    assert isinstance(again, TrainingExample)
    assert again.messages[-1]["content"] == "Rain."
    same = {"features": {}, "difficulty": 0.0, "provenance": example.provenance, "messages": ()}
    assert replace(again, **same) == replace(changed, **same)


def a_payload(part: str, body: Any) -> dict[str, Any]:
    kind = f"org.kubeflow.serving.inference.{part}"
    return {"specversion": "1.0", "type": kind, "source": "/kserve", "id": "run-0", "data": body}


ASKED = {"messages": [{"role": "user", "content": "add 1 and 2"}]}
ANSWERED = {"choices": [{"message": {"role": "assistant", "content": "3"}}]}
THREE = (a_payload("request", ASKED), a_payload("response", ANSWERED), a_score(0))


def test_request_response_and_score_are_one_example_in_every_order() -> None:
    settings = Settings.model_validate({"topics": {"payloads": "inference.logs"}})
    found = []
    for order in permutations(THREE):
        extractor = TrainingDataExtractor(settings)
        (example,) = extractor.extract([*order, *order], now=NOW)
        assert extractor.statistics()["duplicate"] == 3
        assert example.provenance.trace_at.count(" ") == 1
        row = extractor.row_of(example)
        assert row is not None
        assert row.request is not None
        found.append(replace(example, provenance=replace(example.provenance, trace_at="", score_at="")))
    assert all(one == found[0] for one in found)
    assert [message["content"] for message in found[0].messages] == ["add 1 and 2", "3"]


def test_two_parts_of_three_are_no_example() -> None:
    settings = Settings.model_validate({"topics": {"payloads": "inference.logs"}})
    for missing in range(3):
        extractor = TrainingDataExtractor(settings)
        assert extractor.extract([*THREE[:missing], *THREE[missing + 1 :]], now=NOW) == []
        assert extractor.statistics()["waiting"] == 1
