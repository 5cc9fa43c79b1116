"""Records -> what to apply: decode, route to a track, tell what cannot be read. Pure: a list in, one batch out."""

import base64
import hashlib
from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from operator import iadd

import msgspec
import xxhash

from l07.domain.erasure import Tombstones
from l07.domain.marks import KEY, SOURCE, SUBJECT
from l07.errors import BadEvent, L07Error
from l07.events import inbound, whose
from l07.events.deadletter import LETTER, TYPES, DeadLetterData
from l07.events.payloads import Payload
from l07.events.record import Message, Record, TopicPartition
from l07.pipeline.compiled import COMPILED, Scan, scanner
from l07.ports import Half, Ignored, IngestBatch, Part, Side, Slice, Unreadable
from l07.settings import Settings

Item = Half | Unreadable | Ignored
ERASED_REASON = "erased"
RAW_LIMIT = 64 * 1024  # bytes of a dead letter's record that are kept; above, a retry reads the source offset again


@dataclass(frozen=True, slots=True)
class TrackRule:
    """Which traces are this track's; an empty set takes all."""

    name: str
    domains: frozenset[str]
    sources: frozenset[str]

    def takes(self, domain: str, source: str) -> bool:
        return (not self.domains or domain in self.domains) and (not self.sources or source in self.sources)


@dataclass(frozen=True, slots=True)
class IngestRules:
    """All that ingest needs to know; made once from the settings."""

    limits: inbound.Limits
    names: inbound.TypeNames
    tracks: Sequence[TrackRule]
    dlq: str
    cluster: str  # which bus, part of a dead letter's id
    sure: Scan = field(init=False)
    tombstones: Tombstones = field(default_factory=Tombstones)  # whoever they stand for never comes in

    def __post_init__(self) -> None:
        object.__setattr__(self, "sure", scanner(self.limits, self.names, self.track))

    def track(self, domain: str, source: str) -> str | None:
        """The first that takes it."""
        return next((rule.name for rule in self.tracks if rule.takes(domain, source)), None)


def ingest_rules(settings: Settings, *, cluster: str) -> IngestRules:
    """The rules of these settings; tracks in the order in which they are written, the first match wins."""
    types = settings.types
    return IngestRules(
        limits=inbound.Limits(max_bytes=settings.ingest.max_event_bytes, max_age_s=settings.ingest.max_event_age_s),
        names=inbound.TypeNames(
            trace=types.trace,
            plan=types.plan,
            score=types.score,
            review=types.review,
            **({"request": types.request, "response": types.response} if settings.topics.payloads else {}),
        ),
        tracks=[
            TrackRule(name, frozenset(track.match.domains), frozenset(track.match.sources))
            for name, track in settings.tracks.items()
        ],
        dlq=settings.topics.dlq,
        cluster=cluster,
    )


def ingest(slices: Sequence[Slice], *, rules: IngestRules, order: Sequence[Record] | None = None) -> IngestBatch:
    """What these records do to the buffer. `order` interleaves the slices' records; without it they go slice by slice."""
    parts = [_part(slice_) for slice_ in slices]
    if order is None:
        found = (_items(slice_.records, part, rules) for part, slice_ in enumerate(slices))
        return IngestBatch(parts, reduce(iadd, found, next(found, [])))
    index = {slice_.tp: number for number, slice_ in enumerate(slices)}
    return IngestBatch(parts, [_items([record], index[record.tp], rules)[0] for record in order])


def record_digest(record: Record) -> bytes:
    """16 bytes that recognise a record's value when its partition is read again."""
    return xxhash.xxh3_128_digest(record.value or b"")


def _part(slice_: Slice) -> Part:
    if not slice_.records:
        return Part(slice_.tp, slice_.start, slice_.next, b"", 0, slice_.log)
    last = slice_.records[-1]
    return Part(slice_.tp, slice_.start, slice_.next, record_digest(last), last.timestamp_ms, slice_.log)


def _items(records: Sequence[Record], part: int, rules: IngestRules) -> Sequence[Item]:
    found: MutableSequence[Item]
    found, left = rules.sure(records, part)
    for place in left:
        found[place] = _spaced(records[place], part, rules) or careful(records[place], part, rules)
    if rules.tombstones:
        return [_unless_erased(item, record, rules.tombstones) for item, record in zip(found, records, strict=True)]
    return found


def _unless_erased(item: Item, record: Record, stones: Tombstones) -> Item:
    """A record of what was erased is rejected, and its bytes go nowhere: not among the dead letters either."""
    if isinstance(item, Half):
        erased = stones.stands_for(KEY, item.key) or (
            stones.by_content and is_erased(whose.of_event(item.body), stones)
        )
    elif isinstance(item, Unreadable):
        erased = is_erased(whose.of_anything(record.value or b"", record.headers, record.key), stones)
    else:
        erased = False
    return Ignored(item.part, item.offset, ERASED_REASON) if erased else item


