"""The counters come from the live buffer where a run holds it, else from one that is started for the reading."""

import asyncio
import json
from pathlib import Path

import pytest
from cli_builders import a_loop, an_event, lines, publish

from l07.backends.lock import DataLock
from l07.backends.open import READING, open_buffer
from l07.cli import status as status_module
from l07.cli.status import COUNTERS, read_status
from l07.errors import FolderInUse, NoLiveBuffer
from l07.events.record import Message, TopicPartition
from l07.ports import IngestBatch, Part, Unreadable
from l07.settings import Settings

D = Path("d")


def a_batch(offset: int) -> IngestBatch:
    """One dead letter at this offset."""
    tp = TopicPartition("execution.traces", 0)
    return IngestBatch(
        [Part(tp, offset, offset + 1, b"0" * 16, 1)], [Unreadable(0, offset, Message("learning.dlq", b"k", b"{}"))]
    )


def test_an_empty_place_counts_nothing(l07) -> None:
    found = json.loads(l07("status", "--data-dir", "d", "--json").out)
    assert found["events"] == dict.fromkeys(COUNTERS, 0)
    assert (found["running"], found["lag"], found["partitions"]) == (False, 0, {})
    assert found["tracks"]["default"] == {"ready": {"ACCEPT": 0, "REJECT": 0}, "seal_at": 1000, "open_batches": []}


def test_what_was_sent_and_not_read_is_lag(l07) -> None:
    Path("e").write_bytes(lines(*(an_event(number=n) for n in range(9))))
    l07("send", "e", "--data-dir", "d")
    found = json.loads(l07("status", "--data-dir", "d", "--json").out)
    assert found["lag"] == 9
    assert sum(partition["lag"] for partition in found["partitions"].values()) == 9


def test_datasets_jobs_and_models_stand_in_it(l07) -> None:
    a_loop(D)
    found = json.loads(l07("status", "--data-dir", "d", "--json").out)
    assert [row["id"] for row in found["datasets"]] == ["default:1.0.0"]
    assert [row["state"] for row in found["jobs"]] == ["COMPLETED"]
    assert [(row["stage"], row["verdict"]) for row in found["models"]] == [("STAGING", "DEPLOY")]
    assert "STAGING" in l07("status", "--data-dir", "d").out


@pytest.mark.slow
async def test_it_reads_beside_a_run_and_after_it_the_same_numbers(tmp_path) -> None:
    settings = Settings(data_dir=tmp_path / "d")
    with DataLock(settings.data_dir):
        async with open_buffer(settings) as buffer:
            for offset in range(3):
                await buffer.apply(a_batch(offset))
            beside = await read_status(settings)
    after = await read_status(settings)
    assert beside["running"]
    assert not after["running"]
    assert beside | {"running": False} == after
    assert (after["events"]["consumed"], after["events"]["dead_letter"], after["outbox"]) == (3, 3, 3)
    assert sum(after["events"][name] for name in COUNTERS[1:]) == after["events"]["consumed"]
    assert not (settings.data_dir / "buffer" / "valkey.json").exists()


async def test_a_run_that_never_brings_its_buffer_up_is_a_coded_error(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(status_module, "READ_WITHIN_S", 0.0)
    settings = Settings(data_dir=tmp_path)
    (tmp_path / "buffer").mkdir()
    with DataLock(tmp_path), pytest.raises(NoLiveBuffer):
        await read_status(settings)
    with DataLock(tmp_path, purpose=READING), pytest.raises(FolderInUse):
        await read_status(settings)


@pytest.mark.slow
async def test_it_waits_for_another_reader(tmp_path) -> None:
    settings = Settings(data_dir=tmp_path)
    (tmp_path / "buffer").mkdir()
    with DataLock(tmp_path, purpose=READING):
        waiting = asyncio.create_task(read_status(settings))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
    assert not (await waiting)["running"]


def test_the_bus_is_not_needed_for_the_counters(l07) -> None:
    publish(Path("other"), Message("t", b"k", b"v"))
    assert l07("status", "--data-dir", "d", "--json").status == 0
