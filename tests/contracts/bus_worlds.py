"""The buses that keep the contract: the embedded file, and Kafka by each of its two clients."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from l07.backends.kafka import open_kafka
from l07.backends.sqlite import SqliteBus
from l07.ports import Bus
from l07.settings import Settings
from tests.servers.fixtures import server_of
from tests.servers.kafka_topics import make_topics

BRANDS = (
    "sqlite",
    pytest.param("aiokafka", marks=[pytest.mark.server, pytest.mark.slow]),
    pytest.param("confluent", marks=[pytest.mark.server, pytest.mark.slow]),
)


@dataclass(slots=True)
class World:
    """One bus under test. Names are the test's own: `topic` and `group` make them unique on a shared broker."""

    brand: str
    where: str  # a path, or host:port
    bus: Bus = field(init=False)
    patience_s: float = 0.0  # how long a `poll` may take to bring what is there
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    async def topic(self, name: str = "t", *, partitions: int = 3) -> str:
        """The name of a topic that is there."""
        if self.brand == "sqlite":
            return name
        await make_topics(self.where, {f"{name}.{self.token}": partitions})
        return f"{name}.{self.token}"

    def group(self, name: str = "g") -> str:
        return f"l07.{name}.{self.token}"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Bus]:
        """Another one on the same log, as another process has it."""
        if self.brand == "sqlite":
            async with SqliteBus.open(Path(self.where), partitions=3) as bus:
                yield bus
            return
        kafka = {"client": self.brand, "session_timeout_s": 6}
        settings = Settings.model_validate({"bus": {"url": f"kafka://{self.where}", "kafka": kafka}})
        async with open_kafka(settings, check=False) as bus:
            yield bus


@pytest.fixture(params=BRANDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "sqlite":
        world = World("sqlite", str(tmp_path / "bus.db"))
    else:
        world = World(request.param, server_of(request, "kafka").address, patience_s=10.0)
    async with world.opened() as bus:
        world.bus = bus
        yield world
