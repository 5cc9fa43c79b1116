import asyncio
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from cli_builders import STRUCTURED, an_event, ids, lines, records

from l07.cli import lines as lines_module
from l07.cli import send as send_module
from l07.cli.lines import lines_of
from l07.cli.send import Sent, send_file
from l07.errors import InputBroken, InputMissing, LinesTooLong
from l07.settings import Settings


def a_file(tmp_path: Path, *documents: object, name: str = "events.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(lines(*documents))
    return path


def test_each_type_goes_to_its_topic_prefixed_or_not(l07, tmp_path) -> None:
    kinds = [
        "execution.completed",
        "com.agentic.evaluation.quality_score_computed",
        "planning.completed",
        "review.recorded",
    ]
    said = l07("send", a_file(tmp_path, *(an_event(kind) for kind in kinds)), "--data-dir", "d", "--json")
    assert json.loads(said.out) == {
        "sent": 4,
        "topics": {"execution.traces": 1, "evaluation.quality_scores": 1, "planning.traces": 1, "learning.reviews": 1},
        "blank": 0,
        "too_long": 0,
    }


def test_a_request_and_its_response_go_to_their_topic_under_one_key_once_it_is_named(
    l07, tmp_path, monkeypatch
) -> None:
    kinds = [f"org.kubeflow.serving.inference.{part}" for part in ("request", "response")]
    path = a_file(tmp_path, *({"type": kind, "id": "r1", "data": {"prompt": "x"}} for kind in kinds))
    l07("send", path, "--data-dir", "unnamed")
    assert len(records(Path("unnamed"), "execution.traces")) == 2
    monkeypatch.setenv("L07_TOPICS__PAYLOADS", "inference.logs")
    l07("send", path, "--data-dir", "d")
    found = records(Path("d"), "inference.logs")
    assert [record.key for record in found] == [b"r1", b"r1"]
    assert len({record.partition for record in found}) == 1


def test_what_has_no_readable_type_goes_unchanged_to_the_default_topic(l07, tmp_path) -> None:
    bad = [b"{broken", b'{"type": 5}', b"\xff\xfe", b'{"id": "x"}', b"[1]", b"[" * 100_000, b'{"type": "nobody.reads"}']
    bad += [b'{"type":"evaluation.completed","subject":"\xff"}']
    bad += [b'{"type":"evaluation.completed","data":' + b"[" * 100_000, b'{"x":' + b'{"x":' * 100_000]
    said = l07("send", a_file(tmp_path, *bad), "--data-dir", "d")
    assert said.status == 0
    assert {record.value for record in records(Path("d"), "execution.traces")} == set(bad)


def test_the_topic_of_unreadable_lines_can_be_named(l07, tmp_path) -> None:
    l07("send", a_file(tmp_path, b"{broken", an_event()), "--data-dir", "d", "--topic", "planning.traces")
    assert [record.value for record in records(Path("d"), "planning.traces")] == [b"{broken"]
    assert len(records(Path("d"), "execution.traces")) == 1


def test_a_record_is_structured_keyed_and_byte_for_byte_the_line(l07, tmp_path) -> None:
    line = b'{"type":"execution.completed",  "partitionkey":"p","subject":"s","data":{"execution_id":"e"}}'
    l07("send", a_file(tmp_path, line), "--data-dir", "d")
    (record,) = records(Path("d"), "execution.traces")
    assert (record.key, record.value, record.headers) == (b"p", line, STRUCTURED)


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"partitionkey": "p", "subject": "s"}, b"p"),
        ({"partitionkey": "", "subject": "s"}, b"s"),
        ({"subject": 5, "data": {"execution_id": "e", "plan_id": "q"}}, b"e"),
        ({"data": {"execution_id": None, "plan_id": "q"}}, b"q"),
        ({"data": "text"}, None),
        ({}, None),
    ],
)
def test_the_key_is_the_first_that_is_there(l07, tmp_path, document, key) -> None:
    l07("send", a_file(tmp_path, {"type": "execution.completed", **document}), "--data-dir", "d")
    assert records(Path("d"), "execution.traces")[0].key == key


def test_blank_lines_are_skipped_and_counted_and_a_last_line_needs_no_end(l07, tmp_path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(b"\n  \r\n" + lines(an_event()) + b"\t\n" + json.dumps(an_event(number=2)).encode())
    said = l07("send", path, "--data-dir", "d")
    assert "sent 2 events" in said.out
    assert "blank lines skipped  3" in said.out
    assert ids(records(Path("d"), "execution.traces")) == {"execution.completed-1", "execution.completed-2"}


def test_gzip_is_known_by_its_bytes_whatever_the_name(l07, tmp_path) -> None:
    for number, name in enumerate(["a.jsonl.gz", "b.jsonl"]):
        (tmp_path / name).write_bytes(gzip.compress(lines(an_event(number=number))))
    said = l07("send", "a.jsonl.gz", "b.jsonl", "--data-dir", "d")
    assert said.status == 0
    assert len(records(Path("d"), "execution.traces")) == 2


def test_stdin_may_be_plain_or_gzip(l07, monkeypatch) -> None:
    for raw in (lines(an_event(number=1)), gzip.compress(lines(an_event(number=2)))):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(raw))))
        assert l07("send", "-", "--data-dir", "d").status == 0
    assert len(records(Path("d"), "execution.traces")) == 2


