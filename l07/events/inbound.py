"""What we read: traces, scores and reviews, from either content mode, in one pass that accepts nothing wrong.

Most events take the fast way: two decodes by msgspec and a comparison of lengths that proves that no key stands twice.
Whatever the fast way does not accept goes the careful way, which knows every rule by itself and names the fault.
"""

import typing
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import xxhash

from l07.errors import BadData, BadEvent, BadKey, BadReview, MissingField, OutOfRange, WrongType
from l07.events.cloudevents import MAX_ID, Document, Envelope, check_time, plain, read_document
from l07.events.dialects import UNKNOWN, RunData, chat, genai, known, pick, reason_of, talk_of
from l07.events.dialects.common import Confidence, QualityScore, Share
from l07.events.modes import structured
from l07.events.payloads import Payload, payload_of
from l07.events.record import Record
from l07.events.strict import compact, known_only, too_deep

Role = Literal["trace", "plan", "score", "review", "request", "response", "other"]
Verdict = Literal["accept", "reject", "fixed"]
VERDICTS: Sequence[Verdict] = typing.get_args(Verdict)


class Limits(msgspec.Struct, frozen=True):
    """How large and how old an event may be; 0: no limit of age."""

    max_bytes: int = 1_000_000
    max_age_s: int = 0


class TypeNames:
    """Which type names are read as what; a reverse-DNS prefix before a name is allowed."""

    def __init__(
        self,
        *,
        trace: Sequence[str],
        plan: Sequence[str],
        score: Sequence[str],
        review: Sequence[str] = (),
        request: Sequence[str] = (),
        response: Sequence[str] = (),
    ) -> None:
        named = {
            "trace": trace,
            "plan": plan,
            "score": score,
            "review": review,
            "request": request,
            "response": response,
        }
        self._roles: dict[str, Role] = {}
        for role, names in named.items():
            self._roles.update(dict.fromkeys(names, typing.cast(Role, role)))
        self.known: dict[str, Role] = dict(self._roles)  # type names that were seen, and what they are

    def role(self, type_name: str) -> Role:
        """What an event of this type is; "other": nobody reads it."""
        role = self.known.get(type_name)
        if role is None:
            role = self._search(type_name)
            if len(self.known) < 1024 and len(type_name) <= MAX_ID:  # names come from outside: bounded
                self.known[type_name] = role
        return role

    def _search(self, type_name: str) -> Role:
        for name, role in self._roles.items():
            if type_name.endswith("." + name):
                return role
        return "other"


class Trace(msgspec.Struct, frozen=True, gc=False):
    """One run. `reason` says why it can never be an example; score and confidence are its own, both or neither."""

    envelope: Envelope
    key: str  # "execution:<id>" or "plan:<id>"
    dialect: str
    domain: str
    source: str
    reason: str
    score: float | None
    confidence: float | None
    evaluation_id: str
    content: bytes  # 8 bytes: a digest of the bytes of `data`, most often without the white space between its tokens
    body: bytes  # the structured event


class Score(msgspec.Struct, frozen=True, gc=False):
    """What somebody said of a run."""

    envelope: Envelope
    key: str
    score: float
    confidence: float
    evaluation_id: str
    content: bytes  # 8 bytes: a digest of key, score, confidence and evaluation_id
    body: bytes


class Review(msgspec.Struct, frozen=True, gc=False):
    """What a person decided about a run. Where the verdict is "fixed", `body` has the run as it should have been."""

    envelope: Envelope
    key: str
    verdict: Verdict
    reviewer: str
    body: bytes


class Other(msgspec.Struct, frozen=True, gc=False):
    """An event of a type that nobody reads."""

    envelope: Envelope


class ScoreData(msgspec.Struct, kw_only=True, gc=False):
    """`data` of a score."""

    quality_score: QualityScore | None = None
    execution_id: str | None = None
    plan_id: str | None = None
    confidence: Confidence | None = None
    confidence_level: Confidence | None = None
    evaluation_id: str | None = None
    dimensions: Any = None
    metrics: Any = None
    failure_classification: Any = None
    task_type: str | None = None
    evaluation_method: str | None = None
    model_version: str | None = None
    subject_id: Any = None
    attributes: Any = None
    events: Any = None
    conversation_id: Any = msgspec.field(default=None, name="gen_ai.conversation.id")
    evaluation_value: Share | None = msgspec.field(default=None, name="gen_ai.evaluation.score.value")


class ReviewData(msgspec.Struct, kw_only=True, gc=False):
    """`data` of a review."""

    verdict: str
    reviewer: str
    execution_id: str | None = None
    plan_id: str | None = None
    messages: list[chat.ChatMessage] | None = None


Event = Trace | Score | Review | Payload | Other


