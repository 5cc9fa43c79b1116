# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""One pass over a record in C: the half that it is, if it is valid beyond doubt; else None.

Whatever is answered here, `ingest.py` answers too, more slowly; a test holds both against each other. So every rule is
written to be sure, not to be complete: white space, an escape in a text that is needed, an exponent, a second key, a type
that the struct does not have, a rule's rare branch: None, and somebody else looks.
The end of the bytes is a zero byte (Python's promise), which no rule accepts: no pointer passes it."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_SET_ITEM
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

cdef extern from "Python.h":
    ctypedef struct Class "PyTypeObject":
        object (*tp_alloc)(type, Py_ssize_t)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 most)
    char* PyUnicode_1BYTE_DATA(object text)

include "scan_hash.pxi"
include "scan_text.pxi"
include "scan_json.pxi"

# ------------------------------------------------------------------ events

# slots, in the order of SLOT_NAMES
cdef enum:
    S_ID, S_SOURCE, S_TYPE, S_SUBJECT, S_KEY, S_TIME, S_CONTENT_TYPE, S_VERSION, S_DATA
    S_EXECUTION, S_PLAN, S_EVALUATION, S_SCORE, S_CONFIDENCE, S_LEVEL, S_OUTCOME, S_DOMAIN
    S_MESSAGES, S_TRACE, S_TRACE_EXECUTION, S_TRACE_DOMAIN, S_TRACE_TASK, S_STEPS
    S_TASK, S_GOAL, S_TASK_DOMAIN, S_ACTIONS, S_OWN_PLAN, S_PLANNING

SLOT_NAMES = (
    "id", "source", "type", "subject", "partitionkey", "time", "datacontenttype", "specversion", "data",
    "execution_id", "plan_id", "evaluation_id", "quality_score", "confidence", "confidence_level", "outcome", "domain",
    "messages", "trace", "trace.execution_id", "trace.domain", "trace.task_description", "trace.steps",
    "task_definition", "task_definition.goal", "task_definition.domain", "execution_trace", "plan", "planning_trace",
)  # fmt: skip


cdef inline str _str(Span* span):
    return PyUnicode_DecodeUTF8(span.at, span.size, NULL)


cdef inline int _maybe(Span* span) noexcept nogil:
    """Absent, or a text as it stands."""
    return span.kind == 0 or span.kind == NULL_ or (span.kind & STRING and not span.kind & ESCAPED)


cdef inline int _name(Span* span) noexcept nogil:
    """An id: printable ASCII and nothing else."""
    cdef Py_ssize_t n
    if not span.kind & STRING or span.kind & ESCAPED or not 0 < span.size <= MAX_ID:
        return 0
    for n in range(span.size):
        if not 0x20 <= span.at[n] < 0x7F:
            return 0
    return 1


cdef inline int _attribute(Span* span) noexcept nogil:
    return _maybe(span) and (not span.kind & STRING or span.size > 0)


cdef inline int _there(Span* span) noexcept nogil:
    return span.kind != 0 and span.kind != NULL_


cdef str _named(const char* prefix, Py_ssize_t size, Span* span):
    """Both together; what `_name` let through is ASCII."""
    made = PyUnicode_New(size + span.size, 127)
    memcpy(PyUnicode_1BYTE_DATA(made), prefix, size)
    memcpy(PyUnicode_1BYTE_DATA(made) + size, span.at, span.size)
    return made


cdef double TENS[16]
for _n in range(16):
    TENS[_n] = 10.0 ** _n


cdef int _short(Span* span, double* out) noexcept nogil:
    """A number of at most 15 digits without a sign: whole numbers and powers of ten are exact then, so that one division
    rounds right (W. Clinger, 1990). 0: another one."""
    cdef const char* at = span.at
    cdef const char* end = at + span.size
    cdef const char* point = NULL
    cdef int64_t digits = 0
    if span.size > 16 or at[0] == 45:
        return 0
    while at < end:
        if at[0] == 46:
            point = at
        else:
            digits = digits * 10 + at[0] - 48
        at += 1
    if point == NULL and span.size > 15:
        return 0
    out[0] = <double>digits / TENS[end - point - 1 if point != NULL else 0]
    return 1


