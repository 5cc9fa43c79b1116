"""What an ExampleBuffer promises of its batches, its outbox, and of time, on every backend of it."""

from typing import Any

import pytest

from l07.backends.redis import RedisBuffer
from l07.errors import BodyDamaged, BufferLayoutUnknown, NoSuchBatch
from l07.events.record import TopicPartition
from tests.contracts.buffer_kit import (
    DAY_MS,
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
    sealing_at,
)

# ------------------------------------------------------------------ seals


async def test_a_seal_falls_on_the_record_that_reaches_the_count(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(2))
    traces = [a_scored_trace(str(n), 90.0 if n != 1 else 10.0, time=T0 + n) for n in range(6)]
    applied = await buffer.apply(a_batch((TRACES, traces)))
    assert applied.sealed == ["default-1", "default-2"]
    batches = [await buffer.read(batch_id) for batch_id in applied.sealed]
    assert [[row.key[-1] for row in batch.rows] for batch in batches] == [["0", "1", "2"], ["3", "4"]]
    assert [(b.seal.cause, b.seal.sealed_at_ms - T0, b.seal.accepted, b.seal.rejected) for b in batches] == [
        ("count", 2, 2, 1),
        ("count", 4, 2, 0),
    ]
    assert (dict(batches[1].seal.first), dict(batches[1].seal.last)) == ({str(TRACES): 3}, {str(TRACES): 4})
    assert (await buffer.status()).ready == {"default": {"ACCEPT": 1, "REJECT": 0}}


@pytest.mark.parametrize(("accepted", "sealed"), [(2, 0), (3, 1), (4, 1)])
async def test_the_count_trigger_at_its_edge(client: Any, accepted: int, sealed: int) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(3))
    applied = await buffer.apply(a_batch((TRACES, [a_scored_trace(str(n)) for n in range(accepted)])))
    assert len(applied.sealed) == sealed


@pytest.mark.parametrize(("age", "accepted", "sealed"), [(599, 2, 0), (600, 1, 0), (600, 2, 1), (601, 3, 1)])
async def test_the_age_trigger_at_its_edge(
    buffer: RedisBuffer, feed: Feeder, age: int, accepted: int, sealed: int
) -> None:
    await feed(*(a_scored_trace(str(n)) for n in range(accepted)))
    now = T0 + age * 1000
    batches = await buffer.tick(now_ms=now, at_end=[])
    assert len(batches) == sealed
    assert await buffer.tick(now_ms=now, at_end=[]) == []
    for batch_id in batches:
        seal = (await buffer.read(batch_id)).seal
        assert (seal.cause, seal.sealed_at_ms) == ("age", now)


async def test_each_track_has_its_own_numbers_without_holes(buffer: RedisBuffer, feed: Feeder) -> None:
    def other(n: int) -> Any:
        return a_scored_trace(str(n))._replace(track="sql-2")

    await feed(a_scored_trace("1"), other(2))
    assert await buffer.seal_rest() == ["default-1", "sql-2-1"]
    await feed(other(3))
    assert await buffer.seal_rest() == ["sql-2-2"]
    assert (await buffer.status()).batches == ["default-1", "sql-2-1", "sql-2-2"]


async def test_a_rest_of_rejected_runs_alone_stays_open(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_scored_trace("1", 10.0))
    assert await buffer.seal_rest() == []
    await feed(a_scored_trace("2", time=T0 + 5))
    assert await buffer.seal_rest() == ["default-1"]
    batch = await buffer.read("default-1")
    assert (len(batch.rows), batch.seal.cause, batch.seal.sealed_at_ms) == (2, "idle", T0 + 5)


# ------------------------------------------------------------------ read, release, outbox


