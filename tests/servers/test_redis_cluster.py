"""The buffer on a real cluster of three processes: a shard a node, a node killed in the middle, a slot moved in the middle."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import AskError

from l07.backends.address import address_of
from l07.backends.redis import RedisBuffer
from l07.backends.redis.cluster import Call, ShardClient, connect_shards
from l07.backends.redis.rules import tag_of
from l07.backends.redis.sharded import ShardedBuffer, open_shards
from l07.errors import BufferMoves, BufferOtherKind, BufferUnavailable, L07Error, Transient
from l07.events.record import TopicPartition
from l07.ports import IngestBatch, Part
from tests.contracts.buffer_kit import RULES, TRACES, Feeder, a_batch, a_broken, a_scored_trace, counts, sealing_at
from tests.contracts.shard_kit import CONTRACT, SHARDS, Unnamed, keys_of, models, plain_world, rows_sealed, summed
from tests.contracts.test_buffer_model import COUNT, wanted
from tests.servers.redis_kit import KINDS, Nodes, a_cluster, one_server, wait_until

pytestmark = pytest.mark.server
NAME = "default"  # its three tags lie on three nodes
SLOTS = [key_slot(tag_of(NAME, k).encode()) for k in range(SHARDS)]
# what looks into a server with a client of its own is about that server, not about the cluster
globals().update({name: test for name, test in CONTRACT.items() if "client" not in test.__code__.co_varnames})


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Started once: forming a cluster takes seconds. Each test has it empty and whole."""
    with asyncio.Runner() as runner:
        cluster = a_cluster(request.param, tmp_path_factory.mktemp("cluster"))
        yield runner.run(cluster.__aenter__())
        runner.run(cluster.__aexit__(None, None, None))


@pytest.fixture
async def nodes(running: Nodes) -> Nodes:
    for server in running.servers:
        server.revive()
    await wait_until(running.is_whole)
    await running.empty()
    for slot in SLOTS:
        await running.give(slot, running.home(slot))
        await wait_until(partial(running.agree, slot))
    return running


@asynccontextmanager
async def clients_of(nodes: Nodes, shards: int = SHARDS) -> AsyncIterator[list[Any]]:
    clients = connect_shards(address_of(nodes.url), NAME, shards)
    try:
        yield clients
    finally:
        await clients[0].aclose()


@pytest.fixture
async def clients(nodes: Nodes) -> AsyncIterator[list[Any]]:
    async with clients_of(nodes) as clients:
        yield clients


@pytest.fixture
async def buffer(clients: list[Any]) -> ShardedBuffer:
    return await Unnamed.open(clients, NAME, RULES)


@pytest.fixture
def feed(buffer: Any) -> Feeder:
    return Feeder(buffer)


async def test_each_shard_is_on_its_own_node_with_all_its_keys(nodes: Nodes, buffer: ShardedBuffer) -> None:
    await buffer.apply(a_batch((TRACES, [a_broken(), *(a_scored_trace(str(n)) for n in range(30))])))
    found = []
    for server in nodes.servers:
        async with server.client() as client:
            found.append({key.partition(b"}")[0] async for key in client.scan_iter()})
    assert sorted(tag for tags in found for tag in tags) == [f"{{l07:{NAME}:{k}".encode() for k in range(SHARDS)]
    assert [len(tags) for tags in found] == [1, 1, 1]


async def test_one_shard_on_a_cluster(nodes: Nodes) -> None:
    async with clients_of(nodes, 1) as clients:
        buffer = await open_shards(clients, NAME, RULES)
        assert type(buffer) is RedisBuffer
        await buffer.apply(a_batch((TRACES, [a_scored_trace("1")])))
        assert await buffer.seal_rest() == ["default-1"]
        assert len(await buffer.outbox(limit=9)) == 1
        assert (await buffer.memory()).used > 0


