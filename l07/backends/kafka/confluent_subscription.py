"""One member of a consumer group on confluent-kafka, as the event loop sees it: what was handed out, and where it goes on.

The member's thread fetches (confluent_member.py). What waits for other servers (`start`) runs in the caller's task."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from l07.backends.kafka.config import Brokers
from l07.backends.kafka.confluent_config import member_options
from l07.backends.kafka.confluent_fates import CAUGHT, fate_of
from l07.backends.kafka.confluent_member import Member, News, Piece, Ticket
from l07.errors import NoMergedOrder
from l07.events.record import TopicPartition
from l07.ports import Merged, Slice, Start

log = logging.getLogger("l07.kafka")

REVOKE_S = 5.0  # how long a rebalance waits for the slices in hand; a later write of them is fenced by the buffer
COMMIT_EVERY_S = 1.0  # for lag tools; the offset that counts is the buffer's
WAITED: tuple[type[Exception], ...] = (*CAUGHT, TimeoutError)
RAW_RECORDS = 500  # of a partition that librdkafka cannot read here: read by ourselves, at most so many at a time

ReadRaw = Callable[[TopicPartition, int, int], Awaitable[Slice | None]]
Ends = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]


class ConfluentSubscription:
    """ports.Subscription. `start` is the group's committed offsets where the caller gave none."""

    def __init__(
        self,
        brokers: Brokers,
        topics: Sequence[str],
        *,
        group: str,
        start: Start,
        lazy_commits: bool,
        read_raw: ReadRaw,
        ends: Ends,
    ) -> None:
        self._member = Member(member_options(brokers, group), topics, wait_s=REVOKE_S)
        self._group = group
        self._start = start
        self._lazy_commits = lazy_commits
        self._read_raw = read_raw
        self._ends = ends
        self._assigned: dict[TopicPartition, int] = {}  # with the number of the assignment
        self._unplaced: set[TopicPartition] = set()  # assigned, and `start` must be asked
        self._unreadable: set[TopicPartition] = set()  # what comes next must be read by ourselves
        self._tickets: dict[TopicPartition, Ticket] = {}
        self._positions: dict[TopicPartition, int] = {}  # handed out up to here
        self._ready: list[Slice] = []  # fetched and not handed out
        self._held: frozenset[TopicPartition] = frozenset()
        self._fetching: asyncio.Future[tuple[list[News], list[Piece]]] | None = None
        self._places = 0
        self._pending: dict[TopicPartition, int] = {}  # to be committed
        self._committed_at = 0.0

    def join(self) -> None:
        """Raises BusBroken (E7415) for options that the library refuses."""
        try:
            self._member.start()
        except CAUGHT as err:
            raise fate_of(err, doing=f"joining the group {self._group}") from err

    async def close(self) -> None:
        """A last commit, then out of the group; a static member (instance id) keeps its place for its restart."""
        await self._commit_pending()
        await self._member.leave()

    @property
    def rebalances(self) -> int:
        return max(0, self._member.rebalances - 1)

    # -------------------------------------------------------------- records

    async def poll(self, *, limit: int, timeout_s: float) -> Sequence[Slice]:
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            await self._place_new()
            await self._read_unreadable()
            if slices := self._hand_out(limit):
                return slices
            left = deadline - asyncio.get_running_loop().time()
            self._hear(*await self._fetch(limit, max(0.0, left)))
            if slices := self._hand_out(limit):
                return slices
            self._commit_now_and_then()
            if left <= 0:
                return []

    async def poll_merged(self, *, limit: int) -> Merged | None:
        raise NoMergedOrder("Kafka has no order over partitions: `--until-idle` needs the embedded bus")

    async def _fetch(self, limit: int, timeout_s: float) -> tuple[list[News], list[Piece]]:
        """A fetch whose waiter was cancelled is the next one's."""
        if self._fetching is None:
            self._fetching = self._member.ask(lambda: self._member.fetch(limit, timeout_s), is_fetch=True)
        try:
            await asyncio.wait([self._fetching])
        except asyncio.CancelledError:
            self._member.hurry = True
            raise
        fetched, self._fetching = self._fetching, None
        try:
            return fetched.result()
        except CAUGHT as err:
            raise fate_of(err, doing=f"group {self._group}") from err

    def _hear(self, news: Sequence[News], pieces: Sequence[Piece]) -> None:
        for kind, tps, number in news:
            for tp in tps:
                self._changed(kind, tp, number)
        for slice_, ticket in pieces:
            if self._tickets.get(slice_.tp) == ticket:
                self._ready.append(slice_)

    def _changed(self, kind: str, tp: TopicPartition, number: int) -> None:
        if kind == "unreadable":
            self._unreadable.add(tp)
            return
        log.info("partition_news", extra={"group": self._group, "tp": str(tp), "what": kind})
        self._forget(tp)
        if kind == "revoked":
            self._assigned.pop(tp, None)
            return
        if kind == "assigned":
            self._assigned[tp] = number
        self._unplaced.add(tp)

    def _forget(self, tp: TopicPartition) -> None:
        self._unplaced.discard(tp)
        self._unreadable.discard(tp)
        self._tickets.pop(tp, None)
        self._positions.pop(tp, None)
        self._ready = [slice_ for slice_ in self._ready if slice_.tp != tp]

    def _hand_out(self, limit: int) -> Sequence[Slice]:
        """At most `limit` records of what is ready."""
        out: list[Slice] = []
        kept: list[Slice] = []
        for slice_ in self._ready:
            if limit <= 0 or slice_.tp in self._held:
                kept.append(slice_)
                continue
            piece, rest = _divided(slice_, limit)
            limit -= len(piece.records)
            self._positions[piece.tp] = piece.next
            out.append(piece)
            if rest is not None:
                kept.append(rest)
        self._ready = kept
        return out

    # -------------------------------------------------------------- positions

    async def seek(self, tp: TopicPartition, offset: int) -> None:
        if tp in self._assigned:
            self._forget(tp)
            await self._place(tp, offset)

    def hold(self, tps: Collection[TopicPartition]) -> None:
        self._held = frozenset(tps)
        held = self._held
        self._member.ask(lambda: self._member.hold(held)).add_done_callback(_seen)

    def position(self) -> Mapping[TopicPartition, int]:
        return dict(self._positions)

    async def end_offsets(self) -> Mapping[TopicPartition, int]:
        return await self._ends(sorted(self._assigned))

    async def _place_new(self) -> None:
        """Ask `start` for what was assigned; what it leaves out waits for a seek."""
        if not self._unplaced:
            return
        asked = {tp: self._assigned[tp] for tp in sorted(self._unplaced)}
        offsets = await self._start(list(asked))
        for tp, number in asked.items():
            if tp not in self._unplaced or self._assigned.get(tp) != number:
                continue  # sought meanwhile
            self._unplaced.discard(tp)
            if tp in offsets:
                self._pending.setdefault(tp, offsets[tp])  # a partition without traffic has a committed offset too
                await self._place(tp, offsets[tp])

    async def _place(self, tp: TopicPartition, offset: int) -> None:
        """Fetch from `offset`; slices that were fetched before it are dropped by their ticket."""
        self._places += 1
        ticket = self._assigned[tp], self._places
        self._tickets[tp] = ticket
        if not any(slice_.tp == tp for slice_ in self._ready):
            self._positions[tp] = offset
        placed = self._member.ask(lambda: self._member.place(tp, ticket, offset))
        try:
            await asyncio.shield(placed)
        except CAUGHT as err:
            raise fate_of(err, doing=f"fetching {tp} from offset {offset}") from err

    async def _read_unreadable(self) -> None:
        """What librdkafka cannot read we read ourselves: what is wrong with a record stands in it. Then librdkafka again."""
        busy = {slice_.tp for slice_ in self._ready}
        for tp in sorted(self._unreadable - busy):
            ticket, position = self._tickets[tp], self._positions[tp]
            found = await self._read_raw(tp, position, RAW_RECORDS)
            if self._tickets.get(tp) != ticket:
                continue  # sought or revoked meanwhile
            self._unreadable.discard(tp)
            if found is None:  # the log is gone there
                self._forget(tp)
                self._unplaced.add(tp)
                continue
            log.warning("read_raw", extra={"tp": str(tp), "offset": position, "next": found.next})
            if found.next > position:
                self._ready.append(found)
            await self._place(tp, found.next)

    # -------------------------------------------------------------- commits

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """With `start` for lag tools only: in the background, once a second at most. A failure is no error: whoever has the
        partition now commits for it."""
        self._pending.update(offsets)
        if self._lazy_commits:
            self._member.ask(lambda: self._member.finished(offsets)).add_done_callback(_seen)
            self._commit_now_and_then()
        else:
            await self._commit_pending()

    def _commit_now_and_then(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._pending and now - self._committed_at >= COMMIT_EVERY_S:
            self._committed_at = now
            offsets, self._pending = self._pending, {}
            self._member.ask(lambda: self._member.commit(offsets, wait=False)).add_done_callback(_seen)

    async def _commit_pending(self) -> None:
        offsets, self._pending = self._pending, {}
        if not offsets:
            return
        try:
            await asyncio.wait_for(self._member.ask(lambda: self._member.commit(offsets, wait=True)), REVOKE_S)
        except WAITED as err:
            log.info("offsets_not_committed", extra={"group": self._group, "why": str(err)})
            self._pending = offsets | self._pending


def _divided(slice_: Slice, limit: int) -> tuple[Slice, Slice | None]:
    """The first `limit` records of a slice, and the rest."""
    tp, start, end, records, log_name = slice_
    if len(records) <= limit:
        return slice_, None
    at = records[limit - 1].offset + 1
    return Slice(tp, start, at, records[:limit], log_name), Slice(tp, at, end, records[limit:], log_name)


def _seen(future: "asyncio.Future[Any]") -> None:
    """What nobody waits for: said, and no more."""
    if not future.cancelled() and (err := future.exception()) is not None:
        log.warning("kafka_said", extra={"text": str(err)})
