"""A trace that comes as a request and a response: a join of three parts, on every backend of the buffer."""

from itertools import permutations
from typing import Any

import pytest

from l07.backends.redis import RedisBuffer
from l07.ports import HeldRun
from tests.contracts.buffer_kit import (
    DAY_MS,
    PAYLOADS,
    SCORES,
    T0,
    TRACES,
    Feeder,
    a_request,
    a_response,
    a_score,
    a_trace,
    counts,
    holds,
)

PARTS = (a_request("1"), a_response("1"), a_score("1"))
EXPIRED = T0 + 3_600_001


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
async def test_in_every_order_the_three_parts_are_one_row(
    buffer: RedisBuffer, feed: Feeder, order: tuple[int, ...]
) -> None:
    waiting = []
    for place in order:
        await feed(PARTS[place])
        waiting.append((await buffer.status()).waiting)
    assert waiting == [1, 2, 0]
    assert await counts(buffer) == {"consumed": 3, "applied": 3}
    (batch_id,) = await buffer.seal_rest()
    (row,) = (await buffer.read(batch_id)).rows
    assert (row.key, row.decision, row.reasons) == ("execution:1", "ACCEPT", ())
    assert (row.trace, row.request, row.evaluation) == (PARTS[1].body, PARTS[0].body, PARTS[2].body)
    places = sorted((row.trace_at, row.request_at or ("", 0, 0)))
    assert places == [(PAYLOADS.topic, 0, 0), (PAYLOADS.topic, 0, 1)]
    assert row.evaluation_at == (SCORES.topic, 0, 0)
    status = await buffer.status()
    assert (status.waiting, status.waiting_bytes) == (0, 0)
    assert holds(status.partitions.values())


async def test_the_seal_tells_the_offsets_of_all_three(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_request("0"), *PARTS)
    (batch_id,) = await buffer.seal_rest()
    seal = (await buffer.read(batch_id)).seal
    assert (seal.first, seal.last) == (
        {str(PAYLOADS): 1, str(SCORES): 0},
        {str(PAYLOADS): 2, str(SCORES): 0},
    )


@pytest.mark.parametrize("reasons", [("", "no_outcome"), ("no_goal", ""), ("no_goal", "no_outcome")])
async def test_what_is_wrong_with_either_part_rejects_all_three(
    buffer: RedisBuffer, feed: Feeder, reasons: tuple[str, str]
) -> None:
    request, response = a_request("1", reason=reasons[0]), a_response("1", reason=reasons[1])
    await feed(request, response, a_score("1"))
    assert await counts(buffer) == {"consumed": 3, "rejected": 3}
    assert (await buffer.status()).reasons == {reasons[1] or reasons[0]: 1}


async def test_a_part_again_is_a_repeat_and_another_one_a_conflict(buffer: RedisBuffer, feed: Feeder) -> None:
    """While it waits for the other part, while the pair waits for its score, and after that."""
    again = a_request("1"), a_request("1", text="other")
    await feed(a_request("1"), *again)
    await feed(a_response("1"), *again, a_response("1"), a_response("1", text="other"))
    await feed(a_score("1"), *again, a_response("1"), a_trace("1"))
    assert (await buffer.status()).reasons == {"repeat": 5, "trace_conflict": 5}
    assert await counts(buffer) == {"consumed": 13, "applied": 3, "duplicate": 10}


async def test_a_pair_for_a_run_that_has_a_trace_is_a_conflict_of_both_parts(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_request("1"), a_trace("1"), a_score("1"), a_response("1"))
    assert (await buffer.status()).reasons == {"trace_conflict": 2}
    assert await counts(buffer) == {"consumed": 4, "applied": 2, "duplicate": 2}


@pytest.mark.parametrize("part", [a_request("1"), a_response("1")], ids=["request", "response"])
async def test_a_lonely_part_expires_when_the_payloads_have_passed_it_and_the_rest_is_late(
    buffer: RedisBuffer, feed: Feeder, part: Any
) -> None:
    await feed(part)
    await buffer.tick(now_ms=EXPIRED, at_end=[SCORES, TRACES])
    assert await counts(buffer) == {"consumed": 1, "waiting": 1}
    await buffer.tick(now_ms=EXPIRED, at_end=[PAYLOADS])
    assert await counts(buffer) == {"consumed": 1, "expired": 1}
    other = a_response if part.side == "request" else a_request
    await feed(part, other("1"), a_score("1"))
    assert (await buffer.status()).reasons == {"repeat": 1, "late": 2}


async def test_a_pair_without_a_score_expires_as_two(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_request("1"), a_response("1"))
    await buffer.tick(now_ms=EXPIRED, at_end=[SCORES])
    assert await counts(buffer) == {"consumed": 2, "expired": 2}
    assert (await buffer.status()).waiting_bytes == 0
    await feed(a_score("1"), a_request("1"))
    assert (await buffer.status()).reasons == {"late": 1, "repeat": 1}


async def test_a_score_that_expired_before_its_pair_makes_both_parts_late(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_score("1"))
    await buffer.tick(now_ms=EXPIRED, at_end=[PAYLOADS, TRACES])
    await feed(a_response("1", time=T0 + DAY_MS), a_request("1", time=T0 + DAY_MS))
    assert await counts(buffer) == {"consumed": 3, "expired": 1, "duplicate": 2}
    assert (await buffer.status()).reasons == {"late": 2}


async def test_a_better_score_replaces_that_of_a_joined_pair(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(*PARTS, a_score("1", 20.0, 0.95, evaluation="e2"))
    assert await counts(buffer) == {"consumed": 4, "rejected": 3, "duplicate": 1}
    await buffer.tick(now_ms=T0 + 1, at_end=[])
    assert (await buffer.status()).ready == {"default": {"ACCEPT": 0, "REJECT": 1}}


async def test_a_part_that_waits_alone_and_a_pair_in_a_batch_are_listed_with_their_bodies_and_go(
    buffer: RedisBuffer, feed: Feeder
) -> None:
    await feed(*PARTS)
    held = [run async for run in buffer.runs(bodies=True)]
    bodies = [PARTS[1].body, PARTS[0].body, PARTS[2].body]
    assert held == [HeldRun("execution:1", bodies)]
    assert await buffer.erase(["execution:1"]) == 1
    assert await counts(buffer) == {"consumed": 3, "rejected": 3}
    assert (await buffer.status()).reasons == {"erased": 3}


@pytest.mark.parametrize("parts", [PARTS[:1], PARTS[:2], PARTS[1:], PARTS[::2]], ids=["q", "qp", "ps", "qs"])
async def test_what_waits_of_a_pair_is_found_and_erased(
    buffer: RedisBuffer, feed: Feeder, parts: tuple[Any, ...]
) -> None:
    await feed(*parts)
    trail = await buffer.find("execution:1")
    assert trail.state == "waiting"
    assert len(trail.places) == len(parts)
    held = [body async for run in buffer.runs(bodies=True) for body in run.bodies]
    assert sorted(held) == sorted(part.body for part in parts)
    assert await buffer.erase(["execution:1"]) > 0
    assert await counts(buffer) == {"consumed": len(parts), "rejected": len(parts)}
    assert (await buffer.find("execution:1")).state == "unknown"
    assert [run async for run in buffer.runs()] == []
    assert (await buffer.status()).waiting_bytes == 0


async def test_a_joined_pair_says_where_its_three_records_are(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(*PARTS)
    trail = await buffer.find("execution:1")
    assert trail.state == "open"
    assert sorted(trail.places) == [(SCORES.topic, 0, 0), (PAYLOADS.topic, 0, 0), (PAYLOADS.topic, 0, 1)]
