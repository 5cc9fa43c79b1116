"""What KServe's payload logger writes: request, response and score come in any order, and the dataset is the same."""

import base64
import json
from itertools import cycle, permutations
from pathlib import Path
from typing import Any

import pytest

from tests.story.test_loop import COUNTERS, asked, digests, l07

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RUNS = 18
NAMED = {"L07_TOPICS__PAYLOADS": "inference.logs"}


def an_event(kind: str, ident: str, **more: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "type": kind, "source": "http://localhost:9081/", "id": ident, **more}


def parts(number: int, *, streamed: bool = False) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Request, response, score of one run; every third response stands in base64. `streamed`: all do, in pieces."""
    ident, kind = f"run-{number}", "org.kubeflow.serving.inference"
    tool = {"type": "function", "function": {"name": "sql.query", "parameters": {"type": "object"}}}
    call = {"id": "c1", "type": "function", "function": {"name": "sql.query", "arguments": json.dumps({"n": number})}}
    said = [
        {"role": "user", "content": f"How many cars stand in garage {number} of the town?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": str(number)},
    ]
    answer = {"role": "assistant", "content": f"{number} cars stand there."}
    body = {"choices": [{"index": 0, "message": answer, "finish_reason": "stop"}]}
    packed = base64.b64encode(json.dumps(body).encode()).decode()
    request = an_event(f"{kind}.request", ident, data={"model": "m", "messages": said, "tools": [tool]})
    response = an_event(f"{kind}.response", ident, **({"data_base64": packed} if number % 3 == 0 else {"data": body}))
    if streamed:
        packed = base64.b64encode(in_pieces(answer["content"]).encode()).decode()
        response = an_event(f"{kind}.response", ident, data_base64=packed, datacontenttype="text/event-stream")
    score = an_event(
        "evaluation.completed",
        f"score-{number}",
        data={"execution_id": ident, "quality_score": 71 + number, "confidence": 0.9},
    )
    return request, response, score


def in_pieces(text: str) -> str:
    """As a server sends it that streams: a word an event."""
    deltas = [{"delta": {"content": word}} for word in text.split(" ")]
    for later in deltas[1:]:
        later["delta"]["content"] = f" {later['delta']['content']}"
    chunks = [*deltas, {"delta": {}, "finish_reason": "stop"}]
    said = [json.dumps({"id": "c", "choices": [{"index": 0, **chunk}]}) for chunk in chunks]
    return "".join(f"data: {one}\n\n" for one in [*said, "[DONE]"])


def played(folder: Path, orders: list[tuple[int, ...]], *, streamed: bool = False) -> tuple[Any, Any]:
    """Digests of the datasets, and the counters by topic."""
    ordered = [
        [parts(number, streamed=streamed)[place] for place in order]
        for number, order in zip(range(RUNS), cycle(orders), strict=False)
    ]
    ordered.append([parts(RUNS)[0]])  # its response never comes
    for turn in range(3):  # of each run one part: what is sent together has one record time, and then topics decide
        events = folder.with_suffix(f".{turn}.jsonl")
        events.write_text("".join(json.dumps(run[turn]) + "\n" for run in ordered if len(run) > turn), "utf-8")
        l07(folder, "send", events, **NAMED)
    l07(folder, "run", "--until", "dataset", **NAMED)
    status = asked(folder, "status", **NAMED)
    topics: dict[str, dict[str, int]] = {}
    for name, counted in status["partitions"].items():
        into = topics.setdefault(name.rpartition(":")[0], dict.fromkeys(COUNTERS, 0))
        for counter in COUNTERS:
            into[counter] += counted.get(counter, 0)
    return digests(folder), topics


def test_in_all_orders_of_the_three_parts_and_streamed_the_dataset_and_the_counters_are_the_same(
    tmp_path: Path,
) -> None:
    plain = played(tmp_path / "plain", [(0, 1, 2)])
    mixed = played(tmp_path / "mixed", list(permutations(range(3))))
    assert mixed == plain
    assert played(tmp_path / "streamed", [(0, 1, 2)], streamed=True) == plain
    ((version, _),) = plain[0]
    nothing = dict.fromkeys(COUNTERS, 0)
    assert plain[1]["inference.logs"] == {**nothing, "applied": 2 * RUNS, "waiting": 1}
    assert plain[1]["evaluation.quality_scores"] == {**nothing, "applied": RUNS}
    lineage = asked(tmp_path / "mixed", "datasets", "show", version, **NAMED)["lineage"]["events"]
    assert sum(n["records"] for place, n in lineage["partitions"].items() if place.startswith("inference")) == 2 * RUNS


def test_without_the_topics_name_nobody_reads_them_and_nothing_waits(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps(part) + "\n" for part in parts(1)[:2]), "utf-8")
    l07(tmp_path / "data", "send", events)
    l07(tmp_path / "data", "run", "--until", "dataset")
    status = asked(tmp_path / "data", "status")
    assert status["reasons"] == {"type_not_read": 2}
    assert status["events"]["rejected"] == 2
