"""Erasing runs from the buffer: nothing of them stays, everything else does, and the sums hold."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from l07.backends.address import Access
from l07.backends.redis import RedisBuffer, connect
from l07.backends.redis.buffer import script
from l07.errors import FileNotRewritten, L07Error
from l07.events import outbound
from l07.ports import ExampleBuffer
from tests.contracts.buffer_kit import (
    RULES,
    SCORES,
    T0,
    TRACES,
    Feeder,
    a_batch,
    a_score,
    a_scored_trace,
    a_trace,
    counts,
    drop,
    holds,
    sealing_at,
    stored_bodies,
)
from tests.contracts.buffer_model import Model
from tests.contracts.test_buffer_model import COUNT, Step, a_world, cut, found, time_of, wanted, weighed


async def held(buffer: ExampleBuffer, *, bodies: bool = False) -> list[tuple[str, tuple[bytes, ...]]]:
    return sorted([(run.key, tuple(run.bodies)) async for run in buffer.runs(bodies=bodies)])


async def all_bytes(client: Any) -> bytes:
    """Everything that the server holds, as it keeps it."""
    dumps = [await client.dump(key) async for key in client.scan_iter(match="{l07:*", count=1000)]
    return b"".join(dump for dump in dumps if dump)


async def test_runs_lie_waiting_open_and_sealed_and_come_with_their_events(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("sealed"), a_score("sealed"))
    await buffer.seal_rest()
    await feed(a_scored_trace("open"), a_trace("waiting"), a_score("alone"))
    names = ["alone", "open", "sealed", "waiting"]
    assert [key for key, _ in await held(buffer)] == [f"execution:{name}" for name in names]
    with_bodies = dict(await held(buffer, bodies=True))
    assert len(with_bodies["execution:sealed"]) == 2
    assert with_bodies["execution:waiting"] == (a_trace("waiting").body,)


async def test_which_erasures_are_known_is_kept_and_the_newest_word_for_a_key_counts(buffer: RedisBuffer) -> None:
    assert await buffer.erasures() == {}
    for key, number in (("a", 3), ("b", 1), ("a", 12)):
        await buffer.note_erasures(key, number)
    assert await buffer.erasures() == {"a": 12, "b": 1}


async def test_a_waiting_half_an_open_row_and_a_sealed_row_go_and_are_rejected_then(
    buffer: RedisBuffer, feed: Feeder
) -> None:
    await feed(a_trace("sealed"), a_score("sealed"), a_scored_trace("other"))
    await buffer.seal_rest()
    await feed(a_trace("open"), a_score("open", 10.0), a_scored_trace("more"), a_trace("waiting"))
    assert await buffer.erase([f"execution:{name}" for name in ("sealed", "open", "waiting", "unknown")]) == 3
    assert [key for key, _ in await held(buffer)] == ["execution:more", "execution:other"]
    status = await buffer.status()
    assert holds(status.partitions.values())
    assert await counts(buffer) == {"consumed": 7, "applied": 2, "rejected": 5}
    assert status.reasons == {"erased": 5}
    assert (status.ready["default"], status.waiting, status.waiting_bytes) == ({"ACCEPT": 1, "REJECT": 0}, 0, 0)
    [batch_id] = status.batches
    batch = await buffer.read(batch_id)
    assert ([row.key for row in batch.rows], batch.seal.accepted) == (["execution:other"], 1)


async def test_erased_twice_is_erased_once(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1"), a_score("1"), a_trace("2"))
    assert await buffer.erase(["execution:1", "execution:2"]) == 2
    before = await buffer.status()
    assert await buffer.erase(["execution:1", "execution:2"]) == 0
    assert await buffer.status() == before


async def test_a_sealed_batch_keeps_the_id_under_which_it_was_announced(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_scored_trace("1"), a_scored_trace("2"))
    [batch_id] = await buffer.seal_rest()
    batch = await buffer.read(batch_id)
    whole = outbound.from_seal(batch.seal, [row.key for row in batch.rows])
    await buffer.erase(["execution:1"])
    [entry] = await buffer.outbox(limit=10)
    assert entry.seal is not None
    said = outbound.from_seal(entry.seal, entry.keys)
    assert (said.id, said.data.keys, said.data.counts) == (whole.id, ["execution:2"], {"ACCEPT": 1, "REJECT": 0})
    await buffer.erase(["execution:2"])
    emptied = await buffer.read(batch_id)
    assert (emptied.rows, emptied.seal.said) == ([], whole.id)
    await buffer.sent([entry.id])
    await buffer.release(batch_id)
    assert (await buffer.status()).batches == []


async def test_the_rows_that_stay_keep_their_places(buffer: RedisBuffer, feed: Feeder) -> None:
    """A better score finds its row by its place."""
    await feed(a_scored_trace("1"), a_trace("2"), a_score("2", 80.0, 0.7))
    await buffer.erase(["execution:1"])
    await feed(a_score("2", 20.0, 0.9, evaluation="e2"), a_scored_trace("3"))
    [batch_id] = await buffer.seal_rest()
    rows = [(row.key, row.score, row.decision) for row in (await buffer.read(batch_id)).rows]
    assert rows == [("execution:2", 20.0, "REJECT"), ("execution:3", 80.0, "ACCEPT")]


async def test_a_revision_of_an_erased_run_goes_too(buffer: RedisBuffer, feed: Feeder) -> None:
    await feed(a_trace("1"), a_score("1"))
    await buffer.seal_rest()
    await feed(a_score("1", 90.0, 0.95, evaluation="e2"))
    assert await buffer.erase(["execution:1"]) == 2
    assert (await counts(buffer), (await buffer.status()).reasons) == ({"consumed": 3, "rejected": 3}, {"erased": 3})
    assert await buffer.seal_rest() == []


async def test_a_released_batch_gives_up_its_bytes_and_its_counters_stay(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", RULES)
    await Feeder(buffer)(a_scored_trace("1"), a_scored_trace("2"))
    [batch_id] = await buffer.seal_rest()
    await buffer.release(batch_id)  # its announcement has not left, so its rows are still there
    assert [key for key, _ in await held(buffer)] == ["execution:1", "execution:2"]
    assert await buffer.erase(["execution:1"]) == 1
    assert [key for key, _ in await held(buffer)] == ["execution:2"]
    assert await counts(buffer) == {"consumed": 2, "applied": 2}


async def test_no_byte_of_an_erased_run_is_left_on_the_server_nor_in_its_file(client: Any, tmp_path: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", RULES)
    feed = Feeder(buffer)
    await feed(a_scored_trace("canary-1", time=T0), a_scored_trace("other"))
    await buffer.seal_rest()
    await feed(a_trace("canary-2"), a_score("canary-3"), a_trace("canary-4"), a_score("canary-4"), a_trace("stays"))
    assert b"canary" in await all_bytes(client)
    await buffer.erase([f"execution:canary-{n}" for n in range(1, 5)])
    left = await all_bytes(client)
    assert b"canary" not in left
    assert b"stays" in left
    assert (await stored_bodies(client, "t"))[0] == 2
    await buffer.rewrite_file()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"canary" in path.read_bytes() for path in files)


async def test_without_the_rewrite_the_file_still_has_it(client: Any, tmp_path: Any) -> None:
    """The control of the test above."""
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    if not files:
        pytest.skip("the server keeps its file elsewhere")
    buffer = await RedisBuffer.open(client, "t", RULES)
    await Feeder(buffer)(a_trace("canary-1"))
    await buffer.erase(["execution:canary-1"])
    assert any(b"canary" in path.read_bytes() for path in tmp_path.rglob("*.aof"))


async def test_an_erased_run_may_come_again_as_a_new_one(buffer: RedisBuffer, feed: Feeder) -> None:
    """Keeping it out is the ingest's work, by its tombstones: the buffer remembers nothing."""
    await feed(a_trace("1"), a_score("1"))
    await buffer.erase(["execution:1"])
    await feed(a_trace("1"), a_score("1"))
    assert await counts(buffer) == {"consumed": 4, "applied": 2, "rejected": 2}


