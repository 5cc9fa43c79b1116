"""The thread in which one member of a group lives: librdkafka is called from nowhere else.

The event loop asks (`Asked`) and takes what came of it; the thread never waits for the loop, so a blocked loop costs no
membership. A partition is fetched only while it is placed: librdkafka is told of it with its position, and forgets it
again on a hold, a seek, an error or a revocation. So no old fetch and no position of librdkafka's own can come through."""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import confluent_kafka as lib

from l07.backends.kafka.confluent_records import MAX_SLICE_BYTES, Run, behind, cut
from l07.events.record import TopicPartition
from l07.ports import Slice

log = logging.getLogger("l07.kafka")

LOOK_S = 0.1  # a waiting fetch looks this often whether something else is asked
GATHER_S = 0.002  # after the first record: more that are on their way are worth one more moment
BITE = 250
IDLE_S = 0.5  # without a fetch for this long the thread calls in by itself
ASIDE_S = 3.0  # and after this long it gives up what was fetched ahead
LEAVE_S = 10.0  # leaving the group may wait for brokers that are away
GOODBYE_S = 1.0  # for giving partitions back; a static member says no goodbye and keeps its name

Ticket = tuple[int, int]  # (assignment, placing): what was fetched under another one is dropped


class News(NamedTuple):
    """What happened to partitions, in order."""

    kind: str  # assigned, revoked; gone, unreadable: of one whose place is taken from it
    tps: tuple[TopicPartition, ...]
    number: int = 0  # of the assignment


class Piece(NamedTuple):
    """A slice, and under which ticket it was fetched."""

    slice: Slice
    ticket: Ticket


@dataclass(slots=True)
class Asked:
    """One thing to do in the thread, and who waits for it."""

    what: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Any]"
    is_fetch: bool = False

    def run(self) -> None:
        result: Any = None
        error: Exception | None = RuntimeError("the client's thread has ended")
        try:
            result, error = self.what(), None
        except (lib.KafkaException, RuntimeError) as err:
            error = err
        finally:
            self.tell(result, error)

    def tell(self, result: Any, error: Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._tell, result, error)

    def _tell(self, result: Any, error: Exception | None) -> None:
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)


@dataclass(slots=True)
class Place:
    """A partition that has a position. `next`: what is fetched next."""

    ticket: Ticket
    next: int
    fetching: bool = False


