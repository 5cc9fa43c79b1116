import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_builders import on_topic, publish

from l07.events.record import Message

D = Path("d")
TOPIC = "learning.events"


def test_events_are_json_lines_oldest_first_over_all_partitions(l07) -> None:
    publish(D, *(on_topic(TOPIC, {"type": "t", "id": n}, key=bytes([n * 7 % 5]), at_ms=n) for n in range(30)))
    said = l07("events", "--data-dir", "d")
    assert [json.loads(line)["id"] for line in said.out.splitlines()] == list(range(30))


def test_more_than_a_page_of_events_comes_whole(l07) -> None:
    publish(D, *(on_topic(TOPIC, {"id": n}, key=b"%d" % (n % 7), at_ms=n) for n in range(450)))
    assert [json.loads(line)["id"] for line in l07("events", "--data-dir", "d").out.splitlines()] == list(range(450))


def test_a_type_can_be_asked_for_with_and_without_its_prefix(l07) -> None:
    kinds = ["dataset.created", "org.x.dataset.created", "batch.sealed", "redataset.created"]
    publish(D, *(on_topic(TOPIC, {"type": kind}) for kind in kinds))
    said = l07("events", "--data-dir", "d", "--type", "dataset.created")
    assert [json.loads(line)["type"] for line in said.out.splitlines()] == kinds[:2]


def test_bytes_that_are_no_event_are_shown_and_not_hidden(l07) -> None:
    publish(D, Message(TOPIC, b"k", b"\xffjunk"))
    (line,) = l07("events", "--data-dir", "d").out.splitlines()
    assert "junk" in json.loads(line)["unreadable"]


def test_without_a_bus_nothing_is_printed_and_nothing_is_made(l07) -> None:
    assert l07("events", "--data-dir", "d") == (0, "", "")
    assert not D.exists()


@pytest.mark.slow
def test_follow_brings_what_comes_later_until_ctrl_c(tmp_path) -> None:
    publish(tmp_path / "d", on_topic(TOPIC, {"id": 1}))
    command = [sys.executable, "-m", "l07.cli", "events", "--follow", "--data-dir", str(tmp_path / "d")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert child.stdout is not None
    assert json.loads(child.stdout.readline()) == {"id": 1}
    publish(tmp_path / "d", on_topic(TOPIC, {"id": 2}))
    assert json.loads(child.stdout.readline()) == {"id": 2}
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (130, b"")


@pytest.mark.slow
def test_a_reader_that_has_had_enough_is_no_error(tmp_path) -> None:
    publish(tmp_path / "d", *(on_topic(TOPIC, {"id": n, "padding": "x" * 500}) for n in range(1000)))
    line = f"{sys.executable} -m l07.cli events --data-dir {tmp_path / 'd'} | head -n 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, cwd=tmp_path, check=False)
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")
