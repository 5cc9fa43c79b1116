"""What we emit: one class a type. An event's id is a function of its cause, so a repeat is equal byte for byte.

No event carries a prompt or an answer. A number was measured, or its field is absent.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from l07.errors import EntryUnfit, MissingField, OutOfRange, WrongType
from l07.events.cloudevents import read_document, rfc3339
from l07.events.modes import structured
from l07.events.outdata import (
    BatchSealedData,
    Data,
    DatasetCreatedData,
    DatasetRevokedData,
    LearningAlertData,
    ModelRegisteredData,
    ModelRolledBackData,
    ModelStageChangedData,
    ModelTaintedData,
    ModelValidatedData,
    PatternFoundData,
    Severity,
    StrategyRecommendedData,
    TrainingCompletedData,
    TrainingFailedData,
    TrainingProgressData,
    TrainingStartedData,
)
from l07.events.record import Record
from l07.events.strict import known_only

NAMESPACE = uuid.UUID("6c307a5e-6c30-5e70-8a00-000000000007")  # of every id that we make; never changes
MAX_OWN_BYTES = 16_000_000  # a batch of a hundred thousand keys is still ours to read
ANY_TIME_MS = 2**63  # one of us may have had a clock far ahead: its events are as true as all others

D = TypeVar("D", bound=msgspec.Struct)


class Event(msgspec.Struct, Generic[D], frozen=True, kw_only=True):
    """One of our events; a class a type. `time` is RFC 3339, given by the cause."""

    TYPE: ClassVar[str] = ""
    SOURCE: ClassVar[str] = ""

    id: str
    source: str
    subject: str
    time: str
    data: D
    causationid: str | None = None
    correlationid: str | None = None
    partitionkey: str | None = None
    ledgerseq: int | None = None
    ledgerhash: str | None = None
    traceparent: str | None = None

    def attributes(self, *, prefix: str = "") -> dict[str, Any]:
        """Every attribute that is set, in one order; `prefix` goes before the type's name."""
        optional = ("causationid", "correlationid", "partitionkey", "ledgerseq", "ledgerhash", "traceparent")
        return {
            "specversion": "1.0",
            "type": prefix + self.TYPE,
            "source": self.source,
            "id": self.id,
            "subject": self.subject,
            "time": datetime.fromisoformat(self.time).astimezone(UTC),
            "datacontenttype": "application/json",
            "dataschema": schema_uri(self.TYPE),
            **{name: value for name in optional if (value := getattr(self, name)) is not None},
        }

    def data_document(self) -> dict[str, Any]:
        """`data` as it is written."""
        document: dict[str, Any] = msgspec.to_builtins(self.data)
        return document