def decode(record: Record, *, limits: Limits, names: TypeNames) -> Event:
    """What this record says. The same record always gives the same answer.

    Raises:
        BadEvent: E7000-E7021 and E7023, one class a reason."""
    value = structured(record, max_bytes=limits.max_bytes)
    event = _quick(value, value, record.timestamp_ms, limits, names)
    if event is not None:
        return event
    tight_ = tight(value)  # json.dumps writes spaces, and so does the cloudevents package
    event = _quick(tight_, value, record.timestamp_ms, limits, names) if len(tight_) < len(value) else None
    return event or _careful(value, record.timestamp_ms, limits, names)


# ------------------------------------------------------------------ the fast way


class _Head(msgspec.Struct, omit_defaults=True, gc=False):
    """The envelope with the first level of `data` undecoded; an empty one is not written, `_quick` relies on it."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str | None = None
    datacontenttype: str | None = None
    partitionkey: str | None = None
    time: msgspec.Raw = msgspec.Raw(b"null")
    data: dict[str, msgspec.Raw] = {}


_head = msgspec.json.Decoder(_Head).decode
_encode = msgspec.json.Encoder().encode
_instant = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)] | None).decode
_known_run = msgspec.json.Decoder(known_only(RunData)).decode
_known_score = msgspec.json.Decoder(known_only(ScoreData)).decode
_untyped = msgspec.json.Decoder().decode
_run = msgspec.json.Decoder(RunData).decode
_score = msgspec.json.Decoder(ScoreData).decode
_review = msgspec.json.Decoder(ReviewData).decode
_QUICK = frozenset({"trace", "plan", "score"})  # a review is rare: the careful way is fast enough


def _quick(value: bytes, body: bytes, timestamp_ms: int, limits: Limits, names: TypeNames) -> Trace | Score | None:
    """The event, if it is valid beyond doubt; None when somebody must look closer.

    Written again, what was decoded is the shortest JSON of it, and no key is in it twice. If that is as long as the
    event, then nothing else was in it: no second key, no white space, no attribute that was not looked at. The typed
    decode knows every field and nests a few levels at most: it skips nothing unread, so that UTF-8 and every number are checked too."""
    try:
        head = _head(value)
        data = _encode(head.data)
        head.data = {}  # written apart, so that nobody has to cut it out again
        again = len(_encode(head)) + len(b',"data":') + len(data)
        role = names.known.get(head.type) or names.role(head.type)
        if again != len(value) or data == b"{}" or role not in _QUICK or not _sound(head):
            return None
        try:
            run = _known_score(data) if role == "score" else _known_run(data)
        except msgspec.ValidationError:
            run = _wider(data, role)
        time = _instant(head.time)
    except (ValueError, RecursionError):  # msgspec's errors, and those of UTF-8
        return None
    time_ms = check_time(time, timestamp_ms, limits.max_age_s)
    envelope = Envelope(
        head.id, head.source, head.type, time_ms, head.subject, head.datacontenttype, None, head.partitionkey
    )
    if role == "score":
        return _as_score(envelope, run, body)  # type: ignore[arg-type]
    return _as_trace(envelope, run, body, role, data)  # type: ignore[arg-type]


def _wider(data: bytes, role: Role) -> Any:
    """`data` with fields that we do not know, after a look at every bracket and every number in it. Raises ValueError."""
    if too_deep(b"[%b]" % data):
        raise ValueError("too deep")
    _untyped(data)
    return _score(data) if role == "score" else _run(data)


def _sound(head: _Head) -> bool:
    if head.specversion != "1.0" or not head.id.isprintable() or not 0 < len(head.id) <= MAX_ID:
        return False
    if not (head.source and head.type) or head.subject == "" or head.partitionkey == "":
        return False
    return head.datacontenttype == "application/json" or head.datacontenttype is None


# ------------------------------------------------------------------ the careful way


def tight(value: bytes) -> bytes:
    """The same JSON without white space between its tokens; what is no JSON as it is."""
    try:
        return compact(value)
    except (msgspec.DecodeError, RecursionError):
        return value


def _careful(value: bytes, timestamp_ms: int, limits: Limits, names: TypeNames) -> Event:
    document = read_document(value, timestamp_ms, max_age_s=limits.max_age_s)
    role = names.role(document.envelope.type)
    if role == "other":
        return Other(document.envelope)
    if role in ("request", "response"):
        return payload_of(document, role)
    data = _object(document)
    if role == "score":
        return _as_score(document.envelope, _typed(_score, data), document.value)
    if role == "review":
        return _as_review(document.envelope, _typed(_review, data), document.value)
    return _as_trace(document.envelope, _typed(_run, data), document.value, role, compact(data))


def _object(document: Document) -> bytes:
    data = document.data
    if data is None or not data.startswith(b"{"):
        raise BadData("`data` is absent, or no JSON object")
    return data


D = TypeVar("D")


def _typed(decoder: Callable[[bytes], D], data: bytes) -> D:
    """`data` as its struct.

    Raises MissingField (E7001), WrongType (E7019), OutOfRange (E7020)."""
    try:
        return decoder(data)
    except msgspec.ValidationError as err:
        raise _fault(str(err)) from err


def _fault(text: str) -> BadEvent:
    """msgspec says what it expected and where, never the value."""
    if text.startswith("Object missing required field"):
        return MissingField(text)
    if ">=" in text or "<=" in text:
        return OutOfRange(text)
    return WrongType(text)


# ------------------------------------------------------------------ both


def _as_score(envelope: Envelope, data: ScoreData, body: bytes) -> Score:
    confidence = data.confidence if data.confidence is not None else data.confidence_level
    if confidence is None:
        raise MissingField("`confidence` is absent, and `confidence_level` too")
    key, score = _said_of(data), data.quality_score if data.quality_score is not None else told_score(data)
    if score is None:
        raise MissingField(f"`quality_score` is absent, and `{genai.SCORE}` too")
    score, confidence = score + 0.0, confidence + 0.0  # -0.0 and 0.0 are one score
    evaluation_id = data.evaluation_id or ""
    content = xxhash.xxh64_digest(f"{key}\0{score!r}\0{confidence!r}\0{evaluation_id}".encode())
    return Score(envelope, key, score, confidence, evaluation_id, content, body)


def _as_trace(envelope: Envelope, data: RunData, body: bytes, role: Role, raw: bytes) -> Trace:
    name, dialect = pick(data)
    score, confidence = data.quality_score, None
    if score is None and dialect is genai:
        score = told_score(data)
    if score is not None:  # half a score is none: the run waits for an evaluation
        confidence = data.confidence if data.confidence is not None else data.confidence_level
        score, confidence = (score + 0.0, confidence + 0.0) if confidence is not None else (None, None)
    return Trace(
        envelope, _run_key(data, role), name, data.domain or known(data, "domain"), envelope.source,
        dialect.reason(data) if dialect else UNKNOWN, score, confidence, data.evaluation_id or "", xxhash.xxh64_digest(raw), body,
    )  # fmt: skip


def told_score(data: RunData | ScoreData) -> float | None:
    """0-100, of OpenTelemetry's evaluation, whose value is a share of 1; None: there is none.

    Raises WrongType (E7019), OutOfRange (E7020): a value above 1 has a scale that nobody has told us."""
    value = genai.evaluation_of(data)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise WrongType(f"`{genai.SCORE}` is no number")
    if not 0 <= value <= 1:
        raise OutOfRange(f"`{genai.SCORE}` is {value}, not 0 to 1; another scale goes into `quality_score`, 0-100")
    return round(float(value) * 100, 9)


def _as_review(envelope: Envelope, data: ReviewData, body: bytes) -> Review:
    verdict = next((known for known in VERDICTS if known == data.verdict), None)
    if verdict is None:
        raise BadReview(f"`verdict` is none of {', '.join(VERDICTS)}")
    if not plain(data.reviewer) or len(data.reviewer) > MAX_ID:
        raise BadReview(f"`reviewer` is not 1 to {MAX_ID} characters, or holds a control character")
    if verdict == "fixed":
        _check_fixed(data)
    elif data.messages is not None:
        raise BadReview(f"`messages` stand beside the verdict {verdict}: only a fixed run has them")
    return Review(envelope, _said_of(data), verdict, data.reviewer, body)


def _check_fixed(data: ReviewData) -> None:
    """A person's own run must be able to become an example; that a person wrote it is outcome enough."""
    if data.messages is None:
        raise MissingField("the verdict is fixed, and `messages` is absent")
    run = RunData(messages=data.messages, outcome="fixed")
    reason = reason_of(run, chat) or talk_of(run, chat).reason
    if reason:
        raise BadReview(f"the fixed `messages` cannot be an example: {reason}", reason=reason)


def _said_of(data: ScoreData | ReviewData) -> str:
    """The key of the run that a score or a review is about; with both ids the execution counts."""
    name = "plan" if data.execution_id is None and data.plan_id is not None else "execution"
    return _key(name, data.plan_id if name == "plan" else _execution(data))


def _execution(data: RunData | ScoreData | ReviewData) -> str | None:
    return data.execution_id if data.execution_id is not None else genai.conversation_id(data)


def _run_key(data: RunData, role: Role) -> str:
    if role == "trace":
        ident = data.execution_id
        if ident is None and data.trace is not None:
            ident = data.trace.execution_id
        return _key("execution", _execution(data) if ident is None else ident)
    plan = data.plan or data.planning_trace
    return _key("plan", data.plan_id if data.plan_id is not None or plan is None else plan.plan_id)


def _key(name: str, ident: str | None) -> str:
    if ident is None:
        raise MissingField(f"`{name}_id` is absent")
    if not 0 < len(ident) <= MAX_ID or not (ident.isprintable() or plain(ident)):
        raise BadKey(f"`{name}_id` is not 1 to {MAX_ID} characters, or holds a control character")
    return f"{name}:{ident}"
