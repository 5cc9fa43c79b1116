"""What an ExampleBuffer promises, rule by rule, on every backend of it."""

from typing import Any

import pytest

from l07.backends.redis import RedisBuffer
from l07.errors import BadBatch
from l07.ports import IngestBatch, Part
from tests.contracts.buffer_kit import (
    DAY_MS,
    MORE_TRACES,
    SCORES,
    T0,
    TRACES,
    Feeder,
    a_batch,
    a_broken,
    a_part,
    a_score,
    a_scored_trace,
    a_trace,
    an_unread,
    counts,
    holds,
    sealing_at,
)

# ------------------------------------------------------------------ the fence


async def test_a_repeated_batch_has_no_second_effect(buffer: RedisBuffer) -> None:
    batch = a_batch((TRACES, [a_trace("1"), a_trace("2")]), (SCORES, [a_score("1"), a_broken()]))
    first = await buffer.apply(batch)
    before = await buffer.status()
    again = await buffer.apply(batch)
    assert first.counts == {"applied": 2, "waiting": 1, "dead_letter": 1}
    assert (again.counts, again.sealed, again.refused) == ({}, [], {})
    assert await buffer.status() == before


async def test_a_batch_beyond_the_stored_offset_is_refused_whole(buffer: RedisBuffer) -> None:
    await buffer.apply(a_batch((TRACES, [a_trace("1")])))
    before = await buffer.status()
    gap = a_batch((SCORES, [a_score("1")]), (TRACES, [a_trace("3")]), start={TRACES: 2})
    applied = await buffer.apply(gap)
    assert (applied.refused, applied.counts) == ({TRACES: 1}, {})
    assert await buffer.status() == before


async def test_an_unknown_partition_stands_at_the_start_of_its_log(buffer: RedisBuffer) -> None:
    applied = await buffer.apply(a_batch((TRACES, [a_trace("1")]), start={TRACES: 17}))
    assert applied.refused == {TRACES: 0}


async def test_a_batch_that_overlaps_is_applied_from_the_stored_offset_on(buffer: RedisBuffer) -> None:
    records = [a_trace(str(n)) for n in range(5)]
    await buffer.apply(a_batch((TRACES, records[:3])))
    applied = await buffer.apply(a_batch((TRACES, records)))
    assert applied.counts == {"waiting": 2}


async def test_a_position_is_the_fetch_position_with_the_last_record(buffer: RedisBuffer) -> None:
    record = a_trace("1", at=4, time=T0 + 9)
    part = a_part(TRACES, 0, 7, [record])
    await buffer.apply(IngestBatch([part], [record]))
    assert await buffer.positions() == {TRACES: (7, part.last_digest, T0 + 9)}


async def test_an_empty_part_moves_the_offset_and_keeps_the_last_record(buffer: RedisBuffer) -> None:
    await buffer.apply(a_batch((TRACES, [a_trace("1")])))
    before = (await buffer.positions())[TRACES]
    await buffer.apply(IngestBatch([Part(TRACES, 1, 8, b"", 0)], []))
    assert (await buffer.positions())[TRACES] == before._replace(next=8)


@pytest.mark.parametrize(
    "batch",
    [
        IngestBatch([Part(TRACES, 0, 501, b"", 0)], [a_trace(str(n), at=n) for n in range(501)]),
        IngestBatch([Part(TRACES, 0, 1, b"", 0), Part(TRACES, 0, 1, b"", 0)], []),
        IngestBatch([Part(TRACES, 3, 1, b"", 0)], []),
        IngestBatch([Part(TRACES, 0, 1, b"123", 0)], []),
        IngestBatch([Part(TRACES, 0, 1, b"", 0)], [a_trace("1", at=1)]),
        IngestBatch([Part(TRACES, 0, 3, b"", 0)], [a_trace("1", at=1), a_trace("2", at=1)]),
        IngestBatch([], [a_trace("1")]),
        a_batch((SCORES, [a_score("1", float("nan"))])),
        a_batch((SCORES, [a_score("1")._replace(confidence=None)])),
        a_batch((SCORES, [a_score("1", 50.0, 1.01)])),
        a_batch((SCORES, [a_score("1")._replace(content=b"short")])),
        a_batch((TRACES, [a_trace("1", track="")])),
    ],
    ids=[
        "too-many",
        "partition-twice",
        "backwards",
        "digest",
        "outside",
        "order",
        "no-part",
        "nan",
        "half",
        "range",
        "content",
        "track",
    ],
)
async def test_a_batch_that_breaks_the_contract_changes_nothing(buffer: RedisBuffer, batch: IngestBatch) -> None:
    with pytest.raises(BadBatch):
        await buffer.apply(batch)
    assert await buffer.positions() == {}


