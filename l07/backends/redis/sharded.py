"""One buffer over several shards, each exact on its own: a run's records go to the shard of its natural key.

Each shard gets its part of every batch, with all the partitions in it, and an empty one too: so each moves its own offset of
every partition. The smallest of them is where to go on; a shard that is ahead skips what it has.

A batch of runs is one shard's: "<track>-<shard>.<number>". Seals of one track leave the outbox in order within a shard,
not over the shards.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import xxhash

from l07.backends.redis.buffer import RedisBuffer
from l07.backends.redis.checking import check
from l07.backends.redis.client import Client, answer, send, together
from l07.backends.redis.fates import shards_differ
from l07.backends.redis.rules import BufferRules, tag_of
from l07.errors import BodyDamaged, NoSuchBatch
from l07.events.record import TopicPartition
from l07.ports import (
    Applied,
    BufferStatus,
    ExampleBuffer,
    Half,
    HeldRun,
    IngestBatch,
    Memory,
    OutboxEntry,
    Position,
    SealedBatch,
    Trail,
)

T = TypeVar("T")


async def open_shards(clients: Sequence[Client], name: str, rules: BufferRules) -> ExampleBuffer:
    """A buffer of as many shards as there are clients. Raises BufferShardsDiffer (E7470), and what `RedisBuffer.open` raises."""
    if len(clients) == 1:
        return await RedisBuffer.open(clients[0], name, rules)
    return await ShardedBuffer.open(clients, name, rules)


async def attach_shards(clients: Sequence[Client], name: str, rules: BufferRules) -> ExampleBuffer:
    """For reading: writes nothing. Raises BufferShardsDiffer (E7470)."""
    layout = await answer(send(clients[0], "GET", f"{tag_of(name, 0)}:layout"))
    made_with = layout.decode().partition("/")[2] or "1" if layout else str(len(clients))
    if made_with != str(len(clients)):
        raise shards_differ(made_with)
    if len(clients) == 1:
        return RedisBuffer(clients[0], name, rules)
    shared = rules.divided(len(clients))
    return ShardedBuffer([RedisBuffer(client, name, shared, shard) for shard, client in enumerate(clients)])


class ShardedBuffer:
    """`ExampleBuffer` over two or more `RedisBuffer`s."""

    def __init__(self, shards: Sequence[RedisBuffer]) -> None:
        self._shards = tuple(shards)

    @property
    def turns(self) -> int:
        return 1 + max(shard.turns for shard in self._shards)  # each in a task of its own

    @classmethod
    async def open(
        cls, clients: Sequence[Client], name: str, rules: BufferRules, *, text: str | None = None
    ) -> "ShardedBuffer":
        """Each shard decides by its share of the counts. The first one is opened first: it says whether the number is right."""
        shared = rules.divided(len(clients))
        first = await RedisBuffer.open(clients[0], name, shared, 0, text=text)
        calls = [RedisBuffer.open(client, name, shared, k, text=text) for k, client in enumerate(clients) if k]
        return cls([first, *await together(calls)])

    async def positions(self) -> dict[TopicPartition, Position]:
        """A partition that one shard does not know, because its server was flushed, is not known."""
        stored = await together([shard.positions() for shard in self._shards])
        known = set(stored[0]).intersection(*stored[1:])
        return {tp: min((at[tp] for at in stored), key=_behind) for tp in known}

    async def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        await together([shard.begin(offsets) for shard in self._shards])

    async def reset(
        self, offsets: Mapping[TopicPartition, int], names: Mapping[TopicPartition, str] | None = None
    ) -> None:
        await together([shard.reset(offsets, names) for shard in self._shards])

    async def name_logs(self, names: Mapping[TopicPartition, str]) -> dict[TopicPartition, str]:
        """Another log for one shard is another log: its server may have come back with older data than the others'."""
        found = await together([shard.name_logs(names) for shard in self._shards])
        return {tp: name for others in found for tp, name in others.items()}

    async def memory(self) -> Memory:
        """Of the fullest server."""
        found = await together([shard.memory() for shard in self._shards])
        return max(found, key=lambda m: (m.used / m.limit if m.limit else 0.0, m.used))

    async def apply(self, batch: IngestBatch) -> Applied:
        """Refused by one shard, the others may have done their part: they skip it when the batch comes again.

        Raises what `RedisBuffer.apply` raises; after anything but BadBatch some shards may have done their part."""
        check(batch)
        parts = zip(self._shards, cut(batch, len(self._shards)), strict=True)
        done = await together([shard.apply(part) for shard, part in parts])
        refused: dict[TopicPartition, int] = {}
        for one in done:
            for tp, offset in one.refused.items():
                refused[tp] = min(offset, refused.get(tp, offset))
        sealed = [outer(k, batch_id) for k, one in enumerate(done) for batch_id in one.sealed]
        seconds = max(one.seconds for one in done)
        return Applied(counts=_sum([one.counts for one in done]), sealed=sealed, refused=refused, seconds=seconds)

    async def tick(
        self, *, now_ms: int, at_end: Collection[TopicPartition], inputs: Collection[TopicPartition] = ()
    ) -> list[str]:
        sealed = await together([shard.tick(now_ms=now_ms, at_end=at_end, inputs=inputs) for shard in self._shards])
        return _outer(sealed)

    async def seal_rest(self) -> list[str]:
        """A track is sealed in every shard that has some of it, as soon as one of them has an accepted run."""
        ready = (await self.status()).ready
        tracks = [name for name, counted in ready.items() if counted["ACCEPT"]]
        return _outer(await together([shard.seal_rest(too=tracks) for shard in self._shards]))

    async def read(self, batch_id: str) -> SealedBatch:
        k, inner = self._place(batch_id)
        found = await _named(k, batch_id, self._shards[k].read(inner))
        return replace(found, seal=replace(found.seal, batch_id=batch_id))

    async def release(self, batch_id: str) -> None:
        k, inner = self._place(batch_id)
        await _named(k, batch_id, self._shards[k].release(inner))

    async def outbox(self, *, limit: int) -> list[OutboxEntry]:
        """The oldest of each shard, shard by shard; the barrier was each shard's own."""
        share = -(-limit // len(self._shards))
        found = await together([shard.outbox(limit=share) for shard in self._shards])
        return [_entry(k, entry) for k, entries in enumerate(found) for entry in entries][:limit]

    async def sent(self, ids: Sequence[str]) -> None:
        of: dict[int, list[str]] = {}
        for ident in ids:
            k, _, inner = ident.partition("/")
            of.setdefault(int(k), []).append(inner)
        await together([self._shards[k].sent(inner) for k, inner in of.items()])

    async def runs(self, *, bodies: bool = False) -> AsyncIterator[HeldRun]:
        for shard in self._shards:
            async for run in shard.runs(bodies=bodies):
                yield run

    async def erase(self, keys: Collection[str]) -> int:
        own: list[list[str]] = [[] for _ in self._shards]
        for key in keys:
            own[shard_of(key, len(self._shards))].append(key)
        calls = [shard.erase(own[k], outer=partial(outer, k)) for k, shard in enumerate(self._shards)]
        return sum(await together(calls))

    async def erasures(self) -> dict[str, int]:
        """As of the shard that knows most: another's server may have been flushed."""
        out: dict[str, int] = {}
        for found in await together([shard.erasures() for shard in self._shards]):
            out |= {key: max(number, out.get(key, 0)) for key, number in found.items()}
        return out

    async def note_erasures(self, key: str, number: int) -> None:
        await together([shard.note_erasures(key, number) for shard in self._shards])

    async def rewrite_file(self) -> None:
        """One after the other: two of them may lie on one server."""
        for shard in self._shards:
            await shard.rewrite_file()

    async def status(self) -> BufferStatus:
        """One moment of each shard; a partition's sum holds in each of them, so it holds over them."""
        found = await together([shard.status() for shard in self._shards])
        oldest = [one.oldest_waiting_ms for one in found if one.oldest_waiting_ms is not None]
        return BufferStatus(
            partitions=_sums([one.partitions for one in found]),
            reasons=_sum([one.reasons for one in found]),
            ready=_sums([one.ready for one in found]),
            batches=_outer([one.batches for one in found]),
            outbox=sum(one.outbox for one in found),
            oldest_waiting_ms=min(oldest, default=None),
            waiting=sum(one.waiting for one in found),
            waiting_bytes=sum(one.waiting_bytes for one in found),
        )

    async def find(self, key: str) -> Trail:
        k = shard_of(key, len(self._shards))
        found = await self._shards[k].find(key)
        return replace(found, batch_id=outer(k, found.batch_id)) if found.batch_id else found

    def _place(self, batch_id: str) -> tuple[int, str]:
        """The shard of a batch, and its name there. Raises NoSuchBatch (E7459)."""
        track, _, place = batch_id.rpartition("-")
        shard, _, number = place.partition(".")
        if not (track and shard.isdecimal() and number.isdecimal()) or int(shard) >= len(self._shards):
            raise NoSuchBatch(f"no batch {batch_id} in a buffer of {len(self._shards)} shards", batch=batch_id)
        return int(shard), f"{track}-{number}"


def cut(batch: IngestBatch, shards: int) -> list[IngestBatch]:
    """Each shard's part of a batch. What has no natural key is the first one's."""
    items: list[list[Any]] = [[] for _ in range(shards)]
    for item in batch.items:
        k = shard_of(item.key, shards) if isinstance(item, Half) else 0
        items[k].append(item)
    return [IngestBatch(batch.parts, own) for own in items]


def shard_of(key: str, shards: int) -> int:
    """Stored state depends on it: never to be changed."""
    return xxhash.xxh3_64_intdigest(key.encode()) % shards


def outer(shard: int, batch_id: str) -> str:
    """A batch's name outside of its shard."""
    track, _, number = batch_id.rpartition("-")
    return f"{track}-{shard}.{number}"


def _outer(batches: Sequence[Sequence[str]]) -> list[str]:
    return [outer(k, batch_id) for k, own in enumerate(batches) for batch_id in own]


def _entry(shard: int, entry: OutboxEntry) -> OutboxEntry:
    seal = entry.seal and replace(entry.seal, batch_id=outer(shard, entry.seal.batch_id))
    return entry._replace(id=f"{shard}/{entry.id}", seal=seal)


def _behind(at: Position) -> tuple[int, bool]:
    return at.next, not at.last_digest


async def _named(shard: int, batch_id: str, call: Coroutine[Any, Any, T]) -> T:
    """What a shard says of a batch, under the name by which it was asked for."""
    end: T | BaseException = (await asyncio.gather(call, return_exceptions=True))[0]
    if isinstance(end, NoSuchBatch | BodyDamaged):
        raise type(end)(f"{end.message} (shard {shard}, {batch_id})", **{**end.context, "batch": batch_id}) from end
    if isinstance(end, BaseException):
        raise end
    return end


def _sum(counters: Sequence[Mapping[str, int]]) -> dict[str, int]:
    out: dict[str, int] = {}
    for one in counters:
        for name, n in one.items():
            out[name] = out.get(name, 0) + n
    return dict(sorted(out.items()))


def _sums(groups: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    names = sorted({name for group in groups for name in group})
    return {name: _sum([group[name] for group in groups if name in group]) for name in names}
