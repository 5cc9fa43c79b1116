"""What a buffer of one shard says of itself: counters, what waits, what is ready and sealed."""

from typing import Any

from redis.exceptions import OutOfMemoryError

from l07.backends.redis import wire
from l07.backends.redis.client import Client
from l07.ports import BufferStatus

COUNTERS = ("consumed", "applied", "duplicate", "dead_letter", "rejected", "waiting", "expired")
STATUS = (
    "HGETALL counts",
    "HGETALL reasons",
    "HGETALL tracks",
    "HKEYS batches",
    "XLEN outbox",
    "GET held",
)


async def read_status(client: Client, tag: str) -> BufferStatus:
    """In one transaction; without memory left, which begins none, command by command. Raises what the library raises."""
    found = await _read(client, tag)
    counts, reasons, tracks, batches, outbox, held, *oldest = found
    open_ = {name.decode(): wire.track_of(blob) for name, blob in tracks.items()}
    times = [int(float(entry[0][1])) for entry in oldest if entry]
    partitions = _by_partition(counts)
    return BufferStatus(
        partitions=partitions,
        reasons={name.decode(): int(n) for name, n in sorted(reasons.items()) if int(n)},
        ready={name: {"ACCEPT": t.accepted, "REJECT": t.rejected} for name, t in sorted(open_.items())},
        batches=sorted((batch.decode() for batch in batches), key=wire.batch_order),
        outbox=outbox,
        oldest_waiting_ms=min(times, default=None),
        waiting=sum(counters["waiting"] for counters in partitions.values()),
        waiting_bytes=int(held or 0),
    )


async def _read(client: Client, tag: str) -> list[Any]:
    try:
        return await _words(client, tag, transaction=True)
    except OutOfMemoryError:
        return await _words(client, tag, transaction=False)


async def _words(client: Client, tag: str, *, transaction: bool) -> list[Any]:
    pipe = client.pipeline(transaction=transaction)
    for command in STATUS:
        verb, key = command.split(" ")
        pipe.execute_command(verb, f"{tag}:{key}")
    for key in ("exp:trace", "exp:score", "exp:pair", "hold"):
        pipe.execute_command("ZRANGE", f"{tag}:{key}", 0, 0, "WITHSCORES")
    return list(await pipe.execute())


def _by_partition(counts: dict[bytes, bytes]) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for field, n in counts.items():
        name, _, tp = field.decode().partition(" ")
        out.setdefault(tp, dict.fromkeys(COUNTERS, 0))[name] = int(n)
    return dict(sorted(out.items()))
