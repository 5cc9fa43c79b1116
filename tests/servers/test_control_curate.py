"""Curators as processes, two in one group, over Kafka and Redis: one dies or freezes in mid-curation, and the datasets are
those of a run in which nothing happened."""

import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from l07.backends import open as backends
from l07.backends.worker import InlineCurator
from l07.domain import world
from l07.events import cloudevents, outbound
from l07.pipeline.curate import curate_batch
from l07.ports import Seal, SealedBatch
from l07.settings import Settings
from tests.fakes import FolderFake, MemoryLedger
from tests.servers.control_kit import House, a_house, ended, eventually, on_kafka
from tests.servers.ingest_kit import until

pytestmark = pytest.mark.timeout(240)
Digests = Mapping[str, str]


@pytest.fixture
async def house(request: pytest.FixtureRequest, tmp_path: Path, unique: str, redis_url: str) -> AsyncIterator[House]:
    variables = {
        **on_kafka(request, unique),
        "L07_BUFFER__URL": redis_url,
        "L07_BUFFER__NAME": unique,
        "L07_TRACKS__DEFAULT__SEAL__COUNT": "60",
    }
    with a_house(tmp_path / "data", **variables) as house:
        await sealed(house)
        yield house


async def sealed(house: House) -> None:
    """Everything is ingested, and each seal is announced; nobody curates yet."""
    events = house.root / "events.jsonl"
    events.write_text("".join(line + "\n" for line in world.stream(world.demo_runs(60, 3), seed=3).lines), "utf-8")
    ingest = house.consumer("ingest")
    send = house.start("-m", "l07.cli", "send", str(events), log="send")
    assert await ended(send) == 0, house.tails()
    async with backends.open_buffer(house.settings) as buffer:

        async def all_in() -> bool:
            status = await buffer.status()
            done = sum(counts["consumed"] for counts in status.partitions.values())
            return done == len(events.read_text("utf-8").splitlines()) and status.outbox == 0

        await eventually(all_in, within_s=60)
        assert len((await buffer.status()).batches) >= 3
    ingest.send_signal(signal.SIGTERM)
    assert await ended(ingest) == 0, house.tails()


class Kept:
    """The sealed batches, read and never released."""

    def __init__(self, batches: Sequence[SealedBatch]) -> None:
        self.batches = {batch.seal.batch_id: batch for batch in batches}

    async def read(self, batch_id: str) -> SealedBatch:
        return self.batches[batch_id]

    async def status(self) -> "Kept":
        return self

    async def release(self, batch_id: str) -> None:
        return


async def undisturbed(house: House, folder: Path) -> Digests:
    """The datasets of the same seals, made in this process, and left outside the house."""
    settings = house.settings
    async with backends.open_buffer(settings) as buffer:
        ids = sorted((await buffer.status()).batches, key=lambda name: int(name.rpartition("-")[2]))
        kept = Kept([await buffer.read(name) for name in ids])
    ledger = MemoryLedger("datasets")
    for name in ids:
        await curate_batch(
            outbound.from_seal(kept.batches[name].seal, keys_of(kept.batches[name])), buffer=kept, ledger=ledger, store=FolderFake(folder),  # type: ignore[arg-type]
            curator=InlineCurator(), settings=settings,
        )  # fmt: skip
    assert len(digests(ledger.lines)) >= 2
    return digests(ledger.lines)


def keys_of(batch: SealedBatch) -> list[str]:
    return [row.key for row in batch.rows]


def digests(entries: Sequence[Any]) -> Digests:
    return {entry.key: entry.body["data"]["digest"] for entry in entries if entry.kind == "dataset.created"}


async def curated(house: House, expected: Digests) -> None:
    """Exactly these datasets, each announced once by id, and nothing left in the buffer."""
    await house.until_entries("datasets", "dataset.created", len(expected), within_s=90)
    async with backends.open_buffer(house.settings) as buffer:

        async def released() -> bool:
            return not (await buffer.status()).batches

        await eventually(released, within_s=60)
    assert digests(await house.entries("datasets")) == expected
    await eventually(lambda: house.announced("datasets"))
    assert len((await house.emitted())["dataset.created"]) == len(expected)
    folders = sorted(path.name for path in (house.root / "datasets" / "default").iterdir())
    assert folders == sorted(key.partition(":")[2] for key in expected)


async def in_mid_curation(house: House) -> None:
    """Somebody has a scratch folder: the worker builds."""
    await until(lambda: list(house.root.glob("scratch/*/*-dataset-*")), within_s=60)


async def test_a_curator_that_is_killed_in_mid_curation_is_followed_by_another(house: House, tmp_path: Path) -> None:
    expected = await undisturbed(house, tmp_path / "elsewhere")
    first = house.consumer("curate", log="curate-1")
    await in_mid_curation(house)
    house.consumer("curate", log="curate-2")
    first.send_signal(signal.SIGKILL)
    await ended(first)
    await curated(house, expected)
    assert not [path for path in house.root.glob("scratch/*/*-dataset-*") if path.is_dir()], (
        "nothing half-built is left"
    )


async def test_a_curator_that_wakes_up_after_another_took_over_changes_nothing(house: House, tmp_path: Path) -> None:
    expected = await undisturbed(house, tmp_path / "elsewhere")
    first = house.consumer("curate", log="curate-1")
    await in_mid_curation(house)
    first.send_signal(signal.SIGSTOP)
    second = house.consumer("curate", log="curate-2")
    await curated(house, expected)
    first.send_signal(signal.SIGCONT)
    before = await house.entries("datasets")
    handled = len([line for line in house.log("curate-1") if line["event"] == "event_handled"])
    await until(
        lambda: len([line for line in house.log("curate-1") if line["event"] == "event_handled"]) > handled, within_s=60
    )
    assert await house.entries("datasets") == before
    await curated(house, expected)
    for process in (first, second):
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0, house.tails()


async def test_a_poisoned_event_is_a_dead_letter_and_the_next_is_curated(house: House, tmp_path: Path) -> None:
    """A batch that nobody has sealed, and bytes that are no event, before and among the real ones."""
    expected = await undisturbed(house, tmp_path / "elsewhere")
    settings = house.settings
    await poison(settings)
    house.consumer("curate")
    await curated(house, expected)
    async with backends.open_bus(settings) as bus:
        ends = await bus.end_offsets([settings.topics.dlq])
        letters = [r for tp, end in ends.items() if end for r in await bus.read(tp, 0, limit=end)]
    raw = b" ".join(record.value or b"" for record in letters)
    assert b"E7459" in raw
    assert b"E7005" in raw


async def poison(settings: Settings) -> None:
    seal = Seal("default-999", "default", "count", 1_767_600_000_000, 1, 0, {}, {})
    never = cloudevents.encode(outbound.from_seal(seal, ()), topic=settings.topics.events)
    async with backends.open_bus(settings) as bus:
        await bus.publish([never._replace(value=b"{ no event"), never])


async def test_a_curator_beside_an_embedded_buffer_says_who_has_it(tmp_path: Path) -> None:
    with a_house(tmp_path / "data") as house:
        house.consumer("ingest")
        await until(lambda: (house.root / "lock").is_file() and (house.root / "buffer").is_dir())
        curate = house.consumer("curate")
        assert await ended(curate) == 1
        assert [line["code"] for line in house.log("curate") if line["event"] == "consumer_failed"] == ["E7405"]
