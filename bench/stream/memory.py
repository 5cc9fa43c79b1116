"""The memory of one ingest process over two million events that are written while it reads."""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from bench.stream.fill import Filler
from bench.stream.ours import Group, a_group
from bench.stream.servers import Servers
from bench.stream.table import Row

EVENTS, WARM = 2_000_000, 200_000
CHUNK, AHEAD = 20_000, 80_000
MUST_MB = 10.0
MB = 1_000_000
LIMIT_S = 1800.0
RETENTION = {"retention.bytes": "134217728", "segment.bytes": "33554432"}  # of a partition: far more than AHEAD
TRACES, SCORES = "bench.memory.traces", "bench.memory.scores"


async def memory(servers: Servers, *, events: int = EVENTS) -> list[Row]:
    """Batches are released as a curator does, or the buffer's own memory would grow without end."""
    servers.make_topics([TRACES, SCORES], **RETENTION)
    with tempfile.TemporaryDirectory(prefix="l07-") as folder:
        async with a_group(servers, "aiokafka", Path(folder), traces=TRACES, scores=SCORES) as group:
            seen = await _watched(group, Filler(servers.address, traces=TRACES, scores=SCORES), events)
    servers.drop_topics([TRACES, SCORES])
    warm = [rss for applied, rss in seen if WARM <= applied < 2 * WARM]
    late = [rss for applied, rss in seen if applied >= events - WARM]
    base, end, most = (
        statistics.median(warm),
        statistics.median(late),
        max(rss for applied, rss in seen if applied >= WARM),
    )
    note = f"{base:.0f} MB after {WARM:,} events, {end:.0f} MB after {seen[-1][0]:,}, {most:.0f} MB at most"
    return [Row(f"memory, growth of RSS over {events:,} events, MB", MUST_MB, None, [end - base], ".1f", True, note)]


async def _watched(group: Group, filler: Filler, events: int) -> list[tuple[int, float]]:
    """Applied events and RSS in MB, as time goes by."""
    process = psutil.Process(group.start().pid)
    seen: list[tuple[int, float]] = []
    deadline = time.monotonic() + LIMIT_S
    while not seen or seen[-1][0] < events:
        assert time.monotonic() < deadline, f"{seen[-1:]} after {LIMIT_S:.0f} s"
        seen.append((await group.applied(), process.memory_info().rss / MB))
        if filler.written < events and filler.written - seen[-1][0] < AHEAD:
            await asyncio.to_thread(filler.write, CHUNK)
        for batch_id in (await group.buffer.status()).batches:
            await group.buffer.release(batch_id)
        await asyncio.sleep(0.1)
    return seen