async def test_a_released_batch_is_gone_with_its_bodies_and_released_again_is_nothing(
    client: Any, buffer: RedisBuffer, feed: Feeder
) -> None:
    await feed(a_trace("1"), a_score("1"))
    await buffer.seal_rest()
    entry = (await buffer.outbox(limit=9))[0]
    await buffer.release("default-1")
    assert [key async for key in client.scan_iter(match="{l07:t:0}:b:*")] == []
    assert await buffer.outbox(limit=9) == [entry]  # not sent yet: a repeat is equal
    with pytest.raises(NoSuchBatch):
        await buffer.read("default-1")
    await buffer.release("default-1")
    await buffer.sent([entry.id])
    await buffer.sent([entry.id])
    await buffer.release("default-1")
    assert [key async for key in client.scan_iter(match="{l07:t:0}:rows:*")] == []


async def test_a_batch_that_never_was_is_refused(buffer: RedisBuffer) -> None:
    with pytest.raises(NoSuchBatch):
        await buffer.read("default-1")
    with pytest.raises(NoSuchBatch):
        await buffer.release("default-1")


async def test_the_outbox_keeps_order_and_repeats_until_it_is_sent(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(1))
    await Feeder(buffer)(a_broken(), a_trace("1"), a_score("1"), a_broken(at=1), a_scored_trace("2"))
    entries = await buffer.outbox(limit=100)
    assert [e.seal.batch_id if e.seal else e.message.value for e in entries] == [
        b"broken 0",
        "default-1",
        b"broken 1",
        "default-2",
    ]
    assert entries[1].keys == ("execution:1",)
    assert await buffer.outbox(limit=100) == entries
    await buffer.sent([entries[0].id, entries[2].id])
    assert await buffer.outbox(limit=1) == [entries[1]]
    assert (await buffer.status()).outbox == 2


@pytest.mark.parametrize("damage", ["body", "gone", "meta", "message"])
async def test_damage_is_found_when_it_is_read_and_named(
    client: Any, buffer: RedisBuffer, feed: Feeder, damage: str
) -> None:
    await feed(a_trace("17"), a_score("17"), a_broken())
    await buffer.seal_rest()
    [bodies] = [key for key in await client.keys("{l07:t:0}:b:*") if b"trace 17 did it" in await client.hvals(key)]
    if damage == "body":
        await client.hset(bodies, "1", b"traXe 17 did it")
    elif damage == "gone":
        await client.delete(bodies)
    elif damage == "meta":
        row = await client.lindex("{l07:t:0}:rows:default-1", 0)
        await client.lset("{l07:t:0}:rows:default-1", 0, row.replace(b"execution:17", b"execution:16"))
    else:
        (entry_id, fields), *_ = entries = await client.xrange("{l07:t:0}:outbox")
        await client.xdel("{l07:t:0}:outbox", entry_id)
        after = f"{int(entries[-1][0].split(b'-')[0]) + 99}-0"
        await client.xadd("{l07:t:0}:outbox", {b"message": fields[b"message"][:-1] + b"X"}, id=after)
        with pytest.raises(BodyDamaged, match=after):
            await buffer.outbox(limit=9)
        return
    with pytest.raises(BodyDamaged, match=r"execution:1[67] in default-1"):
        await buffer.read("default-1")


# ------------------------------------------------------------------ expiry


async def test_a_half_expires_only_when_every_partition_of_the_other_inputs_has_passed_its_deadline(
    buffer: RedisBuffer, feed: Feeder
) -> None:
    other = TopicPartition("evaluation.quality_scores", 1)
    late = T0 + 3600_000
    await feed(a_trace("1"))
    await feed(a_score("8", time=T0), tp=SCORES)
    await feed(a_score("9", time=late + 1), tp=other)
    await buffer.tick(now_ms=late + 10, at_end=[other])
    assert (await counts(buffer)).get("expired", 0) == 0  # nobody reports the other partition: it holds expiry back
    await buffer.tick(now_ms=late, at_end=[SCORES])
    assert (await counts(buffer)).get("expired", 0) == 0  # at the deadline, not past it
    await buffer.tick(now_ms=late + 1, at_end=[SCORES])
    assert (await buffer.status()).partitions[str(TRACES)]["expired"] == 1
    await buffer.tick(now_ms=late + 1, at_end=[SCORES])
    assert await counts(buffer) == {"consumed": 3, "waiting": 2, "expired": 1}


