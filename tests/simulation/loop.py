"""An event loop without a clock, a thread or a socket: time jumps to the next timer, so a minute passes in milliseconds.

What is ready runs in the order in which it became ready, as in asyncio. All that differs from run to run comes from the
seed: how long each call takes, and what happens meanwhile.
"""

import asyncio
import contextvars
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any


class Call:
    """A callback that waits for its turn; asyncio.Handle without its debugging."""

    __slots__ = ("args", "callback", "context", "gone", "when_s")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Any, when_s: float) -> None:
        self.callback, self.args, self.when_s, self.gone = callback, args, when_s, False
        self.context = context if context is not None else contextvars.copy_context()

    def cancel(self) -> None:
        self.gone = True

    def cancelled(self) -> bool:
        return self.gone

    def when(self) -> float:
        return self.when_s


class SimTask(asyncio.Task):  # type: ignore[type-arg]
    """Hashed by its number: a set of tasks is walked in the same order in every process."""

    def __init__(self, coro: Any, *, number: int, **options: Any) -> None:
        self.number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class SimLoop(asyncio.AbstractEventLoop):
    """Enough of a loop for tasks, timers and futures. Threads, sockets and processes raise NotImplementedError."""

    def __init__(self) -> None:
        self.now = 0.0
        self.errors: list[Any] = []  # what a real loop would have logged: an error that nobody looked at
        self._ready: deque[Call] = deque()
        self._timers: list[tuple[float, int, Call]] = []
        self._timer = 0
        self._task = 0

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        call = Call(callback, args, context, self.now)
        self._ready.append(call)
        return call

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        call = Call(callback, args, context, when)
        self._timer += 1  # two timers of one moment: the older first
        heapq.heappush(self._timers, (when, self._timer, call))
        return call

    def create_future(self) -> Any:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        self._task += 1
        task = SimTask(coro, number=self._task, loop=self, name=name or f"task-{self._task}", context=context)
        owner = OWNER.get()
        if owner is not None:
            if len(owner.tasks) > 60:
                owner.tasks[:] = [old for old in owner.tasks if not old.done()]
            owner.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if "was destroyed but it is pending" not in context["message"]:
            self.errors.append(context.get("exception") or context["message"])

    def run(self, coro: Coroutine[Any, Any, Any], *, limit_s: float) -> Any:
        """What `coro` returns. Raises TimeoutError when `limit_s` of virtual time passes before."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            main = self.create_task(coro)
            while not main.done():
                self._turn(limit_s)
            return main.result()
        finally:
            events._set_running_loop(before)

    def settle(self) -> None:
        """Runs what is ready, and what that makes ready; no timer."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            while self._ready:
                self._turn(self.now)
        finally:
            events._set_running_loop(before)

    def _turn(self, limit_s: float) -> None:
        if not self._ready:
            if not self._timers:
                raise RuntimeError("deadlock: nothing is ready and nothing will be")
            when, _, call = heapq.heappop(self._timers)
            if call.gone:
                return
            if when > limit_s:
                raise TimeoutError(f"not done after {limit_s:.0f} s of virtual time")
            self.now = max(self.now, when)
            self._ready.append(call)
        call = self._ready.popleft()
        if not call.gone:
            call.context.run(call.callback, *call.args)


# the process in whose name this code runs: it has `tasks`, and loses all of them when it is killed
OWNER: contextvars.ContextVar[Any] = contextvars.ContextVar("OWNER", default=None)
