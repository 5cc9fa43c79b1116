"""The simulated buffer against the real one: the same batches and ticks, the same answer to each, the same state after all."""

import random
from pathlib import Path
from typing import Any

import pytest

from l07.backends.embedded import EmbeddedRedis
from l07.backends.redis import RedisBuffer
from l07.events.record import TopicPartition
from l07.ports import IngestBatch
from tests.contracts.buffer_kit import drop, sealing_at
from tests.contracts.test_buffer_model import COUNT, a_world, cut, described
from tests.simulation.redis import batch_of, entry_of, status_of
from tests.simulation.state import Script

Step = tuple[str, Any]
WORLDS, RECORDS = 12, 250


def steps_of(seed: int) -> list[Step]:
    """Batches that overlap and come again, gaps that must be refused, ticks whose claims are true, old or too bold."""
    rng = random.Random(seed)
    ends: dict[TopicPartition, int] = {}
    out: list[Step] = []
    for kind, what in cut(rng, a_world(rng, RECORDS)):
        if kind == "batch":
            if rng.random() < 0.05:
                out.append((kind, beyond(what)))
            ends |= {part.tp: part.next for part in what.parts}
            out.append((kind, what))
        else:
            now, at_end = what
            bold = 0 if seed % 2 else rng.choice([0, 1])
            claims = {tp: ends.get(tp, 0) + bold for tp in sorted(at_end)}
            out.append(
                ("tick", (now, rng.choice([claims, sorted(at_end)]), sorted(ends) if rng.random() < 0.8 else []))
            )
            for owned in (sorted(ends)[::2], sorted(ends)[1::2]) if seed % 2 else ():  # two owners' ticks
                out.append(("tick", (now, {tp: ends[tp] for tp in owned}, [])))
        if rng.random() < 0.02:
            out.append(("rest", None))
        if rng.random() < 0.02:
            out.append(("begin", {TopicPartition("planning.traces", rng.randrange(2)): 3, **dict.fromkeys(ends, 9)}))
    return out


def beyond(batch: IngestBatch) -> IngestBatch:
    parts = [part._replace(start=part.start + 100_000, next=part.next + 100_000) for part in batch.parts]
    return IngestBatch(parts, [item._replace(offset=item.offset + 100_000) for item in batch.items])


async def real_answer(buffer: RedisBuffer, step: Step) -> Any:
    kind, what = step
    if kind == "batch":
        applied = await buffer.apply(what)
        return dict(applied.refused), dict(applied.counts), list(applied.sealed)
    if kind == "tick":
        return list(await buffer.tick(now_ms=what[0], at_end=what[1], inputs=what[2]))
    return list(await buffer.seal_rest()) if kind == "rest" else await buffer.begin(what)


def simulated_answer(script: Script, step: Step) -> Any:
    kind, what = step
    if kind == "batch":
        return script.apply(what)
    if kind == "tick":
        return script.tick(*what)
    return script.seal_rest() if kind == "rest" else script.begin(what)


async def everything(buffer: RedisBuffer) -> Any:
    status = await buffer.status()
    entries = [(entry.seal, entry.keys, entry.message) for entry in await buffer.outbox(limit=10_000)]
    batches = [described(await buffer.read(ident)) for ident in status.batches]
    return seen(status), entries, batches, await buffer.positions()


def simulated(script: Script) -> Any:
    status = status_of(script.s)
    entries = [entry_of(script.s, number) for number in sorted(script.s.outbox)]
    batches = [described(batch_of(script.s, ident)) for ident in status.batches]
    return seen(status), [(e.seal, e.keys, e.message) for e in entries], batches, script.s.positions


def seen(status: Any) -> Any:
    ready = {track: counts for track, counts in status.ready.items() if any(counts.values())}
    return status.partitions, status.reasons, ready, status.batches, status.outbox, status.oldest_waiting_ms


@pytest.mark.slow
@pytest.mark.parametrize("remember_days", [1, 7])
async def test_the_simulated_buffer_answers_as_the_real_one(tmp_path: Path, remember_days: int) -> None:
    rules = sealing_at(COUNT, remember_s=remember_days * 86400)
    steps = 0
    async with EmbeddedRedis(tmp_path) as client:
        for seed in range(WORLDS):
            buffer, script = await RedisBuffer.open(client, "sim", rules), Script(rules)
            for number, step in enumerate(steps_of(seed)):
                assert simulated_answer(script, step) == await real_answer(buffer, step), f"seed {seed}, step {number}"
                steps += 1
            assert simulated(script) == await everything(buffer), f"seed {seed}"
            await drop(client, "sim")
    assert steps > 300


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["fence", "duplicates", "progress", "claims", "ended", "missing offset"])
async def test_a_simulated_buffer_without_one_of_its_rules_answers_otherwise(tmp_path: Path, rule: str) -> None:
    rules = sealing_at(COUNT)
    async with EmbeddedRedis(tmp_path) as client:
        for seed in range(WORLDS):
            buffer, script = await RedisBuffer.open(client, "sim", rules), Script(rules, frozenset({rule}))
            for step in steps_of(seed):
                if simulated_answer(script, step) != await real_answer(buffer, step):
                    return
            if simulated(script) != await everything(buffer):
                return
            await drop(client, "sim")
    pytest.fail(f"{rule}: nobody noticed")