async def test_the_barrier_is_on_the_node_of_the_shard(nodes: Nodes, clients: list[Any]) -> None:
    if nodes.servers[0].kind == "redis":
        pytest.skip("Redis 7.0 has no WAITAOF: appendfsync always is checked instead")
    buffer = await ShardedBuffer.open(clients, NAME, sealing_at(SHARDS))
    await buffer.apply(a_batch((TRACES, [a_scored_trace(keys_of(1, 1)[0])])))
    before = [await barriers(server) for server in nodes.servers]
    assert len(await buffer.outbox(limit=9)) == 1
    grown = [await barriers(server) - was for server, was in zip(nodes.servers, before, strict=True)]
    mine = nodes.servers.index(await nodes.owner(SLOTS[1]))
    assert grown == [1 if n == mine else 0 for n in range(3)]


async def barriers(server: Any) -> int:
    async with server.client() as client:
        said = await client.info("commandstats")
    return int(said.get("cmdstat_waitaof", {}).get("calls", 0))


# ------------------------------------------------------------------ disturbed


Logs = dict[TopicPartition, list[Any]]
SLICE = 5


def logs_of(world: list[Any]) -> Logs:
    logs: Logs = {}
    for _, (tp, record) in world:
        logs.setdefault(tp, []).append(record)
    return logs


async def consumed(buffer: ShardedBuffer, logs: Logs, *, seen: list[L07Error]) -> None:
    """A consumer as the runner is one: from the stored offsets on, a slice of each partition at a time, until all are read."""
    while True:
        try:
            if await _round(buffer, logs):
                return
        except Transient as err:
            seen.append(err)
            await asyncio.sleep(0.02)


async def _round(buffer: ShardedBuffer, logs: Logs) -> bool:
    positions = await buffer.positions()
    starts = {tp: positions[tp].next if tp in positions else 0 for tp in logs}
    for tp, start in starts.items():
        records = logs[tp][start : start + SLICE]
        if records:
            part = Part(tp, start, start + len(records), b"d" * 16, 1)
            assert not (await buffer.apply(IngestBatch([part], records))).refused
    return all(start == len(logs[tp]) for tp, start in starts.items())


async def is_exact(buffer: ShardedBuffer, world: list[Any]) -> bool:
    made = models(world, SHARDS)
    status = await buffer.status()
    accepted = [row.key for row in await rows_sealed(buffer) if row.decision == "ACCEPT"]
    runs = {row.judge().key for model in made for batch in model.sealed for row in batch.rows if not model.reasons(row)}
    counters = summed([wanted(model)[2] for model in made])
    return (sorted(accepted), status.partitions) == (sorted(runs), counters)


async def test_a_node_that_is_killed_and_comes_back_loses_nothing(nodes: Nodes, clients: list[Any]) -> None:
    world, seen = plain_world(5, 120), list[L07Error]()
    buffer = await ShardedBuffer.open(clients, NAME, sealing_at(COUNT))
    task = asyncio.ensure_future(consumed(buffer, logs_of(world), seen=seen))
    await wait_until(lambda: _is_at(buffer, 20))
    victim = nodes.servers[1]
    victim.kill()
    await wait_until(lambda: _has(seen, BufferUnavailable))
    victim.start()
    await asyncio.wait_for(task, 60)
    await wait_until(nodes.is_whole)
    await buffer.seal_rest()
    assert await is_exact(buffer, world)


async def _is_at(buffer: ShardedBuffer, least: int) -> bool:
    return bool(found := await buffer.positions()) and all(at.next >= least for at in found.values())


async def _has(seen: list[L07Error], kind: type[L07Error]) -> bool:
    return any(isinstance(err, kind) for err in seen)


