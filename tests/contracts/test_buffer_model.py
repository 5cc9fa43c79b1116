"""Random worlds against the reference model: whatever the cuts, repeats and crashes, the same sets, seals, counters."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from l07.backends.redis import RedisBuffer
from l07.backends.redis.buffer import script
from l07.errors import L07Error
from l07.events.record import TopicPartition
from l07.ports import Half, IngestBatch, Part
from tests.contracts.buffer_kit import (
    MORE_TRACES,
    PAYLOADS,
    SCORES,
    T0,
    TRACES,
    a_broken,
    a_request,
    a_response,
    a_score,
    a_scored_trace,
    a_trace,
    an_unread,
    drop,
    holds,
    sealing_at,
    stored_bodies,
)
from tests.contracts.buffer_model import Model

MORE_SCORES = TopicPartition("evaluation.quality_scores", 1)
MORE_PAYLOADS = TopicPartition("inference.payloads", 1)
PARTITIONS = (TRACES, MORE_TRACES, SCORES, MORE_SCORES)
WITH_PAYLOADS = (*PARTITIONS, PAYLOADS, MORE_PAYLOADS)
COUNT = 4
Placed = tuple[TopicPartition, Any]
Step = tuple[str, Any]


# ------------------------------------------------------------------ worlds


def a_world(rng: random.Random, size: int, *, payloads: bool = False) -> list[Step]:
    """Records of few runs in one order, with repeats, conflicts and second scores; ticks in between."""
    steps: list[Step] = []
    partitions = WITH_PAYLOADS if payloads else PARTITIONS
    offsets = dict.fromkeys(partitions, 0)
    sent: list[Placed] = []
    for n in range(size):
        time = T0 + n * 20_000 + rng.randrange(-5_000, 5_000)
        tp, record = rng.choice(sent) if sent and rng.random() < 0.15 else made(rng, time, payloads)
        tp = tp if rng.random() < 0.7 else rng.choice([p for p in partitions if p.topic == tp.topic])
        offset = offsets[tp] + rng.choice([0, 0, 0, 1, 5])  # holes: compaction, transaction markers
        offsets[tp] = offset + 1
        record = record._replace(offset=offset)
        sent.append((tp, record))
        steps.append(("record", (tp, record._replace(time_ms=time) if isinstance(record, Half) else record)))
        if rng.random() < 0.04:
            now = time + rng.choice([0, 700_000, 4_000_000])
            steps.append(("tick", (now, frozenset(rng.sample(partitions, rng.randrange(1 + len(partitions)))))))
    return steps


def made(rng: random.Random, time: int, payloads: bool) -> Placed:
    return a_payload(rng, time) if payloads and rng.random() < 0.6 else a_record(rng, time)


def a_payload(rng: random.Random, time: int) -> Placed:
    key, reason, text = str(rng.randrange(30)), rng.choice(["", "", "", "no_goal"]), rng.choice("aaaab")
    one = rng.choice([a_request, a_response])(key, text=text, reason=reason, time=time)
    return rng.choice([PAYLOADS, MORE_PAYLOADS]), one


def a_record(rng: random.Random, time: int) -> Placed:
    key, kind = str(rng.randrange(30)), rng.random()
    if kind < 0.42:
        track, reason = rng.choice(["default", "default", "other"]), rng.choice(["", "", "", "no_goal"])
        return rng.choice([TRACES, MORE_TRACES]), a_trace(
            key, text=rng.choice("aab"), reason=reason, track=track, time=time
        )
    if kind < 0.5:
        return TRACES, a_scored_trace(key, rng.choice([60.0, 75.25]), rng.choice([0.5, 0.8]), time=time)
    if kind < 0.94:
        score, confidence = rng.choice([10.0, 70.0, 90.5]), rng.choice([0.55, 0.6, 0.8, 0.95])
        return rng.choice([SCORES, MORE_SCORES]), a_score(
            key, score, confidence, evaluation=rng.choice("abc"), time=time
        )
    return rng.choice(PARTITIONS), a_broken() if kind < 0.97 else an_unread()


def expected(world: Sequence[Step]) -> Model:
    model = Model(count=COUNT, wait_ms=3_600_000, age_ms=600_000, min_count=2)
    for kind, what in world:
        if kind == "tick":
            model.tick(what[0], {str(tp) for tp in what[1]})
        else:
            tp, record = what
            model.record(str(tp), record)
            model.times[str(tp)] = time_of(record)
    model.seal_rest()
    return model


def time_of(record: Any) -> int:
    return record.time_ms if isinstance(record, Half) else T0


# ------------------------------------------------------------------ the buffer's side


def cut(rng: random.Random, world: Sequence[Step]) -> list[Step]:
    """Runs of records become batches of random length; some come again, some overlap, as after a crash."""
    out: list[Step] = []
    done: list[Placed] = []
    waiting: list[Placed] = []

    def flush() -> None:
        while waiting:
            n = rng.choice([1, 2, 7, 30, 200])
            piece = waiting[:n]
            del waiting[:n]
            back = rng.choice([0, 0, 0, 1, 9, len(done)]) if rng.random() < 0.5 else 0
            again = done[len(done) - min(back, len(done), 250) :]
            out.append(("batch", as_batch(done[: len(done) - len(again)], [*again, *piece])))
            done.extend(piece)
            if rng.random() < 0.3:
                out.append(out[-1])  # the answer was lost: the same step again

    for kind, what in world:
        if kind == "record":
            waiting.append(what)
        else:
            flush()
            out.append((kind, what))
    flush()
    return out


def as_batch(before: Sequence[Placed], piece: Sequence[Placed]) -> IngestBatch:
    start = {tp: record.offset + 1 for tp, record in before}
    tps = list(dict.fromkeys(tp for tp, _ in piece))
    last = dict(piece)
    parts = [Part(tp, start.get(tp, 0), last[tp].offset + 1, b"d" * 16, time_of(last[tp])) for tp in tps]
    return IngestBatch(parts, [record._replace(part=tps.index(tp)) for tp, record in piece])


async def played(buffer: RedisBuffer, steps: Sequence[Step]) -> None:
    for kind, what in steps:
        if kind == "tick":
            await buffer.tick(now_ms=what[0], at_end=sorted(what[1]))
        else:
            applied = await buffer.apply(what)
            assert not applied.refused
            assert holds((await buffer.status()).partitions.values())
    await buffer.seal_rest()


async def found(client: Any, name: str, buffer: RedisBuffer) -> Any:
    status = await buffer.status()
    seals, messages = {}, []
    for entry in await buffer.outbox(limit=10_000):
        messages.append(entry.message or entry.seal.batch_id)
        if entry.seal:
            batch = await buffer.read(entry.seal.batch_id)
            assert batch.seal == entry.seal
            assert entry.keys == tuple(row.key for row in batch.rows)
            seals[entry.seal.batch_id] = described(batch)
    assert sorted(seals) == sorted(status.batches)
    return (
        seals,
        messages,
        dict(status.partitions),
        dict(status.reasons),
        {t: r for t, r in status.ready.items() if any(r.values())},
        (status.waiting, status.waiting_bytes, await stored_bodies(client, name)),
    )


def described(batch: Any) -> Any:
    s = batch.seal
    rows = [
        (r.key, r.reasons, r.score, r.confidence, (r.trace, r.request) if r.request else r.trace or None, r.evaluation, r.revision)
        for r in batch.rows
    ]  # fmt: skip
    return (s.batch_id, s.cause, s.sealed_at_ms, s.accepted, s.rejected, dict(s.first), dict(s.last), rows)


def wanted(model: Model) -> Any:
    seals = {seal[0]: seal for seal in model.seals()}
    messages = [getattr(entry, "id", entry) for entry in model.outbox]
    ready = {b.track: {"ACCEPT": model.accepted(b), "REJECT": model.rejected(b)} for b in model.open.values()}
    return (
        seals,
        messages,
        model.counters(),
        dict(model.all_reasons()),
        {t: r for t, r in ready.items() if any(r.values())},
        (*weighed(model, "waiting"), weighed(model, "waiting", "applied", "rejected")),
    )


def weighed(model: Model, *fates: str) -> tuple[int, int]:
    """Halves with one of these fates, and the bytes of their bodies."""
    bodies = [
        len(model.all[at].body) for at, (fate, _) in model.fates().items() if fate in fates and at in model.halves()
    ]
    return len(bodies), sum(bodies)


async def run(
    client: Any, name: str, world: Sequence[Step], seed: int, *, text: str | None = None, prefer: int = 0
) -> Any:
    buffer = await RedisBuffer.open(client, name, sealing_at(COUNT, prefer_separate_s=prefer), text=text)
    try:
        await played(buffer, cut(random.Random(seed), world))
        return await found(client, name, buffer)
    finally:
        await drop(client, name)


# ------------------------------------------------------------------ properties


@pytest.mark.slow
async def test_the_buffer_does_what_the_model_does_however_batches_are_cut_and_repeated(client: Any) -> None:
    for seed in range(20):
        world = a_world(random.Random(seed), 250)
        want = wanted(expected(world))
        for cutting in range(2):
            assert await run(client, f"w{seed}", world, cutting) == want, f"world {seed}, cut {cutting}"


@pytest.mark.slow
async def test_with_requests_and_responses_too_it_does_what_the_model_does(client: Any) -> None:
    for seed in range(16):
        world = a_world(random.Random(seed), 250, payloads=True)
        want = wanted(expected(world))
        for cutting in range(2):
            assert await run(client, f"p{seed}", world, cutting) == want, f"world {seed}, cut {cutting}"


@pytest.mark.slow
async def test_the_wait_for_a_separate_score_does_not_depend_on_the_cuts(client: Any) -> None:
    for seed in range(6):
        world = [step for step in a_world(random.Random(seed), 250) if step[0] == "record"]
        first = await run(client, "hold", world, 0, prefer=600)
        assert first == await run(client, "hold", world, 1, prefer=600)
        assert first != await run(client, "hold", world, 0)


def test_the_worlds_hold_everything_that_can_happen() -> None:
    seen: set[str] = set()
    causes: set[str] = set()
    for seed in range(40):
        model = expected(a_world(random.Random(seed), 250))
        seen |= set(model.all_reasons()) | {name for name, _ in model.fates().values()}
        causes |= {batch.cause for batch in model.sealed}
    reasons = {
        "repeat",
        "trace_conflict",
        "score_superseded",
        "revision",
        "late",
        "no_goal",
        "low_score",
        "low_confidence",
        "type",
    }
    assert seen == reasons | {"applied", "duplicate", "dead_letter", "rejected", "waiting", "expired"}
    assert causes == {"count", "age", "idle"}


BREAKS = {
    "fence off": ("if not overlaps or h[OFFSET] >= s.at[h[TP]].have then", "if true then"),
    "fence off by one": ("or h[OFFSET] >= s.at[h[TP]].have then", "or h[OFFSET] > s.at[h[TP]].have then"),
    "fence off for what is no half": ("if o[4] >= part.have then", "if true then"),
    "gap accepted": ("if part[2] > p[1] or other then", "if false then"),
    "repeats count": ("if knows_score(m[M_SCORES], h[CONTENT]) then", "if false then"),
    "repeats of a waiting score count": ("if knows_score(scores, h[CONTENT]) then", "if false then"),
    "scores that lost are forgotten": ("s.wait[d], s.wait_dirty[d] = waiting_value(w, scores, day), w", ""),
    "traces conflict unseen": ("if m and m[M_TRACE] ~= '' then", "if false then"),
    "seal at the end of the batch": (">= trigger(s, track)[1] then", "> trigger(s, track)[1] then"),
    "superseded is not taken back": ("  settle_row(s, t, why, trace, score, -1)\n", ""),
    "no tombstone": ("remember(s, d, seen_value('X', 0, 0, trace", "note(s, '', 0, seen_value('X', 0, 0, trace"),
    "revision lost": ("  add_row(s, m[M_TRACK], t, row_value(gate(s, m[M_REASON], h), nil, h, true), h[TIME])\n", ""),
    "bodies of repeats stay": (
        "  note(s, reason, records_of(h))\n  drop_body(s, h)\n",
        "  note(s, reason, records_of(h))\n",
    ),
    "bodies that the fence stops stay": ("      else\n        drop_body(s, h)\n      end\n", "      end\n"),
    "bodies of expired halves stay": ("\n      drop_body(s, h)\n", "\n"),
    "a pair counts once": ("  if h[REQUEST] then count(s, h[REQUEST][TP], name, n) end\n", ""),
    "a pair's second body stays": ("  if h[REQUEST] then drop_body(s, h[REQUEST]) end\n", ""),
    "a request's reason is lost": ("return own == '' and h[REQUEST] and own_reason(h[REQUEST]) or own", "return own"),
    "a part that joined waits on": ("  s.lone[d], s.lone_dirty[d] = nil, h\n", ""),
    "a part again is another": ("if other and other[SIDE] == h[SIDE] then", "if false then"),
    "parts conflict unseen": ("  return known == h[CONTENT] and 'repeat' or otherwise\n", "  return 'repeat'\n"),
    "a lonely part never expires": ("  expire_lone(s, alone)\n", ""),
    "a lonely part leaves no tombstone": (
        "remember(s, d, seen_value('X', 0, 0, h[CONTENT]",
        "note(s, '', 0, seen_value('X', 0, 0, h[CONTENT]",
    ),
    "held bytes of a part stay": ("  s.held = s.held - h[BYTES]\n  s.lone[d]", "  s.lone[d]"),
    "held bytes stay": ("  s.held = s.held - h[BYTES]\n  s.wait[d]", "  s.wait[d]"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BREAKS))
async def test_each_rule_when_it_is_broken_turns_the_property_red(client: Any, name: str) -> None:
    good, bad = BREAKS[name]
    text = script()
    assert good in text
    await RedisBuffer.open(client, "broken", sealing_at(COUNT), text=text.replace(good, bad))  # it still is a script
    for seed in range(40):
        world = a_world(random.Random(seed), 250, payloads=seed % 2 == 1)
        try:
            same = await run(client, "broken", world, seed % 3, text=text.replace(good, bad)) == wanted(expected(world))
            if name == "gap accepted":
                same = await refuses_a_gap(client, text.replace(good, bad))
        except (AssertionError, L07Error):
            same = False
        if not same:
            return
    pytest.fail(f"{name}: nobody noticed")


async def refuses_a_gap(client: Any, text: str | None = None) -> bool:
    buffer = await RedisBuffer.open(client, "gap", sealing_at(COUNT), text=text)
    gap = IngestBatch([Part(TRACES, 3, 4, b"", 0)], [a_trace("1", at=3)])
    refused = (await buffer.apply(gap)).refused
    await drop(client, "gap")
    return refused == {TRACES: 0}


async def test_a_gap_is_refused(client: Any) -> None:
    assert await refuses_a_gap(client)
