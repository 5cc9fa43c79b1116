"""Embedded end to end, everything on one core: SQLite bus -> decode -> script on Valkey -> sealed batches -> outbox."""

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.events import lines
from l07.backends.open import open_bus
from l07.cli.routing import Router
from l07.service.ingesting import opened_ingest
from l07.settings import Settings, load_settings

MUST = 5000  # events a second


async def main() -> int:
    origin, events = lines()
    with tempfile.TemporaryDirectory(prefix="l07-") as folder:
        settings = load_settings({}, overrides={"tracks.default.seal.count": 500}).settings
        runs = [await _run(settings.model_copy(update={"data_dir": Path(folder) / str(n)}), events) for n in range(3)]
    for cpu_s, wall_s in runs:
        print(
            f"{len(events) / cpu_s:,.0f} events a CPU second (client and Valkey together), {len(events) / wall_s:,.0f} a second of wall time"
        )
    rate = sorted(len(events) / cpu_s for cpu_s, _ in runs)[1]
    print(f"{len(events)} events of {origin} to sealed batches on one core: median {rate:,.0f} events/s, must {MUST:,}")
    return 0 if rate >= MUST else 1


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


async def _run(settings: Settings, events: list[bytes]) -> tuple[float, float]:
    """CPU seconds of this process and of Valkey, and wall seconds, from opening to closing. Two processes share the machine's
    cores; their CPU time is what one core would take."""
    router, now_ms = Router(settings, other=None), time.time_ns() // 1_000_000
    async with open_bus(settings) as bus:
        for at in range(0, len(events), 500):
            await bus.publish([router.message(line, timestamp_ms=now_ms + at) for line in events[at : at + 500]])
    cpu, wall = _cpu_s(), time.perf_counter()
    async with opened_ingest(settings, lambda _: None) as ingest:
        await ingest.drain()
        while await ingest.relay():
            pass
        counts = (await ingest.buffer.status()).partitions.values()
    assert sum(c["consumed"] for c in counts) == len(events)
    assert sum(c["dead_letter"] for c in counts) <= len(events) / 50
    return _cpu_s() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
