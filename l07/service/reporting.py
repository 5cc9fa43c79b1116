"""A job's attempt, told to trackers: beside the training and never in its way."""

import asyncio
import logging
import math
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from l07.errors import ReporterDown
from l07.ports import Reporter

log = logging.getLogger("l07.report")

WAITING = 10_000  # steps that may wait for a tracker; what comes on top is left out
END_S = 20.0  # what a tracker has to take the rest, once the attempt is over ...
CUT_OFF_S = 2.0  # ... or was cut off
LEFT_OUT = frozenset({"step", "steps", "eta_s", "attempt"})
Makers = Mapping[str, Callable[[], Reporter]]
_Call = Callable[[Reporter], None]


@dataclass(slots=True)
class Reporting:
    """One attempt. A tracker that fails is logged and told no more of this attempt; the job goes on."""

    makers: Makers
    lanes: list["_Lane"] = field(default_factory=list)

    def begin(self, job: str, attempt: int, about: Mapping[str, Any]) -> None:
        """`about`: names and values of what is trained; no prompts."""
        self.lanes = [_Lane(name, make) for name, make in self.makers.items()]
        for lane in self.lanes:
            lane.thread.start()
            lane.put(lambda reporter: reporter.begin(job, attempt, about))

    def tell(self, line: Mapping[str, Any]) -> None:
        """A line of progress; what in it is no measure of a step is left out."""
        step = line.get("step")
        values = {name: float(value) for name, value in line.items() if name not in LEFT_OUT and _is_number(value)}
        if isinstance(step, int) and values:
            for lane in self.lanes:
                lane.put(lambda reporter: reporter.tell(step, values), most=WAITING)

    async def end(self, state: str) -> None:
        """COMPLETED, FAILED or CUT_OFF. Waits until trackers have taken all, but not long: whoever is cut off has little time."""
        within_s = CUT_OFF_S if state == "CUT_OFF" else END_S
        for lane in self.lanes:
            lane.put(lambda reporter: reporter.end(state))
            lane.put(None)
        await asyncio.gather(*(asyncio.to_thread(lane.thread.join, within_s) for lane in self.lanes))
        for lane in self.lanes:
            if lane.thread.is_alive():
                log.warning("reporter_slow", extra={"reporter": lane.name})
        self.lanes = []


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Lane:
    """A tracker's own thread: it may be slow, or not answer, and holds up nobody."""

    def __init__(self, name: str, make: Callable[[], Reporter]) -> None:
        self.name = name
        self._make = make
        self._calls: queue.Queue[_Call | None] = queue.Queue()
        self.thread = threading.Thread(target=self._work, name=f"reporter {name}", daemon=True)

    def put(self, call: _Call | None, *, most: float = math.inf) -> None:
        if self._calls.qsize() < most:
            self._calls.put(call)

    def _work(self) -> None:
        try:
            reporter = self._make()
            while (call := self._calls.get()) is not None:
                call(reporter)
        except ReporterDown as err:
            log.warning("reporter_failed", extra={"reporter": self.name, "code": err.code, "why": err.message})
