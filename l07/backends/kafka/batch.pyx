# cython: language_level=3, boundscheck=False, wraparound=False
"""What `fetching.py` does for every record of a sound batch, in C: the checksum, and the records. Format: KIP-98."""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_SET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

include "../../ports/rows.pxi"

cdef extern from "Python.h":
    ctypedef struct Class "PyTypeObject":
        object (*tp_alloc)(type, Py_ssize_t)

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if defined(__x86_64__) && defined(__GNUC__)
    #include <nmmintrin.h>
    static int l07_has_crc32c(void) { __builtin_cpu_init(); return __builtin_cpu_supports("sse4.2") ? 1 : 0; }
    __attribute__((target("sse4.2")))
    static uint32_t l07_crc32c(const char *at, size_t size) {
        uint64_t crc = 0xffffffff, word;
        for (; size >= 8; size -= 8, at += 8) { memcpy(&word, at, 8); crc = _mm_crc32_u64(crc, word); }
        for (; size; size--, at++) crc = _mm_crc32_u8((uint32_t)crc, (uint8_t)*at);
        return ~(uint32_t)crc;
    }
    #else
    static int l07_has_crc32c(void) { return 0; }
    static uint32_t l07_crc32c(const char *at, size_t size) { (void)at; (void)size; return 0; }
    #endif
    """
    int l07_has_crc32c()
    uint32_t l07_crc32c(const char* at, size_t size) nogil

HAS_CRC32C = bool(l07_has_crc32c())  # this processor's own instruction


def crc32c(bytes data, Py_ssize_t at, Py_ssize_t end):
    """Of data[at:end]; only where HAS_CRC32C says so."""
    if not 0 <= at <= end <= PyBytes_GET_SIZE(data):
        raise IndexError(f"{at} to {end} of {PyBytes_GET_SIZE(data)} bytes")
    return l07_crc32c(PyBytes_AS_STRING(data) + at, end - at)


cdef struct Cursor:
    const uint8_t* at
    const uint8_t* end
    int damaged


cdef inline int64_t _number(Cursor* c) noexcept nogil:
    """A zigzag varint of at most 64 bits."""
    cdef uint64_t value = 0
    cdef int shift = 0
    cdef uint8_t byte
    while c.at < c.end and shift <= 63:
        byte = c.at[0]
        if shift == 63 and byte > 1:  # beyond 64 bits
            break
        c.at += 1
        value |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            return <int64_t>(value >> 1) ^ -<int64_t>(value & 1)
        shift += 7
    c.damaged = 1
    return 0


cdef object _bytes(Cursor* c):
    cdef int64_t size = _number(c)
    if size < 0 or c.damaged:
        return None
    if size > c.end - c.at:
        c.damaged = 1
        return None
    found = PyBytes_FromStringAndSize(<const char*>c.at, size)
    c.at += size
    return found


cdef tuple _headers(Cursor* c):
    cdef int64_t count = _number(c), n
    if count == 0:
        return ()
    if not 0 < count <= c.end - c.at:
        c.damaged = 1
        return ()
    cdef list found = []
    for n in range(count):
        name = _bytes(c)
        value = _bytes(c)
        if c.damaged:
            return ()
        found.append((name or b"", value))
    return tuple(found)


cdef inline void _set(made, Py_ssize_t place, value):
    Py_INCREF(value)
    PyTuple_SET_ITEM(made, place, value)


cdef object _record(type record_class, topic, partition, offset, stamp, key, value, headers):
    """A Record without an error, as `tuple.__new__` makes it, without a call."""
    made = (<Class*>record_class).tp_alloc(record_class, 8)
    _set(made, 0, topic)
    _set(made, 1, partition)
    _set(made, 2, offset)
    _set(made, 3, stamp)
    _set(made, 4, key)
    _set(made, 5, value)
    _set(made, 6, headers)
    _set(made, 7, "")
    return made


def records(
    bytes data, Py_ssize_t at, Py_ssize_t end, int64_t base_offset, int64_t first_ms, int64_t append_ms, Py_ssize_t count,
    topic, partition, type record_class,
):
    """The `count` records in data[at:end], which is not compressed. `append_ms`: the time of each, -1: each has its own.
    None where anything is not as it should be: somebody else says what."""
    cdef int64_t FAR = <int64_t>1 << 62  # sums of two of these are no other number
    if not 0 <= at <= end <= PyBytes_GET_SIZE(data) or not 0 <= count <= end - at:
        return None
    if not -FAR < first_ms < FAR or not -FAR < base_offset < FAR:
        return None
    cdef Cursor c
    cdef const uint8_t* until
    cdef int64_t size, stamp, offset
    cdef Py_ssize_t n
    cdef list found = []
    c.at = <const uint8_t*>PyBytes_AS_STRING(data) + at
    c.end = <const uint8_t*>PyBytes_AS_STRING(data) + end
    c.damaged = 0
    for n in range(count):
        size = _number(&c)
        if c.damaged or size < 1 or size > c.end - c.at:
            return None
        until = c.at + size
        c.at += 1  # attributes: none are in use
        stamp, offset = _number(&c), _number(&c)
        if not -FAR < stamp < FAR or not -FAR < offset < FAR:
            return None
        stamp += first_ms
        offset += base_offset
        key = _bytes(&c)
        value = _bytes(&c)
        headers = _headers(&c)
        if c.damaged or c.at != until:
            return None
        if append_ms >= 0:
            stamp = append_ms
        found.append(_record(record_class, topic, partition, offset, stamp, key, value, headers))
    return found if c.at == c.end else None


cdef class Records:
    """Records of one partition, in order; a Record is made only where somebody asks for one. Equal to any sequence of the same.

    A piece of it is a view: what is appended later is not in it. `columns` has what it is made of, see ports/rows.pxi."""

    cdef object topic, partition
    cdef bytearray rows
    cdef list values, keys
    cdef dict headers  # by place, where there are some
    cdef type record_class
    cdef Py_ssize_t start, stop

    def __init__(self, topic, partition, type record_class):
        self.topic, self.partition, self.record_class = topic, partition, record_class
        self.rows, self.values, self.keys, self.headers = bytearray(), [], [], {}
        self.start = self.stop = 0

    def columns(self):
        """(what rows these are, rows, values, headers by place, the first place, the place behind the last)."""
        return RECORD_ROWS, self.rows, self.values, self.headers, self.start, self.stop

    def __len__(self):
        return self.stop - self.start

    def __getitem__(self, place):
        cdef Py_ssize_t at, begin, end, step
        if isinstance(place, slice):
            begin, end, step = place.indices(self.stop - self.start)
            if step != 1:
                return [self._record(self.start + n) for n in range(begin, end, step)]
            return self._view(self.start + begin, self.start + max(begin, end))
        at = place
        if at < 0:
            at += self.stop - self.start
        if not 0 <= at < self.stop - self.start:
            raise IndexError(f"record {place} of {self.stop - self.start}")
        return self._record(self.start + at)

    def __iter__(self):
        return iter([self._record(n) for n in range(self.start, self.stop)])

    def __reversed__(self):
        return reversed(list(self))

    def __contains__(self, record):
        return record in list(self)

    def index(self, record, *between):
        return list(self).index(record, *between)

    def count(self, record):
        return list(self).count(record)

    def __eq__(self, other):
        return list(self) == list(other) if isinstance(other, (list, tuple, Records)) else NotImplemented

    def __repr__(self):
        return repr(list(self))

    def __iadd__(self, other):
        """With what comes behind it: a list where `other` has no rows, or another partition's."""
        cdef Records more
        cdef Py_ssize_t n
        if not isinstance(other, Records) or self.stop != len(self.values):
            return [*self, *other]
        more = <Records>other
        if more.partition != self.partition or more.topic != self.topic:
            return [*self, *other]
        self._room(more.stop - more.start)
        for n in range(more.start, more.stop):
            self._append(more._row(n).offset, more._row(n).time_ms, more.keys[n], more.values[n], more.headers.get(n))
        return self

    cdef inline RecordRow* _row(self, Py_ssize_t place) noexcept:
        return <RecordRow*>PyByteArray_AS_STRING(self.rows) + place

    cdef Records _view(self, Py_ssize_t start, Py_ssize_t stop):
        cdef Records view = Records.__new__(Records)
        view.topic, view.partition, view.record_class = self.topic, self.partition, self.record_class
        view.rows, view.values, view.keys, view.headers = self.rows, self.values, self.keys, self.headers
        view.start, view.stop = start, stop
        return view

    cdef int _room(self, Py_ssize_t more) except -1:
        """For so many rows more."""
        PyByteArray_Resize(self.rows, (len(self.values) + more) * sizeof(RecordRow))
        return 0

    cdef int _append(self, int64_t offset, int64_t time_ms, key, value, headers) except -1:
        """Behind the last; `_room` was made for it."""
        cdef RecordRow* row = self._row(self.stop)
        row.offset, row.time_ms = offset, time_ms
        row.until = (self._row(self.stop - 1).until if self.stop else 0) + (len(value) if value is not None else 0)
        if headers:
            self.headers[self.stop] = headers
        self.keys.append(key)
        self.values.append(value)
        self.stop += 1
        return 0

    cdef object _record(self, Py_ssize_t place):
        cdef RecordRow* row = self._row(place)
        return _record(
            self.record_class, self.topic, self.partition, row.offset, row.time_ms, self.keys[place], self.values[place],
            self.headers.get(place, ()),
        )  # fmt: skip


def sound_messages(messages, Py_ssize_t at, topic, partition, Py_ssize_t room, type record_class, asked_headers, headers_of):
    """What confluent-kafka gave of one partition, from `at` on, until another begins, one is an error or unreadable, or `room`
    bytes are full: (records, the next place, their bytes, whether it is unreadable). `asked_headers` is asked once a message."""
    cdef Records found = Records(topic, partition, record_class)
    cdef Py_ssize_t size = 0, count = len(messages)
    found._room(count - at)
    cls = None  # its methods, looked up once
    while at < count and size < room:
        message = messages[at]
        if type(message) is not cls:
            cls = type(message)
            topic_of, partition_of, error_of, offset_of = cls.topic, cls.partition, cls.error, cls.offset
            time_of, key_of, value_of = cls.timestamp, cls.key, cls.value
        if partition_of(message) != partition or topic_of(message) != topic or error_of(message) is not None:
            break
        try:
            headers = asked_headers(message)
        except SystemError:  # a header whose name is not UTF-8
            return found, at, size, True
        value = value_of(message)
        found._append(
            offset_of(message), time_of(message)[1], key_of(message), value, headers_of(headers) if headers else None
        )
        size += len(value) if value is not None else 0
        at += 1
    return found, at, size, False
