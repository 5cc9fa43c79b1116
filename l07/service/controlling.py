"""The control half of the loop: curate, train, validate, release; all in one process (`l07 run`), or one a process
(`python -m consumers.curate` and so on). Each announces the ledgers that it writes, and what a killed one left there.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from l07.backends import open as backends
from l07.errors import BusForbidden, FileNotRewritten, Transient
from l07.pipeline import announce, forget
from l07.pipeline.forget.datasets import Shelf
from l07.pipeline.forget.finish import Hands, finish, is_due
from l07.ports import Bus, ExampleBuffer, Leases, Subscription
from l07.routes import Ports, routes
from l07.runner import Handler, Routes, control_step
from l07.service.entry import Running
from l07.service.health import Health
from l07.service.ingesting import Report, now_text, open_erasures, repeat
from l07.service.working import LOOK_S, Worker, unless_stopped
from l07.settings import Settings

log = logging.getLogger("l07.control")

GRACE_S = 5.0  # what a handler has left after a stop; a curation takes less, an evaluation is begun again
ANNOUNCE_S = 0.1
STUCK_S = 60.0  # an erasure that a person must help is tried again


@dataclass(slots=True)
class Control:
    """Some of the control consumers, joined to their groups. Each step does what there is to do, and says how much that was."""

    bus: Bus
    ports: Ports
    leases: Leases
    report: Report
    health: Health
    stop: asyncio.Event
    worker: Worker
    members: dict[str, Subscription] = field(default_factory=dict)
    tables: dict[str, Routes] = field(default_factory=dict)
    hands: Hands | None = None  # of the curator: it alone has everything open that an erasure needs
    erase_at: float = 0.0

    @property
    def settings(self) -> Settings:
        return self.ports.settings

    async def announce(self) -> int:
        topic, prefix = self.settings.topics.events, self.settings.types.prefix
        return await announce.announce(self.ports.ledgers(self.members), self.bus, topic=topic, prefix=prefix)

    async def handle(self, consumer: str, *, timeout_s: float = 0.0) -> int:
        if consumer == "curate":
            await self._erase()
        return await control_step(
            self.members[consumer], self.bus, self.tables[consumer], dlq=self.settings.topics.dlq, stop=self.stop,
            timeout_s=timeout_s,
        )  # fmt: skip

    async def _erase(self) -> None:
        """What is ordered and not done, and versions that came since; never beside a version that is being built here."""
        hands, now = self.hands, time.monotonic()
        if hands is None or now < self.erase_at:
            return
        self.erase_at = now + LOOK_S
        lease = await self.leases.claim("erasure", self.worker.owner) if await is_due(hands) else None
        if lease is None:
            return
        try:
            await finish(hands)
            self.health.unsay("erasure")
        except (FileNotRewritten, BusForbidden) as err:  # a person must see to it; all else goes on
            self.health.say("erasure", err.code, err.message)
            await forget.stuck(hands.known, str(err), at=now_text())
            self.erase_at = now + STUCK_S
        finally:
            await self.leases.release(lease)

    def told(self, consumer: str, handler: Handler) -> Handler:
        """`handler`, reporting what it is about before, and the seconds that it took after."""

        async def telling(event: Any) -> None:
            begun = time.monotonic()
            self.report({"phase": consumer, "subject": event.subject})
            with self.health.handling(type(event).__name__):
                whole = await unless_stopped(handler(event), self.stop, grace_s=GRACE_S)
            if whole:
                self.report({"phase": consumer, "subject": event.subject, "seconds": time.monotonic() - begun})

        return telling

    async def work(self) -> int:
        """The most urgent due job whose track nobody else works on, to its end. See `Worker.work`."""
        return await self.worker.work()

    # -------------------------------------------------------------- loops

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Handling, announcing and training, each again and again until stopped."""
        steps: list[tuple[str, Callable[[], Awaitable[int]], float]] = [
            ("announce", self.announce, ANNOUNCE_S),
            *((name, partial(self.handle, name, timeout_s=0.5), 0.0) for name in self.members),
        ]
        if "train" in self.members:
            most = self.settings.training.concurrency
            steps += [(f"work {number}" if number else "work", self.work, LOOK_S) for number in range(most)]
        turns = [repeat(partial(self._turn, what, step), self.stop, rest_s=rest_s) for what, step, rest_s in steps]
        return (*turns, repeat(self._measure, self.stop, rest_s=self.settings.health.look_s))

    async def forever(self) -> None:
        """Until stopped; a loop that fails stops all."""
        self.health.joined()
        async with asyncio.TaskGroup() as group:
            for loop in self.loops():
                group.create_task(loop)

    async def _turn(self, what: str, step: Callable[[], Awaitable[int]]) -> int:
        try:
            done = await step()
        except Transient as err:
            self.health.say(what, err.code, err.message)
            self.health.turned()
            raise
        self.health.unsay(what)
        self.health.turned(moved=done > 0)
        return done

    async def _measure(self) -> int:
        lag = 0
        for sub in self.members.values():
            ends = await sub.end_offsets()
            lag += sum(max(0, ends.get(tp, 0) - at) for tp, at in sub.position().items())
        self.health.lag = lag
        return 0


