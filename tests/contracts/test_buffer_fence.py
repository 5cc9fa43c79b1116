"""Where a partition stands: begin, reset, holes, overlaps, a zombie's late write, two owners at once."""

import asyncio
from typing import Any

import pytest

from l07.backends.redis import RedisBuffer
from l07.backends.redis.buffer import script
from l07.errors import BadBatch
from l07.ports import IngestBatch, Part
from tests.contracts.buffer_kit import (
    MORE_TRACES,
    RULES,
    SCORES,
    T0,
    TRACES,
    Feeder,
    a_batch,
    a_broken,
    a_part,
    a_score,
    a_trace,
    an_unread,
    counts,
    drop,
    holds,
    sealing_at,
    stored_bodies,
)

LATE = 5000  # where a log begins whose older records retention took


def slice_at(offset: int, *keys: str) -> IngestBatch:
    return a_batch((TRACES, [a_trace(key) for key in keys]), start={TRACES: offset})


# ------------------------------------------------------------------ begin and reset


async def begins_late(client: Any, text: str | None = None) -> bool:
    """A log that begins at 5,000 is refused, until it is said that it begins there."""
    await drop(client, "t")
    buffer = await RedisBuffer.open(client, "t", RULES, text=text)
    refused = (await buffer.apply(slice_at(LATE, "1"))).refused
    await buffer.begin({TRACES: LATE})
    applied = await buffer.apply(slice_at(LATE, "1"))
    return (refused, applied.counts, applied.refused) == ({TRACES: 0}, {"waiting": 1}, {})


async def stays_where_it_is(client: Any, text: str | None = None) -> bool:
    await drop(client, "t")
    buffer = await RedisBuffer.open(client, "t", RULES, text=text)
    await buffer.begin({TRACES: LATE, SCORES: 3})
    await buffer.apply(slice_at(LATE, "1"))
    before = await buffer.positions()
    await buffer.begin({TRACES: LATE + 9, SCORES: 7})
    return before == await buffer.positions() and before[SCORES].next == 3


async def test_a_log_that_begins_late_is_taken_once_it_is_said_where_it_begins(client: Any) -> None:
    assert await begins_late(client)
    assert await stays_where_it_is(client)


@pytest.mark.slow
async def test_begin_broken_is_noticed(client: Any) -> None:
    nothing, always = (
        script().replace("call('HSETNX'", "type('HSETNX'"),
        script().replace("call('HSETNX'", "call('HSET'"),
    )
    assert not await begins_late(client, nothing)
    assert not await stays_where_it_is(client, always)


async def test_after_a_flush_the_log_s_beginning_counts_again(client: Any, buffer: RedisBuffer, feed: Feeder) -> None:
    await buffer.begin({TRACES: LATE})
    await buffer.apply(slice_at(LATE, "1", "2"))
    await drop(client, "t")
    await client.execute_command("FUNCTION", "FLUSH")
    assert (await buffer.apply(slice_at(LATE + 2, "3"))).refused == {TRACES: 0}
    await buffer.begin({TRACES: LATE})
    assert (await buffer.apply(slice_at(LATE + 2, "3"))).refused == {TRACES: LATE}
    assert (await buffer.apply(slice_at(LATE, "1", "2", "3"))).counts == {"waiting": 3}


async def log_made_again(client: Any, text: str | None = None) -> bool:
    """The new log's records lie at the offsets of the old one's, whose bodies are still needed."""
    await drop(client, "t")
    buffer = await RedisBuffer.open(client, "t", sealing_at(1), text=text)
    await buffer.apply(a_batch((TRACES, [a_trace("1"), a_trace("2")]), (SCORES, [a_score("1")])))
    before = await counts(buffer)
    await buffer.reset({TRACES: 0, SCORES: 0, MORE_TRACES: 4})
    assert await counts(buffer) == before
    assert await buffer.positions() == {TRACES: (0, b"", 0), SCORES: (0, b"", 0), MORE_TRACES: (4, b"", 0)}
    await buffer.apply(a_batch((TRACES, [a_trace("3"), a_trace("4")]), (SCORES, [a_score("3"), a_score("2")])))
    rows = [(await buffer.read(f"default-{n}")).rows[0] for n in (1, 2, 3)]
    assert holds((await buffer.status()).partitions.values())
    return [row.trace[:7] for row in rows] == [b"trace 1", b"trace 3", b"trace 2"]


async def test_a_log_that_was_made_again_does_not_touch_what_came_from_the_old_one(client: Any) -> None:
    assert await log_made_again(client)


