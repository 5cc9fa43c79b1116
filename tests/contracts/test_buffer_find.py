"""What the buffer says of one run, at each place where a run can stand; asked by whoever may only read."""

from typing import Any

import pytest

from l07.backends.redis import RedisBuffer
from l07.backends.redis.sharded import ShardedBuffer, attach_shards, open_shards
from l07.errors import BodyDamaged
from l07.ports import Trail
from tests.contracts.buffer_kit import RULES, SCORES, T0, TRACES, Feeder, a_score, a_trace, sealing_at

KEY = "execution:1"


async def test_a_run_that_never_came_is_unknown(buffer: RedisBuffer) -> None:
    assert await buffer.find(KEY) == Trail("unknown")


async def test_a_waiting_half_says_which_since_when_and_where(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1", time=T0 + 5))
    at = (TRACES.topic, TRACES.partition, 0)
    assert await buffer.find(KEY) == Trail("waiting", side="trace", since_ms=T0 + 5, places=(at,))


async def test_a_waiting_score_says_what_it_scored_after_repeats_too(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_score("1", 71.5, 0.75), a_score("1", 30.0, 0.5, evaluation="e2"))
    found = await buffer.find(KEY)
    assert (found.state, found.side, found.score, found.confidence) == ("waiting", "score", 71.5, 0.75)
    assert found.places == ((SCORES.topic, SCORES.partition, 0),)


async def test_a_joined_run_has_its_batch_its_gates_and_both_places(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("0"), a_score("0"), a_trace("1"), a_score("1", 40.0, 0.3))
    found = await buffer.find(KEY)
    assert (found.state, found.batch_id, found.reasons) == ("open", "default-1", ("low_score", "low_confidence"))
    assert (found.score, found.confidence) == (40.0, 0.3)
    assert found.places == ((TRACES.topic, 0, 1), (SCORES.topic, 0, 1))
    assert (await buffer.find("execution:0")).reasons == ()


async def test_it_follows_the_batch_from_open_to_released(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(2))
    feed = Feeder(buffer)
    await feed(a_trace("1"), a_score("1"))
    assert (await buffer.find(KEY)).state == "open"
    await feed(a_trace("2"), a_score("2"))
    assert (await buffer.find(KEY)).state == "sealed"
    await buffer.sent([entry.id for entry in await buffer.outbox(limit=10)])
    await buffer.release("default-1")
    assert await buffer.find(KEY) == Trail("released", batch_id="default-1")


async def test_an_expired_half_is_expired(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1"))
    await buffer.tick(now_ms=T0 + 3_600_001, at_end=[SCORES])
    assert (await buffer.find(KEY)).state == "expired"


async def test_who_is_attached_may_ask_and_writes_nothing(client: Any, feed: Feeder) -> None:
    await feed(a_trace("1"), a_score("1"), a_trace("2"))
    before = {key: await client.dump(key) async for key in client.scan_iter()}
    reader = await attach_shards([client], "t", RULES)
    assert (await reader.find(KEY)).state == "open"
    assert (await reader.find("execution:2")).state == "waiting"
    assert {key: await client.dump(key) async for key in client.scan_iter()} == before


async def test_of_several_shards_the_one_of_the_run_answers(client: Any) -> None:
    buffer = await open_shards([client] * 3, "s", RULES)
    assert isinstance(buffer, ShardedBuffer)
    feed = Feeder(buffer)  # type: ignore[arg-type]
    for number in range(12):
        await feed(a_trace(str(number)), a_score(str(number)))
    found = {number: await buffer.find(f"execution:{number}") for number in range(12)}
    assert {trail.state for trail in found.values()} == {"open"}
    assert {trail.batch_id for trail in found.values()} == {f"default-{k}.1" for k in range(3)}
    await buffer.seal_rest()
    for number in range(12):
        batch = await buffer.read((await buffer.find(f"execution:{number}")).batch_id)
        assert f"execution:{number}" in {row.key for row in batch.rows}


@pytest.mark.parametrize("cut", [1, 30])
async def test_what_is_damaged_is_said(client: Any, buffer: RedisBuffer, feed: Feeder, cut: int) -> None:
    await feed(a_trace("1"))
    ((digest, value),) = (await client.hgetall("{l07:t:0}:wait")).items()
    await client.hset("{l07:t:0}:wait", digest, value[:cut])
    with pytest.raises(BodyDamaged):
        await buffer.find(KEY)
