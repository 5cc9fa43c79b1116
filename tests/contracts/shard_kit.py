"""The contract of a buffer for several shards: a batch of the tests is the one batch that some shard calls so."""

import inspect
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from l07.backends.redis.sharded import ShardedBuffer, outer, shard_of
from l07.ports import ExampleBuffer, Half, SealedBatch
from tests.contracts import test_buffer, test_buffer_batches, test_buffer_erase, test_buffer_pairs
from tests.contracts.buffer_kit import RULES, SCORES, TRACES, a_broken, a_score, a_trace
from tests.contracts.buffer_model import Model
from tests.contracts.test_buffer_model import COUNT, described, time_of, wanted

SHARDS = 3
NOT_SHARED = {
    "test_a_waiting_half_an_open_row_and_a_sealed_row_go_and_are_rejected_then": "two runs of one batch, in two shards",
    "test_a_sealed_batch_keeps_the_id_under_which_it_was_announced": "two runs of one batch, in two shards",
    "test_the_rows_that_stay_keep_their_places": "two runs of one batch, in two shards",
    "test_each_track_has_its_own_numbers_without_holes": "two runs of a track, in two shards",
    "test_a_rest_of_rejected_runs_alone_stays_open": "two runs, in two shards",
    "test_the_age_trigger_at_its_edge": "min_count is divided",
    "test_a_batch_beyond_the_stored_offset_is_refused_whole": "the shards that know the offset do their part",
    "test_a_released_batch_is_gone_with_its_bodies_and_released_again_is_nothing": "looks into shard 0",
    "test_before_the_seal_the_higher_confidence_wins_then_the_smaller_evaluation": "two runs, in two shards",
    "test_a_flushed_server_refuses_what_does_not_begin_at_the_start": "some shards know the offset again",
    "test_another_state_layout_is_refused": "looks into shard 0",
    "test_damage_is_found_when_it_is_read_and_named": "looks into shard 0",
}


def contract(*modules: ModuleType) -> dict[str, Any]:
    """The tests that are about any buffer; for `globals()` of a module that has a `buffer` of its own."""
    found = {name: test for module in modules for name, test in vars(module).items() if name.startswith("test_")}
    return {n: t for n, t in found.items() if "buffer" in inspect.signature(t).parameters and n not in NOT_SHARED}


CONTRACT = contract(test_buffer, test_buffer_batches, test_buffer_erase, test_buffer_pairs)


class Unnamed(ShardedBuffer):
    """Without shards in the names of batches, for tests that have one batch."""

    async def seal_rest(self) -> list[str]:
        return [_without_shard(batch_id) for batch_id in await super().seal_rest()]

    async def read(self, batch_id: str) -> SealedBatch:
        return await super().read(await self._with_shard(batch_id))

    async def release(self, batch_id: str) -> None:
        await super().release(await self._with_shard(batch_id))

    async def _with_shard(self, batch_id: str) -> str:
        named = [name for name in (await self.status()).batches if _without_shard(name) == batch_id]
        return named[0] if named else outer(0, batch_id)


def _without_shard(batch_id: str) -> str:
    track, _, place = batch_id.rpartition("-")
    return f"{track}-{place.partition('.')[2]}"


def keys_of(shard: int, number: int) -> list[str]:
    """Short keys of runs that belong to this shard of three."""
    found = (str(n) for n in range(10_000) if shard_of(f"execution:{n}", SHARDS) == shard)
    return [next(found) for _ in range(number)]


def models(world: Sequence[Any], shards: int) -> list[Model]:
    """What each shard should do: the fold over its own records; time is everybody's."""
    count = -(-COUNT // shards)
    made = [Model(count=count, wait_ms=3_600_000, age_ms=600_000, min_count=-(-2 // shards)) for _ in range(shards)]
    for kind, what in world:
        for k, model in enumerate(made):
            if kind == "tick":
                model.tick(what[0], {str(tp) for tp in what[1]})
            else:
                tp, record = what
                if k == (shard_of(record.key, shards) if isinstance(record, Half) else 0):
                    model.record(str(tp), record)
                model.times[str(tp)] = time_of(record)
                model.ended.pop(str(tp), None)
    ready = {track for model in made for track, batch in model.open.items() if model.accepted(batch)}
    for model in made:
        for track, batch in sorted(
            model.open.items()
        ):  # a rest of rejected runs leaves with another shard's accepted ones
            if track in ready or any(isinstance(row, tuple) for row in batch.rows):
                model._seal(batch, "idle", max(model.times.values()))
    return made


def all_wanted(world: Sequence[Any], shards: int) -> Any:
    each = (wanted(model)[:5] for model in models(world, shards))
    seals, messages, counters, reasons, ready = zip(*each, strict=True)
    return (
        {outer(k, i): (outer(k, i), *seal[1:]) for k, of in enumerate(seals) for i, seal in of.items()},
        [[outer(k, m) if isinstance(m, str) else m for m in of] for k, of in enumerate(messages)],
        summed(counters),
        dict(sum((Counter(one) for one in reasons), Counter())),
        summed(ready),
    )


def summed(groups: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    names = {name for group in groups for name in group}
    return {n: {c: sum(g[n][c] for g in groups if n in g) for c in next(g[n] for g in groups if n in g)} for n in names}


async def all_found(buffer: ShardedBuffer, shards: int) -> Any:
    status = await buffer.status()
    seals: dict[str, Any] = {}
    messages: list[list[Any]] = [[] for _ in range(shards)]
    for entry in await buffer.outbox(limit=10_000):
        messages[int(entry.id.partition("/")[0])].append(entry.message or (entry.seal and entry.seal.batch_id))
        if entry.seal:
            batch = await buffer.read(entry.seal.batch_id)
            assert batch.seal == entry.seal
            assert entry.keys == tuple(row.key for row in batch.rows)
            seals[entry.seal.batch_id] = described(batch)
    assert sorted(seals) == sorted(status.batches)
    ready = {track: dict(n) for track, n in status.ready.items() if any(n.values())}
    return seals, messages, dict(status.partitions), dict(status.reasons), ready


def plain_world(seed: int, runs: int) -> list[Any]:
    """One trace and one score a run, some of them repeated, in any order; what becomes of them depends on no seal."""
    rng = random.Random(seed)
    records: list[Any] = [(tp, a_broken()) for tp in (TRACES, SCORES)]
    for n in range(runs):
        records += [(TRACES, a_trace(str(n), reason=rng.choice(["", "", "no_goal"])))] * rng.choice([1, 1, 2])
        if rng.random() < 0.9:
            records += [(SCORES, a_score(str(n), rng.choice([20.0, 80.0])))] * rng.choice([1, 1, 2])
    rng.shuffle(records)
    offsets: Counter[Any] = Counter()
    steps = []
    for tp, record in records:
        steps.append(("record", (tp, record._replace(offset=offsets[tp]))))
        offsets[tp] += 1
    return steps


async def rows_sealed(buffer: ExampleBuffer) -> list[Any]:
    return [row for batch_id in (await buffer.status()).batches for row in (await buffer.read(batch_id)).rows]


async def opened(client: Any, rules: Any = RULES, shards: int = SHARDS, name: str = "t") -> ShardedBuffer:
    return await ShardedBuffer.open([client] * shards, name, rules)
