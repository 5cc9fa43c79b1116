"""One schedule: the product's own ingest in several simulated processes, while what the plan says goes wrong."""

import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import Any

from l07.backends.open import buffer_rules
from l07.backends.redis import BufferRules
from l07.errors import BufferFull, BufferUnavailable, Fatal, L07Error
from l07.events.record import TopicPartition
from l07.runner import Halts
from l07.service import ingesting, watching
from l07.service.health import Health
from l07.settings import Settings, load_settings
from tests.simulation.controls import patches
from tests.simulation.faults import FAULTS
from tests.simulation.group import SESSION_S
from tests.simulation.judge import Judge
from tests.simulation.kafka import Kafka, SimBus
from tests.simulation.loop import OWNER, SimLoop
from tests.simulation.net import NO_ERASURES, Net, Process
from tests.simulation.plan import FAULTS_S, Fault, Plan
from tests.simulation.redis import Redis, SimBuffer
from tests.simulation.world import NOW_MS, SCORES, WAIT_S, World, a_world

PARTITIONS = {
    "execution.traces": 2,
    "planning.traces": 1,
    "evaluation.quality_scores": 2,
    "learning.events": 2,
    "learning.dlq": 1,
}
INPUTS = ("execution.traces", "planning.traces", "evaluation.quality_scores")
STILL_S = 45.0  # once everything is well again, nothing may stand still for this long before it is done
MOST_S = 900.0
JUMP_MS = 3 * WAIT_S * 1000
RESTART_S = 1.0
MEMORY_S = 0.01  # a look between any two batches: here a dozen halves fill the memory


@cache
def settings(slices: int) -> Settings:
    overrides: dict[str, Any] = {
        "join.wait_s": WAIT_S,
        "buffer.remember_s": 60 * 86400,
        "ingest.slice_records": slices,
        "tracks.sql.match.domains": ["sql"],
        "backpressure.pause_at": 0.5,
        "backpressure.resume_at": 0.4,
    }
    for track in ("sql", "default"):
        overrides |= {f"tracks.{track}.seal.count": 3, f"tracks.{track}.seal.max_age_s": 600}
        overrides |= {f"tracks.{track}.seal.min_count": 1}
    return load_settings({}, overrides=overrides).settings


@dataclass(eq=False)
class Node:
    """A place where a member runs; one that ends is started again, as Kubernetes does."""

    sim: "Simulation"
    name: str
    wanted: bool = True
    process: Process | None = None
    ingest: Any = None
    started: int = 0

    def start(self) -> None:
        if not self.wanted or (self.process is not None and self.process.alive):
            return
        self.started += 1
        clock_ms = self.sim.rng.randrange(-20_000, 20_000)
        self.process = Process(f"{self.name}.{self.started}", clock_ms)
        self.ingest = None
        self.sim.net.spawn(self.process, self._main(self.process))

    async def _main(self, process: Process) -> None:
        try:
            health = Health("ingest", clock=self.sim.loop.time)
            async with ingesting.opened_ingest(self.sim.settings, _ignore, health=health, halts=Halts()) as ingest:
                ingest.stream.clock = ingest.watch.clock = self.sim.loop.time
                self.ingest = ingest
                await ingest.forever()
        except BaseExceptionGroup as group:
            self._ended(process, _first(group))
        except L07Error as err:
            self._ended(process, err)
        else:
            self._ended(process, None)

    def _ended(self, process: Process, why: BaseException | None) -> None:
        if not process.alive:
            return
        process.alive = False
        self.sim.session_over(process)
        self.sim.net.say(process.name, f"ended: {why!r}")
        if isinstance(why, Fatal) or (why is not None and not isinstance(why, L07Error)):
            self.sim.problems.append(f"{process.name} stopped: {why!r}")
        self.sim.loop.call_later(RESTART_S, self.start)

    def kill(self) -> None:
        if self.process is not None and self.process.alive:
            self.sim.net.say(self.process.name, "killed")
            self.process.kill()
            self._lost(self.process)

    def _lost(self, process: Process) -> None:
        self.sim.session_over(process)
        self.sim.loop.call_later(RESTART_S * self.sim.rng.random(), self.start)

    def sleep(self, seconds: float) -> None:
        process = self.process
        if process is None or not process.alive:
            return
        self.sim.net.say(process.name, f"sleeps for {seconds:.2f} s")
        process.asleep_until = self.sim.loop.now + seconds
        self.sim.session_over(process)
        self.sim.loop.call_later(seconds + 0.5 * self.sim.rng.random(), self.sim.heartbeat, process)


