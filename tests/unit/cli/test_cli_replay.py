"""`l07 replay`: what goes where once more, what it says, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli_builders import an_event, ids, lines, publish, records

from l07.events.record import Message

D = Path("d")
RUNS = 4


def a_trace(n: int) -> dict[str, Any]:
    data = {
        "execution_id": f"run-{n}",
        "messages": [{"role": "user", "content": f"do {n}"}, {"role": "assistant", "content": "done"}],
    }
    return an_event("execution.completed", n, data={**data, "outcome": "success"})


def a_score(n: int) -> dict[str, Any]:
    return an_event(
        "evaluation.completed", n, data={"execution_id": f"run-{n}", "quality_score": 90, "confidence": 0.9}
    )


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines(*(make(n) for n in range(RUNS) for make in (a_trace, a_score))))
    return path


@pytest.fixture
def sent(l07: Any, events: Path) -> None:
    assert l07("send", events, "--data-dir", "d").status == 0


def told(said: Any) -> Any:
    assert said.status == 0, said.err
    return json.loads(said.out)


def replayed(l07: Any, *words: object) -> Any:
    return told(l07("replay", *words, "--data-dir", "d", "--json"))


def test_a_dry_run_counts_and_changes_nothing(l07: Any, sent: None) -> None:
    found = replayed(l07, "--dry-run")
    assert found["types"] == {"evaluation.completed": RUNS, "execution.completed": RUNS}
    assert (found["read"], found["sent"], found["applied_before"]) == (2 * RUNS, 0, 0)
    assert not (D / "buffer").exists()


def test_a_buffer_that_is_empty_gets_everything_and_again_nothing(l07: Any, sent: None) -> None:
    first = replayed(l07)
    assert first["fates"]["applied"] == 2 * RUNS
    assert first["applied_before"] == 0
    again = replayed(l07)
    assert (again["fates"], again["applied_before"]) == ({}, 2 * RUNS)
    assert replayed(l07, "--dry-run")["applied_before"] == 2 * RUNS


def test_an_event_that_is_sent_again_is_counted_as_a_duplicate(l07: Any, events: Path, sent: None) -> None:
    replayed(l07)
    assert replayed(l07, "--file", events)["sent"] == 2 * RUNS  # onto the folder's own bus, behind what lies there
    found = replayed(l07)
    assert (found["fates"], found["applied_before"]) == ({"duplicate": 2 * RUNS}, 2 * RUNS)


def test_a_lost_buffer_is_rebuilt_to_the_same_counters(l07: Any, sent: None) -> None:
    import shutil

    replayed(l07)
    before = told(l07("status", "--data-dir", "d", "--json"))
    shutil.rmtree(D / "buffer")
    replayed(l07)
    after = told(l07("status", "--data-dir", "d", "--json"))
    assert (after["events"], after["partitions"]) == (before["events"], before["partitions"])


def test_a_copy_is_equal_byte_for_byte(l07: Any, tmp_path: Path) -> None:
    originals = [
        Message("execution.traces", b"k%d" % n, b"\xff{%d" % n, ((b"h", None), (b"\xfe", b"1")), 1000 + n)
        for n in range(5)
    ]
    publish(D, *originals)
    replayed(l07, "--to-bus", f"sqlite:///{tmp_path}/other/bus.db", "--topics", "execution.traces")
    copies = records(tmp_path / "other", "execution.traces")
    assert sorted((r.key, r.value, r.headers, r.timestamp_ms) for r in copies) == sorted(
        (m.key, m.value, m.headers, m.timestamp_ms) for m in originals
    )


def test_a_filter_keeps_one_type(l07: Any, sent: None, tmp_path: Path) -> None:
    found = replayed(l07, "--to-bus", f"sqlite:///{tmp_path}/o/bus.db", "--filter", "type=evaluation.completed")
    assert (found["sent"], found["left_out"]) == (RUNS, RUNS)
    assert ids(records(tmp_path / "o", "evaluation.quality_scores")) == {
        f"evaluation.completed-{n}" for n in range(RUNS)
    }


def test_an_offset_and_a_time_say_where_it_begins(l07: Any) -> None:
    publish(D, *(Message("execution.traces", b"k", b"%d" % n, (), 1_700_000_000_000 + n) for n in range(10)))
    (partition,) = {r.partition for r in records(D, "execution.traces")}
    place = f"execution.traces:{partition}"
    assert replayed(l07, "--dry-run", "--topics", place, "--from", 7)["read"] == 3
    assert replayed(l07, "--dry-run", "--topics", place, "--from", "2023-11-14T22:13:20.004Z")["read"] == 6
    assert replayed(l07, "--dry-run", "--topics", place, "--from", "2100-01-01T00:00:00Z")["read"] == 0


def test_a_gap_is_refused_and_can_be_accepted(l07: Any, sent: None) -> None:
    replayed(l07)
    publish(D, *(Message("execution.traces", b"k", b"x%d" % n, (), 5) for n in range(6)))
    place = max(
        json.loads(l07("status", "--data-dir", "d", "--json").out)["partitions"].items(), key=lambda row: row[1]["lag"]
    )[0]
    end = len([r for r in records(D, "execution.traces") if str(r.tp) == place])
    said = l07("replay", "--topics", place, "--from", end - 1, "--data-dir", "d")
    assert (said.status, said.err[:5]) == (1, "E7907")
    moved = replayed(l07, "--accept-reset", "--topics", place, "--from", end - 1)["partitions"]
    assert [(row["partition"], row["now"]) for row in moved] == [(place, end - 1)]
    assert replayed(l07, "--topics", place, "--from", end - 1)["fates"] == {"dead_letter": 1}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--filter", "type=execution.completed"], "E7908"),
        (["--filter", "topic=x", "--dry-run"], "E7908"),
        (["--from", "yesterday"], "E7908"),
        (["--from", "2026-01-01T00:00:00"], "E7908"),
        (["--file", "e", "--from", "3"], "E7908"),
        (["--topics", "nowhere"], "E7909"),
        (["--to-bus", "amqp://x"], "E7501"),
        (["--file", "missing.jsonl"], "E7900"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_code(l07: Any, sent: None, words: list[str], code: str) -> None:
    said = l07("replay", *words, "--data-dir", "d")
    assert (said.status, said.err[:5]) == (1, code)
