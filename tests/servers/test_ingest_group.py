"""The ingest as a group of processes on Kafka and Redis: members are killed, frozen and sent away, and every record counts once."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition as LibPartition

from l07.backends.open import open_buffer, open_bus
from l07.errors import RecordsGone
from l07.events import outbound
from l07.events.record import Message, TopicPartition
from l07.ports import Bus, ExampleBuffer
from l07.settings import Settings, load_settings
from tests.servers.ingest_kit import a_score, a_trace, comes, conserved, counted, events
from tests.servers.kafka_server import Broker, free_port

SESSION_S = 6.0
pytestmark = pytest.mark.timeout(170)


@dataclass
class Group:
    """Topics, a buffer and a group of their own, and the processes that are members."""

    settings: Settings
    environ: Mapping[str, str]
    bus: Bus
    buffer: ExampleBuffer
    folder: Path
    members: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def start(self, name: str) -> None:
        self.ports[name] = free_port()
        environ = {**os.environ, **self.environ, "L07_HEALTH__PORT": str(self.ports[name])}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.members[name] = subprocess.Popen([sys.executable, "-m", "consumers.ingest"], env=environ, stderr=log)

    def hurt(self, name: str, number: signal.Signals) -> None:
        self.members[name].send_signal(number)

    def log(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / f"{name}.log").read_text("utf-8").splitlines()]

    async def page(self, name: str, path: str) -> tuple[int, bytes]:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[name])
        except OSError:
            return 0, b""
        writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split(b" ")[1]), body

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """What takes longer fails with the last lines of every member."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            said = {name: [line for line in self.log(name) if line["event"] != "progress"] for name in self.members}
            tails = "\n".join(f"{name}: {lines[-12:]}" for name, lines in said.items())
            pytest.fail(f"not within {seconds} s; the members said\n{tails}")

    async def ready(self, name: str) -> None:
        async with self.within(60):
            while (await self.page(name, "/readyz"))[0] != 200:
                assert self.members[name].poll() is None, self.log(name)[-3:]
                await asyncio.sleep(0.1)

    async def publish(self, *numbers: int) -> None:
        """The runs of a range: traces and scores."""
        topics, messages = self.settings.topics, list[Message]()
        for number in range(*numbers):
            trace, score = a_trace(number, text=200), a_score(number)
            messages += [trace._replace(topic=topics.traces), score._replace(topic=topics.scores)]
        await self.bus.publish(messages)

    async def consumed(self, count: int, *, waiting: int = 0, within_s: float = 60.0) -> None:
        """Until so many records were taken: each once, and all but `waiting` joined."""
        async with self.within(within_s):
            while (await counted(self.buffer))["consumed"] < count:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.1)
        found = await counted(self.buffer)
        assert conserved(found)
        assert (found["consumed"], found["applied"], found["waiting"]) == (count, count - waiting, waiting)

    def end(self) -> None:
        for process in self.members.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)


@pytest.fixture
async def group(kafka: Broker, redis_url: str, tmp_path: Path) -> AsyncIterator[Group]:
    async with a_group(kafka, redis_url, tmp_path) as group:
        yield group


@asynccontextmanager
async def a_group(kafka: Broker, redis_url: str, folder: Path) -> AsyncIterator[Group]:
    name = f"ingest-{secrets.token_hex(4)}"
    topics = {
        f"topics.{short}": f"{name}.{short}" for short in ("traces", "planning", "scores", "events", "dlq", "reviews")
    }
    set_ = {
        "data_dir": str(folder),
        "bus.url": f"kafka://{kafka.address}",
        "bus.partitions": "6",
        "bus.kafka.create_topics": "true",
        "bus.kafka.group": name,
        "bus.kafka.session_timeout_s": str(SESSION_S),
        "buffer.url": redis_url,
        "buffer.name": name,
        "health.look_s": "0.2",
        "log_level": "info",
        "tracks.default.seal.count": "500",
    } | topics  # fmt: skip
    environ = {f"L07_{key.upper().replace('.', '__')}": value for key, value in set_.items()}
    settings = load_settings(environ).settings
    async with open_bus(settings) as bus, open_buffer(settings) as buffer:
        group = Group(settings, environ, bus, buffer, folder)
        with ended(group):
            yield group