async def test_a_user_who_may_not_rewrite_the_file_is_told_what_to_do(client: Any) -> None:
    path = client.connection_pool.connection_kwargs.get("path")
    if path is None:
        pytest.skip("a user is made on the embedded server alone")
    await client.execute_command("ACL", "SETUSER", "less", "on", ">secret", "~*", "+@all", "-bgrewriteaof")
    less = connect(f"unix://{path}", Access("less", "secret"))
    try:
        buffer = await RedisBuffer.open(less, "t", RULES)
        with pytest.raises(FileNotRewritten, match=r"E7125.*\+bgrewriteaof"):
            await buffer.rewrite_file()
    finally:
        await less.aclose()


# ------------------------------------------------------------------ against the model


def with_erasures(rng: random.Random, world: Sequence[Step]) -> list[Step]:
    out: list[Step] = []
    for step in world:
        out.append(step)
        if rng.random() < 0.05:
            out.append(("erase", {f"execution:{rng.randrange(30)}" for _ in range(rng.randrange(1, 6))}))
    return out


def expected(world: Sequence[Step]) -> Model:
    model = Model(count=COUNT, wait_ms=3_600_000, age_ms=600_000, min_count=2)
    for kind, what in world:
        if kind == "tick":
            model.tick(what[0], {str(tp) for tp in what[1]})
        elif kind == "erase":
            model.erase(what)
        else:
            tp, record = what
            model.record(str(tp), record)
            model.times[str(tp)] = time_of(record)
    model.seal_rest()
    return model


