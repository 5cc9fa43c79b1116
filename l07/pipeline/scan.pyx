# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""One pass over a record in C: the half that it is, if it is valid beyond doubt; else None.

Whatever is answered here, `ingest.py` answers too, more slowly; a test holds both against each other. So every rule is
written to be sure, not to be complete: white space, an escape in a text that is needed, an exponent, a second key, a type
that the struct does not have, a rule's rare branch: None, and somebody else looks.
The end of the bytes is a zero byte (Python's promise), which no rule accepts: no pointer passes it."""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from cpython.ref cimport Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_SET_ITEM
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

cdef extern from "Python.h":
    ctypedef struct Class "PyTypeObject":
        object (*tp_alloc)(type, Py_ssize_t)

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


cdef int _judgement(Named* key, Span* at, double score, double confidence, char* out) except -1:
    """The digest of what a score says; 0 where that is long. What is said: see `inbound.py`."""
    cdef char said[2048]
    cdef Py_ssize_t size = key.prefix_size + key.size
    cdef Span* evaluation = &at[S_EVALUATION]
    if size + evaluation.size > 1900:
        return 0
    memcpy(said, key.prefix, key.prefix_size)
    memcpy(said + key.prefix_size, key.at, key.size)
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
    _digest(said, size, out)
    return 1


cdef tuple _filled_in(type cls, tuple values):
    """An instance of a subclass of tuple, as `tuple.__new__` makes it, without a call."""
    cdef Py_ssize_t n, count = PyTuple_GET_SIZE(values)
    cdef object made = (<Class*>cls).tp_alloc(cls, count)
    for n in range(count):
        value = <object>PyTuple_GET_ITEM(values, n)
        Py_INCREF(value)
        PyTuple_SET_ITEM(made, n, value)
    return <tuple>made


cdef tuple _columns(records):
    """Rows of records, values, headers by place, the first place and the one behind the last; None: they are objects."""
    columns = getattr(records, "columns", None)
    if columns is None:
        return None
    kind, rows, values, headers, start, stop = columns()
    return (rows, values, headers, start, stop) if kind == RECORD_ROWS else None


def value_bytes(records):
    """Of the values of these records together."""
    cdef Py_ssize_t size = 0
    cdef tuple columns = _columns(records)
    if columns is not None:
        return _bytes_of_rows(columns[0], columns[3], columns[4])
    for record in records:
        if not isinstance(record, tuple) or len(record) != 8:
            raise TypeError("a Record is meant")
        value = (<tuple>record)[5]
        if type(value) is bytes:
            size += PyBytes_GET_SIZE(value)
        elif value is not None:
            size += len(value)
    return size


cdef int64_t _bytes_of_rows(bytearray rows, Py_ssize_t start, Py_ssize_t stop) except -1:
    cdef RecordRow* row = <RecordRow*>PyByteArray_AS_STRING(rows)
    if not 0 <= start <= stop or PyByteArray_GET_SIZE(rows) < stop * <Py_ssize_t>sizeof(RecordRow):
        raise IndexError(f"records {start} to {stop}")
    return row[stop - 1].until - (row[start - 1].until if start else 0) if stop > start else 0


include "scan_items.pxi"


cdef inline void _soon(PyObject* value) noexcept:
    """Values lie all over the memory: the next one's beginning comes while this one is read."""
    cdef const char* at = <const char*>value
    L07_SOON(at)
    L07_SOON(at + 64)
    L07_SOON(at + 128)
    L07_SOON(at + 192)


cdef class Scanner:
    """Reads events whose envelope has the shape `root` and whose `data` has one of `shapes` (by role). `roles`: type name ->
    role; grows as names are met, elsewhere.

    `half` and `ignored` are the classes of what comes out, `route` says which track takes (domain, source). `plain`: headers
    beside which the value is the whole event."""

    cdef int root, last_shape
    cdef dict roles, shapes, routes
    cdef bytes last_type, last_domain, last_source  # the records of a slice are much alike
    cdef str last_role
    cdef bytes last_track
    cdef object route, plain
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

    def scan(self, records, int32_t part):
        """What each record is, as a half of the batch's `part` or as ignored; and the places of those of which that is not sure,
        where None stands."""
        cdef Items items = Items(self.half)
        cdef list left = []
        cdef Py_ssize_t place = 0
        cdef RecordRow row
        cdef tuple columns = _columns(records)
        if columns is not None:
            self._scan_rows(items, left, part, columns)
            return items, left
        items._room(len(records))
        for record in records:
            if not isinstance(record, tuple) or len(record) != 8:
                raise TypeError("a Record is meant")
            row.offset, row.time_ms, headers = (<tuple>record)[2], (<tuple>record)[3], (<tuple>record)[6]
            value = (<tuple>record)[5] if not (<tuple>record)[7] and (not headers or headers in self.plain) else None
            if not self._scan(items, value, &row, part):
                left.append(place)
            place += 1
        return items, left

    cdef int _scan_rows(self, Items items, list left, int32_t part, tuple columns) except -1:
        cdef bytearray rows = columns[0]
        cdef list values = columns[1]
        cdef dict headers = columns[2]
        cdef Py_ssize_t start = columns[3], stop = columns[4], n
        if not 0 <= start <= stop <= len(values) or PyByteArray_GET_SIZE(rows) < stop * <Py_ssize_t>sizeof(RecordRow):
            raise IndexError(f"records {start} to {stop} of {len(values)}")
        items._room(stop - start)
        for n in range(start, stop):
            value = values[n]
            if n + 1 < stop:
                _soon(<PyObject*>values[n + 1])
            if headers and n in headers and headers[n] not in self.plain:
                value = None
            if not self._scan(items, value, <RecordRow*>PyByteArray_AS_STRING(rows) + n, part):
                left.append(n - start)
        return 0

    cdef int _scan(self, Items items, value, RecordRow* record, int32_t part) except -1:
        """Adds one item: 1 where it is sure what it is, else 0, and None stands there."""
        cdef ItemRow row
        memset(&row, 0, sizeof(row))
        row.part, row.offset, row.time_ms = part, record.offset, record.time_ms
        cdef Py_ssize_t place = items.size
        items._row(place)[0] = row
        items.size += 1
        items.bodies.append(None)
        if type(value) is not bytes or PyBytes_GET_SIZE(value) > self.max_bytes:
            return 0
        cdef int found = self._read(items, place, value, &row)
        if found:
            items.bodies[place] = value if row.side else None
        return found

    cdef int _read(self, Items items, Py_ssize_t place, bytes value, ItemRow* row) except -1:
        cdef Scan s
        cdef double score = -1, confidence = -1
        cdef Span* at = s.slots
        cdef Named key
        s.at = PyBytes_AS_STRING(value)
        s.end = s.at + PyBytes_GET_SIZE(value)
        memset(s.slots, 0, sizeof(s.slots))
        memset(&s.talk, 0, sizeof(s.talk))
        role = self._envelope(&s)
        if role is None or not _sound(at) or not self._timely(&at[S_TIME], row.time_ms):
            return 0
        cdef int scored = _judged(at, &score, &confidence)
        if scored < 0:
            return 0
        row.score, row.confidence = score if scored else -1, confidence if scored else -1
        if role == "score":
            if not scored or not _said_of(at, &key) or not _judgement(&key, at, score, confidence, row.content):
                return 0
            row.side = 115
            _put(items, place, row, &key, &at[S_EVALUATION], b"")
            return 1
        cdef Span* domain = _domain_of(at)
        if not _key_of(at, &key) or domain == NULL or not _exemplary(&s):
            return 0
        track = self._track(domain, &at[S_SOURCE])
        if track is None:
            items.others[place] = _filled_in(self.ignored, (row.part, row.offset, "no_track"))
            return 1
        _digest(at[S_DATA].at, at[S_DATA].size, row.content)
        row.side = 98 if scored else 116
        _put(items, place, row, &key, &at[S_EVALUATION], track)
        return 1

    cdef bytes _track(self, Span* domain, Span* source):
        """Its name in UTF-8. `domain` may be absent."""
        if self.last_source is not None and _same(self.last_source, source) and _same(self.last_domain, domain):
            return self.last_track
        names = _str(domain) if domain.kind & STRING else "", _str(source)
        found = self.routes.get(names, self)
        if found is self:
            found = self.route(*names)
            found = found.encode() if found is not None else None
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


cdef inline int _named(Named* key, const char* prefix, Py_ssize_t size, Span* span) noexcept nogil:
    """0: it is no id."""
    if not _name(span):
        return 0
    key.prefix, key.prefix_size, key.at, key.size = prefix, size, span.at, span.size
    return 1


cdef int _said_of(Span* at, Named* key) noexcept nogil:
    """The key of the run that a score is about; 0: not sure."""
    if not _maybe(&at[S_PLAN]):
        return 0
    if _there(&at[S_EXECUTION]):
        return _named(key, "execution:", 10, &at[S_EXECUTION])
    return _named(key, "plan:", 5, &at[S_PLAN])


cdef int _key_of(Span* at, Named* key) noexcept nogil:
    return _named(key, "execution:", 10, &at[S_EXECUTION] if _there(&at[S_EXECUTION]) else &at[S_TRACE_EXECUTION])


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
