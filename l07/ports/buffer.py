"""Where halves wait for each other, and are counted and sealed."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from l07.events.record import Message, TopicPartition

Side = Literal["trace", "score", "both", "request", "response"]


class Part(NamedTuple):
    """What a batch does to one partition: from `start` to `next` (fetch positions), and how its last record can be recognised."""

    tp: TopicPartition
    start: int
    next: int
    last_digest: bytes  # 16 bytes, xxh3_128 of the last record's value; b"" when the part holds no record
    last_time_ms: int  # record time of the last record; 0 when the part holds none
    log: str = ""  # refused when the buffer knows the log by another name, or by none; "" says nothing of it


class Half(NamedTuple):
    """One valid record of a run: its trace, its score, or both in one; or one of the request and the response that are a trace
    together. `part` is an index into the batch's parts."""

    part: int
    offset: int
    time_ms: int
    key: str  # natural key: "execution:<id>" or "plan:<id>"
    side: Side
    content: (
        bytes  # 8 bytes of a digest of what counts in this half; equal: a repeat, different: a conflict or a revision
    )
    track: str  # of a trace, and of its parts; "" for a score
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
    """What a batch did. `refused` names the partitions that start beyond the stored offset, with that offset: seek there; then
    nothing was done. Of several shards some may have done their part then: they skip it when it comes again."""

    counts: Mapping[str, int] = field(
        default_factory=dict
    )  # applied, duplicate, dead_letter, rejected, waiting: changes
    sealed: Sequence[str] = ()
    refused: Mapping[TopicPartition, int] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)  # that the server's step took, with the way there and back


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
    request: bytes | None = None  # of a trace that came as request and response; `trace` is the response then
    request_at: tuple[str, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Seal:
    """The recorded decision that a batch is complete."""

    batch_id: str  # "<track>-<number>", number from 1 without holes in a track; with shards "<track>-<shard>.<number>"
    track: str
    cause: Literal["count", "age", "idle"]
    sealed_at_ms: int  # record time for count and idle, the tick's `now` for age
    accepted: int
    rejected: int
    first: Mapping[str, int]  # "topic:partition" -> smallest and largest offset of the batch's records
    last: Mapping[str, int]
    said: str = ""  # the announcement's id, where rows were erased since; else it follows from what is here


class HeldRun(NamedTuple):
    """Something of a run that lies in the buffer: a half that waits, or a row of a batch."""

    key: str
    bodies: Sequence[bytes]  # its events, where they were asked for


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
    waiting: int = 0  # halves
    waiting_bytes: int = 0  # of their bodies


class Memory(NamedTuple):
    """Bytes; `limit` is 0 where the server has none. With several servers: of the fullest."""

    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Trail:
    """Where one run stands. `state`: "waiting" for its other half; "open", "sealed" or "released", the batch that it joined;
    "full": joined and rejected when its batch kept no more of the rejected; "expired"; "erased"; "unknown": never came, or is forgotten."""

    state: str
    side: str = ""  # of the waiting half, or of several
    since_ms: int | None = None  # record time of the waiting half
    batch_id: str = ""
    reasons: tuple[str, ...] = ()  # of the gates, while the batch is open or sealed; empty: it passed
    score: float | None = None
    confidence: float | None = None
    places: tuple[tuple[str, int, int], ...] = ()  # topic, partition, offset of the halves that count


class ExampleBuffer(Protocol):
    """Joins halves in any order, counts, seals. One atomic step a call."""

    @property
    def turns(self) -> int:
        """Of the event loop, from an `apply` in a task of its own until it is on its way to the server."""
        ...

    async def positions(self) -> Mapping[TopicPartition, Position]:
        """Where each known partition stands; with several shards the smallest of them."""
        ...

    async def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Where partitions that are not known yet start: their logs' beginnings. A known one stays as it is."""
        ...

    async def reset(
        self, offsets: Mapping[TopicPartition, int], names: Mapping[TopicPartition, str] | None = None
    ) -> None:
        """A person's decision (`l07 replay --accept-reset`): go on from there, whatever was applied before. `names`: what
        tells the log in which that is from others, see `name_logs`; a partition that is not among them has none from then on."""
        ...

    async def name_logs(self, names: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, str]:
        """`names`: what tells a partition's log from another of the same topic and number. One without a name here gets it
        and keeps it until `reset`; those that have another are returned, with that."""
        ...

    async def memory(self) -> Memory:
        """What the server uses now, and what it may."""
        ...

    async def apply(self, batch: IngestBatch) -> Applied: ...

    async def tick(
        self, *, now_ms: int, at_end: Collection[TopicPartition], inputs: Collection[TopicPartition] = ()
    ) -> Sequence[str]:
        """Expire waiting halves and seal by age. Returns sealed batch ids.

        `at_end`: partitions of this owner that are applied to their end; that stands until a slice comes. A mapping names
        each end's offset: where the buffer has not reached it (any more), it counts for nothing. `inputs`: while the buffer
        does not know one of these partitions, nothing expires."""
        ...

    async def seal_rest(self) -> Sequence[str]:
        """Seal what is ready in every track, however little (`--until-idle`)."""
        ...

    async def read(self, batch_id: str) -> SealedBatch: ...

    async def release(self, batch_id: str) -> None: ...

    async def outbox(self, *, limit: int) -> Sequence[OutboxEntry]:
        """The oldest entries; everything that they depend on is on disk before this returns (durability barrier).

        In order within a shard; over several shards a track's seals come in any order."""
        ...

    async def sent(self, ids: Sequence[str]) -> None: ...

    def runs(self, *, bodies: bool = False) -> AsyncIterator[HeldRun]:
        """Everything that lies here, in no order, as of some moment of the reading; what comes meanwhile may be missing."""
        ...

    async def erase(self, keys: Collection[str]) -> int:
        """These runs are gone: halves that wait, rows of open and sealed batches, bodies, and that they were ever seen. What they
        counted for is rejected now, reason `erased`. How many halves and rows went; asked for again: 0.

        A sealed batch keeps its announcement's id (`Seal.said`), with fewer rows."""
        ...

    async def erasures(self) -> Mapping[str, int]:
        """What whoever works on this buffer has heard of: by a ledger's key, the number of its last tombstone."""
        ...

    async def note_erasures(self, key: str, number: int) -> None: ...

    async def rewrite_file(self) -> None:
        """The server's append-only file again, without what was erased; done when this returns.

        Raises FileNotRewritten (E7125): this user may not ask for it, or the server could not."""
        ...

    async def status(self) -> BufferStatus: ...

    async def find(self, key: str) -> Trail:
        """Where this run stands. Writes nothing, and may be asked of a buffer that another process holds."""
        ...
