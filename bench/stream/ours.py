"""Our own consumer as it is deployed: `python -m consumers.ingest` in a process of its own, watched from outside."""

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.stream.servers import PARTITIONS, Servers, cpu_s
from l07.backends.open import open_buffer
from l07.events.record import TopicPartition
from l07.settings import load_settings

ROOT = Path(__file__).parents[2]
LOOK_S, SOON_S = 0.05, 0.01
LIMIT_S = 900.0
TRACES, SCORES, PLANNING = "execution.traces", "evaluation.quality_scores", "planning.traces"


@dataclass(frozen=True, slots=True)
class Taken:
    """From the assignment to the last applied record."""

    records: int
    wall_s: float
    cpu_s: float
    buffer_cpu_s: float = 0.0
    broker_cpu_s: float = 0.0

    @property
    def per_cpu_s(self) -> float:
        return self.records / self.cpu_s

    @property
    def per_s(self) -> float:
        return self.records / self.wall_s


@dataclass(slots=True)
class Group:
    """Members of one group, and their buffer as a reader sees it."""

    environ: Mapping[str, str]
    buffer: Any
    topics: tuple[str, ...]
    folder: Path
    members: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The group's, on the brokers."""
        return f"{self.environ['L07_BUS__KAFKA__GROUP']}.ingest"

    def start(self) -> "subprocess.Popen[bytes]":
        """One more member."""
        command = [sys.executable, "-m", "consumers.ingest"]
        with (self.folder / f"member-{len(self.members)}.log").open("wb") as log:
            member = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **self.environ}, stderr=log)
        self.members.append(member)
        return member

    async def positions(self) -> dict[TopicPartition, int]:
        stored = await self.buffer.positions()
        return {tp: at.next for tp, at in stored.items() if tp.topic in self.topics}

    async def applied(self) -> int:
        return sum((await self.positions()).values())

    async def assigned(self) -> None:
        """The first member has told the buffer where its partitions begin; now it fetches."""
        deadline = time.monotonic() + LIMIT_S
        while not await self.positions():
            assert time.monotonic() < deadline, self.said()
            await asyncio.sleep(SOON_S)

    def said(self) -> str:
        """The end of the first member's log."""
        return (self.folder / "member-0.log").read_text()[-2000:]

    async def until(self, count: int) -> int:
        """How many are applied, once they are so many."""
        deadline = time.monotonic() + LIMIT_S
        while (found := await self.applied()) < count:
            for member in self.members:
                assert member.poll() in (None, -9), self.said()
            assert time.monotonic() < deadline, f"{found} of {count} records after {LIMIT_S:.0f} s"
            await asyncio.sleep(LOOK_S)
        return found

    def end(self) -> None:
        for member in self.members:
            if member.poll() is None:
                member.terminate()
        for member in self.members:
            try:
                member.wait(40)
            except subprocess.TimeoutExpired:
                member.kill()
                member.wait()


@asynccontextmanager
async def a_group(
    servers: Servers,
    client: str,
    folder: Path,
    *,
    traces: str = TRACES,
    scores: str = SCORES,
    planning: str = PLANNING,
    **more: object,
) -> AsyncIterator[Group]:
    """A new group with an empty buffer of its own; `more` are settings, "__" for a dot."""
    servers.forget()
    name = f"bench-{secrets.token_hex(4)}"
    set_ = {
        "data_dir": folder, "bus__url": f"kafka://{servers.address}", "bus__partitions": PARTITIONS,
        "bus__kafka__create_topics": "true", "bus__kafka__client": client, "bus__kafka__group": name,
        "buffer__url": servers.url, "buffer__name": name, "topics__traces": traces, "topics__scores": scores,
        "topics__planning": planning, **more,
    }  # fmt: skip
    environ = {f"L07_{key.upper()}": str(value) for key, value in set_.items()}
    async with open_buffer(load_settings(environ).settings) as buffer:
        group = Group(environ, buffer, (traces, scores, planning), folder)
        try:
            yield group
        finally:
            group.end()


async def full_ingest(
    servers: Servers, client: str, folder: Path, total: int, *, watch: Callable[[int], None] = lambda _: None
) -> Taken:
    """One member applies all that lies on the topics; `watch` is told its pid at its start."""
    async with a_group(servers, client, folder) as group:
        member = group.start()
        watch(member.pid)
        await group.assigned()
        begun = _look(servers, member.pid)
        await group.until(total)
        used = [now - then for now, then in zip(_look(servers, member.pid), begun, strict=True)]
        await _check(group, total)
    return Taken(total, *used)


def _look(servers: Servers, pid: int) -> tuple[float, float, float, float]:
    return time.perf_counter(), _whole(pid), servers.buffer_cpu_s(), servers.broker_cpu_s()


def _whole(pid: int) -> float:
    """The member, and what it runs in other processes."""
    return cpu_s(pid) + sum(cpu_s(child.pid) for child in psutil.Process(pid).children(recursive=True))


async def _check(group: Group, total: int) -> None:
    """A figure counts only if the work was done: every record is accounted for, and next to none is a dead letter."""
    counts = (await group.buffer.status()).partitions.values()
    assert sum(one["consumed"] for one in counts) == total
    assert sum(one["dead_letter"] for one in counts) <= total / 50
