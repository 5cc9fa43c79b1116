"""One member of a consumer group on aiokafka: where it stands, what it may fetch, and how it comes back after trouble.

The group tells which partitions are ours; where each begins is for `start` to say. No partition is fetched before that:
at its assignment, in the same turn of the event loop, it is held. What waits for other servers (`start`, commits) runs in
the caller's task, so that the library's own task always answers the group in time.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as LibPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from l07.backends.kafka.config import Brokers, aiokafka_options, heartbeat_ms, milliseconds
from l07.backends.kafka.consumer import close, reading_options, woken
from l07.backends.kafka.fates import CAUGHT, fate_of
from l07.backends.kafka.fetch_watch import FetchWatch, has_ended, led, state_of
from l07.backends.kafka.fetching import read_raw, take, wake_fetcher
from l07.backends.kafka.starting import start
from l07.errors import BusUnavailable, L07Error, NoMergedOrder
from l07.events.record import TopicPartition
from l07.ports import Merged, Slice, Start

log = logging.getLogger("l07.kafka")

REVOKE_S = 5.0  # how long a rebalance waits for the slices in hand; a later write of them is fenced by the buffer
COMMIT_EVERY_S = 1.0  # for lag tools; the offset that counts is the buffer's
SILENCE_S = 10.0  # beyond the time in which a fetch fails by itself
NEVER_MS = 2**31 - 1  # a handler may take as long as it likes: heartbeats go on, and health is told by progress
NO_MEMBER = ""


class KafkaSubscription:
    """ports.Subscription. `start` is the group's committed offsets where the caller gave none."""

    def __init__(
        self, brokers: Brokers, topics: Sequence[str], *, group: str, start: Start, lazy_commits: bool
    ) -> None:
        self._brokers = brokers
        self._topics = list(topics)
        self._group = group
        self._start = start
        self._lazy_commits = lazy_commits
        self._consumer: AIOKafkaConsumer | None = None
        self._watch = FetchWatch(patience_s=0.0)  # of the consumer; made with it
        self._joining = asyncio.Lock()
        self._placed: set[TopicPartition] = set()  # assigned, and `start` or `seek` has said where it begins
        self._unplaced: set[TopicPartition] = set()  # assigned, and `start` must be asked
        self._held: frozenset[TopicPartition] = frozenset()
        self._in_hand: dict[TopicPartition, int] = {}  # of the slices that were handed out last: where they end
        self._finished = asyncio.Event()
        self._generation = 0
        self._member_id = NO_MEMBER
        self._replaced = 0  # how often the group knew us no more: with an instance id somebody else may have taken it
        self._out_since: float | None = None
        self._pending: dict[TopicPartition, int] = {}  # to be committed
        self._committing: asyncio.Task[None] | None = None
        self._committed_at = 0.0

    @property
    def rebalances(self) -> int:
        return max(0, self._generation - 1)

    # -------------------------------------------------------------- records

    async def poll(self, *, limit: int, timeout_s: float) -> Sequence[Slice]:
        self._finish()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            consumer = await self._member()
            await self._place_new()
            if slices := self._take(consumer, limit):
                return slices
            self._commit_now_and_then()
            if self._unplaced and not self._in_rebalance(consumer):
                continue  # the log under a position is gone, or there was a rebalance while `start` was asked
            self._watch.look([] if self._in_rebalance(consumer) else led(consumer, self._placed - self._held))
            left = deadline - loop.time()
            if left <= 0:
                return []
            await woken(consumer, left)

    async def poll_merged(self, *, limit: int) -> Merged | None:
        raise NoMergedOrder("Kafka has no order over partitions: `--until-idle` needs the embedded bus")

    def _take(self, consumer: AIOKafkaConsumer, limit: int) -> Sequence[Slice]:
        if self._in_rebalance(consumer):
            return []
        slices, lost = take(consumer, limit=limit)
        for tp in lost:
            log.warning("position_gone", extra={"tp": str(tp)})
            self._set_aside(consumer, tp)
        if slices:
            self._in_hand = {slice_.tp: slice_.next for slice_ in slices}
            self._finished.clear()
        return slices

    def _finish(self) -> None:
        self._in_hand.clear()
        self._finished.set()

    # -------------------------------------------------------------- positions

    async def seek(self, tp: TopicPartition, offset: int) -> None:
        self._unplaced.discard(tp)
        self._place(tp, offset)

    def hold(self, tps: Collection[TopicPartition]) -> None:
        self._held = frozenset(tps)
        for tp in self._placed:
            self._fetch_or_not(tp)

    def position(self) -> Mapping[TopicPartition, int]:
        states = {tp: self._state(tp) for tp in self._placed}
        return {tp: state.position for tp, state in states.items() if state is not None}

    async def end_offsets(self) -> Mapping[TopicPartition, int]:
        consumer = await self._member()
        tps = [LibPartition(*tp) for tp in self._placed | self._unplaced]
        try:
            ends = await consumer.end_offsets(tps)
        except CAUGHT as err:
            raise fate_of(err, doing="end offsets") from err
        return {TopicPartition(*tp): offset for tp, offset in ends.items()}

    async def _place_new(self) -> None:
        """Ask `start` for what was assigned; an answer that a rebalance has overtaken is asked for again."""
        if not self._unplaced:
            return
        generation, asked = self._generation, sorted(self._unplaced)
        offsets = await self._start(asked)
        if generation != self._generation:
            return
        for tp in asked:
            if tp in self._unplaced:  # nobody has sought it meanwhile
                self._unplaced.discard(tp)
                if tp in offsets:
                    self._place(tp, offsets[tp])
                    self._pending.setdefault(tp, offsets[tp])  # a partition without traffic has a committed offset too

    def _place(self, tp: TopicPartition, offset: int) -> None:
        state = self._state(tp)
        if state is None or self._consumer is None:
            return
        state.seek(offset)
        self._placed.add(tp)
        self._consumer._fetcher._records.pop(tp, None)
        self._fetch_or_not(tp)

    def _fetch_or_not(self, tp: TopicPartition) -> None:
        state = self._state(tp)
        if state is None or self._consumer is None:
            return
        if tp in self._held:
            state.pause()
        else:
            state.resume()
            wake_fetcher(self._consumer._fetcher)

    def _set_aside(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> None:
        """Fetched no more until `start` was asked again."""
        state = self._state(tp)
        if state is not None:
            state.pause()
            self._placed.discard(tp)
            self._unplaced.add(tp)

    def _state(self, tp: TopicPartition) -> Any:
        """aiokafka's own of an assigned partition; None for any other."""
        subscription = self._consumer._subscription.subscription if self._consumer else None
        assignment = subscription.assignment if subscription else None
        return assignment.state_value(tp) if assignment else None

    # -------------------------------------------------------------- the group

    def _assigned(self, tps: Collection[Any]) -> None:
        """Called in the turn of the event loop in which the assignment is made: nothing was fetched yet."""
        if self._consumer is None:  # on its way out
            return
        self._generation += 1
        member_id, self._member_id = self._member_id, self._consumer._coordinator.member_id
        self._replaced += member_id not in (NO_MEMBER, self._member_id)
        self._placed.clear()
        self._unplaced = {TopicPartition(*tp) for tp in tps}
        for tp in self._unplaced:
            state = self._state(tp)
            state.seek(0)  # a position that nobody fetches; without one the library would look for the group's
            state.pause()
        log.info("partitions_assigned", extra={"group": self._group, "tps": [str(tp) for tp in sorted(self._unplaced)]})

    async def _revoked(self) -> None:
        """The slices in hand are finished first, but a rebalance does not wait for ever."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._finished.wait(), REVOKE_S)
        await self._commit_pending()
        self._placed.clear()
        self._unplaced.clear()
        self._pending.clear()

    def _in_rebalance(self, consumer: AIOKafkaConsumer) -> bool:
        return bool(consumer._subscription.reassignment_in_progress)

    async def _member(self) -> AIOKafkaConsumer:
        """A consumer that is in the group, or on its way into it; one that came to an end is replaced."""
        async with self._joining:  # a poll and a look at the ends may come at once, and only one of them may join
            if self._consumer is None:
                self._consumer = await self._join()
        try:
            why = self._check(self._consumer)
        except CAUGHT as err:
            await self._leave()
            raise self._told(err) from err
        if why:
            await self._leave()
            raise BusUnavailable(f"the group {self._group}: {why}: joining anew", group=self._group)
        return self._consumer

    def _check(self, consumer: AIOKafkaConsumer) -> str:
        """What no waiting mends; "" while all is well. Raises what ended one of the library's tasks."""
        consumer._coordinator.check_errors()
        if has_ended(consumer) or self._watch.silent:
            log.error("fetch_stands_still", extra={"group": self._group, **state_of(consumer)})
            return "the client has stopped fetching"
        if self._is_out_for_too_long(consumer):
            return f"no place in it for {self._patience_s:.0f} s"
        if self._replaced > 1 and self._brokers.instance(self._group):  # once is a pause beyond the session timeout
            return f"it has put another member in our place{self._doubled}"
        return ""

    def _is_out_for_too_long(self, consumer: AIOKafkaConsumer) -> bool:
        """aiokafka #1037: a member that the group has forgotten may never join again by itself."""
        now = asyncio.get_running_loop().time()
        if not self._in_rebalance(consumer) and consumer._coordinator.member_id != NO_MEMBER:
            self._out_since = None
        elif self._out_since is None:
            self._out_since = now
        return self._out_since is not None and now - self._out_since > self._patience_s

    @property
    def _patience_s(self) -> float:
        """Another member that is dead is waited for by the group as long as a session, and once more at the join."""
        kafka = self._brokers.kafka
        return 2 * kafka.session_timeout_s + kafka.request_timeout_s

    def _told(self, err: Exception) -> L07Error:
        doing = f"group {self._group}"
        if self._brokers.instance(self._group) and "UnknownError" in str(err):  # the library's name for a fenced one
            doing += self._doubled
        return fate_of(err, doing=doing)

    @property
    def _doubled(self) -> str:
        return f"; is there another live member whose instance id is {self._brokers.instance(self._group)}?"

    async def _join(self) -> AIOKafkaConsumer:
        kafka = self._brokers.kafka
        session_ms = milliseconds(kafka.session_timeout_s)
        consumer = AIOKafkaConsumer(
            **aiokafka_options(self._brokers),
            **reading_options(self._brokers),
            group_id=self._brokers.group(self._group),
            group_instance_id=self._brokers.instance(self._group),
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=heartbeat_ms(session_ms),
            rebalance_timeout_ms=session_ms,
            max_poll_interval_ms=NEVER_MS,
            partition_assignment_strategy=(_Assignor(self._assigned),),
        )
        self._out_since, self._member_id, self._replaced = None, NO_MEMBER, 0
        await start(consumer, close, doing=f"joining the group {self._group}")
        self._watch = FetchWatch(patience_s=kafka.request_timeout_s + SILENCE_S)
        read_raw(consumer, bound=kafka.unpacked_bytes, watch=self._watch)
        consumer.subscribe(self._topics, listener=_Listener(self._revoked))
        return consumer

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._placed.clear()
        self._unplaced.clear()
        if consumer is not None:
            await close(consumer)

    async def close(self) -> None:
        """A last commit, then out of the group; a static member (instance id) keeps its place for its restart."""
        self._finish()
        await self._commit_pending()
        await self._leave()

    # -------------------------------------------------------------- commits

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """With `start` for lag tools only: in the background, once a second at most. A failure is no error: whoever has the
        partition now commits for it."""
        self._pending.update(offsets)
        self._in_hand = {tp: end for tp, end in self._in_hand.items() if offsets.get(tp, -1) < end}
        if not self._in_hand:
            self._finished.set()
        if self._lazy_commits:
            self._commit_now_and_then()
        else:
            await self._commit_pending()

    def _commit_now_and_then(self) -> None:
        now = asyncio.get_running_loop().time()
        busy = self._committing is not None and not self._committing.done()
        if self._pending and not busy and now - self._committed_at >= COMMIT_EVERY_S:
            self._committed_at = now
            self._committing = asyncio.create_task(self._commit_pending())

    async def _commit_pending(self) -> None:
        consumer, offsets = self._consumer, self._pending
        mine = {LibPartition(*tp): offset for tp, offset in offsets.items() if self._state(tp) is not None}
        if consumer is None or not mine:
            return
        self._pending = {}
        try:
            async with asyncio.timeout(REVOKE_S):
                await consumer.commit(mine)
        except CAUGHT as err:
            log.info("offsets_not_committed", extra={"group": self._group, "why": str(err)})
            self._pending = offsets | self._pending


class _Assignor:
    """Round robin, as the library does it; and the one hook that it calls in the same turn as it makes an assignment."""

    name = RoundRobinPartitionAssignor.name
    assign = staticmethod(RoundRobinPartitionAssignor.assign)
    metadata = staticmethod(RoundRobinPartitionAssignor.metadata)

    def __init__(self, assigned: Callable[[Collection[Any]], None]) -> None:
        self._assigned = assigned

    def on_assignment(self, assignment: Any) -> None:
        self._assigned(assignment.partitions())


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, revoked: Callable[[], Any]) -> None:
        self._revoked = revoked

    async def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        await self._revoked()

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        """The assignor has told already, and earlier."""
