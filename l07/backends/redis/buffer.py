"""The example buffer: joins halves in any order, counts, seals. Each change is one call of a function on the server."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files
from secrets import token_hex
from typing import Any

from redis.exceptions import ResponseError

from l07.backends.redis import erasing, wire
from l07.backends.redis.client import Client, answer, call_function, direct, each, send, takes_written, transact
from l07.backends.redis.fates import said
from l07.backends.redis.packing import Written
from l07.backends.redis.rights import needed
from l07.backends.redis.rules import BufferRules, ends_packed, names_packed, offsets_packed, tag_of
from l07.backends.redis.server import check_server, check_settings, has_barrier
from l07.backends.redis.status import read_status
from l07.backends.redis.trail import trail_of
from l07.errors import BufferForbidden, BufferNotOnDisk, NoSuchBatch
from l07.events import outbound
from l07.events.record import TopicPartition
from l07.ports import (
    Applied,
    BufferStatus,
    HeldRun,
    IngestBatch,
    Memory,
    OutboxEntry,
    Position,
    Seal,
    SealedBatch,
    SealedRow,
    Trail,
)

BARRIER_MS = 5000
CHUNK = 500
Words = Sequence[str | bytes | int | Written]
PARTS = ("state", "runs", "write", "apply", "tick", "erase", "keep", "rights")


def script() -> str:
    """The function library's text. Its parts share local functions, so they are one chunk."""
    folder = files("l07.backends.redis")
    return "".join((folder / f"{part}.lua").read_text("utf-8") for part in PARTS)