class BatchSealed(Event[BatchSealedData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "batch.sealed"
    SOURCE: ClassVar[str] = "/l07/ingest"


class DatasetCreated(Event[DatasetCreatedData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "dataset.created"
    SOURCE: ClassVar[str] = "/l07/curate"


class TrainingStarted(Event[TrainingStartedData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "training.started"
    SOURCE: ClassVar[str] = "/l07/train"


class TrainingProgress(Event[TrainingProgressData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "training.progress"
    SOURCE: ClassVar[str] = "/l07/train"


class TrainingCompleted(Event[TrainingCompletedData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "training.completed"
    SOURCE: ClassVar[str] = "/l07/train"


class TrainingFailed(Event[TrainingFailedData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "training.failed"
    SOURCE: ClassVar[str] = "/l07/train"


class ModelRegistered(Event[ModelRegisteredData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "model.registered"
    SOURCE: ClassVar[str] = "/l07/train"


class ModelValidated(Event[ModelValidatedData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "model.validated"
    SOURCE: ClassVar[str] = "/l07/validate"


class ModelStageChanged(Event[ModelStageChangedData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "model.stage_changed"
    SOURCE: ClassVar[str] = "/l07/release"


class ModelRolledBack(Event[ModelRolledBackData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "model.rolled_back"
    SOURCE: ClassVar[str] = "/l07/release"


class PatternFound(Event[PatternFoundData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "pattern.found"
    SOURCE: ClassVar[str] = "/l07/analyse"


class StrategyRecommended(Event[StrategyRecommendedData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "strategy.recommended"
    SOURCE: ClassVar[str] = "/l07/analyse"


class DatasetRevoked(Event[DatasetRevokedData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "dataset.revoked"
    SOURCE: ClassVar[str] = "/l07/forget"


class ModelTainted(Event[ModelTaintedData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "model.tainted"
    SOURCE: ClassVar[str] = "/l07/forget"


class LearningAlert(Event[LearningAlertData], frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "learning.alert"
    SOURCE: ClassVar[str] = "/l07/guard"


CLASSES: Sequence[type[Event[Any]]] = (
    BatchSealed,
    DatasetCreated,
    TrainingStarted,
    TrainingProgress,
    TrainingCompleted,
    TrainingFailed,
    ModelRegistered,
    ModelValidated,
    ModelStageChanged,
    ModelRolledBack,
    PatternFound,
    StrategyRecommended,
    DatasetRevoked,
    ModelTainted,
    LearningAlert,
)
TYPES: Mapping[str, type[Event[Any]]] = {cls.TYPE: cls for cls in CLASSES}


class EntryLike(Protocol):
    """What an event needs of a ledger's entry; `ports.Entry` is one."""

    @property
    def ledger(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def at(self) -> str: ...
    @property
    def body(self) -> Mapping[str, Any]: ...
    @property
    def hash(self) -> str: ...


class SealLike(Protocol):
    """What `batch.sealed` needs of a seal; `ports.Seal` is one."""

    @property
    def batch_id(self) -> str: ...
    @property
    def track(self) -> str: ...
    @property
    def cause(self) -> str: ...
    @property
    def sealed_at_ms(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def first(self) -> Mapping[str, int]: ...
    @property
    def last(self) -> Mapping[str, int]: ...
    @property
    def said(self) -> str: ...


def event_id(cause: str) -> str:
    """The id of what follows from `cause`: the same cause, the same id, for ever."""
    return str(uuid.uuid5(NAMESPACE, cause))


def schema_uri(type_name: str) -> str:
    """The `$id` of the JSON Schema of this type, in l07/events/schemas."""
    return f"urn:l07:schema:{type_name}:1"


def from_entry(entry: EntryLike) -> Event[Any] | None:
    """The event that this entry announces; None when its kind is no event's type.

    Raises:
        EntryUnfit: E7022, the entry does not fit the event's class: a field too many, too few, or no number."""
    cls = TYPES.get(entry.kind)
    if cls is None:
        return None
    body, data = entry.body, _fitting(cls, entry.body.get("data"), f"entry {entry.number} of {entry.ledger}")
    subject = str(body.get("subject") or "")
    if not subject:
        raise EntryUnfit(
            f"entry {entry.number} of {entry.ledger} has no subject", ledger=entry.ledger, number=entry.number
        )
    return cls(
        id=event_id(f"{entry.ledger}/{entry.number}/{entry.kind}/{entry.key}"),
        source=cls.SOURCE,
        subject=subject,
        time=entry.at,
        data=data,
        causationid=body.get("causationid"),
        correlationid=body.get("correlationid"),
        partitionkey=_line(data) or subject,
        ledgerseq=entry.number,
        ledgerhash=entry.hash,
        traceparent=body.get("traceparent"),
    )


def _line(data: Any) -> str | None:
    """The track that an event is about. It is the key on the bus: one track's facts stay in one partition, in order."""
    return next((name for field in ("track", "dataset", "model") if (name := getattr(data, field, None))), None)


def from_seal(seal: SealLike, keys: Sequence[str]) -> BatchSealed:
    """The announcement of a sealed batch; `keys` in the order in which its runs became complete.

    The id is of the content: a buffer that was rolled back behind what it had announced gives the same number to another
    batch, which must not be taken for a repeat of the first. One of which runs were erased keeps the id that it had before."""
    subject = f"batches/{seal.batch_id}"
    data = BatchSealedData(
        track=seal.track,
        batch_id=seal.batch_id,
        cause=seal.cause,
        keys=list(keys),
        counts={"ACCEPT": seal.accepted, "REJECT": seal.rejected},
        first=dict(seal.first),
        last=dict(seal.last),
    )
    content = msgspec.json.encode((seal.sealed_at_ms, data), order="sorted").decode()
    return BatchSealed(
        id=seal.said or event_id(f"seal/{seal.batch_id}/{content}"),
        source=BatchSealed.SOURCE,
        subject=subject,
        time=rfc3339(seal.sealed_at_ms),
        data=data,
        correlationid=seal.batch_id,
        partitionkey=seal.track,
    )


def progress(job: str, attempt: int, number: int, line: Mapping[str, Any], *, at: str) -> TrainingProgress:
    """A line of progress.jsonl as an event; best effort, and the one event that no ledger holds."""
    names = ("step", "steps", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_s", "eta_s")
    data = {"job_id": job, "attempt": attempt, **{name: line[name] for name in names if line.get(name) is not None}}
    subject = f"jobs/{job}"
    return TrainingProgress(
        id=event_id(f"progress/{job}/{attempt}/{number}"),
        source=TrainingProgress.SOURCE,
        subject=subject,
        time=at,
        data=_fitting(TrainingProgress, data, f"progress of {job}"),
        partitionkey=subject,
    )


def alert(code: str, severity: Severity, *, stopped: str, todo: str, at: str, cause: str) -> LearningAlert:
    """A guard tripped: what stopped, and what to do. No ledger holds it.

    `cause` names the one thing that happened ("execution.traces:3/17042": a partition and where it stands): the same code
    and cause give the same id, whoever says it and how often; equal bytes need the same `at` too.

    Raises:
        EntryUnfit: E7022, a severity that is none."""
    subject = f"alerts/{code}"
    data = {"code": code, "severity": severity, "stopped": stopped, "todo": todo}
    return LearningAlert(
        id=event_id(f"alert/{code}/{cause}"),
        source=LearningAlert.SOURCE,
        subject=subject,
        time=at,
        data=_fitting(LearningAlert, data, f"alert {code}"),
        partitionkey=subject,
    )


def read_event(record: Record) -> Event[Any] | None:
    """One of our own events, back from the bus; None when its type is not in TYPES. Unknown fields are ignored.

    Raises:
        BadEvent: E7000-E7020."""
    value = structured(record, max_bytes=MAX_OWN_BYTES)
    document = read_document(value, record.timestamp_ms, max_age_s=0, max_ahead_ms=ANY_TIME_MS)
    cls = class_of(document.envelope.type)
    if cls is None:
        return None
    try:
        event: Event[Any] = _READERS[cls](document.value)
    except msgspec.ValidationError as err:
        text = str(err)
        missing, range_ = text.startswith("Object missing"), "=" in text
        raise (MissingField if missing else OutOfRange if range_ else WrongType)(text) from err
    return event


def class_of(type_name: str) -> type[Event[Any]] | None:
    """The class of a type's name, with or without a prefix."""
    found = TYPES.get(type_name)
    if found is not None:
        return found
    return next((cls for name, cls in TYPES.items() if type_name.endswith("." + name)), None)


def data_class(cls: type[Event[Any]]) -> type[Data]:
    """The struct of this event's `data`."""
    found: type[Data] = cls.__orig_bases__[0].__args__[0]  # type: ignore[attr-defined]
    return found


def _fitting(cls: type[Event[Any]], data: Any, where: str) -> Any:
    try:
        json.dumps(data, allow_nan=False)  # msgspec would let NaN pass, and the writer would write it
        msgspec.convert(data, _STRICT[cls])  # a field that the class does not know would be lost without a word
        return msgspec.convert(data, data_class(cls))
    except (msgspec.ValidationError, ValueError, TypeError) as err:
        raise EntryUnfit(f"{where} does not fit {cls.TYPE}: {err}", type=cls.TYPE) from err


_STRICT = {cls: known_only(data_class(cls)) for cls in CLASSES}
_READERS = {cls: msgspec.json.Decoder(cls).decode for cls in CLASSES}
