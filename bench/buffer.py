"""The buffer alone, with the real events (bench/events.py): events a server CPU second, a second, and a client CPU second
through `apply`; what a waiting half and a remembered run take of the server's memory; bodies of a megabyte.

Slices of 250 records of one partition, 6 partitions, on the embedded Valkey and on `redis-server` where there is one. The
figure is the median of three rounds in turn. Must: 75,000 events a server CPU second; goal: 120,000. The memory of 100,000
waiting halves of 2 KB: 450 MB with both processes.
"""

import argparse
import asyncio
import gc
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from bench.events import lines
from l07.backends.embedded import EmbeddedRedis
from l07.backends.redis import BufferRules, RedisBuffer, SealTrigger, wire
from l07.events.record import Record, TopicPartition
from l07.pipeline.ingest import ingest, ingest_rules
from l07.ports import Half, IngestBatch, Part, Slice
from l07.settings import Settings

TRACES, SCORES = "execution.traces", "evaluation.quality_scores"
RULES = BufferRules(frozenset({TRACES}), frozenset({SCORES}), seals={"default": SealTrigger()})
HEADERS = ((b"content-type", b"application/cloudevents+json"),)
T0, STEP_MS = 1_795_000_000_000, 20  # after the newest event; a record each 20 ms
PARTITIONS = 3  # of each topic
ROUNDS = 3
MUST, GOAL = 75_000, 120_000  # events a server CPU second
WAITING, LIMIT_MB = 100_000, 450
BODY = 2048
LARGE, LARGE_COUNT = 1_000_000, 64
MB = 1_000_000


# ------------------------------------------------------------------ input


def partitions(copies: int) -> dict[TopicPartition, list[Record]]:
    """The events `copies` times, each time with other ids, in their order."""
    logs: dict[TopicPartition, list[Record]] = {}
    now = T0
    for copy in range(copies):
        for line in lines()[1]:
            start = line.index(b'"subject":"') + len(b'"subject":"')
            ident = line[start : line.index(b'"', start)].rpartition(b"-")[2]
            value = line.replace(ident, b"%02d" % copy + ident[2:])
            topic = SCORES if b'"evaluation.completed"' in line[:120] else TRACES
            tp = TopicPartition(topic, sum(ident) % PARTITIONS)
            log = logs.setdefault(tp, [])
            log.append(Record(tp.topic, tp.partition, len(log), now, ident, value, HEADERS))
            now += STEP_MS
    return logs


def slices_of(logs: dict[TopicPartition, list[Record]], size: int) -> list[IngestBatch]:
    """As an ingest process cuts them: the oldest first over all partitions."""
    rules = ingest_rules(Settings(), cluster="bench")
    pieces = [
        Slice(tp, at, at + len(log[at : at + size]), log[at : at + size])
        for tp, log in logs.items()
        for at in range(0, len(log), size)
    ]
    pieces.sort(key=lambda piece: piece.records[-1].timestamp_ms)
    return [ingest([piece], rules=rules) for piece in pieces]


def made_up(first: int, count: int, body: bytes) -> IngestBatch:
    """Traces without their scores."""
    tp = TopicPartition(TRACES, 0)
    items = [
        Half(
            0, n, T0 + n, f"execution:{n:08x}-0000-4000-8000-{n:012x}", "trace", n.to_bytes(8), "default", "",
            None, None, "", b"%09d" % n + body[9:],
        )
        for n in range(first, first + count)
    ]  # fmt: skip
    return IngestBatch([Part(tp, first, first + count, b"d" * 16, items[-1].time_ms)], items)


# ------------------------------------------------------------------ servers


def programs() -> dict[str, Path | None]:
    """None: the embedded one's own choice."""
    found = shutil.which("redis-server")
    return {"embedded": None, **({"redis-server": Path(found)} if found else {})}


@contextmanager
def started_from(program: Path | None) -> Iterator[None]:
    if program is None:
        yield
        return
    with mock.patch("l07.backends.embedded.server_program", return_value=program):
        yield


async def cpu(client: Any) -> float:
    info = await client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def memory(client: Any) -> int:
    return int((await client.info("memory"))["used_memory"])


# ------------------------------------------------------------------ speed


