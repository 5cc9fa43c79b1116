import hashlib
import json
from pathlib import Path

import pytest
from cli_builders import a_letter, on_topic, publish, records, value_at

from l07.errors import NothingByThatName, OriginalGone
from l07.events.record import Message

D = Path("d")


def test_list_says_what_why_and_where_but_never_the_bytes(l07) -> None:
    publish(D, a_letter(b"secret prompt"))
    said = l07("dlq", "list", "--data-dir", "d", "--json")
    (row,) = json.loads(said.out)["dead_letters"]
    assert (row["id"], row["code"], row["at"], row["retried"]) == ("letter-1", "E7003", "execution.traces:0:4", 0)
    assert "secret" not in said.out + l07("dlq", "list", "--data-dir", "d").out


def test_a_letter_that_left_the_outbox_twice_is_one(l07) -> None:
    publish(D, a_letter(), a_letter())
    assert "1 dead letters" in l07("dlq", "list", "--data-dir", "d").out


def test_strange_records_on_the_topic_hide_nothing(l07) -> None:
    publish(
        D,
        Message("learning.dlq", None, b"junk"),
        on_topic("learning.dlq", {"type": "learning.dead_letter", "data": 5}),
        a_letter(),
    )
    assert "1 dead letters" in l07("dlq", "list", "--data-dir", "d").out


@pytest.mark.parametrize("name", ["letter-1", "execution.traces:0:4"])
def test_show_finds_by_id_and_by_place(l07, name) -> None:
    publish(D, a_letter())
    shown = json.loads(l07("dlq", "show", name, "--data-dir", "d", "--json").out)
    assert (shown["message"], shown["key"]) == ("no JSON", "run-1")
    assert shown["headers"] == [["content-type", "application/json"], ["empty", None]]


def test_show_raw_prints_the_bytes_and_nothing_else(l07, capfdbinary) -> None:
    from l07.cli import main

    raw = b"\x00\xff{broken\n"
    publish(D, a_letter(raw))
    capfdbinary.readouterr()
    assert main(["dlq", "show", "letter-1", "--raw", "--data-dir", "d"]) == 0
    assert capfdbinary.readouterr().out == raw


def test_what_a_letter_says_cannot_drive_the_terminal(l07) -> None:
    publish(D, a_letter(message="\x1b[2Jgone"))
    assert "\\x1b[2Jgone" in l07("dlq", "list", "--data-dir", "d").out


@pytest.mark.parametrize("command", [("show", "x"), ("retry", "x")])
def test_an_unknown_letter_is_a_coded_error_with_and_without_a_bus(l07, command) -> None:
    assert l07("dlq", *command, "--data-dir", "d").err.startswith(NothingByThatName.code)
    assert not D.exists()
    publish(D, a_letter())
    said = l07("dlq", *command, "--data-dir", "d")
    assert (said.status, said.err[:5]) == (1, NothingByThatName.code)


def test_retry_puts_the_original_bytes_key_and_headers_onto_their_topic(l07) -> None:
    publish(D, a_letter(b"{broken"))
    assert l07("dlq", "retry", "letter-1", "--data-dir", "d").status == 0
    (record,) = records(D, "execution.traces")
    assert (record.value, record.key) == (b"{broken", b"run-1")
    assert record.headers == ((b"content-type", b"application/json"), (b"empty", None))


def test_retry_all_sends_each_letter_once_however_often_it_is_called(l07) -> None:
    publish(D, a_letter(b"a", ident="a"), a_letter(b"b", ident="b"))
    assert l07("dlq", "retry", "a", "--data-dir", "d").status == 0
    assert json.loads(l07("dlq", "retry", "--all", "--data-dir", "d", "--json").out) == {"retried": 1, "gone": []}
    assert json.loads(l07("dlq", "retry", "--all", "--data-dir", "d", "--json").out) == {"retried": 0, "gone": []}
    assert sorted(record.value or b"" for record in records(D, "execution.traces")) == [b"a", b"b"]
    rows = json.loads(l07("dlq", "list", "--data-dir", "d", "--json").out)["dead_letters"]
    assert {row["id"]: row["retried"] for row in rows} == {"a": 1, "b": 1}


def test_a_letter_named_by_its_id_is_retried_again(l07) -> None:
    publish(D, a_letter())
    for _ in range(2):
        assert l07("dlq", "retry", "letter-1", "--data-dir", "d").status == 0
    assert len(records(D, "execution.traces")) == 2


def test_bytes_that_were_too_many_to_keep_come_from_the_source(l07) -> None:
    huge = b"x" * 70_000
    publish(D, Message("execution.traces", b"k", huge))
    (source,) = records(D, "execution.traces")
    publish(D, a_letter(huge, kept=False, partition=source.partition, offset=source.offset))
    assert l07("dlq", "retry", "letter-1", "--data-dir", "d").status == 0
    assert [record.value for record in records(D, "execution.traces")] == [huge, huge]


def test_a_letter_whose_labels_were_too_long_to_keep_takes_them_from_its_source(l07) -> None:
    headers = ((b"ce_id", b"1"), (b"long", b"x" * 70_000))
    publish(D, Message("execution.traces", b"k", b"{", headers))
    (source,) = records(D, "execution.traces")
    where = {"partition": source.partition, "offset": source.offset, "headers": [], "key": None}
    publish(D, a_letter(b"{", kept=False, **where))
    assert l07("dlq", "retry", "letter-1", "--data-dir", "d").status == 0
    assert [(r.key, r.value, r.headers) for r in records(D, "execution.traces")] == [(b"k", b"{", headers)] * 2


def test_a_source_that_holds_other_bytes_by_now_is_not_retried(l07) -> None:
    publish(D, Message("execution.traces", b"k", b"another"))
    (source,) = records(D, "execution.traces")
    lost = a_letter(b"x" * 70_000, ident="lost", kept=False, partition=source.partition, offset=source.offset)
    publish(D, lost, a_letter(b"kept", ident="kept"))
    said = l07("dlq", "retry", "--all", "--data-dir", "d", "--json")
    assert (said.status, said.err[:5]) == (1, OriginalGone.code)
    assert json.loads(said.out) == {"retried": 1, "gone": ["lost"]}
    assert l07("dlq", "show", "lost", "--raw", "--data-dir", "d").err.startswith(OriginalGone.code)


def test_a_letter_that_ingest_wrote_is_read_back(l07) -> None:
    """The two ends of the shape: pipeline/ingest.py writes it, this command reads it."""
    from l07.errors import Poison
    from l07.events.record import Record
    from l07.pipeline.ingest import dead_letter_of_control

    publish(D, Message("execution.traces", b"run-9", b"{", ((b"h", None),)))
    (source,) = records(D, "execution.traces")
    publish(D, dead_letter_of_control(Record(*source), Poison("no good"), dlq="learning.dlq"))
    (row,) = json.loads(l07("dlq", "list", "--data-dir", "d", "--json").out)["dead_letters"]
    assert (row["at"], row["message"]) == (f"execution.traces:{source.partition}:0", "no good")
    assert row["sha256"] == hashlib.sha256(b"{").hexdigest()
    l07("dlq", "retry", row["id"], "--data-dir", "d")
    assert value_at(D, "execution.traces", source.partition, 1) == b"{"