async def played(buffer: RedisBuffer, steps: Sequence[Step]) -> None:
    for kind, what in steps:
        if kind == "tick":
            await buffer.tick(now_ms=what[0], at_end=sorted(what[1]))
        elif kind == "erase":
            await buffer.erase(what)
        else:
            assert not (await buffer.apply(what)).refused
        assert holds((await buffer.status()).partitions.values())
    await buffer.seal_rest()


async def same(client: Any, seed: int, *, text: str | None = None) -> bool:
    rng = random.Random(seed)
    world = with_erasures(rng, a_world(rng, 250))
    buffer = await RedisBuffer.open(client, f"e{seed}", sealing_at(COUNT), text=text)
    try:
        await played(buffer, cut(rng, world))
        model, got = expected(world), await found(client, f"e{seed}", buffer)
    finally:
        await drop(client, f"e{seed}")
    want = wanted(model)
    waiting, stored = want[-1][:2], weighed(model, "waiting", "applied", "rejected")
    erased = [at for at, (_, reason) in model.fates().items() if reason == "erased" and at in model.halves()]
    gone = len(erased), sum(len(model.all[at].body) for at in erased)
    return bool(got == (*want[:-1], (*waiting, (stored[0] - gone[0], stored[1] - gone[1]))))


@pytest.mark.slow
async def test_with_erasures_too_the_buffer_does_what_the_model_does(client: Any) -> None:
    for seed in range(5):
        assert await same(client, seed), seed


BREAKS = {
    "waiting is not taken back": ("      stop_waiting(s, d, h)\n      recount(s, h)", "      recount(s, h)"),
    "bodies stay": ("  note(s, 'erased', records_of(h))\n  drop_body(s, h)\n", "  note(s, 'erased', records_of(h))\n"),
    "rows stay": ("call('LSET', s.tag .. ':rows:' .. row.batch, row.index, '')", "local _ = row"),
    "memory stays": ("bulk('HDEL', s.tag .. ':seen:' .. day, digests, 1)", "local _ = day"),
    "counted twice": (
        "  if row.open then settle_row(s, row.open, why, trace, score, -1)",
        "  if row.open then local _ = why",
    ),
    "a seal counts what is gone": ("    row.seal[slot] = row.seal[slot] - 1\n", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BREAKS))
async def test_each_rule_of_erasure_when_it_is_broken_is_noticed(client: Any, name: str) -> None:
    good, bad = BREAKS[name]
    assert good in script()
    for seed in range(12):
        try:
            fine = await same(client, seed, text=script().replace(good, bad))
        except (AssertionError, L07Error):
            fine = False
        if not fine:
            return
    pytest.fail(f"{name}: nobody noticed")


async def test_a_row_that_changed_since_it_was_read_is_left_to_the_next_look(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", replace(RULES, prefer_separate_s=0))
    feed = Feeder(buffer)
    await feed(a_trace("1"), a_score("1", 80.0, 0.7))
    read = buffer._blobs

    async def meanwhile(batch_id: str) -> list[bytes]:
        blobs = await read(batch_id)
        buffer._blobs = read  # type: ignore[method-assign]
        await buffer.apply(a_batch((SCORES, [a_score("1", 81.0, 0.9, evaluation="e2")]), start=feed.next))
        return blobs

    buffer._blobs = meanwhile  # type: ignore[method-assign]
    assert await buffer.erase(["execution:1"]) == 0
    assert await buffer.erase(["execution:1"]) == 1
    assert (await buffer.positions())[TRACES].next == 1
    assert await held(buffer) == []