@asynccontextmanager
async def joined(
    settings: Settings, consumers: Sequence[str], *, bus: Bus, buffer: ExampleBuffer | None, report: Report,
    health: Health, stop: asyncio.Event,
) -> AsyncIterator[Control]:  # fmt: skip
    """These consumers on a bus that is open, each a member of its group."""
    async with AsyncExitStack() as stack:
        curator = await stack.enter_async_context(backends.open_curator(settings))
        datasets, jobs, registry = (backends.open_ledger(settings, name) for name in ("datasets", "jobs", "registry"))
        ports = Ports(
            settings, buffer, backends.open_store(settings), backends.open_bases(settings), datasets, jobs, registry,
            trainer=backends.open_trainer(settings), curator=curator, key_file=settings.data_dir / "keys" / "registry.pem",
        )  # fmt: skip
        leases = backends.open_leases(settings)
        worker = Worker(bus, ports, leases, report, stop)
        if "train" in consumers:
            worker.meter, worker.trackers = backends.open_meter(settings), backends.open_reporters(settings)
        control = Control(bus, ports, leases, report, health, stop, worker)
        if buffer is not None:
            exports = backends.open_ledger(settings, "exports")
            shelf = Shelf(datasets, jobs, registry, exports, ports.store, curator, settings, now_text)
            control.hands = Hands(open_erasures(settings), buffer, bus, shelf)
        for name in consumers:
            table = routes(name, ports)
            control.tables[name] = {kind: control.told(name, handler) for kind, handler in table.items()}
            group = bus.subscribe([settings.topics.events], group=f"l07.{name}")
            control.members[name] = await stack.enter_async_context(group)
        yield control


@asynccontextmanager
async def opened_control(running: Running, consumer: str) -> AsyncIterator[Control]:
    """One consumer as a process of its own. Only the curator opens the buffer; an embedded one needs the folder's lock.

    Raises FolderInUse (E7405) where the embedded buffer is another process's: set `buffer.url`."""
    settings = running.settings
    async with AsyncExitStack() as stack:
        buffer = None
        if consumer == "curate":
            stack.enter_context(backends.held_folder(settings, purpose="consumers.curate"))
            buffer = await stack.enter_async_context(backends.open_buffer(settings))
        bus = await stack.enter_async_context(backends.open_bus(settings))
        yield await stack.enter_async_context(
            joined(
                settings, [consumer], bus=bus, buffer=buffer, report=_logged, health=running.health, stop=running.stop
            )
        )


async def run_control(running: Running, consumer: str) -> None:
    """What `python -m consumers.<consumer>` does, until it is stopped."""
    async with opened_control(running, consumer) as control:
        await control.forever()


def _logged(line: Mapping[str, Any]) -> None:
    log.info("progress", extra=dict(line))