@dataclass(slots=True)
class Member:
    """Everything below `start` runs in the thread."""

    options: Mapping[str, Any]
    topics: Sequence[str]
    wait_s: float  # for the slice in hand, when its partition is taken away
    rebalances: int = 0
    error: lib.KafkaError | None = None  # no retry mends it
    leaving: bool = False
    hurry: bool = False  # a fetch that nobody waits for any more ends
    _consumer: Any = None
    _asked: "queue.SimpleQueue[Asked | None]" = field(default_factory=queue.SimpleQueue)
    _later: deque[Asked | None] = field(default_factory=deque)  # taken from the queue while a partition was taken away
    _assigned: dict[TopicPartition, int] = field(default_factory=dict)
    _places: dict[TopicPartition, Place] = field(default_factory=dict)
    _held: frozenset[TopicPartition] = frozenset()
    _news: list[News] = field(default_factory=list)
    _rest: Sequence[Any] = ()  # messages beyond the size of one answer
    _fetched_at: float = 0.0
    _in_hand: dict[TopicPartition, int] = field(default_factory=dict)  # of what was handed out last: where it ends
    _aside: bool = False
    _ended: bool = False
    _thread: threading.Thread | None = None

    # -------------------------------------------------------------- from the event loop

    def start(self) -> None:
        """Raises KafkaException for options that the library refuses."""
        self._open()
        self._thread = threading.Thread(target=self._run, name="l07-kafka", daemon=True)
        self._thread.start()

    def ask(self, what: Callable[[], Any], *, is_fetch: bool = False) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        asked = Asked(what, loop, loop.create_future(), is_fetch)
        self._asked.put(asked)
        if self._ended:
            asked.tell(None, RuntimeError("the client's thread has ended"))
        return asked.answer

    async def leave(self) -> None:
        """Waits for the thread to end, for a bounded time: brokers that are away must not hold us."""
        self.hurry = self.leaving = True
        self._asked.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, LEAVE_S)
            if self._thread.is_alive():
                log.warning("group_not_left_in_order", extra={"group": self.options["group.id"]})

    # -------------------------------------------------------------- the thread

    def _run(self) -> None:
        try:
            while (asked := self._next_asked()) is not None:
                asked.run()
            self._go()
        finally:
            self._ended = True
            while not self._asked.empty():
                if (asked := self._asked.get()) is not None:
                    asked.tell(None, RuntimeError("the client's thread has ended"))

    def _open(self) -> None:
        options = dict(self.options)
        self._consumer = lib.Consumer(options, logger=options.pop("logger"))
        self._consumer.subscribe(
            list(self.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _open_again(self) -> None:
        """After an error that ends a client object for good. Raises it once: whoever asks next gets the new one."""
        error, self.error = self.error, None
        self._consumer = None  # never closed: see `_go`
        self._lost(tuple(self._assigned))
        self._open()
        raise lib.KafkaException(error)

    def _go(self) -> None:
        """Out of the group, and never by the library's close.

        In a close that revokes partitions the library goes on by itself after a fatal error, and after our first answer;
        what is said to it then is never answered, and it waits with Python's lock in its hand: the whole process stands
        still. To unsubscribe gives back the partitions and says goodbye too, and the destructor calls nobody back."""
        with contextlib.suppress(lib.KafkaException, RuntimeError):
            self._consumer.unsubscribe()
            until = time.monotonic() + GOODBYE_S
            while (self._assigned or self._consumer.memberid()) and time.monotonic() < until:
                self._cut(self._take(BITE, GOODBYE_S / 20, first=True), MAX_SLICE_BYTES, {})
            self._consumer.poll(GOODBYE_S / 20)  # what was said is on its way
        self._consumer = None

    def _next_asked(self) -> Asked | None:
        while not self._later:
            try:
                return self._asked.get(timeout=IDLE_S)
            except queue.Empty:
                self._call_in()
        return self._later.popleft()

    def _call_in(self) -> None:
        """Nobody fetches for a while: rebalances go on all the same, and nothing is fetched ahead any more."""
        if time.monotonic() - self._fetched_at < ASIDE_S:
            return
        try:
            if not self._aside:
                self._fetch_only(())
                self._aside = True
            message = self._consumer.poll(0)
            self._cut([message] if message is not None else [], MAX_SLICE_BYTES, {})
        except lib.KafkaException as err:
            log.warning("kafka_said", extra={"error": err.args[0].name(), "text": err.args[0].str()})

    def fetch(self, limit: int, timeout_s: float) -> tuple[list[News], list[Piece]]:
        """At most `limit` records; the news count before the slices."""
        self._in_hand = {}
        deadline = time.monotonic() + timeout_s
        if self.error is not None:
            self._open_again()
        if self._aside:
            self._aside = False
            self._fetch_wanted()
        while True:
            left = deadline - time.monotonic()
            pieces = self._gather(limit, min(LOOK_S, max(0.0, left)))
            if pieces or self._news or self.error or left <= 0 or self.hurry or not self._asked.empty():
                break
        self.hurry = False
        self._in_hand = {piece.slice.tp: piece.slice.next for piece in pieces}
        self._fetched_at = time.monotonic()
        news, self._news = self._news, []
        return news, pieces

    def _gather(self, limit: int, wait_s: float) -> list[Piece]:
        """Wait for a first record, then take what is there and on its way. In bites: what the library made of a record is
        gone before the next is made, which spares Python's collector of garbage a third of all work."""
        found: dict[TopicPartition, Piece] = {}
        room, first, dry = MAX_SLICE_BYTES, True, False
        while limit > 0 and room > 0 and not dry:
            asked = min(limit, BITE)
            messages = self._take(asked, wait_s, first=first)
            count, size = self._cut(messages, room, found)
            limit, room, first, dry = limit - count, room - size, False, len(messages) < asked
        return list(found.values())

    def _take(self, limit: int, wait_s: float, *, first: bool) -> Sequence[Any]:
        if self._rest:
            taken, self._rest = self._rest[:limit], self._rest[limit:]
            return taken
        head = [self._consumer.poll(wait_s)] if first else []
        if head == [None]:
            return ()
        return [*head, *self._consumer.consume(limit - len(head), GATHER_S if wait_s else 0)]

    def _cut(self, messages: Sequence[Any], room: int, found: dict[TopicPartition, Piece]) -> tuple[int, int]:
        """Adds to `found`, one slice for each partition; how many records and bytes that was."""
        runs, errors, rest, size = cut(messages, room)
        count = 0
        if rest:
            self._rest = [*rest, *self._rest]
        for run in runs:
            place = self._places.get(run.tp)
            if place is None or not place.fetching:
                continue  # revoked or stopped meanwhile: fetched before that
            start, place.next = place.next, run.next(place.next)
            if place.next > start:
                late = run.records and run.records[0].offset < start
                records = run.since(start) if late else run.records
                _add(found, Slice(run.tp, start, place.next, records), place.ticket)
                count += len(records)
            if run.stop:
                self._stop(run, place)
        for error in errors:
            self._note(error)
        return count, size

    def _stop(self, run: Run, place: Place) -> None:
        """Behind a batch that it cannot read librdkafka looks for the next at an offset out of nowhere, and says that the log
        is gone there, even after the partition was placed anew. Then it is told our position once more."""
        self._forget([run.tp])
        if run.stop == "gone" and run.gone_at != place.next:
            self._fetch_wanted()
            return
        del self._places[run.tp]
        self._news.append(News(run.stop, (run.tp,)))

    def _note(self, error: Any) -> None:
        if error.fatal() or error.code() == lib.KafkaError._FATAL:
            self.error = error
        log.warning("kafka_said", extra={"error": error.name(), "text": error.str()})

    # -------------------------------------------------------------- partitions

    def place(self, tp: TopicPartition, ticket: Ticket, offset: int) -> None:
        """Fetch from `offset`; of an assignment that is over: nothing."""
        if self._assigned.get(tp) != ticket[0]:
            return
        self._forget([tp])
        self._places[tp] = Place(ticket, offset)
        self._fetch_wanted()

    def hold(self, tps: frozenset[TopicPartition]) -> None:
        self._held = tps
        self._fetch_wanted()

    def commit(self, offsets: Mapping[TopicPartition, int], *, wait: bool) -> None:
        """Of partitions that are ours; whoever has the others commits for them."""
        self.finished(offsets)
        mine = [lib.TopicPartition(*tp, offset) for tp, offset in offsets.items() if tp in self._assigned]
        if mine:
            self._consumer.commit(offsets=mine, asynchronous=not wait)

    def finished(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._in_hand = {tp: end for tp, end in self._in_hand.items() if offsets.get(tp, -1) < end}

    def _fetch_wanted(self) -> None:
        if not self._aside:
            self._fetch_only(self._places.keys() - self._held)

    def _fetch_only(self, wanted: Iterable[TopicPartition]) -> None:
        wanted = set(wanted)
        self._forget([tp for tp, place in self._places.items() if place.fetching and tp not in wanted])
        new = [tp for tp in wanted if not self._places[tp].fetching]
        if new:
            self._consumer.incremental_assign([lib.TopicPartition(*tp, self._places[tp].next) for tp in new])
            for tp in new:
                self._places[tp].fetching = True

    def _forget(self, tps: Iterable[TopicPartition], *, revoked: bool = False) -> None:
        """`revoked`: the library asks for them, and waits for one answer even where none is fetched."""
        gone = [tp for tp in tps if (place := self._places.get(tp)) is not None and place.fetching]
        if not gone and not revoked:
            return
        self._consumer.incremental_unassign([lib.TopicPartition(*tp) for tp in gone])
        for tp in gone:
            self._places[tp].fetching = False
        self._rest = [m for m in self._rest if (m.topic(), m.partition()) not in gone]

    # -------------------------------------------------------------- rebalances, called from within poll, consume and close

    def _on_assign(self, consumer: Any, parts: Sequence[Any]) -> None:
        consumer.incremental_assign([])  # said to be done; each partition follows when it has a place
        tps = tuple(TopicPartition(part.topic, part.partition) for part in parts)
        if tps:
            self.rebalances += 1
            self._assigned |= dict.fromkeys(tps, self.rebalances)
            self._news.append(News("assigned", tps, self.rebalances))

    def _on_revoke(self, consumer: Any, parts: Sequence[Any]) -> None:
        self._finish_in_hand()
        self._lose(parts)

    def _on_lost(self, consumer: Any, parts: Sequence[Any]) -> None:
        """Others have them already: nothing to wait for."""
        self._lose(parts)

    def _lose(self, parts: Sequence[Any]) -> None:
        """One answer to the library and no second: in a close it goes on after the first, and would never answer another;
        the whole process would stand still with it, for it waits with Python's lock in its hand."""
        tps = tuple(TopicPartition(part.topic, part.partition) for part in parts)
        self._forget(tps, revoked=True)
        self._lost(tps)

    def _lost(self, tps: tuple[TopicPartition, ...]) -> None:
        for tp in tps:
            self._assigned.pop(tp, None)
            self._places.pop(tp, None)
        if tps:
            self.rebalances += 1
            self._news.append(News("revoked", tps))

    def _finish_in_hand(self) -> None:
        """The slices in hand are committed, or a fetch says that they are finished; a rebalance does not wait for ever."""
        until = time.monotonic() + self.wait_s
        while self._in_hand and not self.leaving and (left := until - time.monotonic()) > 0:
            try:
                asked = self._asked.get(timeout=left)
            except queue.Empty:
                return
            if asked is None or asked.is_fetch:
                self._later.append(asked)
                return
            asked.run()


def _add(found: dict[TopicPartition, Piece], slice_: Slice, ticket: Ticket) -> None:
    known = found.get(slice_.tp)
    if known is not None:
        records = behind(known.slice.records, slice_.records)  # nobody else has it yet
        slice_ = Slice(slice_.tp, known.slice.start, slice_.next, records)
    found[slice_.tp] = Piece(slice_, ticket)
