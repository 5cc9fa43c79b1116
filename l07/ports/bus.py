"""Topics and partitions: what brings events in and takes ours out."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from l07.events.record import Message, Record, TopicPartition


class Slice(NamedTuple):
    """A contiguous piece of one partition. `start` and `next` are fetch positions: they cover gaps that hold no records."""

    tp: TopicPartition
    start: int
    next: int
    records: Sequence[Record]
    log: str = ""  # what tells its log from others of the name, see ExampleBuffer.name_logs; "": nobody has asked


class Subscription(Protocol):
    """One member's view of some topics. Positions are the client's own; nothing is committed behind its back."""

    async def poll(self, *, limit: int, timeout_s: float) -> Sequence[Slice]:
        """At most `limit` records, grouped by partition; empty after `timeout_s` without any."""
        ...

    async def poll_merged(self, *, limit: int) -> "Merged | None":
        """The next `limit` records over all partitions in order of (record time, topic, partition, offset); None at the end.

        Only a bus that can see all partitions at once has this order; it makes `--until-idle` repeatable (G6)."""
        ...

    async def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go on from `offset`; also wakes a partition that `start` left out. One that is no longer assigned: nothing."""
        ...

    def hold(self, tps: Collection[TopicPartition]) -> None:
        """Fetch nothing of these from now on, and of all others again. Membership is not touched."""
        ...

    def position(self) -> Mapping[TopicPartition, int]:
        """Of each partition that is assigned now and has a place to start: the next offset to be handed out."""
        ...

    @property
    def rebalances(self) -> int:
        """How often the assignment changed since the subscription was made."""
        ...

    async def end_offsets(self) -> Mapping[TopicPartition, int]: ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None: ...


class Merged(NamedTuple):
    """Records of several partitions in one total order, with each partition's fetch positions before and after."""

    slices: Sequence[Slice]
    order: Sequence[Record]


Start = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]


class Bus(Protocol):
    """Topics, partitions, offsets, groups. Appending is at least once; order holds within a partition."""

    @property
    def cluster(self) -> str:
        """What tells this bus from others: part of a dead letter's id."""
        ...

    async def publish(self, messages: Sequence[Message]) -> None:
        """Durable when it returns. Raises BusUnavailable (Transient) or StoreFull (Fatal)."""
        ...

    def subscribe(
        self,
        topics: Sequence[str],
        *,
        group: str,
        start: Start | None = None,
    ) -> AbstractAsyncContextManager[Subscription]:
        """Join `group`. On assignment, and again when the log under a position is gone, the member seeks to what `start`
        returns; a partition that it leaves out is not fetched until `seek`. What `start` raises comes out of `poll`.
        Without it, the group's committed offsets count, and a missing one is the beginning of the log."""
        ...

    async def read(self, tp: TopicPartition, offset: int, *, limit: int = 1) -> Sequence[Record]:
        """Records from `offset` on, without a group."""
        ...

    async def log_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        """What tells each topic from another of its name, before it or after it; none of a topic that is not there, or
        where the bus cannot tell."""
        ...

    async def begin_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        """Where each partition's log begins now: retention moves it."""
        ...

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        """Where each partition ends for a reader of committed records; a topic that is not there has none."""
        ...

    async def offsets_at(self, topics: Sequence[str], time_ms: int) -> Mapping[TopicPartition, int]:
        """The first offset whose record time is `time_ms` or later; the end where there is none."""
        ...

    async def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]: ...

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Without a subscription; also of pseudo topics that hold no records (the announcer's cursors)."""
        ...