cdef int _float(Span* span, double most, double* out) except -1:
    """0: out of range, and somebody else says so."""
    cdef char* end
    if not _short(span, out):
        out[0] = PyOS_string_to_double(span.at, &end, NULL) + 0.0  # -0.0 and 0.0 are one
    return 0 <= out[0] <= most


cdef Py_ssize_t _put_repr(char* out, Span* span, double value) except -1:
    """Python's text of it, which is that of the event where it has at most 15 digits and no zero too many. Its length, at most 32."""
    cdef double short
    cdef const char* point = <const char*>memchr(span.at, 46, span.size)
    if point != NULL and 0.001 <= value and _short(span, &short):
        if span.at[span.size - 1] != 48 or point == span.at + span.size - 2:
            memcpy(out, span.at, span.size)
            return span.size
    said = repr(value).encode()
    memcpy(out, PyBytes_AS_STRING(said), PyBytes_GET_SIZE(said))
    return PyBytes_GET_SIZE(said)


cdef bytes _judgement(str key, Span* at, double score, double confidence):
    """The digest of what a score says; None where that is long. What is said: see `inbound.py`."""
    cdef char said[2048]
    cdef Py_ssize_t size = len(key)
    cdef Span* evaluation = &at[S_EVALUATION]
    if size + evaluation.size > 1900:
        return None
    memcpy(said, PyUnicode_1BYTE_DATA(key), size)
    said[size] = 0
    size += 1
    size += _put_repr(said + size, &at[S_SCORE], score)
    said[size] = 0
    size += 1
    size += _put_repr(said + size, _sure(at), confidence)
    said[size] = 0
    size += 1
    if evaluation.kind & STRING:
        memcpy(said + size, evaluation.at, evaluation.size)
        size += evaluation.size
    return _digest(said, size)


cdef tuple _filled_in(type cls, tuple values):
    """An instance of a subclass of tuple, as `tuple.__new__` makes it, without a call."""
    cdef Py_ssize_t n, count = PyTuple_GET_SIZE(values)
    cdef object made = (<Class*>cls).tp_alloc(cls, count)
    for n in range(count):
        value = <object>PyTuple_GET_ITEM(values, n)
        Py_INCREF(value)
        PyTuple_SET_ITEM(made, n, value)
    return <tuple>made


def value_bytes(records):
    """Of the values of these records together."""
    cdef Py_ssize_t size = 0
    for record in records:
        if not isinstance(record, tuple) or len(record) != 8:
            raise TypeError("a Record is meant")
        value = (<tuple>record)[5]
        if type(value) is bytes:
            size += PyBytes_GET_SIZE(value)
        elif value is not None:
            size += len(value)
    return size


