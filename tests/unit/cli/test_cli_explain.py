"""`l07 explain`: a run at each place where it can stand, and what nobody knows."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from cli_builders import a_loop, record_entries

from l07.backends.lock import DataLock
from l07.backends.open import open_buffer
from l07.backends.parquet import read_members
from l07.cli.explain import conclusion, story_of
from l07.settings import Settings
from tests.contracts.buffer_kit import Feeder
from tests.contracts.buffer_kit import a_trace as half
from tests.curation import a_score, a_task_each, a_trace

STORY: dict[str, Any] = {"events": [], "dead_letters": [], "buffer": None, "batches": [], "datasets": []}


def send(l07: Callable[..., Any], lines: Iterable[bytes]) -> None:
    Path("e").write_bytes(b"".join(line + b"\n" for line in lines))
    assert l07("send", "e", "--data-dir", "d").status == 0


def told(l07: Callable[..., Any], ident: str, *options: str) -> dict[str, Any]:
    said = l07("explain", ident, "--data-dir", "d", "--json", *options)
    assert said.status == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_an_id_that_nobody_knows_is_said_with_what_was_looked_through(l07) -> None:
    send(l07, [a_trace("r1")])
    said = l07("explain", "r2", "--data-dir", "d")
    assert said.status == 1
    assert "E7903" in said.err
    assert "1 records" in said.err
    assert "E7903" in l07("explain", "r1", "--data-dir", "nowhere").err
    assert not Path("nowhere").exists()


def test_what_was_sent_and_not_read_is_on_the_bus(l07) -> None:
    send(l07, [a_trace("r1"), a_score("r1", 80.0), a_trace("r10")])
    story = told(l07, "r1")
    assert story["now"] == "on the bus, and not read yet"
    assert sorted((event["part"], event["use"]) for event in story["events"]) == [
        ("score", "not read yet"),
        ("trace", "not read yet"),
    ]
    assert story["id"] == "execution:r1"
    assert "E7903" in l07("explain", "r1", "--data-dir", "d", "--no-scan").err


def test_an_id_that_needs_escapes_in_json_is_found(l07) -> None:
    for ident in ('say "hi"', "läuft/1"):
        send(l07, [a_trace(ident)])
        assert [event["part"] for event in told(l07, ident)["events"]] == ["trace"]
        assert told(l07, f"execution:{ident}")["id"] == f"execution:{ident}"


@pytest.mark.slow
def test_a_whole_run_tells_where_each_of_its_runs_stands(l07) -> None:
    rows = a_task_each(40)
    lines = [line for row in rows for line in (row.trace, row.evaluation or b"")]
    lines += [a_trace("low"), a_score("low", 20.0), a_trace("waits"), a_score("alone", 90.0)]
    lines += [rows[0].trace, a_score("e000", 95.0, 0.99), b'{"execution_id": "broken", ']
    send(l07, lines)
    assert l07("run", "--until", "dataset", "--data-dir", "d").status == 0

    kept = told(l07, "e000")
    (version,) = kept["datasets"]
    assert kept["now"].startswith(f"in {version['table']} of default:1.0.0: ACCEPT")
    assert version["change"] == f"came into {version['table']}"
    assert version["scores"]
    assert (version["group_tasks"], version["group_rows"]) == ([version["task"]], 1)
    assert sorted(event["use"] for event in kept["events"]) == [
        "counts", "counts", "passed over: a repeat, or another counts more", "passed over: a repeat, or another counts more",
    ]  # fmt: skip
    assert next(e for e in kept["events"] if e["part"] == "score" and e["use"] == "counts")["score"] == 95.0
    assert kept["buffer"]["state"] == "released"
    assert [entry["kind"] for entry in kept["batches"][0]["entries"]] == ["dataset.created"]
    assert told(l07, "e000", "--no-scan")["datasets"] == kept["datasets"]

    assert told(l07, "low")["now"] == "in contrast of default:1.0.0: REJECT (low_score)"
    waits = told(l07, "waits")
    assert waits["now"].startswith("still waiting since 20")
    assert "for its score; it expires 7 days after that" in waits["now"]
    assert "for its trace" in told(l07, "alone")["now"]
    broken = told(l07, "broken")
    assert broken["now"] == "dead letter: nothing of it could be read"
    assert broken["dead_letters"][0]["code"].startswith("E70")
    assert l07("forget", "--execution", "e001", "--data-dir", "d").status == 0
    assert told(l07, "e001")["now"] == "erased by `l07 forget`, and kept out for ever"
    assert told(l07, "e001")["datasets"] == []
    text = l07("explain", "e000", "--data-dir", "d").out
    assert text.startswith("execution:e000: in ")
    assert "datasets" in text


@pytest.mark.slow
async def test_it_reads_beside_a_run_what_it_reads_after_it(tmp_path) -> None:
    settings = Settings(data_dir=tmp_path / "d")
    with DataLock(settings.data_dir):
        async with open_buffer(settings) as buffer:
            await Feeder(buffer)(half("1"))
            beside = await story_of(settings, "1", scan=True, tell=lambda read: None)
    after = await story_of(settings, "1", scan=True, tell=lambda read: None)
    assert beside == after
    assert beside["now"].startswith("still waiting since ")


def a_line(version: str, table: str, **said: Any) -> dict[str, Any]:
    return {"version": version, "table": table, "decision": "ACCEPT", "reasons": [], "events": []} | said


@pytest.mark.parametrize(
    ("story", "now"),
    [
        ({"buffer": {"state": "full"}}, "rejected by a gate, when its batch kept no more"),
        ({"buffer": {"state": "expired"}}, "expired: its other half did not come in time"),
        ({"buffer": {"state": "open", "batch": "default-2", "gates": "ACCEPT"}}, "joined, in the open batch default-2; the gates say ACCEPT"),
        (
            {
                "buffer": {"state": "sealed", "batch": "b-1", "gates": "REJECT", "reasons": ["low_score"]},
                "batches": [{"batch": "b-1", "entries": [{"kind": "batch.pending", "message": "3 groups"}]}],
            },
            "in batch b-1, which waits: 3 groups; the gates say REJECT (low_score)",
        ),
        ({"buffer": {"state": "released", "batch": "b-1"}}, "in batch b-1, released and in no dataset yet"),
        ({"events": [{"use": "ignored", "why": "no_track"}]}, "read and left aside: no_track"),
        ({"events": [{"use": "read"}]}, "read, and forgotten since"),
        ({"datasets": [a_line("d:1.0.0", "train"), a_line("d:1.0.1", "", reasons=["split_conflict"])]},
         "known to d:1.0.1, and in no table of it: ACCEPT (split_conflict)"),
    ],
)  # fmt: skip
def test_the_conclusion_is_one_sentence(story, now) -> None:
    assert conclusion(STORY | story, Settings()).startswith(now)


@pytest.mark.slow
def test_jobs_and_models_that_learnt_from_it_are_named(l07) -> None:
    send(l07, [line for row in a_task_each(40) for line in (row.trace, row.evaluation or b"")])
    assert l07("run", "--until", "dataset", "--data-dir", "d").status == 0
    queued = {
        "track": "default",
        "queued": "default:1.0.0#aa.1",
        "job_id": "job-1",
    }  # asked for by hand: the version is small
    record_entries(Path("d"), "jobs", ("job.attempt", "default:1.0.0#aa.1/job-1/1", queued))
    model = {
        "model": "default",
        "version": "1.0.0",
        "digest": "m1",
        "uri": "models/default/1.0.0",
        "base_model": "tiny-base",
    }
    body = {"subject": "models/default:1.0.0", "data": model | {"lineage": {"job_id": "job-1", "dataset_digest": "d1"}}}
    record_entries(Path("d"), "registry", ("model.registered", "default:1.0.0", body))
    members = read_members(Path("d/datasets/default/1.0.0"))
    one_of = {member["table"]: member["key"] for member in members}
    trained, tested = (told(l07, one_of[table], "--no-scan") for table in ("train", "test"))
    assert ([job["id"] for job in trained["jobs"]], [m["id"] for m in trained["models"]]) == (
        ["job-1"],
        ["default:1.0.0"],
    )
    assert (tested["jobs"], tested["models"]) == ([], [])


def test_a_version_whose_files_are_gone_is_passed_over(l07) -> None:
    a_loop(Path("d"))
    send(l07, [a_trace("r1")])
    assert told(l07, "r1")["datasets"] == []
