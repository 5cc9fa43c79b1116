"""What a shard's connection does with each answer of a cluster, on nodes that say what the test wants. The real ones are in
tests/servers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from l07.backends.address import Address, Node
from l07.backends.redis.client import answer, send
from l07.backends.redis.cluster import HOPS, Cluster, ShardClient
from l07.errors import BufferBroken, BufferMoves, BufferUnavailable

TAG = "{l07:t:0}"
CLOSE = b""
Said = Callable[[list[bytes]], bytes]


@dataclass
class FakeNode:
    """Answers each command with what `says` gives; CLOSE hangs up instead."""

    owner: "FakeNode | None" = None
    says: Said = lambda words: b"+OK\r\n"
    seen: list[bytes] = field(default_factory=list)
    port: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FakeNode"]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await _command(reader):
            reply = self._reply(words)
            if reply == CLOSE:
                break
            writer.write(reply)
        writer.close()

    def _reply(self, words: list[bytes]) -> bytes:
        if words[0] in (b"HELLO", b"CLIENT"):
            return b"+OK\r\n"
        if words[0] == b"CLUSTER":
            owner = self.owner or self
            return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:%d\r\n" % owner.port
        self.seen.append(b" ".join(words))
        return self.says(words)


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    head = await reader.readline()
    words = []
    for _ in range(int(head[1:] or 0)):
        size = int((await reader.readline())[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


@asynccontextmanager
async def two_nodes(says: Said) -> AsyncIterator[tuple[FakeNode, FakeNode, ShardClient]]:
    async with FakeNode(says=says).running() as first, FakeNode().running() as second:
        cluster = Cluster(Address((Node("127.0.0.1", first.port),), cluster=True))
        try:
            yield first, second, ShardClient(cluster, TAG)
        finally:
            await cluster.aclose()


def moved_to(node: Callable[[], FakeNode], word: str = "MOVED") -> Said:
    return lambda words: f"-{word} 1 :{node().port}\r\n".encode()


async def test_a_write_whose_answer_is_lost_is_not_sent_again_and_the_owner_is_looked_up_anew() -> None:
    async with two_nodes(lambda words: CLOSE) as (first, second, client):
        with pytest.raises(BufferUnavailable):
            await answer(send(client, "INCR", TAG))
        assert (first.seen, second.seen) == ([b"INCR " + TAG.encode()], [])
        first.owner = second  # it failed over
        await answer(send(client, "INCR", TAG))
        assert (len(first.seen), len(second.seen)) == (1, 1)


async def test_what_was_refused_because_the_slot_has_moved_is_sent_to_its_owner_from_then_on() -> None:
    nodes: list[FakeNode] = []
    async with two_nodes(moved_to(lambda: nodes[1])) as (first, second, client):
        nodes += (first, second)
        await answer(send(client, "INCR", TAG))
        await answer(send(client, "INCR", TAG))
        assert (len(first.seen), len(second.seen)) == (1, 2)


async def test_a_pipeline_moves_as_a_whole() -> None:
    nodes: list[FakeNode] = []
    async with two_nodes(moved_to(lambda: nodes[1])) as (first, second, client):
        nodes += (first, second)
        pipe = client.pipeline(transaction=False)
        pipe.execute_command("SET", TAG, "1")
        pipe.execute_command("GET", TAG)
        assert await answer(pipe.execute()) == [True, b"OK"]
        assert [line.split()[0] for line in second.seen] == [b"SET", b"GET"]


async def test_two_nodes_that_each_name_the_other_do_not_hold_a_call_for_ever() -> None:
    nodes: list[FakeNode] = []
    async with two_nodes(moved_to(lambda: nodes[1])) as (first, second, client):
        nodes += (first, second)
        second.says = moved_to(lambda: first)
        with pytest.raises(BufferUnavailable):
            await answer(send(client, "INCR", TAG))
        assert len(first.seen) + len(second.seen) == HOPS


@pytest.mark.parametrize(
    ("reply", "fate"),
    [
        (b"-CLUSTERDOWN The cluster is down\r\n", BufferUnavailable),
        (b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", BufferUnavailable),
        (b"-MASTERDOWN Link with MASTER is down\r\n", BufferUnavailable),
        (b"-CROSSSLOT Keys in request don't hash to the same slot\r\n", BufferBroken),
    ],
)
async def test_what_a_cluster_says_has_its_fate(reply: bytes, fate: type[Exception]) -> None:
    async with two_nodes(lambda words: reply) as (first, _, client):
        with pytest.raises(fate):
            await answer(send(client, "INCR", TAG))
        assert len(first.seen) == 1


async def test_ask_is_not_followed() -> None:
    nodes: list[FakeNode] = []
    async with two_nodes(moved_to(lambda: nodes[1], "ASK")) as (first, second, client):
        nodes += (first, second)
        with pytest.raises(BufferMoves):
            await answer(send(client, "INCR", TAG))
        assert second.seen == []


async def test_a_slot_that_nobody_has_is_transient() -> None:
    async with two_nodes(lambda words: b"+OK\r\n") as (first, _, client):
        first._reply = lambda words: b"*0\r\n" if words[0] == b"CLUSTER" else b"+OK\r\n"  # type: ignore[method-assign]
        with pytest.raises(BufferUnavailable, match="no node"):
            await answer(send(client, "INCR", TAG))


async def test_a_password_that_a_node_refuses_stops_us() -> None:
    def says(words: list[bytes]) -> bytes:
        return b"-NOAUTH Authentication required.\r\n"

    async with two_nodes(says) as (_, _, client):
        with pytest.raises(Exception, match="E7457"):
            await answer(send(client, "INCR", TAG))


def test_the_library_repeats_nothing() -> None:
    client: Any = Cluster(Address((Node("127.0.0.1", 1),), cluster=True)).client(Node("127.0.0.1", 1))
    assert client.connection_pool.make_connection().retry.get_retries() == 0