cdef class Scanner:
    """Reads events whose envelope has the shape `root` and whose `data` has one of `shapes` (by role). `roles`: type name ->
    role; grows as names are met, elsewhere.

    `half` and `ignored` are the classes of what comes out, `route` says which track takes (domain, source). `plain`: headers
    beside which the value is the whole event."""

    cdef int root, last_shape
    cdef dict roles, shapes, routes
    cdef bytes last_type, last_domain, last_source  # the records of a slice are much alike
    cdef str last_role
    cdef object route, plain, last_track
    cdef type half, ignored
    cdef Py_ssize_t max_bytes
    cdef long long max_ahead_ms, max_age_ms

    def __init__(
        self, int root, dict roles, dict shapes, *, half, ignored, route, plain,
        Py_ssize_t max_bytes, long long max_ahead_ms, long long max_age_ms,
    ):
        self.root, self.roles, self.shapes, self.routes = root, roles, shapes, {}
        self.half, self.ignored, self.route, self.plain = half, ignored, route, frozenset(plain)
        self.max_bytes, self.max_ahead_ms, self.max_age_ms = max_bytes, max_ahead_ms, max_age_ms

    def scan(self, records, part):
        """What each record is, as a half of the batch's `part` or as ignored; and the places of those of which that is not sure,
        where None stands."""
        cdef list found = [], left = []
        cdef Py_ssize_t place = 0
        for record in records:
            if not isinstance(record, tuple) or len(record) != 8:
                raise TypeError("a Record is meant")
            item = self._scan(<tuple>record, part)
            if item is None:
                left.append(place)
            found.append(item)
            place += 1
        return found, left

    cdef object _scan(self, tuple record, part):
        cdef Scan s
        cdef double score = 0, confidence = 0
        cdef Span* at = s.slots
        offset, stamp, value, headers = record[2], record[3], record[5], record[6]
        if type(value) is not bytes or record[7] or (headers and headers not in self.plain):
            return None
        if PyBytes_GET_SIZE(value) > self.max_bytes:
            return None
        s.at = PyBytes_AS_STRING(value)
        s.end = s.at + PyBytes_GET_SIZE(value)
        memset(s.slots, 0, sizeof(s.slots))
        memset(&s.talk, 0, sizeof(s.talk))
        role = self._envelope(&s)
        if role is None or not _sound(at) or not self._timely(&at[S_TIME], stamp):
            return None
        cdef int scored = _judged(at, &score, &confidence)
        if scored < 0:
            return None
        evaluation = _str(&at[S_EVALUATION]) if at[S_EVALUATION].kind & STRING else ""
        if role == "score":
            key = _said_of(at) if scored else None
            content = _judgement(key, at, score, confidence) if key is not None else None
            if content is None:
                return None
            return _filled_in(self.half, (
                part, offset, stamp, key, "score", content, "", "", score, confidence, evaluation, value,
            ))  # fmt: skip
        key = _key_of(at)
        cdef Span* domain = _domain_of(at)
        if key is None or domain == NULL or not _exemplary(&s):
            return None
        track = self._track(domain, &at[S_SOURCE])
        if track is None:
            return _filled_in(self.ignored, (part, offset, "no_track"))
        content = _digest(at[S_DATA].at, at[S_DATA].size)
        return _filled_in(self.half, (
            part, offset, stamp, key, "both" if scored else "trace", content, track, "",
            score if scored else None, confidence if scored else None, evaluation, value,
        ))  # fmt: skip

    cdef _track(self, Span* domain, Span* source):
        """`domain` may be absent."""
        if self.last_source is not None and _same(self.last_source, source) and _same(self.last_domain, domain):
            return self.last_track
        names = _str(domain) if domain.kind & STRING else "", _str(source)
        found = self.routes.get(names, self)
        if found is self:
            found = self.route(*names)
            if len(self.routes) < 1024:  # names come from outside: bounded
                self.routes[names] = found
        self.last_domain = PyBytes_FromStringAndSize(domain.at, domain.size if domain.kind & STRING else 0)
        self.last_source, self.last_track = PyBytes_FromStringAndSize(source.at, source.size), found
        return found

    cdef int _learn(self, Span* kind) except -1:
        """Which role and shape belong to the type of this event; 0: none that we know."""
        if self.last_type is not None and _same(self.last_type, kind):
            return 1
        role = self.roles.get(_str(kind))
        shape = self.shapes.get(role)
        if shape is None:
            return 0
        self.last_type, self.last_role, self.last_shape = PyBytes_FromStringAndSize(kind.at, kind.size), role, shape
        return 1

    cdef int _timely(self, Span* span, long long stamp) except -1:
        """Within both limits by more than a rounding."""
        cdef long long ms
        if not _there(span):
            return 1
        ms = _milliseconds(span)
        if ms < 0 or ms >= stamp + self.max_ahead_ms:
            return 0
        return self.max_age_ms == 0 or ms > stamp - self.max_age_ms + 1

    cdef str _envelope(self, Scan* s):
        """Every attribute, and `data` by the shape of its type, which must stand before it. The role, or None: not sure."""
        cdef Span name, value
        cdef Span strange[OTHERS]
        cdef int place, likely = 0, others = 0
        cdef uint64_t seen = 0
        cdef Node* node = &nodes[self.root]
        role = None
        if s.at[0] != 123:
            return None
        s.at += 1
        s.level = 1
        while True:
            if s.at[0] != 34:
                return None
            s.at += 1
            if not _string(s, &name) or name.kind & ESCAPED or s.at[0] != 58:
                return None
            s.at += 1
            place = _field(node, &name, likely)
            if place == NOWHERE:  # an extension: anybody may write one
                if _is(&name, "data_base64", 11) or not _first(strange, &others, &name) or not _value(s, FREE, &value):
                    return None
            elif seen >> place & 1:
                return None
            elif place > S_DATA:  # one that we know, and need not
                if not _value(s, fields[node.first + place].node, &value) or not _attribute(&value):
                    return None
            elif place == S_DATA:
                if not _plain_text(&s.slots[S_TYPE]):
                    return None
                if not self._learn(&s.slots[S_TYPE]) or not _value(s, self.last_shape, &s.slots[place]):
                    return None
                role = self.last_role
            elif not _value(s, fields[node.first + place].node, &s.slots[place]):
                return None
            if place != NOWHERE:
                seen |= <uint64_t>1 << place
                likely = place + 1
            if s.at[0] == 44:
                s.at += 1
            elif s.at[0] == 125:
                break
            else:
                return None
        return role if s.at + 1 == s.end and (seen & node.required) == node.required else None