@dataclass(eq=False)
class Simulation:
    """One schedule under way."""

    plan: Plan
    broken: frozenset[str] = frozenset()
    trace: list[str] | None = None
    problems: list[str] = field(default_factory=list)
    jump_ms: int = 0
    inputs: tuple[str, ...] = INPUTS

    def __post_init__(self) -> None:
        self.rng = random.Random(self.plan.seed * 2 + 1)
        self.loop = SimLoop()
        self.settings = settings(self.plan.slices)
        self.net = Net(self.loop, self.rng, self.plan.slow, self.trace)
        self.kafka = Kafka(self.net, self.rng, PARTITIONS)
        self.redis = self.make_redis(buffer_rules(self.settings))
        self.redis.log_number = lambda tp: self.kafka.logs[tp].number
        self.world: World = a_world(self.rng, runs=self.plan.runs, live_s=FAULTS_S)
        self.nodes = [Node(self, f"member{number}") for number in range(self.plan.members)]
        self.net.killed, self.net.naps = self._killed, self._naps
        group = self.kafka.group(ingesting.INGEST_GROUP, INPUTS)
        group.cooperative = self.plan.cooperative

    # ---------------------------------------------------------- what another buffer does otherwise

    def make_redis(self, rules: BufferRules) -> Any:
        return Redis(self.net, self.rng, rules, self.broken, self.plan.memory)

    async def open_buffer(self, process: Process) -> Any:
        return SimBuffer(self.redis, process)

    async def look(self) -> None:
        """At the end, while the members still run."""

    def judge(self) -> list[str]:
        return Judge(self.kafka, self.world, self.redis.state, INPUTS, self.plan.lossy).verdict()

    # ---------------------------------------------------------- the run

    def run(self) -> list[str]:
        """What was wrong; nothing when all is well."""
        with patched(self), quiet():
            try:
                self.loop.run(self._whole(), limit_s=MOST_S)
            except TimeoutError as err:
                self.problems.append(f"stalled: {err}")
            self._bury()
        self.problems += self.judge()
        self.problems += [f"nobody looked at {error!r}" for error in self.loop.errors]
        return self.problems

    async def _whole(self) -> None:
        self._produce()
        for node in self.nodes:
            self.loop.call_later(0.5 * self.rng.random(), node.start)
        for fault in self.plan.faults:
            self.loop.call_later(fault.at_s, self._happen, fault)
        self.loop.call_later(2.0, self._operate)
        await self._sleep(FAULTS_S)
        self._heal()
        await self.until("drained", self.is_drained)
        self.jump_ms = JUMP_MS
        await self.until("expired and sealed", self._is_settled)
        await self.look()

    async def _sleep(self, seconds: float) -> None:
        woken = self.loop.create_future()
        self.loop.call_later(seconds, woken.set_result, None)
        await woken

    async def until(self, what: str, done: Callable[[], bool]) -> None:
        moved_at, moved = self.loop.now, -1
        while not done():
            now = sum(position.next for position in self.redis.state.positions.values()) - len(self.redis.state.outbox)
            if now != moved:
                moved_at, moved = self.loop.now, now
            if self.loop.now - moved_at > STILL_S:
                self.problems.append(f"not {what}, and nothing moved for {STILL_S:.0f} s: {self._standing()}")
                return
            await self._sleep(0.25)

    def is_drained(self) -> bool:
        positions = self.redis.state.positions
        logs = self.kafka.of(INPUTS)
        there = all(log.tp in positions and positions[log.tp].next == log.end for log in logs)
        return there and not self.redis.state.outbox

    def _is_settled(self) -> bool:
        state = self.redis.state
        open_ = any(track.accepted for track in state.tracks.values())
        return self.is_drained() and not state.waiting and not open_

    def _standing(self) -> str:
        positions = self.redis.state.positions
        behind = {
            str(log.tp): f"{positions[log.tp].next if log.tp in positions else None} of {log.begin}-{log.end}"
            for log in self.kafka.of(INPUTS)
            if log.tp not in positions or positions[log.tp].next != log.end
        }
        waiting = [str(waits.kept.tp) + " " + key for key, waits in self.redis.state.waiting.items()]
        return f"behind {behind}, waiting {waiting}, outbox {len(self.redis.state.outbox)}"

    def _bury(self) -> None:
        """Ends what still runs, so that nothing of this schedule outlives it."""
        for process in self.net.processes:
            process.kill()
        self.loop.settle()

    # ---------------------------------------------------------- producers

    def _produce(self) -> None:
        for sending in self.world.sendings:
            if sending.at_s:
                self.loop.call_at(min(sending.at_s, FAULTS_S - 0.1), self._send, sending)
            else:
                self._send(sending)
        for number, (at_s, commit) in self.world.transactions().items():
            if at_s:
                late_s = min(at_s + 2.0 * self.rng.random(), FAULTS_S)
                self.loop.call_at(late_s, self._finish, number, commit)
            else:
                self._finish(number, commit)
        if self.plan.traces_first:
            for tp in self.kafka.logs:
                if tp.topic == SCORES:
                    self.kafka.slow[tp] = 5.0 * self.rng.random()

    def _send(self, sending: Any) -> None:
        log = self.kafka.log_of(sending.spec)
        log.append(sending.spec, sending.time_ms, transaction=sending.transaction)
        self.kafka.wake()

    def _finish(self, number: int, commit: bool) -> None:
        for log in self.kafka.logs.values():
            if number in log.open:
                log.finish(number, commit=commit)
        self.kafka.wake()

    # ---------------------------------------------------------- faults

    def _happen(self, fault: Fault) -> None:
        self.net.say("fault", str(fault))
        FAULTS[fault.kind](self, fault)

    def new_node(self, name: str) -> Node:
        return Node(self, name)

    def node_of(self, fault: Fault) -> Node:
        return self.nodes[fault.which % len(self.nodes)]

    def for_a_while(self, fault: Fault, owner: Any, name: str, value: Any, after: Any) -> None:
        setattr(owner, name, value)
        self.loop.call_later(fault.lasts_s, setattr, owner, name, after)

    def _killed(self, process: Process) -> None:
        """At a call: the process dies, its request may be under way."""
        process.kill()
        next(node for node in self.nodes if node.process is process)._lost(process)

    def _naps(self, process: Process) -> None:
        """While a publish is under way: what it says afterwards to the buffer is about what was there before."""
        seconds, process.nap_s = process.nap_s, 0.0
        next(node for node in self.nodes if node.process is process).sleep(seconds)

    def session_over(self, process: Process) -> None:
        for group in self.kafka.groups.values():
            for member in group.members:
                if member.bus.process is process:
                    self.loop.call_later(SESSION_S, group.silent, member)

    def heartbeat(self, process: Process) -> None:
        """After a sleep: a member whose session is over joins again."""
        for member in self.kafka.joined:
            if member.bus.process is process:
                member.learn()

    def _heal(self) -> None:
        self.net.say("fault", "everything heals")
        for server in (self.kafka.server, self.redis.server):
            server.down, server.loses = False, 0.0
        self.redis.full = False
        self.kafka.slow.clear()
        for node in self.nodes:
            node.wanted = True
            if node.process is not None:
                node.process.dies_at_call, node.process.nap_s = 0, 0.0
            node.start()

    def _operate(self) -> None:
        """A person who reads the alerts, looks at the topic, and says `--accept-reset`."""
        halted = {
            tp: self.kafka.logs[tp]
            for node in self.nodes
            if node.ingest is not None and node.process is not None and node.process.alive
            for tp in node.ingest.watch.halts.reasons
            if not self._is_mended(tp)
        }
        if halted and not self.redis.server.down:
            operator = Process("operator")
            self.net.spawn(operator, self._mend(operator, halted))
        self.loop.call_later(4.0, self._operate)

    async def _mend(self, operator: Process, halted: Mapping[TopicPartition, Any]) -> None:
        with suppress(BufferUnavailable, BufferFull):  # he looks again later
            await SimBuffer(self.redis, operator).reset(
                {tp: log.begin for tp, log in halted.items()}, {tp: f"#{log.number}" for tp, log in halted.items()}
            )

    def _is_mended(self, tp: TopicPartition) -> bool:
        """Somebody has said so already, of this log, and the buffer has not lost it: twice would be one time too often."""
        log, position = self.kafka.logs[tp], self.redis.state.positions.get(tp)
        said = ("reset", tp, log.number)
        return position is not None and log.begin <= position.next <= log.end and said in self.redis.state.history


