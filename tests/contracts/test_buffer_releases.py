"""A rolling upgrade: members of two releases, whose scripts differ, share a buffer of one layout; each record counts once."""

from typing import Any

from l07.backends.redis import RedisBuffer
from l07.backends.redis.buffer import script
from l07.ports import IngestBatch
from tests.contracts.buffer_kit import SCORES, TRACES, a_batch, a_score, a_trace, counts, holds, sealing_at

NEXT = script() + "\n-- the next release\n"
STEPS, EACH = 20, 6


def steps() -> list[IngestBatch]:
    """Traces and scores of the same runs in turn, half of them in the step after."""
    out: list[IngestBatch] = []
    for n in range(STEPS):
        keys = [f"run-{n * EACH + i}" for i in range(EACH)]
        at = {TRACES: n * EACH, SCORES: n * EACH}
        out.append(a_batch((TRACES, [a_trace(key) for key in keys]), start=at))
        out.append(a_batch((SCORES, [a_score(key) for key in keys]), start=at))
    return out


async def test_two_releases_side_by_side_lose_and_double_nothing(client: Any) -> None:
    old = await RedisBuffer.open(client, "t", sealing_at(10))
    new = await RedisBuffer.open(client, "t", sealing_at(10), text=NEXT)
    members = [old, new]
    sealed: list[str] = []
    for number, step in enumerate(steps()):
        one, other = members[number % 2], members[(number + 1) % 2]
        sealed += (await one.apply(step)).sealed
        again = await other.apply(step)  # handed over in the middle: what was done is skipped
        assert (again.counts, again.sealed, again.refused) == ({}, [], {})
    assert await old.status() == await new.status()
    assert holds((await new.status()).partitions.values())
    found = await counts(new)
    assert (found["consumed"], found["applied"]) == (2 * STEPS * EACH, 2 * STEPS * EACH)
    keys = [row.key for batch_id in sealed for row in (await old.read(batch_id)).rows]
    assert len(keys) == len(set(keys)) == STEPS * EACH


async def test_a_release_that_leaves_takes_nothing_with_it(client: Any) -> None:
    """The function library of one is not the other's."""
    old = await RedisBuffer.open(client, "t", sealing_at(10))
    new = await RedisBuffer.open(client, "t", sealing_at(10), text=NEXT)
    libraries = await client.execute_command("FUNCTION", "LIST")
    assert len(libraries) >= 2
    first, second, *_ = steps()
    await old.apply(first)
    await client.execute_command("FUNCTION", "FLUSH")
    await new.apply(second)
    assert (await counts(old))["applied"] == 2 * EACH