cdef inline int _same(bytes text, Span* span) noexcept:
    """A span that is no text is the empty one."""
    cdef Py_ssize_t size = span.size if span.kind & STRING else 0
    return PyBytes_GET_SIZE(text) == size and l07_equal(PyBytes_AS_STRING(text), span.at, size)


cdef inline int _plain_text(Span* span) noexcept nogil:
    return span.kind & STRING and not span.kind & ESCAPED and span.size > 0


cdef int _sound(Span* at) noexcept nogil:
    """The rules of the envelope."""
    if not _name(&at[S_ID]) or not _plain_text(&at[S_SOURCE]) or not _is(&at[S_VERSION], "1.0", 3):
        return 0
    if not _attribute(&at[S_SUBJECT]) or not _attribute(&at[S_KEY]) or not _attribute(&at[S_TIME]):
        return 0
    return not _there(&at[S_CONTENT_TYPE]) or _is(&at[S_CONTENT_TYPE], "application/json", 16)


cdef int _digits(const char* at, int count) noexcept nogil:
    """-1 where they are none."""
    cdef int n, value = 0
    for n in range(count):
        if not 48 <= at[n] <= 57:
            return -1
        value = value * 10 + at[n] - 48
    return value


cdef int _last_day(int year, int month) noexcept nogil:
    if month == 2:
        return 29 if (year % 4 == 0 and year % 100 != 0) or year % 400 == 0 else 28
    return 30 + ((month + (month >> 3)) & 1)