async def test_a_partition_that_another_owner_read_to_its_end_does_not_hold_expiry_back(
    buffer: RedisBuffer, feed: Feeder
) -> None:
    """Each owner's tick knows its own partitions only: what it says must stand in the buffer until a record comes."""
    other, late = TopicPartition("evaluation.quality_scores", 1), T0 + 3600_001
    await feed(a_trace("1"))
    await feed(a_score("8"), tp=SCORES)
    await feed(a_score("9"), tp=other)
    await buffer.tick(now_ms=late, at_end=[other])
    await feed(a_score("10"), tp=other)
    await buffer.tick(now_ms=late, at_end=[SCORES])
    assert (await counts(buffer)).get("expired", 0) == 0  # it went on: what was said of it counts no more
    await buffer.tick(now_ms=late, at_end=[other])
    assert (await buffer.status()).partitions[str(TRACES)]["expired"] == 1


async def test_an_end_that_the_buffer_has_not_reached_counts_for_nothing(buffer: RedisBuffer, feed: Feeder) -> None:
    """The owner looked before the buffer rolled back, and says so after it: what comes again must find its other half."""
    late = T0 + 3600_001
    await feed(a_trace("1"), a_score("8"))
    await buffer.tick(now_ms=late, at_end={SCORES: 2})
    await buffer.tick(now_ms=late, at_end=[])
    assert (await counts(buffer)).get("expired", 0) == 0
    await buffer.tick(now_ms=late, at_end={SCORES: 1})
    assert (await buffer.status()).partitions[str(TRACES)]["expired"] == 1


async def test_nothing_expires_while_the_buffer_does_not_know_every_partition(
    buffer: RedisBuffer, feed: Feeder
) -> None:
    """After a flush the first slice may come before anybody has told where the other partitions begin."""
    other, late = TopicPartition("evaluation.quality_scores", 1), T0 + 3600_001
    await feed(a_trace("1"), a_score("8"))
    await buffer.tick(now_ms=late, at_end=[SCORES], inputs=[TRACES, SCORES, other])
    assert (await counts(buffer)).get("expired", 0) == 0
    await buffer.begin({other: 0})
    await buffer.tick(now_ms=late, at_end=[SCORES, other], inputs=[TRACES, SCORES, other])
    assert (await buffer.status()).partitions[str(TRACES)]["expired"] == 1


async def test_a_number_of_the_outbox_never_comes_again_even_after_a_flush(client: Any) -> None:
    """A relay that read before the flush drops what it sent after it: it must not be what nobody has sent."""
    buffer = await RedisBuffer.open(client, "flushed", sealing_at(1))
    await Feeder(buffer)(a_trace("1"), a_score("1"))
    (before,) = await buffer.outbox(limit=9)
    await drop(client, "flushed")
    await Feeder(buffer)(a_trace("2"), a_score("2"))
    await buffer.sent([before.id])
    (after,) = await buffer.outbox(limit=9)
    assert after.keys == ("execution:2",)


async def test_no_known_partition_of_the_other_inputs_means_no_expiry(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_score("1"))
    await buffer.tick(now_ms=T0 + 99 * DAY_MS, at_end=[SCORES])
    assert await counts(buffer) == {"consumed": 1, "waiting": 1}


@pytest.mark.parametrize("first", ["trace", "score"])
async def test_a_half_that_comes_after_its_other_half_expired_is_late(
    buffer: RedisBuffer, feed: Feeder, first: str, client: Any
) -> None:
    halves = {"trace": a_trace("1"), "score": a_score("1")}
    other = halves["score" if first == "trace" else "trace"]
    await feed(halves[first])
    await buffer.tick(now_ms=T0 + 3600_001, at_end=[TRACES, SCORES])
    await feed(other, other, halves[first])
    assert await counts(buffer) == {"consumed": 4, "expired": 1, "duplicate": 3}
    assert (await buffer.status()).reasons == {"late": 1, "repeat": 2}
    assert [key async for key in client.scan_iter(match="{l07:t:0}:b:*")] == []