async def one_round(program: Path | None, batches: Sequence[IngestBatch]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, started_from(program):
        async with EmbeddedRedis(Path(folder)) as client:
            buffer = await RedisBuffer.open(client, "bench", RULES)
            await client.config_set("appendfsync", "everysec")  # Redis below 7.2 was set to always
            own, server, start = time.process_time(), await cpu(client), time.perf_counter()
            steps = [(await buffer.apply(batch)).seconds for batch in batches]
            wall, own, server = time.perf_counter() - start, time.process_time() - own, await cpu(client) - server
            status = await buffer.status()
    n = sum(len(batch.items) for batch in batches)
    assert sum(counts["consumed"] for counts in status.partitions.values()) == n
    assert status.reasons.keys() <= {"repeat", "low_score", "low_confidence", "no_goal", "contrast_full"}, (
        status.reasons
    )
    return {
        "per_server_cpu_s": n / server,
        "per_s": n / wall,
        "per_client_cpu_s": n / own,
        "ms_a_step": 1000 * statistics.median(steps),
    }


def client_alone(batches: Sequence[IngestBatch]) -> float:
    """Microseconds an event that `apply` takes before it sends."""
    start = time.process_time()
    for batch in batches:
        wire.step_of(batch, "0" * wire.SLICE)
    return (time.process_time() - start) / sum(len(batch.items) for batch in batches) * 1e6


async def speed(copies: int, size: int) -> float:
    """The smallest of the servers' medians."""
    batches = slices_of(partitions(copies), size)
    bodies = [len(item.body) for batch in batches for item in batch.items if isinstance(item, Half)]
    gc.collect()
    gc.freeze()
    print(f"{len(bodies):,} {lines()[0]} of {sum(bodies) / len(bodies):,.0f} bytes, slices of {size}", flush=True)
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        for name, program in programs().items():
            found.setdefault(name, []).append(await one_round(program, batches))
    for name, rounds in found.items():
        show(name, {key: statistics.median(one[key] for one in rounds) for key in rounds[0]})
    show("client before it sends, us", {"an event": client_alone(batches)}, ".2f")
    return min(statistics.median(one["per_server_cpu_s"] for one in rounds) for rounds in found.values())


# ------------------------------------------------------------------ memory


async def waiting(count: int, size: int) -> float:
    """Megabytes of both processes with so many waiting halves."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis(Path(folder))
        async with server as client:
            buffer = await RedisBuffer.open(client, "bench", RULES)
            before = await memory(client)
            for first in range(0, count, size):
                await buffer.apply(made_up(first, min(size, count - first), b"x" * BODY))
            status, taken = await buffer.status(), await memory(client) - before
            ours, theirs = (psutil.Process(pid).memory_info().rss for pid in (os.getpid(), server.pid))
    show(f"{count:,} waiting halves, MB", {"ingest": ours / MB, "server": theirs / MB, "data": taken / MB})
    beside = {"body": status.waiting_bytes / status.waiting, "beside it": (taken - status.waiting_bytes) / count}
    show("a waiting half, bytes", beside)
    return (ours + theirs) / MB


async def remembered(copies: int, size: int) -> None:
    """What stays of a run when its batch is released: the natural-key memory, for `remember_s`."""
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedRedis(Path(folder)) as client:
            buffer = await RedisBuffer.open(client, "bench", RULES)
            before = await memory(client)
            for batch in slices_of(partitions(copies), size):
                await buffer.apply(batch)
            await buffer.seal_rest()
            entries = await buffer.outbox(limit=10_000)
            for batch_id in (await buffer.status()).batches:
                await buffer.release(batch_id)
            await buffer.sent([entry.id for entry in entries])
            runs = sum([await client.hlen(key) async for key in client.scan_iter(match="*:seen:*")])
            held = (await buffer.status()).waiting_bytes
            show("a remembered run, bytes", {"each": (await memory(client) - before - held) / runs, "runs": runs})


async def large() -> None:
    """Bodies of a megabyte: through the buffer, and as files with an fsync each, as a store would have to keep them."""
    body = os.urandom(LARGE)
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedRedis(Path(folder)) as client:
            buffer = await RedisBuffer.open(client, "bench", RULES)
            before, start = await memory(client), time.perf_counter()
            for n in range(0, LARGE_COUNT, 8):
                await buffer.apply(made_up(n, 8, body))
            through = time.perf_counter() - start
            taken = await memory(client) - before
        start = time.perf_counter()
        for n in range(LARGE_COUNT):
            with (Path(folder) / str(n)).open("wb") as file:
                file.write(body)
                os.fsync(file.fileno())
        stored = time.perf_counter() - start
    total = LARGE_COUNT * LARGE / MB
    show(
        f"{LARGE_COUNT} bodies of 1 MB, MB/s",
        {"buffer": total / through, "files": total / stored, "memory, MB": taken / MB},
    )


def show(name: str, numbers: dict[str, float], form: str = ",.0f") -> None:
    print(f"{name:30} " + "  ".join(f"{key} {value:{form}}" for key, value in numbers.items()), flush=True)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=6)
    parser.add_argument("--waiting", type=int, default=WAITING)
    parser.add_argument("--slice", type=int, default=250)
    options = parser.parse_args()
    total = await waiting(options.waiting, options.slice)
    await remembered(2, options.slice)
    await large()
    rate = await speed(options.copies, options.slice)
    print(f"memory {total:,.0f} of {LIMIT_MB} MB; {rate:,.0f} events a server CPU second, must {MUST:,}, goal {GOAL:,}")
    return 0 if total <= LIMIT_MB and rate >= MUST else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
