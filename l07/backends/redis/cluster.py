"""One shard's connection to a Redis Cluster: all its keys are in one slot, so it speaks to one node at a time.

The library's own cluster client sends a command again after a lost answer, follows ASK, and knows no barrier: here a node
is a plain client, and only what a node refused with MOVED, and so did not do, is sent again.

ASK is not followed. While a slot is being moved, its keys are on two nodes, and a script on either of them would take what
it does not see for what is not there. The tag that each script names as its key does not exist as a key, so a node that
gives the slot away answers every script with ASK: the shard stands still until all its keys are at one place.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.crc import key_slot
from redis.exceptions import ClusterDownError, MovedError, ResponseError
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer

from l07.backends.address import Address, Node
from l07.backends.redis.client import Client, OneServer, client_of, each, send, transact
from l07.backends.redis.fates import said
from l07.backends.redis.rules import tag_of
from l07.errors import BufferOtherKind

HOPS = 5  # a slot that moves more often while one call looks for it is looked up anew by the next
Call = Callable[[OneServer], Awaitable[Any]]


class Cluster:
    """Which node has which slot, asked of the nodes themselves, and a client for each node."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._owner: dict[int, Node] = {}
        self._clients: dict[Node, OneServer] = {}

    async def node(self, slot: int) -> Node:
        """Raises the library's errors: nobody answers, or nobody has the slot."""
        if slot not in self._owner:
            self._owner[slot] = await self._ask_for(slot)
        return self._owner[slot]

    def client(self, node: Node) -> OneServer:
        if node not in self._clients:
            self._clients[node] = client_of(self._address, node)
        return self._clients[node]

    def moved(self, slot: int, node: Node) -> None:
        self._owner[slot] = node

    def forget(self, slot: int) -> None:
        """Its node does not answer: another may have taken over by the next call."""
        self._owner.pop(slot, None)

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def _ask_for(self, slot: int) -> Node:
        known = (*self._address.nodes, *self._clients)
        last: Exception = ClusterDownError(f"no node of the cluster serves slot {slot}")
        for node in dict.fromkeys(known):
            try:
                ranges = await self._ranges(node)
            except (NoConnection, NoAnswer, OSError) as err:
                last = err
                continue
            for first, end, (host, port, *_), *_ in ranges:
                if first <= slot <= end:
                    return _node(node, host, port)
        raise last

    async def _ranges(self, node: Node) -> Any:
        """[first slot, last slot, [host, port, ...] of the primary, replicas ...] of each range."""
        try:
            return await send(self.client(node), "CLUSTER", "SLOTS")
        except ResponseError as err:
            if "cluster support disabled" not in said(err):
                raise
            text = f"{node.host}:{node.port} is no node of a cluster, but buffer.url begins with redis+cluster://"
            raise BufferOtherKind(text) from err


def _node(asked: Node, host: bytes | str | None, port: int) -> Node:
    name = host.decode() if isinstance(host, bytes) else host
    return Node(name if name and name != "?" else asked.host, int(port))  # a node may not know its own name


class ShardClient:
    """A `Client` of the node that has one shard, wherever it is."""

    def __init__(self, cluster: Cluster, tag: str) -> None:
        self._cluster = cluster
        self._slot = key_slot(tag.encode())

    async def execute_command(self, *words: Any) -> Any:
        return await self.on_owner(lambda client: send(client, *words))

    def pipeline(self, transaction: bool = True) -> "ShardPipeline":
        return ShardPipeline(self, transaction)

    async def step(self, *commands: Sequence[Any]) -> Any:
        return await self.on_owner(lambda client: transact(client, *commands))

    async def each(self, *commands: Sequence[Any]) -> list[Any]:
        """Commands that may be repeated as a whole: some of them may have been done before one was refused."""
        return list(await self.on_owner(lambda client: each(client, *commands)))

    async def on_owner(self, call: Call) -> Any:
        """Run `call` with the client of the node that has the slot; after MOVED with the next one."""
        for _ in range(HOPS):
            node = await self._cluster.node(self._slot)
            try:
                return await call(self._cluster.client(node))
            except MovedError as err:
                self._cluster.moved(self._slot, Node(err.host or node.host, err.port))
            except (NoConnection, NoAnswer, ClusterDownError, OSError):
                self._cluster.forget(self._slot)
                raise
        raise ClusterDownError(f"slot {self._slot} moves from node to node")

    async def aclose(self) -> None:
        await self._cluster.aclose()


class ShardPipeline:
    """Commands of one slot that may be repeated as a whole: some of them may have been done before one was refused."""

    def __init__(self, shard: ShardClient, transaction: bool) -> None:
        self._shard = shard
        self._transaction = transaction
        self._commands: list[tuple[Any, ...]] = []

    def execute_command(self, *words: Any) -> None:
        self._commands.append(words)

    async def execute(self) -> Any:
        return await self._shard.on_owner(self._on)

    async def _on(self, client: OneServer) -> Any:
        pipe: Any = client.pipeline(transaction=self._transaction)
        for words in self._commands:
            pipe.execute_command(*words)
        return await pipe.execute()


def connect_shards(address: Address, name: str, shards: int) -> list[Client]:
    """A client for each shard; of one server it is the same for all."""
    if not address.cluster:
        return [client_of(address)] * shards
    cluster = Cluster(address)
    return [ShardClient(cluster, tag_of(name, shard)) for shard in range(shards)]
