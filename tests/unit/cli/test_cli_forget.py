"""`l07 forget` as a person meets it: what it refuses, what a dry run leaves alone, what is already done."""

import gzip
import json
from pathlib import Path

import pytest
from cli_builders import a_letter, an_event, on_topic, publish, records

from l07.backends.lock import DataLock

D = Path("d")


def forget(l07, *words: object):
    return l07("forget", *words, "--data-dir", "d", "--json")


@pytest.mark.parametrize("words", [("--execution", ""), ("--subject", " "), ("--resume",)])
def test_an_order_that_names_nothing_is_refused(l07, words) -> None:
    said = forget(l07, *words)
    assert (said.status, said.err[:5]) == (1, "E7124")


def test_one_thing_is_named_at_a_time(l07) -> None:
    assert forget(l07, "--execution", "1", "--plan", "1").status == 2
    assert forget(l07).status == 2


def test_a_dry_run_counts_and_changes_nothing(l07) -> None:
    publish(D, on_topic("execution.traces", an_event()), a_letter(b'{"data":{"execution_id":"run-1",'))
    before = [record.value for topic in ("execution.traces", "learning.dlq") for record in records(D, topic)]
    found = json.loads(forget(l07, "--execution", "run-1", "--dry-run").out)
    assert (found["records"], found["letters"], found["versions"]) == (1, 1, {})
    assert before == [record.value for topic in ("execution.traces", "learning.dlq") for record in records(D, topic)]
    assert not (D / "ledgers" / "erasures").exists()


@pytest.mark.slow
def test_an_order_is_done_where_nothing_runs_and_names_nobody(l07) -> None:
    publish(D, on_topic("execution.traces", an_event(), key=b"run-1"), a_letter(b'{"data":{"execution_id":"run-1",'))
    publish(D, on_topic("execution.traces", an_event(number=2)))
    said = forget(l07, "--execution", "run-1", "--reason", "ticket 17")
    found = json.loads(said.out)
    assert (found["already"], found["left"], found["gone"]["records"]) == (False, [], 1)
    assert (found["gone"]["letters"], "run-1" in said.out + said.err) == (1, False)
    files = [path for path in D.rglob("*") if path.is_file()]
    assert [path.name for path in files if b"run-1" in path.read_bytes()] == []
    assert len(records(D, "execution.traces")) == 2
    assert json.loads(l07("dlq", "list", "--data-dir", "d", "--json").out)["dead_letters"] == []
    assert l07("ledger", "verify", "--data-dir", "d").status == 0
    again = json.loads(forget(l07, "--execution", "run-1").out)
    assert (again["already"], again["gone"]["records"]) == (True, 0)


def test_where_a_run_is_at_work_that_does_nothing_the_order_stands_and_says_so(l07) -> None:
    D.mkdir()
    with DataLock(D, purpose="l07 run"):
        said = forget(l07, "--execution", "run-1", "--wait", "0.2")
    assert (said.status, said.err[:5]) == (1, "E7126")
    assert len(list((D / "ledgers" / "erasures").glob("0*.json"))) == 1


def test_a_folder_that_somebody_else_holds_is_said_at_once_and_the_order_stands(l07) -> None:
    D.mkdir()
    with DataLock(D, purpose="LearningService"):
        said = forget(l07, "--execution", "run-1")
    assert (said.status, said.err[:5]) == (1, "E7405")
    assert len(list((D / "ledgers" / "erasures").glob("0*.json"))) == 1


def test_what_the_search_finds_is_named(l07, monkeypatch) -> None:
    from l07.service.searching import search

    D.mkdir()
    (D / "export.jsonl").write_text("of exec-1234 and exec-1234")
    (D / "keys").mkdir()
    (D / "keys" / "k").write_text("exec-1234")
    assert [tuple(hit) for hit in search(D, "exec-1234")] == [("export.jsonl", 2)]
    assert search(D, "x") == []


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 9, 13])
def test_the_search_finds_what_lies_over_the_end_of_a_piece_and_counts_it_once(l07, monkeypatch, piece: int) -> None:
    from l07.service import searching

    monkeypatch.setattr(searching, "PIECE", piece)
    D.mkdir()
    text = b"of exec-1234, exec-123 and exec-1234"
    (D / "export.jsonl").write_bytes(text)
    (D / "export.jsonl.gz").write_bytes(gzip.compress(text))
    assert [tuple(hit) for hit in searching.search(D, "exec-1234")] == [("export.jsonl", 2), ("export.jsonl.gz", 2)]