@contextmanager
def ended(group: Group) -> Iterator[None]:
    try:
        yield
    finally:
        group.end()


async def test_a_killed_member_s_partitions_go_on_within_the_session_timeout(group: Group) -> None:
    for name in "abc":
        group.start(name)
    for name in "abc":
        await group.ready(name)
    await group.publish(0, 1000)
    await group.consumed(2000)
    group.hurt("a", signal.SIGKILL)
    begun = time.monotonic()
    await group.publish(1000, 2000)
    await group.consumed(4000)
    assert time.monotonic() - begun < SESSION_S + 4, "session timeout + 2 s, and 2 s for a shared machine"


async def test_a_frozen_member_that_wakes_after_its_session_changes_nothing(group: Group) -> None:
    for name in "ab":
        group.start(name)
        await group.ready(name)
    await group.publish(0, 3000)
    group.hurt("a", signal.SIGSTOP)
    await group.publish(3000, 4000)
    await group.consumed(8000)
    group.hurt("a", signal.SIGCONT)
    await group.publish(4000, 5000)
    await group.consumed(10_000)
    await group.ready("a")
    assert group.members["a"].poll() is None


async def test_a_member_that_is_told_to_go_leaves_at_once_and_loses_nothing(group: Group) -> None:
    session_s = 30.0  # the others hear of it at their next heartbeat, after 3 s
    group.environ = {**group.environ, "L07_BUS__KAFKA__SESSION_TIMEOUT_S": str(session_s)}
    for name in "ab":
        group.start(name)
        await group.ready(name)
    await group.publish(0, 2000)
    begun = time.monotonic()
    group.hurt("a", signal.SIGTERM)
    await group.publish(2000, 3000)
    await group.consumed(6000)
    assert time.monotonic() - begun < session_s - 3, "nobody waits for a member that said goodbye"
    assert await asyncio.to_thread(group.members["a"].wait, 20) == 0
    assert group.log("a")[-1]["event"] == "consumer_ended"


async def test_retention_that_took_unapplied_records_halts_that_partition_alone_with_their_number(group: Group) -> None:
    await group.publish(0, 600)
    group.start("a")
    await group.consumed(1200)
    group.hurt("a", signal.SIGTERM)
    await asyncio.to_thread(group.members["a"].wait, 20)
    await group.publish(600, 900)
    tp = TopicPartition(group.settings.topics.traces, 0)
    stored = (await group.buffer.positions())[tp].next
    end = (await group.bus.end_offsets([tp.topic]))[tp]
    await delete_up_to(group, tp, end - 1)
    group.start("b")
    gone = end - stored
    await group.consumed(1800 - gone, waiting=gone)  # the scores of what is not read
    await comes(lambda: halted(group, "b"))
    (reason,) = [found for found in await reasons(group, "b") if found["code"] == RecordsGone.code]
    assert f"took {gone - 1} records" in reason["why"]
    assert (await group.page("b", "/healthz"))[0] == 200
    assert b"l07_halted_partitions 1.0" in (await group.page("b", "/metrics"))[1]
    await comes(lambda: alerts(group))
    assert [(alert.data.code, alert.data.stopped) for alert in await alerts(group)] == [("E7481", str(tp))]


async def alerts(group: Group) -> list[outbound.LearningAlert]:
    found = await events(group.bus, group.settings.topics.events)
    return [event for event in found if isinstance(event, outbound.LearningAlert)]


async def halted(group: Group, name: str) -> bool:
    """Of other reasons it may have some on the way there: it has no partition yet."""
    return RecordsGone.code in {found["code"] for found in await reasons(group, name)}


async def reasons(group: Group, name: str) -> list[dict[str, str]]:
    status, body = await group.page(name, "/readyz")
    return list(json.loads(body)["reasons"]) if status else []


async def delete_up_to(group: Group, tp: TopicPartition, offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=group.settings.bus.url.removeprefix("kafka://"))
    await admin.start()
    try:
        await admin.delete_records({LibPartition(*tp): RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()