# ------------------------------------------------------------------ joins and the gates


async def test_halves_join_in_any_order(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1"), a_score("1"), a_score("2"), a_trace("2"))
    status = await buffer.status()
    assert status.ready == {"default": {"ACCEPT": 2, "REJECT": 0}}
    assert await counts(buffer) == {"consumed": 4, "applied": 4}


@pytest.mark.parametrize(
    ("score", "confidence", "reasons"),
    [
        (70.0, 0.6, ()),
        (69.999, 0.6, ("low_score",)),
        (70.0, 0.599, ("low_confidence",)),
        (0.0, 0.0, ("low_score", "low_confidence")),
        (100.0, 1.0, ()),
    ],
)
async def test_the_gates_tag_and_never_drop(
    buffer: RedisBuffer, feed: Feeder, score: float, confidence: float, reasons: tuple[str, ...]
) -> None:
    await feed(a_trace("1"), a_score("1", score, confidence), a_scored_trace("2"))
    await buffer.seal_rest()
    row = (await buffer.read("default-1")).rows[0]
    assert (row.reasons, row.decision) == (reasons, "REJECT" if reasons else "ACCEPT")
    assert (row.score, row.confidence, row.trace[:5], row.evaluation[:5]) == (score, confidence, b"trace", b"score")
    assert (await buffer.status()).reasons == dict.fromkeys(reasons, 1)


async def test_a_trace_that_can_be_no_example_waits_and_both_are_rejected(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1", reason="no_goal"))
    assert await counts(buffer) == {"consumed": 1, "waiting": 1}
    await feed(a_score("1", 10.0))
    assert await counts(buffer) == {"consumed": 2, "rejected": 2}
    assert (await buffer.status()).reasons == {"no_goal": 1, "low_score": 1}


async def test_what_is_read_by_nobody_and_what_cannot_be_read_are_counted_by_themselves(
    buffer: RedisBuffer, feed: Feeder
) -> None:
    await feed(an_unread(reason="unknown_type"), a_broken())
    assert await counts(buffer) == {"consumed": 2, "rejected": 1, "dead_letter": 1}
    assert (await buffer.status()).reasons == {"unknown_type": 1}
    entry = (await buffer.outbox(limit=5))[0]
    assert entry.message == a_broken().message


async def test_a_trace_with_its_own_score_is_ready_at_once(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_scored_trace("1", 75.5, 0.75))
    await buffer.seal_rest()
    row = (await buffer.read("default-1")).rows[0]
    assert (row.score, row.confidence, row.evaluation, row.evaluation_at) == (75.5, 0.75, None, None)


async def test_counters_stand_on_the_partition_of_each_record(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1"), tp=MORE_TRACES)
    await feed(a_score("1", 20.0), a_trace("2"))
    partitions = (await buffer.status()).partitions
    assert {tp: {k: n for k, n in c.items() if n} for tp, c in partitions.items()} == {
        str(MORE_TRACES): {"consumed": 1, "rejected": 1},
        str(SCORES): {"consumed": 1, "rejected": 1},
        str(TRACES): {"consumed": 1, "waiting": 1},
    }


# ------------------------------------------------------------------ repeats, conflicts, second scores


async def test_a_producers_repeat_is_a_duplicate_on_either_side(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1"), a_trace("1"), a_score("1"), a_score("1"), a_trace("1"))
    assert await counts(buffer) == {"consumed": 5, "applied": 2, "duplicate": 3}
    assert (await buffer.status()).reasons == {"repeat": 3}


async def test_of_two_different_traces_the_first_wins(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1", text="one"), a_trace("1", text="two"), a_score("1"), a_trace("1", text="three"))
    await buffer.seal_rest()
    assert (await buffer.read("default-1")).rows[0].trace == b"trace 1 one"
    assert (await buffer.status()).reasons == {"trace_conflict": 2}


@pytest.mark.parametrize("joined", ["before", "after"])
@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ((80.0, 0.7, "a"), (20.0, 0.9, "b"), 20.0),
        ((80.0, 0.9, "a"), (20.0, 0.7, "b"), 80.0),
        ((80.0, 0.9, "b"), (20.0, 0.9, "a"), 20.0),
        ((80.0, 0.9, "a"), (20.0, 0.9, "b"), 80.0),
        ((80.0, 0.9, "a"), (20.0, 0.9, "aa"), 80.0),
        ((80.0, 0.9, "z"), (20.0, 0.9, "é"), 80.0),  # by bytes, whatever the server's locale
        ((80.0, 0.9, "a"), (20.0, 0.9, "a"), 80.0),
    ],
)
async def test_before_the_seal_the_higher_confidence_wins_then_the_smaller_evaluation(
    buffer: RedisBuffer, feed: Feeder, joined: str, first: Any, second: Any, winner: float
) -> None:
    scores = [a_score("1", s, c, evaluation=e) for s, c, e in (first, second)]
    records = [a_trace("1"), *scores] if joined == "before" else [*scores, a_trace("1")]
    await feed(*records, a_scored_trace("2"))
    await buffer.seal_rest()
    batch = await buffer.read("default-1")
    assert batch.rows[0].score == winner
    assert batch.rows[0].evaluation_at[2] == [80.0, 20.0].index(winner)
    name = "applied" if winner == 80.0 else "rejected"
    partition = (await buffer.status()).partitions[str(SCORES)]
    assert {k: n for k, n in partition.items() if n} == {"consumed": 2, "duplicate": 1, name: 1}
    assert (batch.seal.accepted, batch.seal.rejected) == ((2, 0) if winner == 80.0 else (1, 1))
    assert (await buffer.status()).reasons["score_superseded"] == 1


async def test_a_score_that_lost_is_a_repeat_when_it_comes_again(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1"), a_score("1", 80.0, 0.7), a_score("1", 90.0, 0.9), a_score("1", 80.0, 0.7))
    assert (await buffer.status()).reasons == {"score_superseded": 1, "repeat": 1}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("separate", "winner"), [(0.95, 60.0), (0.5, 80.0)])
async def test_a_separate_score_and_a_traces_own_compare_like_two_scores(
    buffer: RedisBuffer, feed: Feeder, order: tuple[int, int], separate: float, winner: float
) -> None:
    records = [a_scored_trace("1", 80.0, 0.9), a_score("1", 60.0, separate)]
    await feed(*(records[i] for i in order), a_scored_trace("2"))
    await buffer.seal_rest()
    row = (await buffer.read("default-1")).rows[0]
    assert (row.score, row.evaluation is None) == (winner, winner == 80.0)
    assert holds((await buffer.status()).partitions.values())


async def test_a_score_after_the_seal_travels_as_a_revision_in_the_next(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1"), a_score("1", 80.0, 0.9, evaluation="a"))
    assert await buffer.seal_rest() == ["default-1"]
    await feed(
        a_score("1", 20.0, 0.7, evaluation="b"), a_score("1", 20.0, 0.7, evaluation="b"), a_score("1", evaluation="a")
    )
    assert await counts(buffer) == {"consumed": 5, "applied": 3, "duplicate": 2}
    assert (await buffer.status()).reasons == {"revision": 1, "repeat": 2}
    assert await buffer.seal_rest() == ["default-2"]
    batch = await buffer.read("default-2")
    row = batch.rows[0]
    assert (row.revision, row.trace, row.score, row.decision) == (True, b"", 20.0, "REJECT")
    assert row.evaluation == b"score 1 20.0 0.7 b"
    assert (batch.seal.accepted, batch.seal.rejected) == (0, 0)


async def test_a_repeat_is_recognised_for_remember_s_and_then_forgotten(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(1000, remember_s=2 * 86400))
    feed = Feeder(buffer)
    await feed(a_scored_trace("1"), a_scored_trace("1", time=T0 + 2 * DAY_MS))
    assert await counts(buffer) == {"consumed": 2, "applied": 1, "duplicate": 1}
    await feed(a_scored_trace("1", time=T0 + 3 * DAY_MS))
    assert await counts(buffer) == {"consumed": 3, "applied": 2, "duplicate": 1}
    await buffer.tick(now_ms=T0 + 9 * DAY_MS, at_end=[])
    assert [key async for key in client.scan_iter(match="{l07:t:0}:seen:*")] == [b"{l07:t:0}:seen:20003"]
