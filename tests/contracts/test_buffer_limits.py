"""The server's limits, what lies there that is not ours, and how much of it a buffer takes."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from l07 import errors
from l07.backends.embedded import EmbeddedRedis
from l07.backends.open import buffer_rules
from l07.backends.redis import RedisBuffer
from l07.backends.redis.buffer import script
from l07.backends.redis.erasing import _idle
from l07.backends.redis.rules import LEAST_REJECTED
from l07.ports import IngestBatch
from l07.settings import Settings
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
    drop,
    holds,
    sealing_at,
    stored_bodies,
)

TAG = "{l07:t:0}"
FOREIGN: dict[str, Any] = {
    "string": lambda client, key: client.set(key, "text"),
    "list": lambda client, key: client.rpush(key, "text"),
}


@pytest.fixture
async def client(client: Any) -> AsyncIterator[Any]:
    """A server that other tests use too gets its settings back."""
    yield client
    for name, value in (("maxmemory", "0"), ("maxmemory-policy", "noeviction"), ("appendonly", "yes")):
        await client.config_set(name, value)


async def everything(client: Any) -> dict[bytes, Any]:
    """Key -> what DUMP gives; two equal answers mean that nothing was written."""
    return {key: await client.dump(key) async for key in client.scan_iter(match="*", count=1000)}


# ------------------------------------------------------------------ another application's data


HASHES = ("pos", "counts", "reasons", "wait", "tracks", "batches", "released", "hclock", "ended", "seen:20000")
STRINGS = ("outseq", "held", "layout")
KEYS = {
    **dict.fromkeys(HASHES, "hash"),
    **dict.fromkeys(STRINGS, "string"),
    "days": "set",
    "hold": "zset",
    "exp:trace": "zset",
    "exp:score": "zset",
    "outbox": "stream",
    "rows:default-1": "list",
}


def one_of_each(start: int = 0) -> IngestBatch:
    """A step that writes every kind of key: one waits, one is sealed, one is a dead letter, one is a repeat."""
    traces = [a_trace(f"{start}a"), a_trace(f"{start}b"), a_broken(), a_trace(f"{start}a")]
    scores = [a_score(f"{start}a"), a_score(f"{start}c")]
    return a_batch((TRACES, traces), (SCORES, scores), start={TRACES: start, SCORES: start // 2})


async def strange_key_refused(client: Any, key: str, *, kind: str = "list", text: str | None = None) -> bool:
    await drop(client, "t")
    buffer = await RedisBuffer.open(client, "t", sealing_at(1), text=text)
    await client.unlink(f"{TAG}:{key}")
    await FOREIGN[kind](client, f"{TAG}:{key}")
    before = await everything(client)
    try:
        await buffer.apply(one_of_each())
    except errors.BufferForeign as err:
        return err.message.endswith(f"L07FOREIGN {TAG}:{key} is a {kind}, not a {KEYS[key]}") and (
            await everything(client) == before
        )
    return False


@pytest.mark.parametrize("key", [key for key in KEYS if not key.startswith("rows")])
async def test_a_key_that_is_not_ours_stops_us_before_anything_is_written(client: Any, key: str) -> None:
    assert await strange_key_refused(client, key)


async def test_a_batch_s_key_that_is_not_ours_stops_us_too(client: Any) -> None:
    assert await strange_key_refused(client, "rows:default-1", kind="string")


@pytest.mark.slow
async def test_without_the_look_before_the_first_write_a_step_would_stay_half_done(client: Any) -> None:
    blind = script().replace("    if is ~= want and is ~= 'none' then", "    if false then")
    assert not await strange_key_refused(client, "exp:trace", text=blind)


@pytest.mark.parametrize("kind", sorted(FOREIGN))
async def test_a_name_that_another_application_uses_is_refused_when_it_is_opened(client: Any, kind: str) -> None:
    await FOREIGN[kind](client, f"{TAG}:wait")
    before = await everything(client)
    with pytest.raises(errors.BufferForeign, match=rf"E7465.*:wait is a {kind}, not a hash"):
        await RedisBuffer.open(client, "t", RULES)
    assert await everything(client) == before


async def test_the_layout_of_an_older_release_is_refused_with_what_to_do(client: Any) -> None:
    await client.set(f"{TAG}:layout", "1")
    await client.hset(f"{TAG}:pos", str(TRACES), "7 0 ")
    before = await everything(client)
    with pytest.raises(errors.BufferLayoutUnknown, match=r"l07 run --until-idle.*L07_BUFFER__NAME.*L07LAYOUT 1"):
        await RedisBuffer.open(client, "t", RULES)
    assert await everything(client) == before


async def test_a_step_that_is_refused_leaves_no_bodies_behind(client: Any, buffer: RedisBuffer) -> None:
    await buffer.apply(a_batch((TRACES, [a_trace("1")])))
    assert (await buffer.apply(a_batch((TRACES, [a_trace("9")]), start={TRACES: 9}))).refused
    await client.set(f"{TAG}:layout", "999")
    with pytest.raises(errors.BufferLayoutUnknown):
        await buffer.apply(a_batch((TRACES, [a_trace("2")]), start={TRACES: 1}))
    assert await client.exists(f"{TAG}:in") == 0
    assert (await stored_bodies(client, "t"))[0] == 1


async def test_bodies_that_a_dead_owner_left_on_the_way_are_nobody_s(client: Any, buffer: RedisBuffer) -> None:
    await client.hset(f"{TAG}:in", mapping={n: f"left {n}" for n in range(1, 9)})
    await buffer.apply(a_batch((TRACES, [a_trace("1")])))
    assert await stored_bodies(client, "t") == (1, len("trace 1 did it"))


async def test_two_steps_that_draw_one_name_do_not_meet(
    client: Any, buffer: RedisBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("l07.backends.redis.buffer.token_hex", lambda size: "0" * 2 * size)
        await buffer.apply(a_batch((TRACES, [a_trace("1")])))
        with pytest.raises(errors.BufferUnavailable, match="L07AGAIN"):
            await buffer.apply(a_batch((TRACES, [a_trace("2")]), start={TRACES: 1}))
    assert (await buffer.apply(a_batch((TRACES, [a_trace("2")]), start={TRACES: 1}))).counts == {"waiting": 1}
    assert (await stored_bodies(client, "t"))[0] == 2


# ------------------------------------------------------------------ memory


async def used(client: Any) -> int:
    return int((await client.info("memory"))["used_memory"])


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 20_000, 200_000, 2_000_000])
async def test_a_step_on_a_server_that_fills_up_is_done_whole_or_not_at_all(client: Any, room: int) -> None:
    """maxmemory is looked at before a script's first write, and never after it: whatever is left, no step stays half done."""
    buffer = await RedisBuffer.open(client, "t", sealing_at(50))
    await client.config_set("maxmemory", await used(client) + room)
    batches = [big_batch(n) for n in range(0, 1000, 50)]
    refused = 0
    for batch in batches:
        before = await buffer.status(), await buffer.positions(), await stored_bodies(client, "t")
        try:
            await buffer.apply(batch)
        except errors.BufferFull:
            refused += 1
            assert (await buffer.status(), await buffer.positions(), await stored_bodies(client, "t")) == before
            break
        assert holds((await buffer.status()).partitions.values())
    assert refused == 1
    await client.config_set("maxmemory", 0)
    for batch in batches:
        await buffer.apply(batch)
    assert await counts(buffer) == {"consumed": 2000, "applied": 2000}
    assert (await stored_bodies(client, "t"))[0] == 2000