async def test_a_reset_may_go_back_and_what_comes_again_is_a_repeat(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1"), a_trace("2"))
    await buffer.reset({TRACES: 1})
    assert (await buffer.apply(slice_at(2, "3"))).refused == {TRACES: 1}
    assert (await buffer.apply(slice_at(1, "2", "3"))).counts == {"duplicate": 1, "waiting": 1}


@pytest.mark.parametrize("offset", [-1, 2**53])
async def test_what_is_no_offset_is_refused(buffer: RedisBuffer, offset: int) -> None:
    for move in (buffer.begin, buffer.reset):
        with pytest.raises(BadBatch):
            await move({TRACES: offset})
    assert await buffer.positions() == {}


# ------------------------------------------------------------------ holes


async def test_aborted_and_compacted_records_leave_holes_and_nothing_is_missed(
    client: Any, buffer: RedisBuffer
) -> None:
    """Markers of transactions, aborted records and what compaction took: fetch positions go over them."""
    first = [a_trace("1", at=0), a_broken(at=1), a_trace("2", at=2)]
    await buffer.apply(IngestBatch([a_part(TRACES, 0, 4, first)], first))
    await buffer.apply(IngestBatch([Part(TRACES, 4, 10, b"", 0)], []))
    third = [a_trace("3", at=10), an_unread(at=14), a_trace("1", at=15)]
    part = a_part(TRACES, 10, 17, third)
    await buffer.apply(IngestBatch([part], third))
    assert await counts(buffer) == {"consumed": 6, "waiting": 3, "dead_letter": 1, "rejected": 1, "duplicate": 1}
    assert (await buffer.positions())[TRACES] == (17, part.last_digest, T0)
    assert holds((await buffer.status()).partitions.values())
    assert (await stored_bodies(client, "t"))[0] == 3


async def test_a_slice_that_begins_in_a_hole_is_no_gap(buffer: RedisBuffer) -> None:
    await buffer.apply(IngestBatch([Part(TRACES, 0, 10, b"", 0)], []))
    records = [a_trace("1", at=12)]
    assert (await buffer.apply(IngestBatch([a_part(TRACES, 8, 13, records)], records))).counts == {"waiting": 1}
    assert (await buffer.apply(slice_at(14, "2"))).refused == {TRACES: 13}


# ------------------------------------------------------------------ owners


async def test_a_zombie_s_late_write_changes_nothing(client: Any, buffer: RedisBuffer) -> None:
    zombie = await RedisBuffer.open(client, "t", RULES)
    keys = [str(n) for n in range(30)]
    await buffer.apply(slice_at(0, *keys[:20]))
    before = await buffer.status(), await buffer.positions(), await stored_bodies(client, "t")
    assert (await zombie.apply(slice_at(0, *keys[:10]))).counts == {}
    assert (await zombie.apply(slice_at(0, *keys[:20]))).counts == {}
    assert (await buffer.status(), await buffer.positions(), await stored_bodies(client, "t")) == before
    assert (await zombie.apply(slice_at(10, *keys[10:]))).counts == {"waiting": 10}  # what lies beyond is applied once
    assert (await buffer.apply(slice_at(20, *keys[20:]))).counts == {}
    assert await counts(buffer) == {"consumed": 30, "waiting": 30}


@pytest.mark.slow
async def test_steps_of_several_owners_at_once_are_exact(client: Any) -> None:
    """Each call has a connection of its own; the same slice from three of them has one effect."""
    owners = [await RedisBuffer.open(client, "t", RULES) for _ in range(3)]
    batches = []
    for n in range(0, 200, 20):
        keys = [str(k) for k in range(n, n + 20)]
        for tp, items in ((TRACES, [a_trace(k) for k in keys]), (SCORES, [a_score(k) for k in keys])):
            batches.append(a_batch((tp, items), start={tp: n}))
    for n in range(0, len(batches), 2):
        traces, scores = batches[n : n + 2]
        calls = [owner.apply(batch) for owner in owners for batch in (traces, scores)]
        done = await asyncio.gather(*calls)
        assert not any(one.refused for one in done)
        assert all(one.seconds > 0 for one in done)
    assert await counts(owners[0]) == {"consumed": 400, "applied": 400}
    assert (await stored_bodies(client, "t"))[0] == 400


# ------------------------------------------------------------------ which log it is


async def test_a_log_keeps_its_first_name_until_a_reset_gives_it_another(buffer: RedisBuffer, feed: Feeder) -> None:
    assert await buffer.name_logs({TRACES: "one", SCORES: "one"}) == {}
    await feed(a_trace("1"))
    assert await buffer.name_logs({TRACES: "one"}) == {}
    assert await buffer.name_logs({TRACES: "two", SCORES: "one"}) == {TRACES: "one"}
    assert await buffer.name_logs({TRACES: "two"}) == {TRACES: "one"}, "the first one stays"
    await buffer.reset({TRACES: 0}, {TRACES: "two"})
    assert await buffer.name_logs({TRACES: "two", SCORES: "one"}) == {}
    await buffer.reset({TRACES: 0})
    assert await buffer.name_logs({TRACES: "three", SCORES: "two"}) == {SCORES: "one"}


async def test_a_slice_of_another_log_is_refused_as_a_whole(buffer: RedisBuffer, feed: Feeder) -> None:
    """One that was under way while somebody said that the new log counts: it would pass for the new log's beginning."""
    await buffer.name_logs({TRACES: "one", SCORES: "one"})
    await feed(a_trace("1"))
    late = a_batch((TRACES, [a_trace("2", at=0)]), (SCORES, [a_score("2", at=0)]), start={TRACES: 0, SCORES: 0})
    named = IngestBatch([part._replace(log="one") for part in late.parts], late.items)
    before = await counts(buffer)
    for names in ({TRACES: "two"}, {}):
        await buffer.reset({TRACES: 0}, names)
        assert (await buffer.apply(named)).refused == {TRACES: 0}
        assert await counts(buffer) == before, "nor the half of the partition that was not made again"
    await buffer.name_logs({TRACES: "one"})
    assert not (await buffer.apply(named)).refused
    assert (await counts(buffer))["consumed"] == before["consumed"] + 2
