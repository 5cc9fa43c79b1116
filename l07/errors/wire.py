"""The wire: what the decoder refuses, and what does not fit an event of ours (E7000-E7029)."""

from l07.errors.fates import BadEvent, Fatal


class EmptyValue(BadEvent):
    """The record has no value: a tombstone, or zero bytes."""

    code = "E7000"


class MissingField(BadEvent):
    """`data` lacks a field that its type requires."""

    code = "E7001"


class TooLarge(BadEvent):
    """The value is longer than `ingest.max_event_bytes`."""

    code = "E7002"


class NotUtf8(BadEvent):
    """The value is not strict UTF-8, or a string escapes a lone surrogate."""

    code = "E7003"


class TooDeep(BadEvent):
    """The JSON is nested deeper than 64 levels."""

    code = "E7004"


class MalformedJson(BadEvent):
    """The value, or the data that it carries, is not JSON."""

    code = "E7005"


class DuplicateKey(BadEvent):
    """A key stands twice in the envelope or in the first level of `data`."""

    code = "E7006"


class NumberNotFinite(BadEvent):
    """A number is NaN, infinite or out of a double's range."""

    code = "E7007"


class NotAnObject(BadEvent):
    """The event is JSON, but not an object."""

    code = "E7008"


class MissingAttribute(BadEvent):
    """A required CloudEvents attribute is absent: `specversion`, `id`, `source` or `type`."""

    code = "E7009"


class BadSpecversion(BadEvent):
    """`specversion` is not 1.0."""

    code = "E7010"


class BadId(BadEvent):
    """`id` is not 1 to 256 characters, or holds a control character."""

    code = "E7011"


class BadAttribute(BadEvent):
    """A CloudEvents attribute has the wrong type, or is empty."""

    code = "E7012"


class BadTime(BadEvent):
    """`time` is not an RFC 3339 timestamp with an offset."""

    code = "E7013"


class TimeInFuture(BadEvent):
    """`time` is more than 5 minutes after the record's timestamp."""

    code = "E7014"


class TooOld(BadEvent):
    """`time` is more than `ingest.max_event_age_s` before the record's timestamp."""

    code = "E7015"


class BadContentType(BadEvent):
    """The content type is one that is not read: a batch, another event format, another charset."""

    code = "E7016"


class BadHeaders(BadEvent):
    """A header that carries the event cannot be decoded, or stands twice."""

    code = "E7017"


class BadData(BadEvent):
    """`data` is absent, not an object, not JSON, or its base64 is broken."""

    code = "E7018"


class WrongType(BadEvent):
    """A field of `data` has the wrong type."""

    code = "E7019"


class OutOfRange(BadEvent):
    """A field of `data` is out of range: `quality_score` 0-100, confidence 0-1."""

    code = "E7020"


class BadKey(BadEvent):
    """`execution_id` or `plan_id` is not 1 to 256 characters, or holds a control character."""

    code = "E7021"


class EntryUnfit(Fatal):
    """What a ledger's entry announces does not fit the class of its event."""

    code = "E7022"


class BadReview(BadEvent):
    """A review's verdict is none of accept, reject, fixed; its messages do not go with it, or its reviewer is no name."""

    code = "E7023"