def big_batch(first: int) -> IngestBatch:
    keys = [str(n) for n in range(first, first + 50)]
    traces = [a_trace(key)._replace(body=key.encode() * 1500) for key in keys]
    scores = [a_score(key)._replace(body=b"s" * 400) for key in keys]
    return a_batch((TRACES, traces), (SCORES, scores), start={TRACES: first, SCORES: first})


async def test_a_full_server_can_be_emptied(client: Any) -> None:
    """Sealing, announcing, releasing, cleaning up and the tick are what frees memory."""
    buffer = await RedisBuffer.open(client, "t", sealing_at(1000, wait_s=60))
    await buffer.apply(big_batch(0))
    await buffer.apply(a_batch((TRACES, [a_trace("alone")]), start={TRACES: 50}))
    await client.config_set("maxmemory", "1")
    with pytest.raises(errors.BufferFull):
        await buffer.apply(big_batch(100))
    assert ((await buffer.status()).waiting, (await buffer.memory()).limit) == (1, 1)
    assert await buffer.seal_rest() == ["default-1"]
    entries = await buffer.outbox(limit=9)
    assert len((await buffer.read("default-1")).rows) == 50
    await buffer.release("default-1")
    await buffer.sent([entry.id for entry in entries])
    await buffer.tick(now_ms=T0 + 61_000, at_end=[SCORES])
    assert await stored_bodies(client, "t") == (0, 0)
    assert await counts(buffer) == {"consumed": 101, "applied": 100, "expired": 1}


