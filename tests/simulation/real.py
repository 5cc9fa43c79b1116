"""The real `RedisBuffer` and the real script behind the same harness: every command is a call of the simulated network.

The server executes a command at once and for good, so a crash is played by flushing it and executing again what was written
up to some command after the last one that a barrier covers."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import redis as library
from redis.exceptions import ConnectionError as Cut

from l07.backends.redis import BufferRules, RedisBuffer
from l07.backends.redis.wire import position_of, track_of
from l07.events.record import TopicPartition
from tests.simulation.harness import INPUTS, Simulation
from tests.simulation.judge import Judge, Taken
from tests.simulation.net import Net, Process, Server
from tests.simulation.plan import Plan, a_plan

FSYNC_S = 1.0
WRITES = frozenset({"FCALL", "HSET", "HSETNX", "HDEL", "UNLINK", "SET", "XDEL"})
NAME = "sim"
Words = Sequence[Any]


@dataclass(eq=False)
class RealRedis:
    """What `Redis` is to the harness, on a server that is really there."""

    net: Net
    rng: random.Random
    rules: BufferRules
    client: library.Redis  # blocking: virtual time stands still while it works
    limit: int = 0
    full: bool = False
    server: Server = field(default_factory=lambda: Server("buffer", lambda: Cut("the simulated connection broke")))
    log_number: Callable[[TopicPartition], int] = lambda tp: 0
    written: list[list[Words]] = field(default_factory=list)  # steps, each of one or more commands
    on_disk: int = 0
    barrier: bool = True
    every_second: bool = True

    def __post_init__(self) -> None:
        self.client.flushall()
        self.client.execute_command("FUNCTION", "FLUSH")
        self.net.loop.call_later(FSYNC_S, self._every_second)

    def _every_second(self) -> None:
        if self.every_second:
            self.on_disk = len(self.written)
        self.net.loop.call_later(FSYNC_S, self._every_second)

    def execute(self, commands: Sequence[Words], *, transaction: bool) -> list[Any]:
        """All of them, as one step; what each answered. WAITAOF brings to disk what was written before."""
        if any(str(words[0]) in WRITES for words in commands):
            self.written.append(commands)
        if self.barrier and any(words[0] == "WAITAOF" for words in commands):
            self.on_disk = len(self.written)
        pipe = self.client.pipeline(transaction=transaction)
        for words in commands:
            pipe.execute_command(*words)
        return list(pipe.execute(raise_on_error=False))

    def crash(self) -> None:
        kept = self.rng.randrange(self.on_disk, len(self.written) + 1)
        self.net.say("buffer", f"crashed: {len(self.written) - kept} of {len(self.written)} steps are gone")
        self.written = self.written[:kept]
        self.on_disk = kept
        self.client.flushall()
        for commands in self.written:
            pipe = self.client.pipeline(transaction=True)
            for words in commands:
                pipe.execute_command(*words)
            pipe.execute(raise_on_error=False)
        self.server.epoch += 1

    def flush(self) -> None:
        self.net.say("buffer", "flushed")
        self.client.flushall()
        self.written, self.on_disk = [], 0
        self.server.epoch += 1

    restore = flush

    # what the harness looks at

    @property
    def state(self) -> Any:
        tag = f"{{l07:{NAME}:0}}"
        found = self.client.hgetall(f"{tag}:pos")
        positions = {TopicPartition.parse(tp.decode()): position_of(value) for tp, value in found.items()}
        return SimpleNamespace(
            positions=positions,
            outbox=range(self.client.xlen(f"{tag}:outbox")),
            waiting=WaitingHere(self.client.hlen(f"{tag}:wait")),
            tracks={name: track_of(blob) for name, blob in self.client.hgetall(f"{tag}:tracks").items()},
            history=[],
        )


class WaitingHere(dict[str, Any]):
    """How many wait; who, the script knows."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


@dataclass(eq=False)
class SimClient:
    """What `RedisBuffer` takes for the library's client."""

    redis: RealRedis
    process: Process

    async def ask(self, commands: Sequence[Words], *, transaction: bool) -> list[Any]:
        name = " ".join(str(words[0]) for words in commands[:4])
        rows: list[Any] = await self.redis.net.call(
            self.process, self.redis.server, name, lambda: self.redis.execute(commands, transaction=transaction)
        )
        return rows

    async def execute_command(self, *words: Any) -> Any:
        return _first_error(await self.ask([words], transaction=False))[0]

    def pipeline(self, transaction: bool = True) -> "SimPipe":
        return SimPipe(self, transaction)

    async def aclose(self) -> None:
        return


@dataclass(eq=False)
class SimPipe:
    client: SimClient
    transaction: bool
    commands: list[Words] = field(default_factory=list)

    def execute_command(self, *words: Any) -> "SimPipe":
        self.commands.append(words)
        return self

    async def execute(self) -> list[Any]:
        return _first_error(await self.client.ask(self.commands, transaction=self.transaction))


def _first_error(results: list[Any]) -> list[Any]:
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


@dataclass(eq=False)
class RealSimulation(Simulation):
    """A schedule with the real buffer; `client` is of a server of our own."""

    client: Any = None

    def make_redis(self, rules: BufferRules) -> Any:
        return RealRedis(self.net, self.rng, rules, self.client)

    async def open_buffer(self, process: Process) -> Any:
        return await RedisBuffer.open(SimClient(self.redis, process), NAME, self.redis.rules)

    async def look(self) -> None:
        """What is left is sealed, and everything read, by somebody who is no member."""
        buffer = await self.open_buffer(Process("reader"))
        ready = (await buffer.status()).ready
        await buffer.seal_rest(too=[track for track, counts in ready.items() if counts["REJECT"]])
        await self.until("announced", self.is_drained)
        self.status = await buffer.status()
        self.batches = {ident: await buffer.read(ident) for ident in self.status.batches}

    def judge(self) -> list[str]:
        state = SimpleNamespace(counts={}, rows={}, sealed={})
        if not self.problems:
            state.sealed = self.batches
            for ident, batch in self.batches.items():
                state.rows[ident] = [SimpleNamespace(key=r.key, why=r.reasons, revision=r.revision) for r in batch.rows]
            for tp, counters in self.status.partitions.items():
                state.counts |= {(name, tp): n for name, n in counters.items()}
            return RealJudge(self.kafka, self.world, state, INPUTS, self.plan.lossy).verdict()
        return []


class RealJudge(Judge):
    """Knows no order of what was taken: what follows from the records alone must be enough."""

    def verdict(self) -> list[str]:
        for log in self.kafka.of(self.inputs):
            self.taken += [Taken(log, offset, spec, time_ms) for offset, (spec, time_ms) in log.ever.items()]
            counters = {name: n for (name, tp), n in self.state.counts.items() if tp == str(log.tp)}
            consumed = counters.pop("consumed", 0)
            if consumed != len(log.ever) or consumed != sum(counters.values()):
                self._wrong(f"{log.tp} held {len(log.ever)} records, consumed {consumed}: {counters}")
        self._as_the_records_say()
        self._published()
        return self.problems


KEPT = frozenset({"retention", "compaction", "topic made again", "buffer full"})  # what only the simulated one can play


def a_real_plan(seed: int) -> Plan:
    """A plan without what this judge cannot follow: records that are deleted, and a memory that is played."""
    plan = a_plan(seed)
    plan.faults = [fault for fault in plan.faults if fault.kind not in KEPT]
    plan.memory = 0
    return plan