async def moved_in_the_middle(nodes: Nodes, clients: list[Any], world: list[Any]) -> tuple[bool, list[L07Error]]:
    """A slot goes to another node, some keys at a time, while records come in."""
    seen: list[L07Error] = []
    buffer = await ShardedBuffer.open(clients, NAME, sealing_at(COUNT))
    task = asyncio.ensure_future(consumed(buffer, logs_of(world), seen=seen))
    target = next(server for server in nodes.servers if server is not nodes.home(SLOTS[1]))

    async def tried() -> None:
        await wait_until(lambda: _over(task, seen))

    try:
        await wait_until(lambda: _is_at(buffer, 20))
        await nodes.move(SLOTS[1], target, half_way=tried)
        await asyncio.wait_for(task, 60)
    finally:
        task.cancel()
    assert await nodes.owner(SLOTS[1]) is target
    await buffer.seal_rest()
    return await is_exact(buffer, world), seen


async def _over(task: "asyncio.Future[None]", seen: list[L07Error]) -> bool:
    return task.done() or await _has(seen, BufferMoves)


async def test_a_shard_whose_slot_is_moved_stands_still_and_loses_nothing(nodes: Nodes, clients: list[Any]) -> None:
    exact, seen = await moved_in_the_middle(nodes, clients, plain_world(6, 120))
    assert exact
    assert await _has(seen, BufferMoves)
    assert {type(err) for err in seen} == {BufferMoves}


async def test_following_ask_would_lose(nodes: Nodes, clients: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Why a shard stands still: on the node that gets the slot, a script takes keys that are not there yet for none."""
    real = ShardClient.on_owner

    async def follows(self: ShardClient, call: Call) -> Any:
        try:
            return await real(self, call)
        except AskError as err:
            async with Redis(port=err.port, retry=None) as there:
                return await call(_Asking(there))  # type: ignore[arg-type]

    monkeypatch.setattr(ShardClient, "on_owner", follows)
    try:
        exact, _ = await moved_in_the_middle(nodes, clients, plain_world(6, 120))
    except (L07Error, AssertionError):
        exact = False
    assert not exact


class _Asking:
    def __init__(self, client: Any) -> None:
        self._client = client

    async def execute_command(self, *words: Any) -> Any:
        pipe = self._client.pipeline(transaction=False)
        pipe.execute_command("ASKING")
        pipe.execute_command(*words)
        return (await pipe.execute())[1]

    def pipeline(self, transaction: bool = True) -> Any:
        return self._client.pipeline(transaction=transaction)


# ------------------------------------------------------------------ one server and a cluster are told apart


async def test_a_cluster_that_is_taken_for_one_server_is_told(nodes: Nodes) -> None:
    wrong = (await nodes.owner(SLOTS[1])).port  # shard 0 is elsewhere
    clients = connect_shards(address_of(f"redis://127.0.0.1:{wrong}"), NAME, 1)
    with pytest.raises(BufferOtherKind, match=r"redis\+cluster://"):
        await open_shards(clients, NAME, RULES)
    await clients[0].aclose()


async def test_one_server_that_is_taken_for_a_cluster_is_told(tmp_path: Path) -> None:
    async with one_server("valkey", tmp_path) as server:
        clients = connect_shards(address_of(f"redis+cluster://127.0.0.1:{server.port}"), NAME, 3)
        with pytest.raises(BufferOtherKind):
            await open_shards(clients, NAME, RULES)
        await clients[0].aclose()


async def test_a_cluster_of_which_nobody_answers_is_transient() -> None:
    clients = connect_shards(address_of("redis+cluster://127.0.0.1:1,127.0.0.1:2"), NAME, 3)
    with pytest.raises(BufferUnavailable):
        await open_shards(clients, NAME, RULES)
    await clients[0].aclose()


async def test_any_node_of_the_list_that_answers_will_do(nodes: Nodes) -> None:
    url = f"redis+cluster://127.0.0.1:1,127.0.0.1:{nodes.servers[2].port}"
    clients = connect_shards(address_of(url), NAME, 3)
    buffer = await ShardedBuffer.open(clients, NAME, RULES)
    await buffer.apply(a_batch((TRACES, [a_scored_trace("1")])))
    assert await counts(buffer) == {"consumed": 1, "applied": 1}  # type: ignore[arg-type]
    await clients[0].aclose()
