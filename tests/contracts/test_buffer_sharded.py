"""Three shards keep what one keeps: the contract where a batch's name does not stand in it, the model shard by shard, and
what only shards can get wrong."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from l07.backends.redis import RedisBuffer, sharded
from l07.backends.redis.client import together
from l07.backends.redis.sharded import ShardedBuffer, attach_shards, open_shards
from l07.errors import BadBatch, BodyDamaged, BufferBroken, BufferShardsDiffer, BufferUnavailable, NoSuchBatch
from l07.events import outbound
from l07.ports import Memory, Position
from tests.contracts.buffer_kit import (
    RULES,
    SCORES,
    T0,
    TRACES,
    Feeder,
    a_batch,
    a_broken,
    a_score,
    a_scored_trace,
    a_trace,
    counts,
    sealing_at,
)
from tests.contracts.shard_kit import (
    CONTRACT,
    SHARDS,
    Unnamed,
    keys_of,
    opened,
)

globals().update(CONTRACT)


@pytest.fixture
async def buffer(client: Any) -> ShardedBuffer:
    return await Unnamed.open([client] * SHARDS, "t", RULES)


# ------------------------------------------------------------------ offsets


async def test_each_shard_moves_its_own_offset_with_nothing_to_do_in_it(client: Any, buffer: ShardedBuffer) -> None:
    batch = a_batch((TRACES, [a_trace(keys_of(1, 1)[0])]))
    await buffer.apply(batch)
    for shard in range(SHARDS):
        assert (await client.hget(f"{{l07:t:{shard}}}:pos", str(TRACES))).startswith(b"1 ")
    assert await buffer.positions() == {TRACES: (1, batch.parts[0].last_digest, T0)}


async def test_the_slowest_shard_says_where_to_go_on_and_the_others_skip_what_they_have(buffer: ShardedBuffer) -> None:
    records = [a_trace(keys_of(k, 1)[0]) for k in range(SHARDS)] + [a_score(keys_of(k, 1)[0]) for k in range(SHARDS)]
    batch = a_batch((TRACES, records))
    for k in (0, 2):  # a crash before the second shard was reached
        await buffer._shards[k].apply(sharded.cut(batch, SHARDS)[k])
    assert await buffer.positions() == {}  # one shard does not know the partition
    assert (await buffer.apply(batch)).counts == {"applied": 2}
    assert await counts(buffer) == {"consumed": 6, "applied": 6}


async def test_a_refusal_of_one_shard_is_the_refusal_with_the_smallest_offset(buffer: ShardedBuffer) -> None:
    first, second = (a_batch((TRACES, [a_trace(str(n))]), start={TRACES: n}) for n in range(2))
    await buffer._shards[0].apply(sharded.cut(first, SHARDS)[0])
    applied = await buffer.apply(second)
    assert applied.refused == {TRACES: 0}
    for batch in (first, second):
        assert (await buffer.apply(batch)).refused == {}
    assert await counts(buffer) == {"consumed": 2, "waiting": 2}


async def test_a_flushed_shard_starts_at_the_beginning_and_the_others_stay(client: Any, buffer: ShardedBuffer) -> None:
    lost, kept = keys_of(2, 2), keys_of(0, 2)
    batch = a_batch((TRACES, [a_scored_trace(key) for key in (*lost, *kept)]))
    await buffer.apply(batch)
    async for key in client.scan_iter(match="{l07:t:2}*"):
        await client.unlink(key)
    assert await buffer.positions() == {}
    await buffer.begin({TRACES: 0})
    assert (await buffer.positions())[TRACES].next == 0
    again = await buffer.apply(batch)
    assert again.counts == {"applied": 2}
    assert (await buffer.status()).ready == {"default": {"ACCEPT": 4, "REJECT": 0}}


async def test_one_shard_that_knows_of_an_erasure_is_enough(client: Any, buffer: ShardedBuffer) -> None:
    await buffer.note_erasures("a", 2)
    await client.unlink("{l07:t:0}:heard")
    await client.hset("{l07:t:1}:heard", "a", 7)
    assert await buffer.erasures() == {"a": 7}


async def test_begin_and_reset_reach_every_shard(buffer: ShardedBuffer) -> None:
    await buffer.begin({TRACES: 7})
    await buffer.begin({TRACES: 9, SCORES: 3})
    assert await buffer.positions() == {TRACES: Position(7, b"", 0), SCORES: Position(3, b"", 0)}
    await buffer.reset({TRACES: 2})
    assert [(await shard.positions())[TRACES].next for shard in buffer._shards] == [2] * SHARDS


async def test_a_log_that_one_shard_knows_by_another_name_is_another(buffer: ShardedBuffer) -> None:
    assert await buffer.name_logs({TRACES: "one"}) == {}
    assert await buffer.name_logs({TRACES: "two"}) == {TRACES: "one"}
    await buffer.reset({TRACES: 0}, {TRACES: "two"})
    assert await buffer.name_logs({TRACES: "two"}) == {}
    await buffer._shards[1].reset({TRACES: 0}, {TRACES: "one"})  # its server came back with older data
    assert await buffer.name_logs({TRACES: "two"}) == {TRACES: "one"}


async def test_a_batch_that_breaks_the_contract_reaches_no_shard(buffer: ShardedBuffer) -> None:
    good, bad = keys_of(0, 1)[0], keys_of(1, 1)[0]
    with pytest.raises(BadBatch):
        await buffer.apply(a_batch((TRACES, [a_trace(good), a_trace(bad)._replace(content=b"short")])))
    assert [await shard.positions() for shard in buffer._shards] == [{}] * SHARDS


# ------------------------------------------------------------------ batches and the outbox


async def test_a_batch_is_one_shards_and_its_name_says_which(client: Any) -> None:
    buffer = await opened(client, sealing_at(SHARDS))  # one run a shard
    keys = [keys_of(k, 1)[0] for k in range(SHARDS)]
    applied = await buffer.apply(a_batch((TRACES, [a_scored_trace(key) for key in keys])))
    assert sorted(applied.sealed) == ["default-0.1", "default-1.1", "default-2.1"]
    for k, batch_id in enumerate(sorted(applied.sealed)):
        batch = await buffer.read(batch_id)
        assert (batch.seal.batch_id, batch.seal.track, [row.key for row in batch.rows]) == (
            batch_id,
            "default",
            [f"execution:{keys[k]}"],
        )
    assert sorted((await buffer.status()).batches) == sorted(applied.sealed)


async def test_what_is_released_in_one_shard_stays_in_the_others(client: Any) -> None:
    buffer = await opened(client, sealing_at(SHARDS))
    await buffer.apply(a_batch((TRACES, [a_scored_trace(keys_of(k, 1)[0]) for k in range(SHARDS)])))
    entry = next(e for e in await buffer.outbox(limit=9) if e.seal and e.seal.batch_id == "default-1.1")
    await buffer.release("default-1.1")
    assert (await buffer.status()).batches == ["default-0.1", "default-2.1"]
    assert entry in await buffer.outbox(limit=9)  # not sent yet: a repeat is equal
    await buffer.sent([entry.id])
    assert (await buffer.status()).outbox == 2
    assert [key async for key in client.scan_iter(match="{l07:t:1}:rows:*")] == []
    await buffer.release("default-1.1")


@pytest.mark.parametrize("batch_id", ["default-1", "default-3.1", "default-0.x", "-0.1", "default", "default-0.7"])
async def test_a_name_that_no_shard_gave_is_no_batch(client: Any, batch_id: str) -> None:
    buffer = await opened(client)
    for call in (buffer.read, buffer.release):
        with pytest.raises(NoSuchBatch) as raised:
            await call(batch_id)
        assert raised.value.context["batch"] == batch_id


async def test_damage_is_named_by_the_batchs_own_name(client: Any) -> None:
    buffer = await opened(client, sealing_at(SHARDS))
    key = keys_of(2, 1)[0]
    await buffer.apply(a_batch((TRACES, [a_scored_trace(key)])))
    async for body in client.scan_iter(match="{l07:t:2}:b*"):
        if await client.type(body) == b"string":
            await client.set(body, b"another")
    async for rows in client.scan_iter(match="{l07:t:2}:rows*"):
        await client.lset(rows, 0, b"another")
    with pytest.raises(BodyDamaged, match=r"shard 2, default-2\.1"):
        await buffer.read("default-2.1")


async def test_entries_of_the_outbox_have_one_name_each_over_all_shards(client: Any) -> None:
    buffer = await opened(client, sealing_at(SHARDS))
    records = [a_broken(), *(a_scored_trace(key) for k in range(SHARDS) for key in keys_of(k, 2)), a_broken()]
    await buffer.apply(a_batch((TRACES, records)))
    left = {entry.id: entry for entry in await buffer.outbox(limit=100)}
    assert len(left) == 8
    gone = []
    while entries := await buffer.outbox(limit=2):  # at most two, and each shard has its turn
        assert len(entries) <= 2
        assert all(entry == left[entry.id] for entry in entries)
        gone += [entry.id for entry in entries]
        await buffer.sent([entry.id for entry in entries])
    assert sorted(gone) == sorted(left)


async def test_dead_letters_and_what_has_no_key_are_the_first_shards(buffer: ShardedBuffer) -> None:
    await buffer.apply(a_batch((TRACES, [a_broken(), a_broken()])))
    assert [entry.id.partition("/")[0] for entry in await buffer.outbox(limit=9)] == ["0", "0"]
    assert await counts(buffer) == {"consumed": 2, "dead_letter": 2}


@pytest.mark.parametrize(("count", "shards", "each"), [(1000, 3, 334), (3, 3, 1), (1, 3, 1), (100, 1, 100)])
def test_thresholds_are_divided_and_rounded_up(count: int, shards: int, each: int) -> None:
    rules = replace(sealing_at(count), fallback=sealing_at(count).seals["other"]).divided(shards)
    assert {rules.seals["default"].count, rules.fallback.count} == {each}


async def test_memory_is_the_fullest_servers() -> None:
    async def of(used: int, limit: int) -> Memory:
        return Memory(used, limit)

    shards = [SimpleNamespace(memory=lambda m=m: of(*m)) for m in ((90, 100), (500, 1000), (950, 1000), (10_000, 0))]
    assert await ShardedBuffer(shards).memory() == Memory(950, 1000)  # type: ignore[arg-type]


async def test_a_rest_of_rejected_runs_leaves_with_another_shards_accepted_ones(client: Any) -> None:
    buffer = await opened(client)
    feed = Feeder(buffer)  # type: ignore[arg-type]
    await feed(a_scored_trace(keys_of(0, 1)[0], 10.0))
    assert await buffer.seal_rest() == []
    await feed(a_scored_trace(keys_of(1, 1)[0]))
    assert await buffer.seal_rest() == ["default-0.1", "default-1.1"]


# ------------------------------------------------------------------ the number of shards


@pytest.mark.parametrize(("made", "asked"), [(1, 3), (3, 1), (3, 2), (2, 3)])
async def test_another_number_of_shards_is_refused_with_what_to_run(client: Any, made: int, asked: int) -> None:
    await open_shards([client] * made, "t", RULES)
    keys = {key async for key in client.scan_iter(match="{l07:t:*")}
    for way in (open_shards, attach_shards):
        with pytest.raises(BufferShardsDiffer, match=f"made with {made} shards.*L07_BUFFER__SHARDS={made}"):
            await way([client] * asked, "t", RULES)
    assert {key async for key in client.scan_iter(match="{l07:t:*")} == keys
    await open_shards([client] * made, "t", RULES)


async def test_the_number_is_stored_again_by_a_shard_that_was_flushed_while_we_run(client: Any) -> None:
    buffer = await opened(client)
    await client.flushall()
    await buffer.apply(a_batch((TRACES, [a_trace("1")])))
    with pytest.raises(BufferShardsDiffer):
        await open_shards([client], "t", RULES)
    await opened(client)


async def test_one_shard_is_the_buffer_as_it_always_was(client: Any) -> None:
    assert type(await open_shards([client], "t", RULES)) is RedisBuffer
    assert b"/" not in await client.get("{l07:t:0}:layout")
    assert RULES.divided(1) == RULES


async def test_to_attach_writes_nothing(client: Any) -> None:
    await attach_shards([client] * SHARDS, "t", RULES)
    assert [key async for key in client.scan_iter()] == []
    made = await opened(client)
    await Feeder(made)(a_trace("1"))  # type: ignore[arg-type]
    reader = await attach_shards([client] * SHARDS, "t", RULES)
    assert await reader.status() == await made.status()
    assert await reader.positions() == await made.positions()


# ------------------------------------------------------------------ calls at once


async def test_one_that_no_retry_mends_comes_before_one_that_a_retry_may_mend_and_all_end() -> None:
    ended = []

    async def call(err: Exception | None, turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        ended.append(turns)
        if err:
            raise err
        return turns

    with pytest.raises(BufferBroken):
        await together([call(BufferUnavailable("a"), 1), call(BufferBroken("b"), 2), call(None, 9)])
    assert sorted(ended) == [1, 2, 9]
    assert await together([call(None, 3), call(None, 4)]) == [3, 4]


async def test_a_step_whose_caller_leaves_is_done_in_every_shard(client: Any, buffer: ShardedBuffer) -> None:
    batch = a_batch((TRACES, [a_trace(key) for k in range(SHARDS) for key in keys_of(k, 40)]))
    task = asyncio.ensure_future(buffer.apply(batch))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await buffer.positions() in ({}, {TRACES: (120, batch.parts[0].last_digest, T0)})
    await buffer.apply(batch)
    assert await counts(buffer) == {"consumed": 120, "waiting": 120}


async def test_with_shards_the_id_is_that_of_the_name_outside(client: Any) -> None:
    buffer = await opened(client)
    keys = keys_of(1, 2)
    batch = a_batch((TRACES, [a_scored_trace(key) for key in keys]))
    await buffer.apply(batch)
    [batch_id] = await buffer.seal_rest()
    whole = await buffer.read(batch_id)
    said = outbound.from_seal(whole.seal, [row.key for row in whole.rows])
    assert await buffer.erase([f"execution:{keys[0]}"]) == 1
    [entry] = await buffer.outbox(limit=10)
    assert entry.seal is not None
    assert outbound.from_seal(entry.seal, entry.keys).id == said.id
    assert entry.keys == (f"execution:{keys[1]}",)