def is_erased(who: whose.Whose, stones: Tombstones) -> bool:
    """Whether a tombstone stands for any of these."""
    named = (KEY, who.keys), (SUBJECT, who.subjects), (SOURCE, who.sources)
    return any(stones.any_of(kind, names) for kind, names in named)


def _spaced(record: Record, part: int, rules: IngestRules) -> Half | Ignored | None:
    """The scanner's answer to the same event without white space: json.dumps writes spaces, and so does the cloudevents package."""
    value = record.value
    if not COMPILED or not value or b'": ' not in value[:64] or len(value) > rules.limits.max_bytes:
        return None
    (found,), _ = rules.sure([record._replace(value=inbound.tight(value))], part)
    return found._replace(body=value) if isinstance(found, Half) else found


def careful(record: Record, part: int, rules: IngestRules) -> Item:
    """What a record is, by every rule; `scan.pyx` is asked first, and knows the frequent ones."""
    if record.is_erased:
        return Ignored(part, record.offset, ERASED_REASON)
    try:
        event = inbound.decode(record, limits=rules.limits, names=rules.names)
    except BadEvent as err:  # one record's fault is one dead letter: the only place below the runner that catches
        return Unreadable(part, record.offset, dead_letter(record, err, rules=rules))
    if isinstance(event, inbound.Trace):
        return _trace_half(event, record, part, rules)
    if isinstance(event, inbound.Score):
        return Half(
            part, record.offset, record.timestamp_ms, event.key, "score", event.content, "", "",
            event.score, event.confidence, event.evaluation_id, event.body,
        )  # fmt: skip
    if isinstance(event, Payload):
        return _payload_half(event, record, part, rules)
    if isinstance(event, inbound.Review):  # checked and counted; no dataset changes by it yet (docs/wire.md)
        return Ignored(part, record.offset, "review")
    return Ignored(part, record.offset, "type_not_read")


def _trace_half(event: inbound.Trace, record: Record, part: int, rules: IngestRules) -> Half | Ignored:
    track = rules.track(event.domain, event.source)
    if track is None:
        return Ignored(part, record.offset, "no_track")
    side: Side = "both" if event.score is not None and event.confidence is not None else "trace"
    return Half(
        part, record.offset, record.timestamp_ms, event.key, side, event.content, track, event.reason,
        event.score, event.confidence, event.evaluation_id, event.body,
    )  # fmt: skip


def _payload_half(event: Payload, record: Record, part: int, rules: IngestRules) -> Half | Ignored:
    """Nobody says its domain; of a pair the response's track counts."""
    track = rules.track("", event.envelope.source)
    if track is None:
        return Ignored(part, record.offset, "no_track")
    return Half(
        part, record.offset, record.timestamp_ms, event.key, event.part, event.content, track, event.reason,
        None, None, "", event.body,
    )  # fmt: skip


def dead_letter(record: Record, err: BadEvent, *, rules: IngestRules) -> Message:
    """The dead letter of an inbound record; the same record and error give the same bytes."""
    return _dead_letter(record, err, cluster=rules.cluster, dlq=rules.dlq)


def dead_letter_of_control(record: Record, err: L07Error, *, dlq: str) -> Message:
    """The dead letter of one of our own events that a handler could never take."""
    return _dead_letter(record, err, cluster="control", dlq=dlq)


def _dead_letter(record: Record, err: L07Error, *, cluster: str, dlq: str) -> Message:
    value = record.value or b""
    digest = hashlib.sha256(value).hexdigest()
    # with the record's content: a topic that was made again has other records under the same offsets
    cause = f"{cluster}/{record.topic}/{record.partition}/{record.offset}/{record.timestamp_ms}/{digest}"
    ident = hashlib.sha256(cause.encode()).hexdigest()[:24]
    labels = len(record.key or b"") + sum(len(name) + len(text or b"") for name, text in record.headers)
    slim = labels <= RAW_LIMIT  # a letter must fit into its topic; what is left out is read from the source, like `raw`
    envelope: Mapping[str, object] = {
        "specversion": "1.0",
        "type": LETTER,
        "source": TYPES[LETTER][0],
        "id": ident,
        "subject": f"{record.topic}:{record.partition}:{record.offset}",
        "time": datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": DeadLetterData(
            id=ident,
            code=err.code,
            message=err.message,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp_ms=record.timestamp_ms,
            headers=[[_b64(name), _b64(text)] for name, text in record.headers] if slim else [],
            key=_b64(record.key) if slim else None,
            sha256=digest,
            length=len(value),
            raw=_b64(value) if record.value is not None and len(value) <= RAW_LIMIT and slim else None,
        ),
    }
    return Message(dlq, ident.encode(), msgspec.json.encode(envelope), _STRUCTURED, record.timestamp_ms)


_STRUCTURED = ((b"content-type", b"application/cloudevents+json; charset=UTF-8"),)


def _b64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode("ascii")


def check_resume(tp: TopicPartition, last: Record | None, digest: bytes) -> bool:
    """Whether the last applied record of `tp` is still the one that was applied; one that is gone, or was erased, cannot be
    checked."""
    return last is None or not digest or last.is_erased or record_digest(last) == digest
