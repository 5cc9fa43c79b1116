"""Erasure over Kafka and Redis, with the ingest and the curator at work: what is ours is gone, what is not is named with its
end, and a flushed buffer brings nothing back."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from l07.backends import open as backends
from l07.backends.redis import connect
from l07.domain import world
from l07.events.record import Record
from tests.contracts.buffer_kit import drop
from tests.servers.control_kit import House, a_house, ended, eventually, on_kafka
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.timeout(240)
CANARY = "my zebra is called quillfeather"


class Told:
    """The events of a small world; one run has a canary, and a broken record has it too."""

    def __init__(self, root: Path) -> None:
        lines = list(world.stream(world.demo_runs(24, 3), seed=3).lines)
        scores = [json.loads(line) for line in lines if '"evaluation.completed"' in line and line.endswith("}")]
        good = {one["data"]["execution_id"] for one in scores if one["data"].get("quality_score", 0) > 80}
        found = [
            (n, json.loads(line)) for n, line in enumerate(lines) if '"execution.completed"' in line and whole(line)
        ]
        number, event = next((n, event) for n, event in found if event["data"]["execution_id"] in good)
        self.execution = event["data"]["execution_id"]
        event["data"]["messages"][0]["content"] += f", and {CANARY}"
        lines[number] = json.dumps(event)
        lines.append(json.dumps({**event, "specversion": "0.3", "id": "broken"}))
        self.count, self.file = len(lines), root / "events.jsonl"
        self.file.write_text("".join(line + "\n" for line in lines), "utf-8")

    def is_in(self, raw: bytes) -> bool:
        return CANARY.encode() in raw or self.execution.encode() in raw


def whole(line: str) -> bool:
    try:
        return "execution_id" in json.loads(line)["data"]
    except (ValueError, KeyError, TypeError):
        return False


@pytest.fixture
async def house(request: pytest.FixtureRequest, tmp_path: Path, unique: str, redis_url: str) -> AsyncIterator[House]:
    variables = {**on_kafka(request, unique), "L07_BUFFER__URL": redis_url, "L07_BUFFER__NAME": unique}
    with a_house(tmp_path / "data", **variables, L07_TRACKS__DEFAULT__SEAL__COUNT="60") as house:
        yield house


async def letters(house: House) -> list[Record]:
    topic = house.settings.topics.dlq
    async with backends.open_bus(house.settings, check=False) as bus:
        begins, ends = await bus.begin_offsets([topic]), await bus.end_offsets([topic])
        return [
            r
            for tp, end in ends.items()
            for r in (await bus.read(tp, begins[tp], limit=1000) if begins[tp] < end else ())
        ]


async def read_all(house: House, told: Told) -> None:
    async with backends.open_buffer(house.settings, attach=True) as buffer:

        async def all_in() -> bool:
            status = await buffer.status()
            read = sum(counts["consumed"] for counts in status.partitions.values())
            return read == told.count and not status.outbox and not status.batches

        await eventually(all_in, within_s=90)


async def stored(house: House, url: str) -> bytes:
    """All that the buffer holds, as the server keeps it."""
    client = connect(url)
    try:
        name = house.settings.buffer.name
        keys = [key async for key in client.scan_iter(match=f"{{l07:{name}:*", count=1000)]
        return b"".join([dump for key in keys if (dump := await client.dump(key))])
    finally:
        await client.aclose()


def folder_of(house: House) -> bytes:
    raw = b""
    for path in house.root.rglob("*"):
        if path.is_file() and path.suffix == ".parquet":
            raw += json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
        elif path.is_file() and path.suffix != ".log":
            raw += path.read_bytes()
    return raw


def aof_of(server: RedisServer) -> bytes:
    folder = getattr(server, "folder", None)
    return b"".join(path.read_bytes() for path in folder.rglob("*.aof")) if folder else b""


async def command(house: House, *words: str) -> Any:
    process = house.start("-m", "l07.cli", *words, "--json", log=words[0])
    assert await ended(process, within_s=120) == 0, house.tails()
    return json.loads((house.root / f"{words[0]}.log").read_text("utf-8").splitlines()[-1])


async def test_what_is_ours_is_gone_and_what_is_not_is_named(
    house: House, tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    told = Told(tmp_path)
    for name in ("ingest", "curate"):
        house.consumer(name)
    assert await ended(house.start("-m", "l07.cli", "send", str(told.file), log="send")) == 0, house.tails()
    await read_all(house, told)
    await house.until_entries("datasets", "dataset.created")
    before = await letters(house)
    assert [told.is_in(folder_of(house)), any(told.execution.encode() in (r.value or b"") for r in before)] == [
        True,
        False,
    ]
    ids = Counter(json.loads(r.value or b"")["id"] for r in before)

    said = await command(house, "forget", "--execution", told.execution, "--wait", "60")
    assert (said["already"], said["left"]) == (False, [])
    assert not told.is_in(folder_of(house)), "datasets, ledgers"
    assert not told.is_in(await stored(house, redis_url)), "the buffer"
    assert not told.is_in(aof_of(redis_server)), "its file"
    after = Counter(json.loads(r.value or b"")["id"] for r in await letters(house))
    assert (len(ids - after), len(after - ids)) == (1, 0), "one dead letter went, all others are there under their ids"
    topics = house.settings.topics
    places = {one["at"].rpartition(":")[0].rpartition(":")[0] for one in said["remains"]}
    assert {topics.traces, topics.scores} <= places <= {topics.traces, topics.scores, topics.events}
    assert all(one["until"] for one in said["remains"])
    assert await house.entries("datasets", "dataset.revoked")

    client = connect(redis_url)
    await drop(client, house.settings.buffer.name)
    await client.aclose()
    await read_all(house, told)
    async with backends.open_buffer(house.settings, attach=True) as buffer:
        status = await buffer.status()
    assert status.reasons["erased"] == 3
    assert all(sum(c.values()) == 2 * c["consumed"] for c in status.partitions.values())
    assert not told.is_in(await stored(house, redis_url) + folder_of(house))
