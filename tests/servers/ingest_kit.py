"""Events and a small curator for the tests of the ingest on real servers."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from l07.backends.embedded import attach
from l07.events import outbound
from l07.events.record import Message
from l07.ports import Bus, ExampleBuffer
from l07.runner import Halts
from l07.service.ingesting import Ingest, opened_ingest
from l07.settings import load_settings

T0 = 1_767_600_000_000
TRACES, SCORES = "execution.traces", "evaluation.quality_scores"


def a_trace(number: int, *, text: int = 1500) -> Message:
    """A good run of about 2 KB."""
    steps = [{"tool_name": "execute_sql", "parameters": {"query": "select 1"}, "output": f"{number} " * (text // 6)}]
    trace = {"task_description": f"How many cars are there in {number}?", "steps": steps, "final_answer": "4"}
    data = {"execution_id": f"r{number}", "domain": "sql", "outcome": "success", "trace": trace}
    return _message(TRACES, number, "execution.completed", "/l02", f"t{number}", data)


def a_score(number: int) -> Message:
    data = {"execution_id": f"r{number}", "quality_score": 91.5, "confidence": 0.9, "evaluation_id": "q"}
    return _message(SCORES, number, "evaluation.completed", "/l06", f"s{number}", data)


def noise(number: int) -> Message:
    """A type that nobody reads, from long before the runs: it only makes the scores come late."""
    message = _message(SCORES, number, "weather.changed", "/elsewhere", f"n{number}", {})
    return message._replace(timestamp_ms=T0 - 3_600_000)


def _message(topic: str, number: int, kind: str, source: str, ident: str, data: dict[str, object]) -> Message:
    event = {"specversion": "1.0", "type": kind, "source": source, "id": ident, "data": data}
    headers = ((b"content-type", b"application/cloudevents+json"),)
    return Message(topic, str(number).encode(), json.dumps(event).encode(), headers, T0 + number * 1000)


async def publish(bus: Bus, messages: Sequence[Message]) -> None:
    for at in range(0, len(messages), 1000):
        await bus.publish(messages[at : at + 1000])


async def counted(buffer: ExampleBuffer) -> Counter[str]:
    total: Counter[str] = Counter()
    for counts in (await buffer.status()).partitions.values():
        total.update(counts)
    return total


async def consumed(ingest: Ingest, count: int, *, within_s: float = 120.0) -> None:
    """Until the buffer has taken as many records, and then it has taken no more."""
    async with asyncio.timeout(within_s):
        while (found := (await counted(ingest.buffer))["consumed"]) < count:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.02)
    assert found == count


def conserved(counts: Counter[str]) -> bool:
    return sum(counts.values()) == 2 * counts["consumed"]


async def until(happened: Callable[[], object], *, within_s: float = 120.0) -> None:
    async with asyncio.timeout(within_s):
        while not happened():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.02)


async def comes(condition: Callable[[], Awaitable[object]], *, within_s: float = 120.0) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.1)


@asynccontextmanager
async def an_ingest(folder: Path, **overrides: object) -> AsyncIterator[tuple[Ingest, Any]]:
    """The ingest on an embedded server, which is always there, and a second client of that server."""
    few = {"data_dir": folder, "tracks.default.seal.count": 200, "health.look_s": 0.2}
    settings = load_settings({}, overrides=few | overrides).settings
    async with opened_ingest(settings, lambda _: None, halts=Halts()) as ingest, attach(folder) as client:
        yield ingest, client


async def events(bus: Bus, topic: str = "learning.events") -> list[outbound.Event[Any] | None]:
    ends = await bus.end_offsets([topic])
    found = [record for tp, end in ends.items() if end for record in await bus.read(tp, 0, limit=end)]
    return [outbound.read_event(record) for record in found]


@asynccontextmanager
async def curated(buffer: ExampleBuffer, keys: list[str]) -> AsyncIterator[None]:
    """Reads and releases each sealed batch, as curation does; `keys` of the examples, as they come."""

    async def work() -> None:
        while True:
            for batch_id in (await buffer.status()).batches:
                keys.extend(row.key for row in (await buffer.read(batch_id)).rows)
                await buffer.release(batch_id)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def running(ingest: Ingest) -> AsyncIterator["asyncio.Task[None]"]:
    """The deployed loops, until the block ends; what they raise comes out."""
    task = asyncio.create_task(ingest.forever())
    try:
        yield task
    finally:
        ingest.stop.set()
        await task
