"""What the pipeline needs of the world, as Protocols. A backend is any object of this shape; a suite in tests/contracts defines it.

Every call may be repeated safely: a repeat has no second effect.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from l07.domain.quality import CurateRules
from l07.events.record import Message, Record, TopicPartition

# ------------------------------------------------------------------ bus


class Slice(NamedTuple):
    """A contiguous piece of one partition. `start` and `next` are fetch positions: they cover gaps that hold no records."""

    tp: TopicPartition
    start: int
    next: int
    records: Sequence[Record]


class Subscription(Protocol):
    """One member's view of some topics. Positions are the client's own; nothing is committed behind its back."""

    async def poll(self, *, limit: int, timeout_s: float) -> Sequence[Slice]:
        """At most `limit` records, grouped by partition; empty after `timeout_s` without any."""
        ...

    async def poll_merged(self, *, limit: int) -> "Merged | None":
        """The next `limit` records over all partitions in order of (record time, topic, partition, offset); None at the end.

        Only a bus that can see all partitions at once has this order; it makes `--until-idle` repeatable (G6)."""
        ...

    async def seek(self, tp: TopicPartition, offset: int) -> None: ...

    def position(self) -> Mapping[TopicPartition, int]: ...

    async def end_offsets(self) -> Mapping[TopicPartition, int]: ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None: ...


class Merged(NamedTuple):
    """Records of several partitions in one total order, with each partition's fetch positions before and after."""

    slices: Sequence[Slice]
    order: Sequence[Record]


class Bus(Protocol):
    """Topics, partitions, offsets, groups. Appending is at least once; order holds within a partition."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Durable when it returns. Raises BusUnavailable (Transient) or StoreFull (Fatal)."""
        ...

    def subscribe(
        self,
        topics: Sequence[str],
        *,
        group: str,
        start: Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]] | None = None,
    ) -> AbstractAsyncContextManager[Subscription]:
        """Join `group`. On assignment the member seeks to what `start` returns; without it, to the group's committed
        offsets; a partition that is missing in either starts at the beginning of its log."""
        ...

    async def read(self, tp: TopicPartition, offset: int, *, limit: int = 1) -> Sequence[Record]:
        """Records from `offset` on, without a group."""
        ...

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]: ...

    async def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]: ...

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Without a subscription; also of pseudo topics that hold no records (the announcer's cursors)."""
        ...


# ------------------------------------------------------------------ buffer

Side = Literal["trace", "score", "both"]


class Part(NamedTuple):
    """What a batch does to one partition: from `start` to `next` (fetch positions), and how its last record can be recognised."""

    tp: TopicPartition
    start: int
    next: int
    last_digest: bytes  # 16 bytes, xxh3_128 of the last record's value; b"" when the part holds no record
    last_time_ms: int  # record time of the last record; 0 when the part holds none


class Half(NamedTuple):
    """One valid record of a run: its trace, its score, or both in one. `part` is an index into the batch's parts."""

    part: int
    offset: int
    time_ms: int
    key: str  # natural key: "execution:<id>" or "plan:<id>"
    side: Side
    content: (
        bytes  # 8 bytes of a digest of what counts in this half; equal: a repeat, different: a conflict or a revision
    )
    track: str  # of a trace; "" for a score
    reason: str  # why this trace can never be an example ("no_goal", ...); "" when it can
    score: float | None  # 0-100
    confidence: float | None  # 0-1
    tiebreak: str  # evaluation_id; smaller wins at equal confidence
    body: bytes  # the structured event, as bytes


class Unreadable(NamedTuple):
    """A record that becomes a dead letter; `message` is ready for the outbox."""

    part: int
    offset: int
    message: Message


class Ignored(NamedTuple):
    """A record that is read and rejected without a key: a type that nobody reads."""

    part: int
    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class IngestBatch:
    """What one step does to the buffer, in order. All of it happens, or nothing."""

    parts: Sequence[Part]
    items: Sequence[Half | Unreadable | Ignored]


class Position(NamedTuple):
    """Where a partition stands in the buffer."""

    next: int
    last_digest: bytes
    time_ms: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch did. `refused` names the partitions that start beyond the stored offset, with that offset: seek there; then nothing was done."""

    counts: Mapping[str, int] = field(
        default_factory=dict
    )  # applied, duplicate, dead_letter, rejected, waiting: changes
    sealed: Sequence[str] = ()
    refused: Mapping[TopicPartition, int] = field(default_factory=dict)


class SealedRow(NamedTuple):
    """One joined run of a sealed batch. `decision` is the script's: ACCEPT or REJECT, with the reasons of the two gates and of the extraction."""

    key: str
    decision: Literal["ACCEPT", "REJECT"]
    reasons: tuple[str, ...]
    score: float
    confidence: float
    trace: bytes
    evaluation: bytes | None  # None: the trace carried its own score
    trace_at: tuple[str, int, int]  # topic, partition, offset
    evaluation_at: tuple[str, int, int] | None
    revision: bool = False  # a score for a run that an earlier batch sealed; `trace` is empty then


@dataclass(frozen=True, slots=True)
class Seal:
    """The recorded decision that a batch is complete."""

    batch_id: str  # "<track>-<number>", number from 1 without holes in a track
    track: str
    cause: Literal["count", "age", "idle"]
    sealed_at_ms: int  # record time for count and idle, the tick's `now` for age
    accepted: int
    rejected: int
    first: Mapping[str, int]  # "topic:partition" -> smallest and largest offset of the batch's records
    last: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SealedBatch:
    seal: Seal
    rows: Sequence[SealedRow]  # in the order in which the runs became complete


class OutboxEntry(NamedTuple):
    """Something that must leave: a seal to announce, or a dead letter."""

    id: str
    seal: Seal | None
    keys: tuple[str, ...]  # of the seal, natural keys in order
    message: Message | None


@dataclass(frozen=True, slots=True)
class BufferStatus:
    """Counters per partition ("topic:partition" -> {consumed, applied, duplicate, dead_letter, rejected, waiting, expired}),
    reasons over all, and what is open."""

    partitions: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, int]
    ready: Mapping[str, Mapping[str, int]]  # track -> {"ACCEPT": n, "REJECT": n} not yet sealed
    batches: Sequence[str]  # sealed and not released
    outbox: int
    oldest_waiting_ms: int | None  # record time of the oldest waiting half