class RedisBuffer:
    """`ExampleBuffer` on Redis 7+ or Valkey. Everything is under one tag, so on one slot.

    Made by `open`, which checks the server; made directly, only what reads may be called (`status`, `positions`)."""

    def __init__(
        self, client: Client, name: str, rules: BufferRules, shard: int = 0, *, text: str | None = None
    ) -> None:
        text = script() if text is None else text
        self._client = client
        self.turns = 1 if takes_written(client) else 2  # `answer` makes a task
        self._tag = tag_of(name, shard)
        self._heard = f"{self._tag}:heard"
        self._rules = rules.packed()
        self._version = sha256(text.encode()).hexdigest()[:12]  # releases of different scripts do not meet
        self._library = f"#!lua name=l07_{self._version}\n" + text.replace("@VERSION@", self._version)
        self._barrier: bool | None = None  # does the server know WAITAOF; None: not asked yet

    @classmethod
    async def open(
        cls, client: Client, name: str, rules: BufferRules, shard: int = 0, *, text: str | None = None
    ) -> "RedisBuffer":
        """Check the server, load the script, check the state's layout.

        Raises:
            BufferEvicts: E7452, a maxmemory-policy other than noeviction.
            BufferNotDurable: E7453, no append-only file, or no barrier and appendfsync is not always.
            BufferForbidden: E7457, the user may not do all that is needed; nothing was written.
            BufferLayoutUnknown: E7451, state of another release.
            BufferShardsDiffer: E7470, state of another number of shards.
            BufferUnavailable: E7450, no answer."""
        self = cls(client, name, rules, shard, text=text)
        await self._check_server()
        await self._check_rights()
        await self._function("hello", self._rules)
        for batch_id in await self._released():
            await self._clean(batch_id)
        return self

    async def positions(self) -> dict[TopicPartition, Position]:
        stored = await self._call("HGETALL", f"{self._tag}:pos")
        return {TopicPartition.parse(tp.decode()): wire.position_of(value) for tp, value in stored.items()}

    async def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        """In one step. Again, or for a known partition: nothing."""
        await self._function("begin", self._rules, offsets_packed(offsets))

    async def reset(
        self, offsets: Mapping[TopicPartition, int], names: Mapping[TopicPartition, str] | None = None
    ) -> None:
        """In one step. The digest of the last record goes too: what lay before may be another log. Nothing is counted."""
        await self._function("reset", self._rules, offsets_packed(offsets), names_packed(names or {}))

    async def name_logs(self, names: Mapping[TopicPartition, str]) -> dict[TopicPartition, str]:
        """In one step."""
        found = [value.decode() for value in await self._function("name_logs", self._rules, names_packed(names))]
        return {TopicPartition.parse(tp): name for tp, name in zip(found[::2], found[1::2], strict=True)}

    async def memory(self) -> Memory:
        """Asked often, so it also sees a server that came back with other settings. Raises E7452 and E7453 as `open`."""
        info = await self._call("INFO", "memory", "persistence")  # all sections are ten times as much to read
        await check_settings(self._client, info)
        return Memory(int(info["used_memory"]), int(info.get("maxmemory", 0)))

    async def apply(self, batch: IngestBatch) -> Applied:
        """One step. The same batch again does nothing: what lies below the stored offsets is skipped.

        Raises:
            BadBatch: E7458, the batch breaks the port's contract; nothing was done.
            BufferUnavailable: E7450, unknown whether it was done: apply it again.
            BufferFull: E7454; BufferReadOnly: E7455; nothing was done."""
        whole = takes_written(self._client)
        step = wire.step_of(batch, token_hex(wire.SLICE // 2), written=whole)
        if not batch.parts:
            return Applied()
        began = time.perf_counter()
        refused, net, sealed = await (direct if whole else answer)(self._apply(step))
        seconds = time.perf_counter() - began
        counts = {name: n for name, n in wire.pairs(net).items() if name != "consumed" and n}
        where = {TopicPartition.parse(tp): offset for tp, offset in wire.pairs(refused).items()}
        return Applied(counts=counts, sealed=[batch_id.decode() for batch_id in sealed], refused=where, seconds=seconds)

    async def tick(
        self, *, now_ms: int, at_end: Collection[TopicPartition], inputs: Collection[TopicPartition] = ()
    ) -> list[str]:
        """Expire, seal by age, forget old keys; the ids of what was sealed. Repeated: nothing more happens."""
        sealed: list[str] = []
        more = 1
        while more:
            more, batches = await self._function("tick", self._rules, str(now_ms), ends_packed(at_end, inputs))
            sealed += [batch_id.decode() for batch_id in batches]
        for batch_id in await self._released():
            await self._clean(batch_id)
        return sealed

    async def seal_rest(self, *, too: Collection[str] = ()) -> list[str]:
        """Seal every track in which a run is accepted or revised. A rest of rejected runs alone stays open, but in `too`."""
        sealed = await self._function("seal_rest", self._rules, wire.encode(sorted(too)))
        return [batch_id.decode() for batch_id in sealed]

    async def read(self, batch_id: str) -> SealedBatch:
        """The batch with its bodies, each checked against its own digest.

        Raises:
            NoSuchBatch: E7459, never sealed, or released.
            BodyDamaged: E7460, names the row."""
        blob = await self._call("HGET", f"{self._tag}:batches", batch_id)
        if blob is None:
            raise NoSuchBatch(f"no sealed batch {batch_id}: never sealed, or released", batch=batch_id)
        blobs = await self._blobs(batch_id)
        rows = wire.rows_of(batch_id, blobs)
        out: list[SealedRow] = []
        for at in range(0, len(rows), CHUNK):
            out += await self._with_bodies(batch_id, rows[at : at + CHUNK])
        return SealedBatch(await self._seal(batch_id, blob, wire.told_of(batch_id, blobs)), out)

    async def release(self, batch_id: str) -> None:
        """Drop the batch's bodies. Again: nothing. Raises NoSuchBatch (E7459) for one that was never sealed."""
        if await self._function("release", batch_id) < 0:
            track, number = wire.batch_order(batch_id)
            blob = await self._call("HGET", f"{self._tag}:tracks", track)
            if blob is None or wire.track_of(blob).number <= number:
                raise NoSuchBatch(f"no batch {batch_id} was ever sealed", batch=batch_id)
            return
        await self._clean(batch_id)

    async def outbox(self, *, limit: int) -> list[OutboxEntry]:
        """The oldest entries, after the durability barrier. A repeat is equal.

        Raises BufferNotOnDisk (E7461) when the server's disk does not follow within 5 s."""
        found = await self._call("XRANGE", f"{self._tag}:outbox", "-", "+", "COUNT", limit)
        if found:
            await self._wait_for_disk()
        return [await self._entry(entry_id.decode(), fields) for entry_id, fields in found]

    async def sent(self, ids: Sequence[str]) -> None:
        """Remove entries. Again: nothing."""
        gone = [("XDEL", f"{self._tag}:outbox", *ids[at : at + CHUNK]) for at in range(0, len(ids), CHUNK)]
        *_, released = await self._several(*gone, ("HKEYS", f"{self._tag}:released"))
        for batch_id in released:
            await self._clean(batch_id.decode())

    async def status(self) -> BufferStatus:
        """One moment of everything, read in one transaction. A server without memory left begins none: then all the same,
        command by command, while nothing is applied."""
        return await answer(read_status(self._client, self._tag))

    # -------------------------------------------------------------- erasure

    async def runs(self, *, bodies: bool = False) -> AsyncIterator[HeldRun]:
        """Waiting halves, then the rows of open, sealed and released batches."""
        for key, read in (("wait", erasing.waiting_half), ("pair", erasing.lone_half)):
            digests = await self._call("HKEYS", f"{self._tag}:{key}")
            for at in range(0, len(digests), CHUNK):
                values = await self._call("HMGET", f"{self._tag}:{key}", *digests[at : at + CHUNK])
                halves = [read(value).records() for value in values if value is not None]
                for run in await self._held(halves, bodies=bodies):
                    yield run
        for batch_id in await self._batches():
            rows = await self._rows(batch_id)
            for at in range(0, len(rows), CHUNK):
                for run in await self._held([row.halves() for row in rows[at : at + CHUNK]], bodies=bodies):
                    yield run

    async def erase(self, keys: Collection[str], *, outer: Callable[[str], str] = str) -> int:
        """In steps of 500 runs. `outer`: a batch's name as it is announced, where that is another."""
        wanted = sorted(set(keys))
        done = 0
        for at in range(0, len(wanted), CHUNK):
            done += await self._erase(wanted[at : at + CHUNK], outer)
        return done

    async def erasures(self) -> dict[str, int]:
        return {key.decode(): int(number) for key, number in (await self._call("HGETALL", self._heard)).items()}

    async def note_erasures(self, key: str, number: int) -> None:
        await self._call("HSET", self._heard, key, number)

    async def rewrite_file(self) -> None:
        await erasing.rewrite_file(self._client)

    async def _held(self, runs: Sequence[Sequence[wire.StoredHalf]], *, bodies: bool) -> list[HeldRun]:
        if not bodies:
            return [HeldRun(halves[0].key, ()) for halves in runs]
        found = await self._bodies([half for halves in runs for half in halves])
        texts = [[body for half in halves if (body := found.get(half.body()))] for halves in runs]
        return [HeldRun(halves[0].key, body) for halves, body in zip(runs, texts, strict=True)]

    async def _batches(self) -> list[str]:
        """Open, sealed and released ones."""
        tracks = await self._call("HGETALL", f"{self._tag}:tracks")
        open_ = [f"{name.decode()}-{wire.track_of(blob).number}" for name, blob in tracks.items()]
        sealed = [batch_id.decode() for batch_id in await self._call("HKEYS", f"{self._tag}:batches")]
        return [*open_, *sealed, *await self._released()]

    async def _erase(self, keys: Sequence[str], outer: Callable[[str], str]) -> int:
        """One that changed since it was read is left to the next look."""
        gone, rows, ids = set(keys), list[tuple[str, int, bytes]](), dict[str, str]()
        for batch_id in await self._batches():
            blobs = await self._blobs(batch_id)
            found = [
                (batch_id, at, blob) for at, blob, row in erasing.rows_with_place(batch_id, blobs) if row.key in gone
            ]
            if found:
                ids |= await self._announced(batch_id, blobs, outer)
            rows += found
        done = 0
        for at in range(0, max(1, len(rows)), CHUNK):
            arguments = erasing.erasure(rows[at : at + CHUNK], ids, keys)
            done += sum(await self._function("erase", self._rules, *arguments))
        return done

    async def _announced(self, batch_id: str, blobs: Sequence[bytes], outer: Callable[[str], str]) -> dict[str, str]:
        """The id of a sealed batch's announcement; of no other."""
        blob = await self._call("HGET", f"{self._tag}:batches", batch_id)
        if blob is None:
            return {}
        told = wire.told_of(batch_id, blobs)
        seal = replace(await self._seal(batch_id, blob, told), batch_id=outer(batch_id))
        return {batch_id: outbound.from_seal(seal, told.keys).id}

    async def find(self, key: str) -> Trail:
        """Raises BodyDamaged (E7460)."""
        return await trail_of(self._call, self._tag, key)

    # -------------------------------------------------------------- below

    async def _call(self, *words: str | bytes | int) -> Any:
        return await answer(send(self._client, *words))

    async def _several(self, *commands: Words) -> list[Any]:
        return await answer(each(self._client, *commands))

    async def _function(self, name: str, *arguments: str | bytes) -> Any:
        return await answer(call_function(self._client, self._library, self._words(name, *arguments)))

    async def _apply(self, step: wire.Step) -> Any:
        """The bodies and the script that takes them over, in one transaction: the bodies never pass through Lua."""
        try:
            return await self._transaction(step)
        except ResponseError as err:
            if "Function not found" not in said(err):
                await answer(send(self._client, "UNLINK", f"{self._tag}:in"))  # else it lies there until the next step
                raise
        await answer(call_function(self._client, self._library, self._words("hello", self._rules)))
        return await self._transaction(step)

    async def _transaction(self, step: wire.Step) -> Any:
        commands: list[Sequence[Any]] = [("UNLINK", f"{self._tag}:in")]
        if step.bodies:
            commands.append(("HSET", f"{self._tag}:in", *step.bodies))
        return await transact(self._client, *commands, self._words("apply", self._rules, *step.words))

    def _words(self, name: str, *arguments: str | bytes | Written) -> tuple[str | bytes | int | Written, ...]:
        return ("FCALL", f"{name}_{self._version}", 1, self._tag, self._tag, *arguments)

    async def _check_server(self) -> None:
        await check_server(self._client)
        self._barrier = await has_barrier(self._client)

    async def _check_rights(self) -> None:
        denied = b", ".join(await self._function("denied", *needed(self._library))).decode()
        if denied:
            text = f"the buffer's user may not run {denied} on {self._tag}*; docs/redis.md has the ACL line"
            raise BufferForbidden(text, commands=denied)

    async def _blobs(self, batch_id: str) -> list[bytes]:
        found: list[bytes] = await self._call("LRANGE", f"{self._tag}:rows:{batch_id}", 0, -1)
        return found

    async def _rows(self, batch_id: str) -> list[wire.StoredRow]:
        return wire.rows_of(batch_id, await self._blobs(batch_id))

    async def _with_bodies(self, batch_id: str, rows: Sequence[wire.StoredRow]) -> list[SealedRow]:
        bodies = await self._bodies([half for row in rows for half in row.halves()])
        return [wire.sealed_row(batch_id, row, bodies) for row in rows]

    async def _bodies(self, halves: Sequence[wire.StoredHalf]) -> dict[wire.BodyAt, bytes | None]:
        bodies: dict[wire.BodyAt, bytes | None] = {}
        places = wire.by_slice(halves)
        found = await self._each("HMGET", places)
        for (slice_, numbers), values in zip(places.items(), found, strict=True):
            bodies.update(zip(((slice_, number) for number in numbers), values, strict=True))
        return bodies

    async def _each(self, command: str, places: Mapping[str, Sequence[int]]) -> list[Any]:
        """One command for each slice of bodies; none of them depends on another."""
        commands: list[Words] = [(command, f"{self._tag}:b:{at}", *numbers) for at, numbers in places.items()]
        return await self._several(*commands) if places else []

    async def _entry(self, entry_id: str, fields: dict[bytes, bytes]) -> OutboxEntry:
        if b"message" in fields:
            return OutboxEntry(entry_id, None, (), wire.message_of(entry_id, fields[b"message"]))
        batch_id = fields[b"seal"].decode()
        reads = [("HGET", f"{self._tag}:{key}", batch_id) for key in ("batches", "released", "said")]
        rows = ("LRANGE", f"{self._tag}:rows:{batch_id}", 0, -1)
        open_, released, said_, blobs = await self._several(*reads, rows)
        blob = open_ or released  # released before the entry was marked as sent: a repeat must be equal all the same
        told = wire.told_of(batch_id, blobs)
        seal = wire.seal_of(batch_id, wire.stored_seal(batch_id, blob or b""), told, said_)
        return OutboxEntry(entry_id, seal, told.keys, None)

    async def _seal(self, batch_id: str, blob: bytes, told: wire.Told) -> Seal:
        said_ = await self._call("HGET", f"{self._tag}:said", batch_id)
        return wire.seal_of(batch_id, wire.stored_seal(batch_id, blob), told, said_)

    async def _wait_for_disk(self) -> None:
        """The write on the same connection makes the barrier cover every write before it, of every connection."""
        if self._barrier is None:
            await self._check_server()
        if not self._barrier:
            return  # appendfsync is always: checked
        _, (local, *_) = await self._several(self._words("barrier"), ("WAITAOF", 1, 0, BARRIER_MS))
        if local < 1:
            raise BufferNotOnDisk(f"the buffer's server did not write to its disk within {BARRIER_MS} ms")

    async def _released(self) -> list[str]:
        return [batch_id.decode() for batch_id in await self._call("HKEYS", f"{self._tag}:released")]

    async def _clean(self, batch_id: str) -> None:
        """Bodies a chunk a call, then the rest. Cut off in between, the next tick or open goes on."""
        rows = await self._rows(batch_id)
        for at in range(0, len(rows), CHUNK):
            halves = [half for row in rows[at : at + CHUNK] for half in row.halves()]
            await self._each("HDEL", wire.by_slice(halves))
        await self._function("forget", batch_id)
