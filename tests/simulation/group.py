"""A simulated consumer group: rebalances at any moment, owners that overlap, members that sleep through all of it.

Harsher than Kafka: the old owner of a partition may learn of its loss after the new one has begun."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from l07.errors import L07Error
from l07.events.record import TopicPartition
from l07.ports import Slice
from tests.simulation.net import Net

if TYPE_CHECKING:
    from tests.simulation.kafka import SimBus

SESSION_S = 3.0  # a member that is silent for this long has left
LEARN_S = 0.6  # within it a member learns of its new assignment


@dataclass(eq=False)
class Group:
    net: Net
    rng: random.Random
    partitions: Sequence[TopicPartition]
    cooperative: bool = True
    members: list["Member"] = field(default_factory=list)
    generation: int = 0

    def join(self, member: "Member") -> None:
        if member not in self.members:
            self.members.append(member)
            self.rebalance()
        if not member.bus.process.alive:  # his request came, he is gone
            self.net.loop.call_later(SESSION_S, self.silent, member)

    def leave(self, member: "Member") -> None:
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def silent(self, member: "Member") -> None:
        """Called when the session of somebody who went silent is over: is he still?"""
        process = member.bus.process
        if not process.alive or process.asleep_until > self.net.loop.now:
            self.leave(member)

    def rebalance(self) -> None:
        self.generation += 1
        tps = list(self.partitions)
        self.rng.shuffle(tps)
        for number, member in enumerate(self.members):
            share = tps[number :: len(self.members)]
            self.net.loop.call_later(LEARN_S * self.rng.random(), member.adopt, self.generation, sorted(share))

    def wake(self) -> None:
        for member in self.members:
            member.wake()


class Member:
    """ports.Subscription."""

    def __init__(self, bus: "SimBus", group: Group, name: str, topics: Sequence[str], start: Any) -> None:
        self.bus, self.group, self.name, self.topics = bus, group, name, topics
        self._net, self._kafka = group.net, bus.kafka
        self._start = start
        self._generation = 0
        self._assigned: dict[TopicPartition, int] = {}  # -> the generation or seek that counts now
        self._positions: dict[TopicPartition, int] = {}
        self._unplaced: set[TopicPartition] = set()  # `start` has not said yet where
        self._starting = False
        self._again = False
        self._trouble: L07Error | None = None
        self._held: frozenset[TopicPartition] = frozenset()
        self._waiting: Any = None
        self._turn = 0
        self._count = 0
        self.rebalances = 0

    # ---------------------------------------------------------- what the coordinator says

    def adopt(self, generation: int, share: Sequence[TopicPartition]) -> None:
        process, loop = self.bus.process, self._net.loop
        if not process.alive or generation <= self._generation:
            return
        if process.asleep_until > loop.now:
            loop.call_at(process.asleep_until + LEARN_S * self._net.rng.random(), self.adopt, generation, share)
            return
        self._generation = generation
        if self not in self.group.members:  # he slept too long: his session is over, and he comes again
            share = []
            self.group.join(self)
        elif generation != self.group.generation:
            return
        self._net.say(process.name, f"assigned {[str(tp) for tp in share]}")
        for tp in [tp for tp in self._assigned if tp not in share or not self.group.cooperative]:
            del self._assigned[tp]
            self._positions.pop(tp, None)
            self._unplaced.discard(tp)
        for tp in share:
            if tp not in self._assigned:
                self._place(tp)
        self.rebalances += 1
        self.begin()
        self.wake()

    def learn(self) -> None:
        """A heartbeat after a sleep: is the session still there?"""
        if self.bus.process.alive and self not in self.group.members:
            for tp in list(self._assigned):
                del self._assigned[tp]
            self._positions.clear()
            self._unplaced.clear()
            self.rebalances += 1
            self.group.join(self)

    def forget(self, topic: str) -> None:
        """The client sees that the topic it knew is gone: no position of it is one any more."""
        for tp in [tp for tp in self._assigned if tp.topic == topic]:
            self._place(tp)
        self.begin()

    def _place(self, tp: TopicPartition) -> None:
        self._count += 1
        self._assigned[tp] = self._count
        self._positions.pop(tp, None)
        self._unplaced.add(tp)

    def begin(self) -> None:
        """Ask `start` where to begin, in the background."""
        if self._starting:
            self._again = True
        elif self._unplaced and self.bus.process.alive:
            self._starting = True
            self._net.spawn(self.bus.process, self._ask(sorted(self._unplaced)))

    async def _ask(self, tps: Sequence[TopicPartition]) -> None:
        marks = {tp: self._assigned[tp] for tp in tps}
        try:
            found: Mapping[TopicPartition, int] = await self._start(tps)
        except L07Error as err:
            self._trouble = err
            self._starting = self._again = False
            self.wake()
            return
        for tp, mark in marks.items():
            if self._assigned.get(tp) == mark and tp in self._unplaced:
                self._unplaced.discard(tp)  # one that `start` left out is silent until `seek`
                if tp in found:
                    self._positions[tp] = found[tp]
        self._starting = False
        self.wake()
        if self._again or self._unplaced:
            self._again = False
            self.begin()

    # ---------------------------------------------------------- the port

    async def poll(self, *, limit: int, timeout_s: float) -> Sequence[Slice]:
        loop, process = self._net.loop, self.bus.process
        deadline = loop.now + timeout_s
        await self._net.rest(process, 0.001 + 0.004 * self._net.rng.random())
        while True:
            if self._trouble is not None:
                trouble, self._trouble = self._trouble, None
                raise trouble
            self.begin()
            slices = self._take(limit)
            if slices or loop.now >= deadline:
                return slices
            await self._wait(deadline)

    async def poll_merged(self, *, limit: int) -> Any:
        raise NotImplementedError("Kafka has no merged order")

    async def seek(self, tp: TopicPartition, offset: int) -> None:
        if tp in self._assigned:
            self._place(tp)
            self._unplaced.discard(tp)
            self._positions[tp] = offset

    def hold(self, tps: Collection[TopicPartition]) -> None:
        self._held = frozenset(tps)
        self.wake()

    def position(self) -> Mapping[TopicPartition, int]:
        return dict(self._positions)

    async def end_offsets(self) -> Mapping[TopicPartition, int]:
        found = await self.bus.end_offsets(sorted({tp.topic for tp in self._assigned}))
        return {tp: end for tp, end in found.items() if tp in self._assigned}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """A group takes commits of its members only."""

        def effect() -> None:
            if self in self.group.members:
                self._kafka.commits.setdefault(self.name, {}).update(offsets)

        await self._net.call(self.bus.process, self._kafka.server, "commit", effect)

    # ---------------------------------------------------------- below

    def wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            late = 0.002 + 0.02 * self._net.rng.random()
            self._net.loop.call_later(late, self._net.deliver, self.bus.process, self._waiting, None, None)

    async def _wait(self, deadline: float) -> None:
        self._waiting = self._net.loop.create_future()
        self._net.loop.call_at(deadline, self._net.deliver, self.bus.process, self._waiting, None, None)
        await self._waiting

    def _take(self, limit: int) -> list[Slice]:
        now, slices = self._net.loop.now, list[Slice]()
        if self._kafka.server.down:
            return slices
        tps = sorted(self._positions.keys() - self._held)
        self._turn += 1
        for tp in tps[self._turn % max(1, len(tps)) :] + tps[: self._turn % max(1, len(tps))]:
            log, start = self._kafka.logs[tp], self._positions[tp]
            if not log.begin <= start <= log.next:  # the log under the position is gone
                self._place(tp)
                self.begin()
            elif limit > 0 and start < log.end and self._kafka.slow.get(tp, 0.0) <= now:
                records, next_ = log.fetch(start, min(limit, self._kafka.rng.randrange(1, 13)), self._kafka.rng)
                self._positions[tp] = next_
                slices.append(Slice(tp, start, next_, records))
                limit -= len(records)
        if slices and self._net.trace is not None:
            self._net.say(self.bus.process.name, "took " + ", ".join(f"{s.tp} {s.start}-{s.next}" for s in slices))
        return slices
