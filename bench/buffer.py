"""The buffer alone, on embedded Valkey: records a second through `apply`, and memory with 100,000 halves of 2 KB."""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from l07.backends.embedded import EmbeddedRedis
from l07.backends.redis import BufferRules, RedisBuffer
from l07.events.record import TopicPartition
from l07.ports import Half, IngestBatch, Part

TRACES = TopicPartition("execution.traces", 0)
SCORES = TopicPartition("evaluation.quality_scores", 0)
RULES = BufferRules(frozenset({TRACES.topic}), frozenset({SCORES.topic}))
BODY = 2048
LIMIT_MB = 450
FLOOR = 5000  # records a second, of the whole ingest path
MB = 1_000_000


def body_of(n: int, size: int) -> bytes:
    return (b"%09d" % n) * (size // 9 + 1)


def trace(n: int, part: int, offset: int) -> Half:
    key = f"execution:{n:08x}-0000-4000-8000-{n:012x}"
    return Half(
        part,
        offset,
        1_763_000_000_000 + n,
        key,
        "trace",
        n.to_bytes(8),
        "default",
        "",
        None,
        None,
        "",
        body_of(n, BODY)[:BODY],
    )


def score(n: int, part: int, offset: int) -> Half:
    key = f"execution:{n:08x}-0000-4000-8000-{n:012x}"
    confidence = 0.5 + n % 50 / 100
    return Half(
        part,
        offset,
        1_763_000_000_000 + n,
        key,
        "score",
        n.to_bytes(8),
        "",
        "",
        n % 101 * 1.0,
        confidence,
        f"e{n}",
        body_of(n, 400)[:400],
    )


def pairs(first: int, count: int) -> IngestBatch:
    """`count` traces, and the scores of runs 1,000 before: most joins cross batches."""
    items = [half for n in range(first, first + count) for half in (trace(n, 0, n), score(n, 1, n))]
    parts = [Part(tp, first, first + count, b"d" * 16, items[-1].time_ms) for tp in (TRACES, SCORES)]
    return IngestBatch(parts, items)


def halves(first: int, count: int) -> IngestBatch:
    items = [trace(n, 0, n) for n in range(first, first + count)]
    return IngestBatch([Part(TRACES, first, first + count, b"d" * 16, items[-1].time_ms)], items)


def scores(first: int, count: int) -> IngestBatch:
    items = [score(n, 0, n) for n in range(first, first + count)]
    return IngestBatch([Part(SCORES, first, first + count, b"d" * 16, items[-1].time_ms)], items)


async def timed(buffer: RedisBuffer, batches: Sequence[IngestBatch], server: psutil.Process) -> dict[str, float]:
    cpu, server_cpu, start = time.process_time(), sum(server.cpu_times()[:2]), time.perf_counter()
    for batch in batches:
        await buffer.apply(batch)
    wall = time.perf_counter() - start
    n = sum(len(batch.items) for batch in batches)
    return {
        "records": n,
        "records_per_s": n / wall,
        "per_client_cpu_s": n / (time.process_time() - cpu),
        "per_server_cpu_s": n / (sum(server.cpu_times()[:2]) - server_cpu),
    }


def show(name: str, numbers: dict[str, float]) -> None:
    print(f"{name:36} " + "  ".join(f"{key} {value:,.0f}" for key, value in numbers.items()), flush=True)


async def rate(records: int, slice_: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis(Path(folder))
        async with server as client:
            buffer, process = await RedisBuffer.open(client, "bench", RULES), psutil.Process(server.pid)
            half = slice_ // 2
            joined = await timed(buffer, [pairs(n, half) for n in range(0, records // 2, half)], process)
            show(f"trace and score in one slice of {slice_}", joined)
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis(Path(folder))
        async with server as client:
            buffer, process = await RedisBuffer.open(client, "bench", RULES), psutil.Process(server.pid)
            show(
                "traces first: all wait",
                await timed(buffer, [halves(n, slice_) for n in range(0, records // 2, slice_)], process),
            )
            show(
                "then scores: all join",
                await timed(buffer, [scores(n, slice_) for n in range(0, records // 2, slice_)], process),
            )
    return joined["records_per_s"]


async def memory(waiting: int, slice_: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis(Path(folder))
        async with server as client:
            buffer = await RedisBuffer.open(client, "bench", RULES)
            for first in range(0, waiting, slice_):
                await buffer.apply(halves(first, min(slice_, waiting - first)))
            ours = psutil.Process(os.getpid()).memory_info().rss
            theirs = psutil.Process(server.pid).memory_info().rss
            info = await client.info("memory")
            show(
                f"{waiting:,} waiting halves, MB",
                {
                    "ingest": ours / MB,
                    "valkey": theirs / MB,
                    "data": info["used_memory"] / MB,
                    "sum": (ours + theirs) / MB,
                },
            )
            return (ours + theirs) / MB


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--slice", type=int, default=250)
    options = parser.parse_args()
    total = await memory(options.waiting, options.slice)
    speed = await rate(options.records, options.slice)
    print(f"memory {total / LIMIT_MB:.2f} of {LIMIT_MB} MB; rate {speed / FLOOR:.1f} times {FLOOR:,} records/s")
    return 0 if total <= LIMIT_MB and speed >= FLOOR else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