@pytest.mark.slow
async def test_more_halves_expire_than_one_step_takes(buffer: RedisBuffer) -> None:
    for at in range(0, 1200, 400):
        await buffer.apply(a_batch((TRACES, [a_trace(f"x{at + n}") for n in range(400)]), start={TRACES: at}))
    await buffer.tick(now_ms=T0 + 3600_001, at_end=[SCORES])
    assert await counts(buffer) == {"consumed": 1200, "expired": 1200}


async def test_the_oldest_waiting_half_is_told(buffer: RedisBuffer, feed: Feeder) -> None:
    assert (await buffer.status()).oldest_waiting_ms is None
    await feed(a_trace("1", time=T0 + 5), a_score("2", time=T0 + 3), a_trace("3", time=T0 + 1), a_score("3"))
    assert (await buffer.status()).oldest_waiting_ms == T0 + 3


# ------------------------------------------------------------------ prefer a separate score


async def test_a_traces_own_score_waits_for_a_separate_one_which_wins(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(1000, prefer_separate_s=60))
    await Feeder(buffer)(a_scored_trace("1", 80.0, 0.9))
    assert await counts(buffer) == {"consumed": 1, "waiting": 1}
    await Feeder(buffer)(a_score("1", 75.0, 0.61, time=T0 + 60_000))
    await buffer.seal_rest()
    assert (await buffer.read("default-1")).rows[0].score == 75.0


@pytest.mark.parametrize("by", ["record", "tick"])
async def test_without_a_separate_score_in_time_the_traces_own_counts(client: Any, by: str) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(1000, prefer_separate_s=60))
    feed = Feeder(buffer)
    await feed(a_scored_trace("1", 80.0, 0.9), a_score("2", time=T0 + 60_000))
    assert await counts(buffer) == {"consumed": 2, "waiting": 2}
    if by == "record":
        await feed(a_score("3", time=T0 + 60_001))
    else:
        await buffer.tick(now_ms=T0 + 60_001, at_end=[SCORES])
    assert (await counts(buffer))["applied"] == 1
    await feed(a_score("1", 75.0, 0.61))
    assert (await buffer.status()).reasons == {"score_superseded": 1}


# ------------------------------------------------------------------ state


async def test_another_state_layout_is_refused(client: Any, buffer: RedisBuffer) -> None:
    await client.set("{l07:t:0}:layout", "999")
    with pytest.raises(BufferLayoutUnknown):
        await RedisBuffer.open(client, "t", RULES)
    with pytest.raises(BufferLayoutUnknown):
        await buffer.apply(a_batch((TRACES, [a_trace("1")])))
    assert await buffer.positions() == {}


async def test_a_flushed_server_refuses_what_does_not_begin_at_the_start(
    client: Any, buffer: RedisBuffer, feed: Feeder
) -> None:
    await feed(a_trace("1"), a_trace("2"))
    async for key in client.scan_iter(match="{l07:t:0}*"):
        await client.unlink(key)
    await client.execute_command("FUNCTION", "FLUSH")
    assert (await buffer.apply(a_batch((TRACES, [a_trace("3")]), start={TRACES: 2}))).refused == {TRACES: 0}
    applied = await buffer.apply(a_batch((TRACES, [a_trace("1"), a_trace("2"), a_trace("3")])))
    assert applied.counts == {"waiting": 3}


async def test_every_key_lies_under_one_tag(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(1, prefer_separate_s=60))
    await Feeder(buffer)(a_trace("1"), a_score("1"), a_scored_trace("2"), a_trace("3"), a_score("4"), a_broken())
    await buffer.outbox(limit=9)
    keys = [key async for key in client.scan_iter(match="*")]
    assert keys
    assert {key.startswith(b"{l07:t:0}:") for key in keys} == {True}
