"""Servers of the buffer as child processes: Redis 7.0 of the distribution and the wheel's Valkey; alone, or as a cluster."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis
from redis.exceptions import RedisError

from l07.backends.embedded import _bundled

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(
    19200 + 50 * WORKER, 19250 + 50 * WORKER
)  # its own for each worker; a cluster's nodes speak to each other 10,000 above
DURABLE = ("--save", "", "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
KINDS = ("redis", "valkey")


def program(kind: str) -> str:
    found = shutil.which("redis-server") if kind == "redis" else _bundled()
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {kind} server here: apt-get install redis-server")
    return str(found)


def free_ports(number: int) -> list[int]:
    found = (port for port in PORTS if _free(port) and _free(port + 10_000))
    return [next(found) for _ in range(number)]


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def wait_until(condition: Callable[[], Awaitable[bool]], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.05)


@dataclass
class Server:
    kind: str
    folder: Path
    port: int
    options: Sequence[str] = ()
    tls_port: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        words = [program(self.kind), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        words += ["--tls-port", str(self.tls_port)] if self.tls_port else []
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*words, *DURABLE, *self.options], stdout=log, stderr=log)

    async def answers(self) -> None:
        """It, and not another that was faster to take the port."""
        async with self.client() as client:
            await wait_until(lambda: self._pings(client))

    async def _pings(self, client: Any) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text("utf-8", "replace")[-800:]
        try:
            return int((await client.info("server"))["process_id"]) == self.process.pid
        except (RedisError, OSError):
            return False

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[Any]:
        client = aioredis.Redis(port=self.port, retry=None, socket_timeout=5, **options)
        try:
            yield client
        finally:
            await client.aclose()

    async def listens(self) -> None:
        """For one that speaks only TLS."""

        async def there() -> bool:
            return not _free(self.tls_port)

        await wait_until(there)

    def revive(self) -> None:
        if self.process and self.process.poll() is not None:
            self.start()

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()


@dataclass
class Nodes:
    """Three primaries of a cluster, a third of the slots each."""

    servers: list[Server]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    @property
    def tls_url(self) -> str:
        return "rediss+cluster://" + ",".join(f"127.0.0.1:{server.tls_port}" for server in self.servers)

    async def form(self) -> None:
        first = self.servers[0]
        for number, server in enumerate(self.servers):
            await server.answers()
            low, high = number * 16384 // 3, (number + 1) * 16384 // 3 - 1
            async with server.client() as client:
                await client.execute_command("CLUSTER", "ADDSLOTSRANGE", low, high)
                await client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                await client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.tls_port or first.port)
        await wait_until(self.is_whole)

    async def is_whole(self) -> bool:
        return all([await self._knows_all(server) for server in self.servers])

    async def _knows_all(self, server: Server) -> bool:
        async with server.client() as client:
            try:
                said = await client.execute_command("CLUSTER", "INFO")
            except (RedisError, OSError):
                return False
        text = said.decode() if isinstance(said, bytes) else str(said)
        whole = {"cluster_state": "ok", "cluster_known_nodes": "3", "cluster_slots_ok": "16384", "cluster_size": "3"}
        return all(f"{name}:{value}" in text or f"'{name}': '{value}'" in text for name, value in whole.items())

    async def empty(self) -> None:
        for server in self.servers:
            async with server.client() as client:
                await client.flushall()

    def home(self, slot: int) -> Server:
        return self.servers[slot * 3 // 16384]

    async def id_of(self, server: Server) -> str:
        async with server.client() as client:
            ident = await client.execute_command("CLUSTER", "MYID")
        return ident.decode() if isinstance(ident, bytes) else str(ident)

    async def owner(self, slot: int, asked: Server | None = None) -> Server:
        """As the one that is asked knows it; the first node where none is named."""
        async with (asked or self.servers[0]).client() as client:
            ranges = await client.execute_command("CLUSTER", "SLOTS")
        port = next(int(master[1]) for low, high, master, *_ in ranges if low <= slot <= high)
        return next(server for server in self.servers if server.port == port)

    async def move(self, slot: int, to: Server, *, half_way: Callable[[], Awaitable[None]]) -> None:
        """As `redis-cli --cluster reshard` does it, key by key; `half_way` runs when a part of the keys is moved."""
        source = await self.owner(slot)
        source_id, to_id = await self.id_of(source), await self.id_of(to)
        async with source.client() as old, to.client() as new:
            await new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
            await old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", to_id)
            moved = 0
            while keys := await old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 3):
                await old.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
                moved += len(keys)
                if moved == 6:
                    await half_way()
            assert moved > 6
        await self.give(slot, to)

    async def give(self, slot: int, to: Server) -> None:
        """All nodes hear of the new owner; the keys are there, or there are none. Its claim is the newest: what another has
        said before, and comes late, would win otherwise."""
        to_id = await self.id_of(to)
        for server in (to, *(server for server in self.servers if server is not to)):
            async with server.client() as client:
                await client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", to_id)
                if server is to:
                    await client.execute_command("CLUSTER", "BUMPEPOCH")

    async def agree(self, slot: int) -> bool:
        return len({(await self.owner(slot, server)).port for server in self.servers}) == 1


@asynccontextmanager
async def a_cluster(kind: str, folder: Path, *options: str, tls: bool = False) -> AsyncIterator[Nodes]:
    own = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", *options)
    ports = free_ports(6 if tls else 3)
    tls_ports = ports[3:] or [0, 0, 0]
    made = [Server(kind, folder / str(a), a, own, b) for a, b in zip(ports[:3], tls_ports, strict=True)]
    try:
        for server in made:
            server.start()
        nodes = Nodes(made)
        await nodes.form()
        yield nodes
    finally:
        for server in made:
            server.kill()


@asynccontextmanager
async def one_server(kind: str, folder: Path, *options: str) -> AsyncIterator[Server]:
    server = Server(kind, folder / kind, free_ports(1)[0], options)
    try:
        server.start()
        await server.answers()
        yield server
    finally:
        server.kill()