def _ignore(_: Mapping[str, Any]) -> None:
    return


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


# ------------------------------------------------------------------ what the product is given in place of the world


@contextmanager
def patched(sim: Simulation) -> Iterator[None]:
    """The product opens its bus and its buffer through one module, and asks one class for the time."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            process = OWNER.get()
            ms = NOW_MS + int(sim.loop.now * 1000) + sim.jump_ms + (process.clock_ms if process else 0)
            return datetime.fromtimestamp(ms / 1000, tz or UTC)

    @asynccontextmanager
    async def open_bus(_: Settings) -> Any:
        yield SimBus(sim.kafka, OWNER.get())

    @asynccontextmanager
    async def open_buffer(_: Settings) -> Any:
        yield await sim.open_buffer(OWNER.get())

    opened = {"open_bus": open_bus, "open_buffer": open_buffer}
    backends = SimpleNamespace(held_folder=lambda _: nullcontext(), **opened, **NO_ERASURES)
    places = [(ingesting, "backends", backends), (ingesting, "datetime", Clock), (watching, "datetime", Clock)]
    places += [(ingesting, "TICK_S", 1.0), (watching, "MEND_S", 3.0), (watching, "MEMORY_S", MEMORY_S)]
    places += patches(sim.broken)
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextmanager
def quiet() -> Iterator[None]:
    log = logging.getLogger("l07")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