def test_a_missing_file_is_said_before_anything_is_sent(l07, tmp_path) -> None:
    said = l07("send", a_file(tmp_path, an_event()), "nowhere.jsonl", "--data-dir", "d")
    assert (said.status, said.out) == (1, "")
    assert said.err == f"{InputMissing.code}: there is no file nowhere.jsonl\n"
    assert not Path("d").exists()


def test_a_folder_is_no_file(l07, tmp_path) -> None:
    assert l07("send", tmp_path).err.startswith(InputMissing.code)


def test_a_name_that_says_gzip_and_bytes_that_do_not_are_refused(l07, tmp_path) -> None:
    said = l07("send", a_file(tmp_path, an_event(), name="x.gz"), "--data-dir", "d")
    assert said.status == 1
    assert said.err.startswith(InputBroken.code)


def test_what_stands_before_a_cut_in_a_gzip_file_is_sent(l07, tmp_path) -> None:
    noise = [an_event(number=n, data={"execution_id": str(n), "noise": os.urandom(64).hex()}) for n in range(700)]
    packed = gzip.compress(lines(*noise))
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) * 9 // 10])
    said = l07("send", "cut.gz", "--data-dir", "d", "--json")
    assert said.status == 1
    assert said.err.startswith(f"{InputBroken.code}: cut.gz is damaged or cut short after line ")
    counted = json.loads(said.out)["sent"]
    assert 500 < counted < 700
    assert len(records(Path("d"), "execution.traces")) == counted


def test_a_line_above_the_limit_is_named_and_costs_only_itself(l07, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(lines_module, "MAX_LINE_BYTES", 1000)
    path = a_file(tmp_path, an_event(number=1), b"x" * 5000, an_event(number=2))
    said = l07("send", path, "--data-dir", "d")
    assert said.status == 1
    assert said.err.startswith(LinesTooLong.code)
    assert f"{path}:2" in said.err
    assert len(records(Path("d"), "execution.traces")) == 2


def test_the_limit_is_exact_to_the_byte(tmp_path) -> None:
    path = a_file(tmp_path, b"x" * 10, b"y" * 11, b"z" * 10)
    assert [line.data for line in lines_of(str(path), limit=10)] == [b"x" * 10, None, b"z" * 10]


def test_long_lines_leave_in_smaller_batches(l07, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(send_module, "BATCH_BYTES", 3000)
    path = a_file(tmp_path, *(an_event(number=n, padding="x" * 1000) for n in range(7)))
    assert l07("send", path, "--data-dir", "d").status == 0
    times = {record.timestamp_ms for record in records(Path("d"), "execution.traces")}
    assert len(times) == 3


def test_batches_are_stamped_with_now_and_never_the_same_twice() -> None:
    sent = Sent()
    before = time.time_ns() // 1_000_000
    stamps = [sent.stamp() for _ in range(100)]
    assert stamps[0] >= before
    assert all(later > earlier for earlier, later in pairwise(stamps))


def test_a_file_can_be_sent_from_python_too(tmp_path) -> None:
    settings = Settings(data_dir=tmp_path / "d")
    assert asyncio.run(send_file(a_file(tmp_path, an_event(number=1), b"", an_event(number=2)), settings)) == 2
    assert len(records(tmp_path / "d", "execution.traces")) == 2


def test_another_bus_can_be_named(l07, tmp_path) -> None:
    said = l07("send", a_file(tmp_path, an_event()), "--data-dir", "d", "--bus", f"sqlite:///{tmp_path}/other.db")
    assert said.status == 0
    assert (tmp_path / "other.db").exists()
    assert not Path("d").exists()


def test_a_bus_of_another_brand_is_refused(l07, tmp_path) -> None:
    said = l07("send", a_file(tmp_path, an_event()), "--bus", "amqp://broker:5672")
    assert said.status == 1
    assert said.err.startswith("E7501: bus.url = 'amqp://broker:5672'")


def test_a_broker_that_is_not_there_is_said(l07, tmp_path) -> None:
    said = l07("send", a_file(tmp_path, an_event()), "--bus", "kafka://127.0.0.1:1")
    assert (said.status, said.err[:5]) == (1, "E7401")


@pytest.mark.slow
def test_ctrl_c_ends_with_130_without_a_traceback_and_keeps_what_was_sent(tmp_path) -> None:
    command = [sys.executable, "-m", "l07.cli", "send", "-", "--data-dir", str(tmp_path / "d")]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert child.stdin is not None
    child.stdin.write(lines(*(an_event(number=n) for n in range(600))))
    child.stdin.flush()
    _until(lambda: (tmp_path / "d" / "bus.db").exists() and len(records(tmp_path / "d", "execution.traces")) >= 500)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert b"Traceback" not in err
    assert b"sent 500 events" in out


def _until(condition, *, limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
