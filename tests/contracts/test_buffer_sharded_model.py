"""Random worlds against the reference model, shard by shard: however a batch is cut off between the shards, each is exact."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from l07.backends.redis import RedisBuffer, sharded
from l07.backends.redis.sharded import ShardedBuffer, open_shards
from l07.errors import BufferUnavailable
from l07.ports import Half, IngestBatch
from tests.contracts.buffer_kit import TRACES, a_batch, a_trace, counts, sealing_at
from tests.contracts.shard_kit import SHARDS, all_found, all_wanted, keys_of, opened, plain_world, rows_sealed
from tests.contracts.test_buffer_model import COUNT, a_world, cut, played


class Interrupted:
    """A shard whose answers are lost, before or after it did its part; the caller comes again with the same batch."""

    def __init__(self, shard: RedisBuffer, rng: random.Random) -> None:
        self._shard, self._rng = shard, rng

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)

    async def apply(self, batch: IngestBatch) -> Any:
        luck = self._rng.random()
        if luck < 0.15:
            raise BufferUnavailable("lost before")
        applied = await self._shard.apply(batch)
        if luck < 0.3:
            raise BufferUnavailable("lost after")
        return applied


class Patient:
    """The runner's part: what was interrupted comes again."""

    def __init__(self, buffer: ShardedBuffer) -> None:
        self._buffer = buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._buffer, name)

    async def apply(self, batch: IngestBatch) -> Any:
        while True:
            [end] = await asyncio.gather(self._buffer.apply(batch), return_exceptions=True)
            if not isinstance(end, BufferUnavailable):
                return end


async def run_interrupted(client: Any, world: Sequence[Any], seed: int, shards: int = SHARDS) -> Any:
    made = await opened(client, sealing_at(COUNT), shards, name=f"w{shards}")
    rng = random.Random(seed)
    made._shards = tuple(Interrupted(shard, rng) for shard in made._shards)  # type: ignore[misc]
    try:
        await played(Patient(made), cut(random.Random(seed), world))  # type: ignore[arg-type]
        return await all_found(made, shards)
    finally:
        async for key in client.scan_iter(match=f"{{l07:w{shards}:*", count=1000):
            await client.unlink(key)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [2, 3, 5])
async def test_each_shard_does_what_the_model_does_however_it_is_interrupted(client: Any, shards: int) -> None:
    for seed in range(6):
        world = a_world(random.Random(seed), 250, payloads=seed % 2 == 1)
        want = all_wanted(world, shards)
        for cutting in range(2):
            assert await run_interrupted(client, world, cutting, shards) == want, f"world {seed}, cut {cutting}"


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 1000])
async def test_one_shard_and_three_publish_the_same_runs_each_in_one_seal(client: Any, count: int) -> None:
    for seed in range(4):
        world, published, statuses = plain_world(seed, 60), [], []
        for shards in (1, SHARDS):
            buffer = await open_shards([client] * shards, f"same{shards}", sealing_at(count))
            await played(buffer, cut(random.Random(seed), world))  # type: ignore[arg-type]
            rows = await rows_sealed(buffer)
            assert len({row.key for row in rows}) == len(rows)
            published.append({(row.key, row.decision) for row in rows if row.decision == "ACCEPT" or count > 100})
            statuses.append(await buffer.status())
            await client.flushall()
        assert published[0] == published[1]
        assert len(published[0]) > 5
        assert statuses[0].partitions == statuses[1].partitions
        assert statuses[0].reasons == statuses[1].reasons


# ------------------------------------------------------------------ negative controls


def to_the_first(batch: IngestBatch, shards: int) -> list[IngestBatch]:
    """Only shards that have something to do get a part."""
    parts = REAL_CUT(batch, shards)
    return [part if part.items else IngestBatch([], []) for part in parts]


def by_offset(batch: IngestBatch, shards: int) -> list[IngestBatch]:
    return [IngestBatch(batch.parts, [i for i in batch.items if i.offset % shards == k]) for k in range(shards)]


def twice(batch: IngestBatch, shards: int) -> list[IngestBatch]:
    """What has no key goes to all."""
    parts = REAL_CUT(batch, shards)
    loose = [item for item in batch.items if not isinstance(item, Half)]
    return [parts[0], *(IngestBatch(p.parts, sorted((*p.items, *loose), key=batch.items.index)) for p in parts[1:])]


REAL_CUT = sharded.cut


@pytest.mark.parametrize("broken", [to_the_first, by_offset, twice], ids=lambda f: f.__name__)
async def test_a_wrong_cut_is_noticed(client: Any, monkeypatch: pytest.MonkeyPatch, broken: Callable[..., Any]) -> None:
    world = a_world(random.Random(1), 120)
    assert await run_interrupted(client, world, 1) == all_wanted(world, SHARDS)
    monkeypatch.setattr(sharded, "cut", broken)
    try:
        same = await run_interrupted(client, world, 1) == all_wanted(world, SHARDS)
    except AssertionError:
        same = False
    assert not same


async def test_going_on_where_the_fastest_shard_stands_would_lose(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of `positions` turned round: what the slower shards did not get is gone."""
    for where, lost in ((None, 0), (lambda at: -at.next, 2)):
        if where:
            monkeypatch.setattr(sharded, "_behind", where)
        buffer = await opened(client, name=f"lost{lost}")
        batch = a_batch((TRACES, [a_trace(keys_of(k, 1)[0]) for k in range(SHARDS)]))
        await buffer.begin({TRACES: 0})
        await buffer._shards[0].apply(sharded.cut(batch, SHARDS)[0])
        at = (await buffer.positions())[TRACES].next
        if not at:
            await buffer.apply(batch)
        assert (await counts(buffer))["consumed"] == SHARDS - lost  # type: ignore[arg-type]
