"""Builders and a server for the tests of the buffer."""

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xxhash

from l07.backends.embedded import EmbeddedRedis
from l07.backends.redis import BufferRules, RedisBuffer, SealTrigger, connect
from l07.events.record import Message, TopicPartition
from l07.ports import Half, Ignored, IngestBatch, Part, Side, Unreadable
from tests.servers.workers import address_of_mine

TRACES = TopicPartition("execution.traces", 0)
MORE_TRACES = TopicPartition("execution.traces", 1)
SCORES = TopicPartition("evaluation.quality_scores", 0)
PAYLOADS = TopicPartition("inference.payloads", 0)
DAY_MS = 86_400_000
T0 = 20_000 * DAY_MS  # a day's first millisecond

RULES = BufferRules(
    trace_topics=frozenset({"execution.traces", "planning.traces", "inference.payloads"}),
    score_topics=frozenset({"evaluation.quality_scores"}),
    payload_topics=frozenset({"inference.payloads"}),
    wait_s=3600,
    seals={"default": SealTrigger(count=1000, max_age_s=600, min_count=2)},
)


def sealing_at(count: int, **changes: Any) -> BufferRules:
    trigger = SealTrigger(count, 600, 2)
    return replace(RULES, seals={"default": trigger, "other": trigger}, **changes)


def content(*words: object) -> bytes:
    return xxhash.xxh3_64_digest(repr(words).encode())


def a_trace(
    key: str, *, at: int = 0, text: str = "did it", reason: str = "", track: str = "default", time: int = T0
) -> Half:
    body = f"trace {key} {text}".encode()
    return Half(0, at, time, f"execution:{key}", "trace", content(text), track, reason, None, None, "", body)


def a_score(
    key: str, score: float = 80.0, confidence: float = 0.9, *, at: int = 0, evaluation: str = "e1", time: int = T0
) -> Half:
    what = content(key, score, confidence, evaluation)
    body = f"score {key} {score} {confidence} {evaluation}".encode()
    return Half(0, at, time, f"execution:{key}", "score", what, "", "", score, confidence, evaluation, body)


def a_part_of_run(
    side: Side, key: str, *, at: int = 0, text: str = "", reason: str = "", track: str = "default", time: int = T0
) -> Half:
    """A request or a response."""
    what = content(side, text)
    body = f"{side} {key} {text}".encode()
    return Half(0, at, time, f"execution:{key}", side, what, track, reason, None, None, "", body)


def a_request(key: str, **more: Any) -> Half:
    return a_part_of_run("request", key, **more)


def a_response(key: str, **more: Any) -> Half:
    return a_part_of_run("response", key, **more)


def a_scored_trace(key: str, score: float = 80.0, confidence: float = 0.9, *, at: int = 0, time: int = T0) -> Half:
    trace = a_trace(key, at=at, time=time)
    side: Side = "both"
    return trace._replace(
        side=side, score=score, confidence=confidence, tiebreak="own", content=content(key, score, confidence)
    )


def a_broken(*, at: int = 0) -> Unreadable:
    return Unreadable(0, at, Message("learning.dlq", b"k", f"broken {at}".encode(), ((b"code", b"E7000"),), T0))


def an_unread(*, at: int = 0, reason: str = "type") -> Ignored:
    return Ignored(0, at, reason)


def a_batch(
    *pieces: tuple[TopicPartition, Sequence[Half | Unreadable | Ignored]],
    start: dict[TopicPartition, int] | None = None,
) -> IngestBatch:
    """A piece a partition, in the order given; offsets follow from `start` (0), unless the records have some."""
    parts, items = [], []
    for index, (tp, records) in enumerate(pieces):
        first = (start or {}).get(tp, 0)
        placed = [record._replace(part=index, offset=first + i) for i, record in enumerate(records)]
        parts.append(a_part(tp, first, first + len(placed), placed))
        items += placed
    return IngestBatch(parts, items)


def a_part(tp: TopicPartition, start: int, end: int, records: Sequence[Half | Unreadable | Ignored]) -> Part:
    if not records:
        return Part(tp, start, end, b"", 0)
    last = records[-1]
    return Part(tp, start, end, xxhash.xxh3_128_digest(f"{tp} {last.offset}".encode()), getattr(last, "time_ms", T0))


COMES_ON = {"score": SCORES, "request": PAYLOADS, "response": PAYLOADS}


class Feeder:
    """Feeds one record a batch, each at its partition's next offset."""

    def __init__(self, buffer: RedisBuffer) -> None:
        self.buffer = buffer
        self.next: dict[TopicPartition, int] = {}

    async def __call__(self, *records: Half | Unreadable | Ignored, tp: TopicPartition | None = None) -> list[str]:
        sealed: list[str] = []
        for record in records:
            where = tp or COMES_ON.get(getattr(record, "side", ""), TRACES)
            batch = a_batch((where, [record]), start=self.next)
            self.next[where] = batch.parts[0].next
            applied = await self.buffer.apply(batch)
            assert not applied.refused
            sealed += applied.sealed
        return sealed


SERVERS = ["embedded", pytest.param("server", marks=pytest.mark.server)]


@asynccontextmanager
async def a_server(kind: str, folder: Path) -> AsyncIterator[Any]:
    """A client of an empty server. The embedded one writes to disk at once, so that a barrier takes no second."""
    if kind == "embedded":
        async with EmbeddedRedis(folder, fsync="always") as client:
            yield client
        return
    url = address_of_mine("L07_TEST_REDIS")
    if not url:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("L07_TEST_REDIS names no server")
    client = connect(url)
    try:
        await drop(client, "*")
        yield client
        await drop(client, "*")
    finally:
        await client.aclose()


async def drop(client: Any, name: str) -> None:
    async for key in client.scan_iter(match=f"{{l07:{name}:*}}*", count=1000):
        await client.unlink(key)


async def stored_bodies(client: Any, name: str) -> tuple[int, int]:
    """How many bodies lie there, and their bytes."""
    bodies = [body async for key in client.scan_iter(match=f"{{l07:{name}:0}}:b:*") for body in await client.hvals(key)]
    return len(bodies), sum(map(len, bodies))


def sums(partitions: Iterable[dict[str, int]]) -> dict[str, int]:
    """Over all partitions, without zeros."""
    out: dict[str, int] = {}
    for counters in partitions:
        for name, n in counters.items():
            out[name] = out.get(name, 0) + n
    return {name: n for name, n in out.items() if n}


async def counts(buffer: RedisBuffer) -> dict[str, int]:
    return sums((await buffer.status()).partitions.values())


def holds(partitions: Iterable[dict[str, int]]) -> bool:
    """G5, for each partition by itself."""
    return all(sum(c.values()) == 2 * c["consumed"] and min(c.values()) >= 0 for c in partitions)
