"""A server whose memory is short: overload becomes lag, nothing is lost, and it recovers without hands (G12)."""

import asyncio
from pathlib import Path

import pytest

from l07.events import outbound
from l07.pipeline import pressure
from l07.service.ingesting import Ingest
from tests.servers.ingest_kit import (
    TRACES,
    a_score,
    a_trace,
    an_ingest,
    comes,
    conserved,
    consumed,
    counted,
    curated,
    events,
    noise,
    publish,
    running,
    until,
)

RUNS, NOISE = 4000, 30_000
MB = 1_000_000
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def sent(ingest: Ingest) -> None:
    """Traces of 8 MB, and their scores behind much that is older than they are."""
    await publish(ingest.bus, [a_trace(n) for n in range(RUNS)])
    await publish(ingest.bus, [*(noise(n) for n in range(NOISE)), *(a_score(n) for n in range(RUNS))])


async def test_traces_that_run_ahead_wait_for_their_scores_and_nothing_is_lost(tmp_path: Path) -> None:
    keys: list[str] = []
    seen: set[tuple[str, frozenset[str]]] = set()

    async with an_ingest(tmp_path) as (ingest, client):
        await sent(ingest)
        await client.config_set("maxmemory", 10 * MB)
        async with curated(ingest.buffer, keys), running(ingest):

            def whole() -> bool:
                now = ingest.watch.pressure
                seen.add((now.level, frozenset(tp.topic for tp in now.hold)))
                return len(keys) == RUNS

            await until(whole)
        counts = await counted(ingest.buffer)
    assert ("paused", frozenset({TRACES})) in seen, seen
    assert counts["consumed"] == 2 * RUNS + NOISE
    assert counts["applied"] == 2 * RUNS
    assert conserved(counts)
    assert len(set(keys)) == RUNS


async def test_to_pause_everything_would_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the rule: with all inputs held nothing frees the memory, and nothing moves again."""
    monkeypatch.setattr(pressure, "ahead", lambda progress, *, rules: frozenset(progress))
    keys: list[str] = []
    async with an_ingest(tmp_path) as (ingest, client):
        await sent(ingest)
        await client.config_set("maxmemory", 10 * MB)
        async with curated(ingest.buffer, keys), running(ingest):
            await until(lambda: ingest.watch.pressure.level == "paused")
            await until(lambda: not ingest.stream.under_way())
            before = await counted(ingest.buffer)
            await asyncio.sleep(2)  # two seconds in which 40,000 records could be read
            after = await counted(ingest.buffer)
    assert after == before
    assert after["consumed"] < 2 * RUNS + NOISE
    assert len(keys) < RUNS


async def test_traces_without_scores_fill_the_memory_until_it_says_stop_and_goes_on_when_there_is_more(
    tmp_path: Path,
) -> None:
    async with an_ingest(tmp_path) as (ingest, client):
        await publish(ingest.bus, [*(a_trace(n) for n in range(RUNS)), *(a_score(n) for n in range(50))])
        await client.config_set("maxmemory", 8 * MB)
        health = ingest.watch.health
        async with running(ingest):
            await until(lambda: "memory" in health.reasons)
            assert health.page("/readyz")[0] == 503
            assert health.reasons["memory"].code == "E7454"
            assert health.page("/healthz")[0] == 200, "a restart would mend nothing"
            stopped = await counted(ingest.buffer)
            assert stopped["consumed"] < RUNS
            assert (await ingest.buffer.status()).batches, "what was ready is sealed"
            await until(lambda: not ingest.watch.alerts)
            await client.config_set("maxmemory", 40 * MB)

            async def whole() -> bool:  # the lag is of the last look, which may have been before the last fetch
                return (await counted(ingest.buffer))["consumed"] == RUNS + 50

            await comes(whole)
            await until(lambda: health.lag == 0 and not health.reasons and not ingest.stream.under_way())
        counts = await counted(ingest.buffer)
        alerts = [event for event in await events(ingest.bus) if isinstance(event, outbound.LearningAlert)]
    assert counts["consumed"] == RUNS + 50
    assert conserved(counts)
    assert [(alert.data.code, alert.data.stopped) for alert in alerts] == [("E7454", "ingest")]


async def test_a_server_that_refuses_for_want_of_memory_is_waited_for(tmp_path: Path) -> None:
    """maxmemory falls below what is used: every step is refused, and none is lost."""
    async with an_ingest(tmp_path) as (ingest, client):
        await publish(ingest.bus, [message for n in range(2000) for message in (a_trace(n), a_score(n))])
        keys: list[str] = []
        async with curated(ingest.buffer, keys), running(ingest):
            await until(lambda: ingest.stream.taken_bytes > MB)
            await client.config_set("maxmemory", 1)
            await until(lambda: "memory" in ingest.watch.health.reasons)
            await client.config_set("maxmemory", 0)
            await consumed(ingest, 4000)
            # what was ready when nothing could be read is sealed early, where there is room again by then: a rest may wait
            await ingest.buffer.seal_rest()
            await until(lambda: len(keys) == 2000)
        counts = await counted(ingest.buffer)
    assert counts["applied"] == counts["consumed"] == 4000
    assert len(set(keys)) == 2000
