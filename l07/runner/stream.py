"""The ingest at full speed: the next batches are fetched and decoded while the buffer's server works on those under way."""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from l07.errors import Transient
from l07.events.record import TopicPartition
from l07.pipeline.compiled import value_bytes
from l07.pipeline.ingest import IngestRules, ingest
from l07.ports import Applied, ExampleBuffer, IngestBatch, Slice, Start, Subscription
from l07.runner.batches import at_end, timed_apply, told_refused

log = logging.getLogger("l07.runner")

COMMIT_S = 5.0  # for lag tools only


class Work(NamedTuple):
    slices: Sequence[Slice]  # of different partitions
    batch: IngestBatch


@dataclass(slots=True)
class Done:
    """What one turn did."""

    records: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    sealed: list[str] = field(default_factory=list)
    refused: bool = False


@dataclass(slots=True)
class Stream:
    """One member's flow. Within a partition order holds: never are two batches of one partition under way.

    Whatever goes wrong with a batch (refused; no memory; no answer, so that nobody knows whether it was done), all that was
    read ahead is dropped, and each partition that it was of goes back to where the buffer says that it stands. Applying the
    same records again is harmless: the buffer skips what it has."""

    sub: Subscription
    buffer: ExampleBuffer
    start: Start
    rules: IngestRules
    slice_records: int = 250
    ahead: int = 2000  # records that are fetched before their turn, about 4 MB
    flights: int = 2  # batches under way: while one is worked on, the next lies at the server's door
    turns: int = 2  # of the loop, for a batch to be on its way before the decoder takes the processor: the buffer's
    logs: Mapping[TopicPartition, str] = field(default_factory=dict)  # by name, as `start` last found them
    clock: Callable[[], float] = time.monotonic
    lost: set[TopicPartition] = field(default_factory=set)  # to go back
    silent: set[TopicPartition] = field(default_factory=set)  # `start` left them out
    held: frozenset[TopicPartition] = frozenset()
    stopped: bool = False
    taken_bytes: int = 0  # of all records that were applied
    _waiting: dict[TopicPartition, deque[Slice]] = field(default_factory=dict)
    _decoded: Work | None = None
    _flying: dict["asyncio.Task[Applied]", Work] = field(default_factory=dict)
    _landed: "asyncio.Future[None] | None" = None  # somebody waits for the next answer
    _applied: dict[TopicPartition, int] = field(default_factory=dict)
    _committed_at: float = 0.0
    _rebalances: int = 0

    async def step(self, *, timeout_s: float) -> Done:
        """One turn: fetch if there is room, send what may go, decode the next, wait for the first answer.

        Raises what the bus or the buffer raised; after a Transient the next turn begins with going back."""
        self._forget_what_left()
        if self.lost and self._flying:  # going back must find nothing moving
            await asyncio.wait(self._flying)
            return await self._land()
        if self.lost:
            await self._go_back()
        if self.stopped and not self._flying:
            await self._stay_a_member(timeout_s)
            return Done()
        if not self.stopped and self._queued() < max(1, self.ahead // 2):
            self._take(await self.sub.poll(limit=self.ahead, timeout_s=0.0 if self.under_way() else timeout_s))
        await self._send()
        if not self._flying:
            return Done()
        if self._decoded is None:
            self._decoded = self._next()
        await self._first_answer()
        return await self._land()

    async def finish(self) -> Done:
        """What is under way lands; nothing new is sent. What was read ahead is left to the next owner."""
        self._waiting.clear()
        self._decoded = None
        done = Done()
        if self._flying:
            await asyncio.wait(self._flying)
            done = await self._land()
        await self._commit(0.0)
        return done

    async def at_end(self) -> dict[TopicPartition, int]:
        """The partitions that are applied to their end, with that end, as the buffer says too.

        One that stands elsewhere than the buffer, with nothing under way, shows that the buffer rolled back, or is of
        another log: it begins anew. A partition to which no record comes, or whose records pass for repeats, would never
        be refused."""
        before = self._settled()
        stored = await self.buffer.positions()
        ends = await at_end(self.sub, under_way=lambda: self.under_way() | self.lost)
        same = {tp for tp, position in self._settled().items() if before.get(tp) == position}
        apart = {tp for tp in same if tp not in stored or stored[tp].next != before[tp]}
        self.lost |= apart
        return {tp: end for tp, end in ends.items() if tp in same - apart}

    def _settled(self) -> dict[TopicPartition, int]:
        """Where the partitions stand of which nothing is under way."""
        moving = self.under_way() | self.lost
        return {tp: position for tp, position in self.sub.position().items() if tp not in moving}

    def under_way(self) -> set[TopicPartition]:
        """Of which something was fetched that the buffer has not answered for."""
        decoded = {slice_.tp for slice_ in self._decoded.slices} if self._decoded else set()
        return self._in_flight() | decoded | {tp for tp, pieces in self._waiting.items() if pieces}

    def hold(self, tps: Collection[TopicPartition], *, stopped: bool = False) -> None:
        """Take nothing of these from now on, and of all others again; `stopped`: of none. What was read ahead of them goes back."""
        self.held, self.stopped = frozenset(tps), stopped
        away = self.under_way() - self._in_flight() if stopped else self.held & self.under_way()
        self._drop(away)
        self._pause()

    async def obey(self, rules: IngestRules) -> None:
        """From now on by these rules: what is under way lands, and what was read ahead is read again."""
        self.rules = rules
        self._drop(self.under_way() - self._in_flight())
        if self._flying:
            await asyncio.wait(self._flying)

    def look_again(self, tps: Collection[TopicPartition]) -> None:
        """Ask `start` anew at the next turn about partitions that it left out; those that are mended go on."""
        self.lost |= set(tps)
        self.silent |= set(tps)

    # -------------------------------------------------------------- below

    def _in_flight(self) -> set[TopicPartition]:
        return {slice_.tp for work in self._flying.values() for slice_ in work.slices}

    def _queued(self) -> int:
        return sum(len(piece.records) for pieces in self._waiting.values() for piece in pieces)

    def _forget_what_left(self) -> None:
        """Partitions that went to another member. What is decoded or under way of them may still land: the fence decides."""
        if self.sub.rebalances != self._rebalances:
            self._rebalances = self.sub.rebalances
            ours = self.sub.position()
            self._waiting = {tp: pieces for tp, pieces in self._waiting.items() if tp in ours}

    def _take(self, slices: Sequence[Slice]) -> None:
        self._forget_what_left()
        for slice_ in slices:
            pieces = self._waiting.setdefault(slice_.tp, deque())
            if pieces and pieces[-1].next != slice_.start:  # the client was sent elsewhere: this is what counts now
                pieces.clear()
            pieces.append(slice_._replace(log=self.logs.get(slice_.tp, "")))

    async def _send(self) -> None:
        while len(self._flying) < self.flights:
            work = self._decoded or self._next()
            if work is None or self._in_flight() & {slice_.tp for slice_ in work.slices}:
                self._decoded = work
                return
            self._decoded = None
            flight = asyncio.create_task(timed_apply(self.buffer, work.batch))
            flight.add_done_callback(self._answered)
            self._flying[flight] = work
            for _ in range(self.turns):
                await asyncio.sleep(0)

    async def _first_answer(self) -> None:
        """`asyncio.wait` for the first does the same, and looks at all of them four times."""
        if not any(task.done() for task in self._flying):
            self._landed = asyncio.get_running_loop().create_future()
            await self._landed

    def _answered(self, _: "asyncio.Task[Applied]") -> None:
        if self._landed is not None and not self._landed.done():
            self._landed.set_result(None)

    def _next(self) -> Work | None:
        """The next records of partitions in turn, one full batch where there are so many; of partitions with nothing under
        way where there are such."""
        flying = self._in_flight()
        ready = [tp for tp, pieces in self._waiting.items() if pieces]
        chosen: list[Slice] = []
        room = self.slice_records
        for tp in [tp for tp in ready if tp not in flying] or ready[:1]:
            pieces = self._waiting.pop(tp)
            piece, rest = divided(pieces.popleft(), room)
            chosen.append(piece)
            room -= len(piece.records)
            if rest is not None:
                pieces.appendleft(rest)
            self._waiting[tp] = pieces  # its next turn comes after the others'
            if room <= 0:
                break
        return Work(chosen, ingest(chosen, rules=self.rules)) if chosen else None

    async def _land(self) -> Done:
        """Take the answers that are there; after a failure wait for all of them first, so that going back finds nothing moving."""
        done, failures = Done(), list[BaseException]()
        self._take_answers(done, failures)
        if done.refused or failures:
            if self._flying:
                await asyncio.wait(self._flying)
                self._take_answers(done, failures)
            self._drop(self.under_way())
        if failures:
            raise failures[0]
        await self._commit(COMMIT_S)
        return done

    def _take_answers(self, done: Done, failures: list[BaseException]) -> None:
        for task in [task for task in self._flying if task.done()]:
            work = self._flying.pop(task)
            failure = task.exception()
            if failure is not None or task.result().refused:
                self.lost |= {slice_.tp for slice_ in work.slices}
            if failure is not None:
                failures.append(failure)
            elif task.result().refused:
                told_refused(task.result())
                done.refused = True
            else:
                self._count(done, work, task.result())

    def _count(self, done: Done, work: Work, applied: Applied) -> None:
        done.records += sum(len(slice_.records) for slice_ in work.slices)
        self.taken_bytes += sum(value_bytes(slice_.records) for slice_ in work.slices)
        done.counts.update(applied.counts)
        done.sealed += applied.sealed
        self._applied.update({slice_.tp: slice_.next for slice_ in work.slices})

    def _drop(self, tps: Collection[TopicPartition]) -> None:
        """Forget what was read ahead of these; they go back before the next fetch."""
        decoded = {slice_.tp for slice_ in self._decoded.slices} if self._decoded else set()
        if decoded & set(tps):
            self._decoded = None
            self.lost |= decoded
            for tp in decoded:
                self._waiting.pop(tp, None)
        for tp in tps:
            self._waiting.pop(tp, None)
        self.lost |= set(tps)

    async def _go_back(self) -> None:
        await self._stay_a_member(0.0)  # the buffer may be away for long: a group forgets members that do not poll
        ours = self.sub.position().keys() | self.silent
        lost = sorted(self.lost & ours)
        found = await self.start(lost) if lost else {}
        for tp, offset in found.items():
            await self.sub.seek(tp, offset)
        self.silent = (self.silent | set(lost)) - found.keys()
        self.lost.clear()
        self._pause()

    async def _stay_a_member(self, timeout_s: float) -> None:
        self.sub.hold(self.sub.position().keys())
        for slice_ in await self.sub.poll(limit=1, timeout_s=timeout_s):  # a partition that came just now
            self.lost.add(slice_.tp)

    def _pause(self) -> None:
        self.sub.hold(self.sub.position().keys() if self.stopped else self.held | self.silent)

    async def _commit(self, every_s: float) -> None:
        now = self.clock()
        if not self._applied or now - self._committed_at < every_s:
            return
        ours = self.sub.position()
        offsets = {tp: next_ for tp, next_ in self._applied.items() if tp in ours}
        self._applied.clear()
        self._committed_at = now
        try:
            await self.sub.commit(offsets)
        except Transient as err:  # only lag tools read it; the next commit is as good
            log.warning("commit_failed", extra={"code": err.code, "why": err.message})


def divided(slice_: Slice, size: int) -> tuple[Slice, Slice | None]:
    """The first `size` records, at least one, and the rest; what holds no record stays whole, and goes with the last one before."""
    tp, start, end, records, log_name = slice_
    if len(records) <= size:
        return slice_, None
    at = records[size - 1].offset + 1
    return Slice(tp, start, at, records[:size], log_name), Slice(tp, at, end, records[size:], log_name)