cdef long long _milliseconds(Span* span) noexcept nogil:
    """Since 1970, of a time in UTC that is written as nearly all are, cut to the millisecond; -1: not sure, or earlier."""
    cdef const char* at = span.at
    cdef int year, month, day, hour, minute, second, ms = 0, n
    cdef long long days, era
    if span.size < 20 or span.size > 27 or at[span.size - 1] != 90 or at[4] != 45 or at[7] != 45 or at[10] != 84:
        return -1
    if at[13] != 58 or at[16] != 58 or at[19] != (90 if span.size == 20 else 46) or span.size == 21:
        return -1
    year, month, day = _digits(at, 4), _digits(at + 5, 2), _digits(at + 8, 2)
    hour, minute, second = _digits(at + 11, 2), _digits(at + 14, 2), _digits(at + 17, 2)
    if year < 1970 or not 1 <= month <= 12 or not 1 <= day <= _last_day(year, month) or not 0 <= hour <= 23:
        return -1
    if not 0 <= minute <= 59 or not 0 <= second <= 59:
        return -1
    for n in range(span.size - 21):
        if not 48 <= at[20 + n] <= 57:
            return -1
        if n < 3:
            ms += (at[20 + n] - 48) * (100 if n == 0 else 10 if n == 1 else 1)
    year -= month <= 2  # H. Hinnant, days_from_civil
    era = year // 400
    days = era * 146097 + (year - era * 400) * 365 + (year - era * 400) // 4 - (year - era * 400) // 100
    days += (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1 - 719468
    return ((days * 24 + hour) * 60 + minute) * 60000 + second * 1000 + ms


cdef inline Span* _sure(Span* at) noexcept nogil:
    """The confidence that counts."""
    return &at[S_CONFIDENCE] if _there(&at[S_CONFIDENCE]) else &at[S_LEVEL]


cdef int _judged(Span* at, double* score, double* confidence) except -2:
    """Whether there are both; -1: not sure. A second confidence counts for nothing, and must be one all the same."""
    cdef double ignored = 0
    cdef Span* sure = _sure(at)
    if not _maybe(&at[S_EVALUATION]):
        return -1
    if _there(&at[S_SCORE]) and not _float(&at[S_SCORE], 100, score):
        return -1
    if _there(sure) and not _float(sure, 1, confidence):
        return -1
    if _there(&at[S_LEVEL]) and not _float(&at[S_LEVEL], 1, &ignored):
        return -1
    return _there(&at[S_SCORE]) and _there(sure)


cdef str _said_of(Span* at):
    """The key of the run that a score is about."""
    if not _maybe(&at[S_PLAN]):
        return None
    if _there(&at[S_EXECUTION]):
        return _named("execution:", 10, &at[S_EXECUTION]) if _name(&at[S_EXECUTION]) else None
    return _named("plan:", 5, &at[S_PLAN]) if _name(&at[S_PLAN]) else None


cdef str _key_of(Span* at):
    cdef Span* ident = &at[S_EXECUTION] if _there(&at[S_EXECUTION]) else &at[S_TRACE_EXECUTION]
    return _named("execution:", 10, ident) if _name(ident) else None


cdef Span* _domain_of(Span* at) noexcept nogil:
    """NULL: not sure. One that is absent stands for the empty text."""
    cdef Span* domain = &at[S_DOMAIN]
    if not _there(domain) or domain.size == 0:
        if _there(&at[S_TRACE]):
            domain = &at[S_TRACE_DOMAIN]
        elif _there(&at[S_OWN_PLAN]) or _there(&at[S_PLANNING]):
            return NULL
        else:
            domain = &at[S_TASK_DOMAIN]
    return domain if _maybe(domain) else NULL


cdef int _exemplary(Scan* s) noexcept nogil:
    """Whether the run can become an example, by that branch of each rule that nearly all runs take. The rules: `dialects`."""
    cdef Span* at = s.slots
    if not _filled(&at[S_OUTCOME]):
        return 0
    if _there(&at[S_MESSAGES]):
        return not s.talk.strange and s.talk.assistant and s.talk.user and _filled(&s.talk.goal)
    if _there(&at[S_TRACE]):
        return at[S_STEPS].kind & MANY and _filled(&at[S_TRACE_TASK])
    return _there(&at[S_TASK]) and at[S_ACTIONS].kind & MANY and _filled(&at[S_GOAL])
