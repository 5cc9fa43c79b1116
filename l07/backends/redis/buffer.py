"""The example buffer: joins halves in any order, counts, seals. Each change is one call of a function on the server."""

from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

from l07.backends.redis import wire
from l07.backends.redis.client import Client, answer, call_function, send
from l07.backends.redis.rules import BufferRules, at_end_packed
from l07.backends.redis.server import check_server, has_barrier
from l07.errors import BufferNotOnDisk, NoSuchBatch
from l07.events.record import TopicPartition
from l07.ports import Applied, BufferStatus, IngestBatch, OutboxEntry, Position, SealedBatch, SealedRow

COUNTERS = ("consumed", "applied", "duplicate", "dead_letter", "rejected", "waiting", "expired")
BARRIER_MS = 5000
CHUNK = 500


def script() -> str:
    """The function library's text. Its parts share local functions, so they are one chunk."""
    folder = files("l07.backends.redis")
    return "".join((folder / f"{part}.lua").read_text("utf-8") for part in ("state", "runs", "apply", "tick"))


class RedisBuffer:
    """`ExampleBuffer` on Redis 7+ or Valkey. Everything is under one tag, so on one slot.

    Made by `open`, which checks the server; made directly, only what reads may be called (`status`, `positions`)."""

    def __init__(self, client: Client, name: str, rules: BufferRules, *, text: str | None = None) -> None:
        text = script() if text is None else text
        self._client = client
        self._tag = f"{{l07:{name}:0}}"
        self._rules = rules.packed()
        self._version = sha256(text.encode()).hexdigest()[:12]  # releases of different scripts do not meet
        self._library = f"#!lua name=l07_{self._version}\n" + text.replace("@VERSION@", self._version)
        self._barrier: bool | None = None  # does the server know WAITAOF; None: not asked yet

    @classmethod
    async def open(cls, client: Client, name: str, rules: BufferRules, *, text: str | None = None) -> "RedisBuffer":
        """Check the server, load the script, check the state's layout.

        Raises:
            BufferEvicts: E7452, a maxmemory-policy other than noeviction.
            BufferNotDurable: E7453, no append-only file, or no barrier and appendfsync is not always.
            BufferLayoutUnknown: E7451, state of another release.
            BufferUnavailable: E7450, no answer."""
        self = cls(client, name, rules, text=text)
        await self._check_server()
        await self._function("hello", self._rules)
        for batch_id in await self._released():
            await self._clean(batch_id)
        return self

    async def positions(self) -> dict[TopicPartition, Position]:
        stored = await self._call("HGETALL", f"{self._tag}:pos")
        return {TopicPartition.parse(tp.decode()): wire.position_of(value) for tp, value in stored.items()}

    async def apply(self, batch: IngestBatch) -> Applied:
        """One step. The same batch again does nothing: what lies below the stored offsets is skipped.

        Raises:
            BadBatch: E7458, the batch breaks the port's contract; nothing was done.
            BufferUnavailable: E7450, unknown whether it was done: apply it again.
            BufferFull: E7454; BufferReadOnly: E7455; nothing was done."""
        arguments = wire.arguments(batch)
        if not batch.parts:
            return Applied()
        refused, net, sealed = await self._function("apply", self._rules, *arguments)
        counts = {name: n for name, n in wire.pairs(net).items() if name != "consumed" and n}
        where = {TopicPartition.parse(tp): offset for tp, offset in wire.pairs(refused).items()}
        return Applied(counts=counts, sealed=[batch_id.decode() for batch_id in sealed], refused=where)

    async def tick(self, *, now_ms: int, at_end: Sequence[TopicPartition]) -> list[str]:
        """Expire, seal by age, forget old keys; the ids of what was sealed. Repeated: nothing more happens."""
        sealed: list[str] = []
        more = 1
        while more:
            more, batches = await self._function("tick", self._rules, str(now_ms), at_end_packed(tuple(at_end)))
            sealed += [batch_id.decode() for batch_id in batches]
        for batch_id in await self._released():
            await self._clean(batch_id)
        return sealed

    async def seal_rest(self) -> list[str]:
        """Seal every track in which a run is accepted or revised. A rest of rejected runs alone stays open."""
        return [batch_id.decode() for batch_id in await self._function("seal_rest", self._rules)]

    async def read(self, batch_id: str) -> SealedBatch:
        """The batch with its bodies, each checked against its own digest.

        Raises:
            NoSuchBatch: E7459, never sealed, or released.
            BodyDamaged: E7460, names the row."""
        blob = await self._call("HGET", f"{self._tag}:batches", batch_id)
        if blob is None:
            raise NoSuchBatch(f"no sealed batch {batch_id}: never sealed, or released", batch=batch_id)
        rows = await self._rows(batch_id)
        out: list[SealedRow] = []
        for at in range(0, len(rows), CHUNK):
            out += await self._with_bodies(batch_id, rows[at : at + CHUNK])
        return SealedBatch(wire.seal_of(batch_id, wire.stored_seal(batch_id, blob), rows), out)

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
        for at in range(0, len(ids), CHUNK):
            await self._call("XDEL", f"{self._tag}:outbox", *ids[at : at + CHUNK])
        for batch_id in await self._released():
            await self._clean(batch_id)

    async def status(self) -> BufferStatus:
        """One moment of everything, read in one transaction."""
        pipe = self._client.pipeline(transaction=True)
        for command in ("HGETALL counts", "HGETALL reasons", "HGETALL tracks", "HKEYS batches", "XLEN outbox"):
            verb, key = command.split(" ")
            pipe.execute_command(verb, f"{self._tag}:{key}")
        for key in ("exp:trace", "exp:score", "hold"):
            pipe.execute_command("ZRANGE", f"{self._tag}:{key}", 0, 0, "WITHSCORES")
        counts, reasons, tracks, batches, outbox, *oldest = await answer(pipe.execute())
        open_ = {name.decode(): wire.track_of(blob) for name, blob in tracks.items()}
        times = [int(float(entry[0][1])) for entry in oldest if entry]
        return BufferStatus(
            partitions=_by_partition(counts),
            reasons={name.decode(): int(n) for name, n in sorted(reasons.items()) if int(n)},
            ready={name: {"ACCEPT": t.accepted, "REJECT": t.rejected} for name, t in sorted(open_.items())},
            batches=sorted((batch.decode() for batch in batches), key=wire.batch_order),
            outbox=outbox,
            oldest_waiting_ms=min(times, default=None),
        )

    # -------------------------------------------------------------- below

    async def _call(self, *words: str | bytes | int) -> Any:
        return await answer(send(self._client, *words))

    async def _function(self, name: str, *arguments: str | bytes) -> Any:
        words = ("FCALL", f"{name}_{self._version}", 1, self._tag, self._tag, *arguments)
        return await answer(call_function(self._client, self._library, words))

    async def _check_server(self) -> None:
        await check_server(self._client)
        self._barrier = await has_barrier(self._client)

    async def _rows(self, batch_id: str) -> list[wire.StoredRow]:
        blobs = await self._call("LRANGE", f"{self._tag}:rows:{batch_id}", 0, -1)
        return wire.rows_of(batch_id, blobs)

    async def _with_bodies(self, batch_id: str, rows: Sequence[wire.StoredRow]) -> list[SealedRow]:
        keys = [half.body_key(self._tag) for row in rows for half in row.halves()]
        bodies = dict(zip(keys, await self._call("MGET", *keys), strict=True))
        return [wire.sealed_row(batch_id, row, bodies, self._tag) for row in rows]

    async def _entry(self, entry_id: str, fields: dict[bytes, bytes]) -> OutboxEntry:
        if b"message" in fields:
            return OutboxEntry(entry_id, None, (), wire.message_of(entry_id, fields[b"message"]))
        batch_id = fields[b"seal"].decode()
        blob = await self._call("HGET", f"{self._tag}:batches", batch_id)
        if blob is None:  # released before the entry was marked as sent: a repeat must be equal all the same
            blob = await self._call("HGET", f"{self._tag}:released", batch_id)
        rows = await self._rows(batch_id)
        seal = wire.seal_of(batch_id, wire.stored_seal(batch_id, blob or b""), rows)
        return OutboxEntry(entry_id, seal, tuple(row.key for row in rows), None)

    async def _wait_for_disk(self) -> None:
        """The write on the same connection makes the barrier cover every write before it, of every connection."""
        if self._barrier is None:
            await self._check_server()
        if not self._barrier:
            return  # appendfsync is always: checked
        pipe = self._client.pipeline(transaction=False)
        pipe.execute_command("SET", f"{self._tag}:barrier", "1")
        pipe.execute_command("WAITAOF", 1, 0, BARRIER_MS)
        _, (local, *_) = await answer(pipe.execute())
        if local < 1:
            raise BufferNotOnDisk(f"the buffer's server did not write to its disk within {BARRIER_MS} ms")

    async def _released(self) -> list[str]:
        return [batch_id.decode() for batch_id in await self._call("HKEYS", f"{self._tag}:released")]

    async def _clean(self, batch_id: str) -> None:
        """Bodies a chunk a call, then the rest. Cut off in between, the next tick or open goes on."""
        rows = await self._rows(batch_id)
        keys = [half.body_key(self._tag) for row in rows for half in row.halves()]
        for at in range(0, len(keys), CHUNK):
            await self._call("UNLINK", *keys[at : at + CHUNK])
        await self._function("forget", batch_id)


def _by_partition(counts: dict[bytes, bytes]) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for field, n in counts.items():
        name, _, tp = field.decode().partition(" ")
        out.setdefault(tp, dict.fromkeys(COUNTERS, 0))[name] = int(n)
    return dict(sorted(out.items()))