class ExampleBuffer(Protocol):
    """Joins halves in any order, counts, seals. One atomic step a call."""

    async def positions(self) -> Mapping[TopicPartition, Position]: ...

    async def apply(self, batch: IngestBatch) -> Applied: ...

    async def tick(self, *, now_ms: int, at_end: Sequence[TopicPartition]) -> Sequence[str]:
        """Expire waiting halves and seal by age. `at_end`: partitions of this owner that are read to their end. Returns sealed batch ids."""
        ...

    async def seal_rest(self) -> Sequence[str]:
        """Seal what is ready in every track, however little (`--until-idle`)."""
        ...

    async def read(self, batch_id: str) -> SealedBatch: ...

    async def release(self, batch_id: str) -> None: ...

    async def outbox(self, *, limit: int) -> Sequence[OutboxEntry]:
        """The oldest entries; everything that they depend on is on disk before this returns (durability barrier)."""
        ...

    async def sent(self, ids: Sequence[str]) -> None: ...

    async def status(self) -> BufferStatus: ...


# ------------------------------------------------------------------ ledgers and files


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a ledger. `hash` is over everything else in it, `prev` is the hash of the entry before ("" for number 1)."""

    ledger: str
    number: int
    kind: str  # the event type that it announces, or a word of its own
    key: str  # what it is about; (kind, key) is unique
    at: str  # RFC 3339, given by the caller
    body: Mapping[str, Any]
    prev: str
    hash: str


class Ledger(Protocol):
    """Numbered, hash-chained, append-only. The truth, the audit log and the outbox in one."""

    name: str

    async def append(self, kind: str, key: str, body: Mapping[str, Any], *, at: str) -> Entry:
        """The same (kind, key) again returns the entry that is there, whatever the body."""
        ...

    async def entries(self, *, after: int = 0) -> Sequence[Entry]: ...

    async def find(self, kind: str, key: str) -> Entry | None: ...


class ArtifactStore(Protocol):
    """Folders that appear whole or not at all."""

    def scratch(self, name: str) -> Path:
        """A private folder to build in; a killed run's leftovers are removed at the next start."""
        ...

    async def publish(self, scratch: Path, uri: str) -> str:
        """Move into place under `uri` (such as `datasets/default/1.0.0`) by one rename, after fsync.

        A folder that is already there stays, and the scratch is dropped."""
        ...

    def path(self, uri: str) -> Path: ...

    def exists(self, uri: str) -> bool: ...


# ------------------------------------------------------------------ curation


@dataclass(frozen=True, slots=True)
class CurateRequest:
    """All that a version follows from: the sealed batches, the rules, and the version before."""

    track: str
    batches: Sequence[SealedBatch]  # waiting ones first, in the order of their numbers
    rules: CurateRules
    parent: Path | None  # folder of the version before
    golden: Path | None  # frozen JSONL of the track
    output: Path  # a scratch folder; filled only when the version is built


@dataclass(frozen=True, slots=True)
class Curated:
    """What came of it: a version in the output folder, or why there is none."""

    version: str  # "" when there is none
    summary: Mapping[
        str, Any
    ]  # built: the content of manifest.json; else {"code", "reason", "message", "needed", "have"}


class Curator(Protocol):
    """Builds a version's folder, away from the event loop. The same request gives the same files."""

    async def build(self, request: CurateRequest) -> Curated:
        """Raises CuratorDied (Transient), DatasetChanged, DatasetUnreadable or GoldenUnreadable (Fatal)."""
        ...

    async def summary(self, folder: Path) -> Mapping[str, Any]:
        """The manifest of a published version, checked against its files."""
        ...


# ------------------------------------------------------------------ training

Progress = Callable[[Mapping[str, Any]], Awaitable[None]]


class Trainer(Protocol):
    """Runs a job folder to its end in another process."""

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        """The content of result.json. Raises a ChildError with its code: killed, out of memory, hung, no [train] extra, or what the child itself said."""
        ...


EventStream = AsyncIterator[Record]
