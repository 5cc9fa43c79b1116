"""The buffer's server is flushed, rolled back, cut off or read-only while the ingest works: everything counts once, without hands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from l07.errors import SourceChanged
from l07.events import outbound
from l07.events.record import TopicPartition
from l07.service.ingesting import Ingest
from tests.servers.ingest_kit import (
    a_score,
    a_trace,
    an_ingest,
    conserved,
    consumed,
    counted,
    events,
    publish,
    running,
    until,
)

RUNS = 5000
SNAPSHOT = """
local out = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  out[#out + 1] = key
  out[#out + 1] = redis.call('DUMP', key)
end
return out"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@asynccontextmanager
async def at_work(folder: Path) -> AsyncIterator[tuple[Ingest, Any]]:
    """In the middle of 10,000 records, which come over two seconds and more."""
    async with an_ingest(folder, **{"tracks.default.seal.count": 100_000}) as (ingest, client), running(ingest):
        source = asyncio.create_task(publishing(ingest))
        await until(lambda: ingest.stream.taken_bytes > 500_000)
        yield ingest, client
        await source
        await whole(ingest)


async def publishing(ingest: Ingest) -> None:
    for at in range(0, RUNS, 100):
        numbers = range(at, at + 100)
        await publish(ingest.bus, [message for n in numbers for message in (a_trace(n, text=200), a_score(n))])
        await asyncio.sleep(0.04)


async def whole(ingest: Ingest) -> None:
    ends = await ingest.bus.end_offsets([tp.topic for tp in ingest.source.position()])
    async with asyncio.timeout(60):
        while True:
            stored = await ingest.buffer.positions()
            if all(stored[tp].next >= end for tp, end in ends.items() if tp in stored) and len(stored) == len(ends):
                break
            await asyncio.sleep(0.05)
    counts = await counted(ingest.buffer)
    assert conserved(counts)
    assert (counts["consumed"], counts["applied"], counts["duplicate"]) == (2 * RUNS, 2 * RUNS, 0)


async def test_a_flushed_server_is_filled_again_from_the_beginning_of_the_log(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (_, client):
        await client.flushall()


async def test_a_server_flushed_three_times_too(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (ingest, client):
        for _ in range(3):
            at = ingest.stream.taken_bytes
            await client.flushall()
            await until(lambda at=at: ingest.stream.taken_bytes > at + 200_000)


async def test_a_server_that_rolled_back_gets_the_rest_again(tmp_path: Path) -> None:
    """As from a backup: the whole state of a moment before comes back under a running ingest."""
    async with at_work(tmp_path) as (ingest, client):
        dumps = await client.eval(SNAPSHOT, 0)
        at = ingest.stream.taken_bytes
        await until(lambda: ingest.stream.taken_bytes > at + 200_000)
        pipe = client.pipeline(transaction=True)
        pipe.flushall()
        for key, dump in zip(dumps[::2], dumps[1::2], strict=True):
            pipe.restore(key, 0, dump)
        await pipe.execute()


async def test_cut_connections_cost_nothing(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (ingest, client):
        for _ in range(5):
            at = ingest.stream.taken_bytes
            await client.client_kill_filter(_type="normal", skipme=True)
            await until(lambda at=at: ingest.stream.taken_bytes > at + 50_000)


async def test_a_server_that_is_read_only_for_a_while_is_waited_for_with_a_reason(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (ingest, client):
        health = ingest.watch.health
        await client.config_set("min-replicas-to-write", 1)
        await until(lambda: "back_off" in health.reasons)
        assert health.reasons["back_off"].code == "E7455"
        assert (health.page("/readyz")[0], health.page("/healthz")[0]) == (503, 200)
        await client.config_set("min-replicas-to-write", 0)
        await until(lambda: not health.reasons)
        assert health.page("/readyz")[0] == 200


async def test_a_partition_that_was_made_again_stands_still_alone_and_goes_on_after_the_reset(tmp_path: Path) -> None:
    tp = TopicPartition("execution.traces", 0)
    async with an_ingest(tmp_path) as (ingest, client):
        await publish(ingest.bus, [message for n in range(500) for message in (a_trace(n, text=200), a_score(n))])
        async with running(ingest):
            await consumed(ingest, 1000)
        stored = (await ingest.buffer.positions())[tp]
        (tag,) = await client.keys("*:pos")
        await client.hset(tag, str(tp), f"{stored.next} {stored.time_ms} {'ab' * 16}")
    async with an_ingest(tmp_path) as (ingest, _):
        health = ingest.watch.health
        await publish(ingest.bus, [message for n in range(500, 600) for message in (a_trace(n, text=200), a_score(n))])
        async with running(ingest):
            await until(lambda: f"partition {tp}" in health.reasons)
            others = await ingest.bus.end_offsets(["execution.traces", "evaluation.quality_scores"])
            beside = 1200 - (others[tp] - stored.next)
            assert 1000 < beside < 1200
            await consumed(ingest, beside)
            assert health.reasons[f"partition {tp}"].code == SourceChanged.code
            assert (health.page("/readyz")[0], health.page("/healthz")[0]) == (503, 200)
            await until(lambda: not ingest.watch.alerts)
            await ingest.buffer.reset({tp: stored.next})
            ingest.watch._due["mend"] = 0.0
            await until(lambda: not health.reasons)
            await consumed(ingest, 1200)
        counts = await counted(ingest.buffer)
        alerts = [event for event in await events(ingest.bus) if isinstance(event, outbound.LearningAlert)]
    assert counts["consumed"] == 1200
    assert conserved(counts)
    assert [(alert.data.code, alert.data.stopped) for alert in alerts] == [("E7480", str(tp))]