async def test_what_waits_is_told_with_its_bytes(client: Any, buffer: RedisBuffer, feed: Feeder) -> None:
    traces = [a_trace(str(n))._replace(body=b"x" * 1000) for n in range(5)]
    await feed(*traces, a_score("7")._replace(body=b"y" * 300), a_score("0"), traces[3])
    status = await buffer.status()
    assert (status.waiting, status.waiting_bytes) == (5, 4300)
    await buffer.tick(now_ms=T0 + 3_600_001, at_end=[TRACES, SCORES])
    assert ((await buffer.status()).waiting, (await buffer.status()).waiting_bytes) == (0, 0)


async def test_a_server_that_came_back_with_other_settings_is_seen_when_its_memory_is_asked_for(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", RULES)
    assert (await buffer.memory()).used > 0
    await client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(errors.BufferEvicts):
        await buffer.memory()
    await client.config_set("maxmemory-policy", "noeviction")
    await client.config_set("appendonly", "no")
    with pytest.raises(errors.BufferNotDurable):
        await buffer.memory()
    await client.config_set("appendonly", "yes")
    await _idle(client, time.monotonic() + 20)  # a server that writes its first file does not leave when it is asked to


async def test_bodies_of_a_megabyte_go_through(client: Any, buffer: RedisBuffer) -> None:
    body = b"m" * 1_000_000
    traces = [a_trace(str(n))._replace(body=body) for n in range(8)]
    await buffer.apply(a_batch((TRACES, traces), (SCORES, [a_score(str(n)) for n in range(8)])))
    await buffer.seal_rest()
    assert {row.trace for row in (await buffer.read("default-1")).rows} == {body}


# ------------------------------------------------------------------ a track that accepts nothing


RATIO = 30.0
KEPT = 120  # RATIO times a count of 4


def rejected(first: int, count: int) -> IngestBatch:
    keys = [str(n) for n in range(first, first + count)]
    halves = (TRACES, [a_trace(key) for key in keys]), (SCORES, [a_score(key, 10.0) for key in keys])
    return a_batch(*halves, start={TRACES: first, SCORES: first})


@pytest.mark.parametrize("step", [7, 37, 200])
async def test_a_track_that_accepts_nothing_keeps_so_many_rejected_runs_and_counts_the_others(
    client: Any, step: int
) -> None:
    """Bounded, the same however the batches were cut, and nothing is lost from the counters."""
    buffer = await RedisBuffer.open(client, "t", sealing_at(4, contrast_ratio=RATIO))
    for first in range(0, 200, step):
        await buffer.apply(rejected(first, min(step, 200 - first)))
    status = await buffer.status()
    assert status.ready == {"default": {"ACCEPT": 0, "REJECT": KEPT}}
    assert await counts(buffer) == {"consumed": 400, "rejected": 400}
    assert status.reasons == {"low_score": 200, "contrast_full": 200 - KEPT}
    assert holds(status.partitions.values())
    assert (await stored_bodies(client, "t"))[0] == 2 * KEPT
    await Feeder(buffer)(a_scored_trace("end"), tp=TRACES._replace(partition=7))
    await buffer.seal_rest()
    keys = [row.key for row in (await buffer.read("default-1")).rows]
    assert keys == [*(f"execution:{n}" for n in range(KEPT)), "execution:end"]


async def test_what_comes_later_for_a_run_that_was_left_out_is_a_duplicate(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(4, contrast_ratio=0.0))
    await buffer.apply(rejected(0, LEAST_REJECTED + 1))
    feed = Feeder(buffer)
    feed.next = {TRACES: LEAST_REJECTED + 1, SCORES: LEAST_REJECTED + 1}
    left_out = str(LEAST_REJECTED)
    better = a_score(left_out, 99.0, 0.99, evaluation="better")
    await feed(better, better, a_trace(left_out), a_trace(left_out, text="other"))
    await feed(a_score("0", 99.0, 0.99, evaluation="better"))
    status = await buffer.status()
    assert status.reasons == {
        "low_score": LEAST_REJECTED,
        "contrast_full": 2,
        "repeat": 2,
        "trace_conflict": 1,
        "score_superseded": 1,
    }
    assert status.ready == {"default": {"ACCEPT": 1, "REJECT": LEAST_REJECTED - 1}}
    await feed(a_trace("more"), a_score("more", 10.0))  # there is room for one again
    assert (await buffer.status()).ready["default"]["REJECT"] == LEAST_REJECTED
    assert holds((await buffer.status()).partitions.values())
    assert (await stored_bodies(client, "t"))[0] == 2 * (LEAST_REJECTED + 1)


@pytest.mark.slow
async def test_without_the_bound_the_rejected_runs_grow(client: Any) -> None:
    unbound = script().replace("and t[REJECTED] >= trigger(s, track)[4] then", "and false then")
    buffer = await RedisBuffer.open(client, "t", sealing_at(4, contrast_ratio=RATIO), text=unbound)
    await buffer.apply(rejected(0, 200))
    assert (await stored_bodies(client, "t"))[0] == 400


def test_the_bound_follows_the_settings() -> None:
    settings = Settings(
        contrast={"max_ratio": 3.0}, tracks={"big": {"seal": {"count": 500}}, "small": {"seal": {"count": 9}}}
    )
    rules = buffer_rules(settings)
    assert {name: rules.rejected_kept(trigger) for name, trigger in rules.seals.items()} == {
        "big": 1500,
        "small": LEAST_REJECTED,
    }


# ------------------------------------------------------------------ the barrier


@pytest.mark.slow
async def test_a_barrier_that_waits_for_the_disk_does_not_hold_a_step_up(tmp_path: Any) -> None:
    """WAITAOF blocks its own connection: the relay's. With appendfsync no it waits until somebody turns it on again."""
    async with EmbeddedRedis(tmp_path) as client:
        buffer = await RedisBuffer.open(client, "t", sealing_at(1))
        await Feeder(buffer)(a_trace("1"), a_score("1"))
        await client.config_set("appendfsync", "no")
        relay = asyncio.ensure_future(buffer.outbox(limit=5))
        async with asyncio.timeout(3):
            while (await client.info("clients"))["blocked_clients"] == 0:  # noqa: ASYNC110  # the server tells nobody
                await asyncio.sleep(0.01)
        batch = a_batch((TRACES, [a_trace("2")]), (SCORES, [a_score("2")]), start={TRACES: 1, SCORES: 1})
        applied = await buffer.apply(batch)
        assert (applied.sealed, relay.done()) == (["default-2"], False)
        await client.config_set("appendfsync", "everysec")
        assert len(await relay) == 1
