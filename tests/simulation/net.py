"""Processes, and the calls between them: late, lost on the way there or back, cut off by a kill at any await point.

A call is a request, an effect at the server, and an answer. Between them anything may happen: the effect of a call whose
caller was killed may come all the same, and a caller that sleeps gets his answer when he wakes.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.loop import OWNER, SimLoop

Failure = Callable[[], BaseException]


@dataclass(eq=False)
class Process:
    """One member: alive until it is killed, asleep until `asleep_until`, with a clock of its own."""

    name: str
    clock_ms: int = 0  # how far its clock is off
    alive: bool = True
    asleep_until: float = 0.0
    calls: int = 0
    dies_at_call: int = 0  # 0: at none
    nap_s: float = 0.0  # how long it sleeps while its next publish is under way
    tasks: list[Any] = field(default_factory=list)

    def kill(self) -> None:
        """As kill -9: nothing of it happens after this."""
        self.alive = False
        for task in self.tasks:
            task.cancel()

    def check(self) -> None:
        if not self.alive:
            raise asyncio.CancelledError


@dataclass(eq=False)
class Server:
    """Something that is called. An answer that is lost, or a restart in between, is `failure` to the caller."""

    name: str
    failure: Failure
    loses: float = 0.0  # share of calls of which the request or the answer is lost
    down: bool = False
    epoch: int = 0  # a restart cuts all connections


@dataclass(eq=False)
class Net:
    loop: SimLoop
    rng: random.Random
    slow: float = 0.02  # share of calls that take long
    trace: list[str] | None = None
    killed: Callable[[Process], None] = lambda process: None
    naps: Callable[[Process], None] = lambda process: None
    processes: list[Process] = field(default_factory=list)

    def say(self, who: str, what: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.loop.now:10.4f}  {who:<10} {what}")

    def delay(self) -> float:
        drawn = self.rng.random()
        if drawn >= self.slow:
            return 0.0005 + 0.006 * drawn
        return 0.1 + self.rng.random() if drawn > self.slow / 4 else 1.0 + 5.0 * self.rng.random()

    def spawn(self, process: Process, work: Any) -> Any:
        """A task of this process, and so are all that it makes."""
        if process not in self.processes:
            self.processes.append(process)
        context = copy_context()
        context.run(OWNER.set, process)
        return context.run(self.loop.create_task, work, context=context)

    async def call(
        self, process: Process, server: Server, name: str, effect: Callable[[], Any], *, extra_s: float = 0.0
    ) -> Any:
        """One call; `extra_s`: what the server takes before it looks."""
        process.check()
        process.calls += 1
        if process.calls == process.dies_at_call:
            self.say(process.name, f"killed at call {process.calls}, {name}")
            self.killed(process)
        answer = self.loop.create_future()
        way = _Way(self, process, server, name, effect, answer, server.epoch)
        asleep = max(0.0, process.asleep_until - self.loop.now)
        if name == "publish" and process.nap_s:
            self.naps(process)
        self.loop.call_later(asleep + self.delay() + extra_s, way.arrive)
        return await answer

    async def rest(self, process: Process, seconds: float) -> None:
        """Time passes for this process; longer when it sleeps meanwhile."""
        process.check()
        woken = self.loop.create_future()
        self.loop.call_later(seconds, self.deliver, process, woken, None, None)
        await woken

    def deliver(self, process: Process, answer: Any, result: Any, error: BaseException | None) -> None:
        if process.asleep_until > self.loop.now:
            self.loop.call_at(process.asleep_until, self.deliver, process, answer, result, error)
        elif not answer.done():
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)


@dataclass(eq=False)
class _Way:
    """A request that is under way."""

    net: Net
    process: Process
    server: Server
    name: str
    effect: Callable[[], Any]
    answer: Any
    epoch: int

    def arrive(self) -> None:
        rng, server = self.net.rng, self.server
        drawn = rng.random()
        cut = server.down or server.epoch != self.epoch or drawn < server.loses / 2
        if cut or (not self.process.alive and drawn < 0.5):
            self._answer(None, server.failure(), "not done")
            return
        try:
            result, error = self.effect(), None
        except Exception as err:  # the server's answer; what it was, the caller finds out  # noqa: BLE001
            result, error = None, err
        if drawn > 1 - server.loses / 2:
            self._answer(None, server.failure(), "done, answer lost")
        else:
            self._answer(result, error, "")

    def _answer(self, result: Any, error: BaseException | None, note: str) -> None:
        if self.net.trace is not None:
            what = note or (f"raised {error!r}" if error else _short(result))
            self.net.say(self.process.name, f"{self.server.name}.{self.name}: {what}")
        if self.process.alive:
            self.net.loop.call_later(self.net.delay(), self._back, result, error)

    def _back(self, result: Any, error: BaseException | None) -> None:
        if self.server.epoch != self.epoch:
            result, error = None, self.server.failure()
        self.net.deliver(self.process, self.answer, result, error)


def _short(result: Any) -> str:
    text = repr(result)
    return text if len(text) < 200 else f"{text[:200]}..."


class NothingErased:
    """The ledger of erasures, where nobody ordered one."""

    async def announced(self) -> int:
        return 0

    async def entries(self, *, after: int = 0) -> Sequence[Any]:
        return ()


NO_ERASURES: Mapping[str, Any] = {"open_ledger": lambda *_: NothingErased(), "marks_if_any": lambda _: None}
