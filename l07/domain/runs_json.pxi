# Part of runs.pyx, sketching.pyx and doubt/skim.pyx: JSON as msgspec writes it with the order "deterministic". Each function answers 1, or 0: not sure.

cdef extern from *:
    """
    #include <string.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif
    /* The first byte of a text that JSON escapes; or one of the last bytes. */
    static inline const char *l07_escaped(const char *at, const char *end) {
    #if defined(__SSE2__)
        const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\\\'), last = _mm_set1_epi8(0x1F);
        while (end - at >= 16) {
            __m128i word = _mm_loadu_si128((const __m128i *)at);
            __m128i found = _mm_or_si128(_mm_cmpeq_epi8(word, quote), _mm_cmpeq_epi8(word, slash));
            int marks = _mm_movemask_epi8(_mm_or_si128(found, _mm_cmpeq_epi8(_mm_min_epu8(word, last), word)));
            if (marks) return at + __builtin_ctz(marks);
            at += 16;
        }
    #endif
        return at;
    }
    """
    const char* l07_escaped(const char* at, const char* end) noexcept nogil

from libc.math cimport floor

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1

cdef enum:
    LEVELS = 100  # an event has 64 at most
    NAMES = 64  # of one object
    FIRST = 16384  # bytes
    KEPT = 1 << 20

cdef const char* HEX = "0123456789abcdef"
cdef double WHOLE = 1e15  # from here on a float may be no longer the number that its digits say


cdef uint8_t _AS_IT_IS[256]  # in a text of JSON
cdef int _byte
for _byte in range(256):
    _AS_IT_IS[_byte] = _byte >= 0x20 and _byte != c'"' and _byte != c'\\'


cdef struct Out:
    char* at
    Py_ssize_t size
    Py_ssize_t room


cdef struct Entry:
    const char* name
    Py_ssize_t size
    PyObject* value


cdef Out[2] _spare  # what was written into before: a large piece costs more to get than to fill


cdef int _open(Out* out) except -1:
    """A thread that comes in between finds no spare and gets its own."""
    cdef int n
    out.at, out.size, out.room = NULL, 0, FIRST
    for n in range(2):
        if _spare[n].at != NULL:
            out.at, out.room = _spare[n].at, _spare[n].room
            _spare[n].at = NULL
            return 1
    out.at = <char*>malloc(FIRST)
    if out.at == NULL:
        raise MemoryError
    return 1


cdef void _close(Out* out) noexcept:
    cdef int n
    for n in range(2):
        if _spare[n].at == NULL and out.room <= KEPT:
            _spare[n].at, _spare[n].room = out.at, out.room
            return
    free(out.at)


cdef int _grow(Out* out, Py_ssize_t more) except -1:
    cdef Py_ssize_t room = max(2 * out.room, out.size + more)
    cdef char* at = <char*>realloc(out.at, room)
    if at == NULL:
        raise MemoryError
    out.at, out.room = at, room
    return 1


cdef inline int _put_bytes(Out* out, const char* at, Py_ssize_t size) except -1:
    if out.room - out.size < size:
        _grow(out, size)
    memcpy(out.at + out.size, at, size)
    out.size += size
    return 1


cdef inline int _put_char(Out* out, char what) except -1:
    return _put_bytes(out, &what, 1)


cdef int _put_escaped(Out* out, const char* at, Py_ssize_t size) except -1:
    """As a string with its quotes."""
    cdef const char* end = at + size
    cdef const char* next_
    cdef uint8_t code
    cdef char* to
    if out.room - out.size < size + 32:
        _grow(out, size + size // 8 + 32)
    out.at[out.size] = c'"'
    out.size += 1
    while True:
        next_ = l07_escaped(at, end)
        if out.room - out.size < end - at + 16:
            _grow(out, 2 * (end - at) + 16)
        to = out.at + out.size
        if next_ != at:
            memcpy(to, at, next_ - at)
            to += next_ - at
            at = next_
        while at != end and _AS_IT_IS[<uint8_t>at[0]]:  # the last bytes
            to[0] = at[0]
            to += 1
            at += 1
        out.size = to - out.at
        if at == end:
            break
        code = <uint8_t>at[0]
        at += 1
        to[0] = c'\\'
        out.size += 2
        if code == c'"' or code == c'\\':
            to[1] = <char>code
        elif code == c'\n':
            to[1] = c'n'
        elif code == c'\t':
            to[1] = c't'
        elif code == c'\r':
            to[1] = c'r'
        elif code == c'\b':
            to[1] = c'b'
        elif code == c'\f':
            to[1] = c'f'
        else:
            memcpy(to + 1, "u00", 3)
            to[4] = HEX[code >> 4]
            to[5] = HEX[code & 15]
            out.size += 4
    out.at[out.size] = c'"'
    out.size += 1
    return 1


cdef inline int _put_text(Out* out, object text) except -1:
    cdef Py_ssize_t size
    cdef const char* at = PyUnicode_AsUTF8AndSize(text, &size)
    return _put_escaped(out, at, size)


cdef int _put_int(Out* out, long long value) except -1:
    cdef char digits[24]
    cdef int at = 24
    cdef unsigned long long left = <unsigned long long>value
    if value < 0:
        left = 0 - left
    while True:
        at -= 1
        digits[at] = c'0' + <char>(left % 10)
        left //= 10
        if left == 0:
            break
    if value < 0:
        at -= 1
        digits[at] = c'-'
    return _put_bytes(out, digits + at, 24 - at)


cdef bint _floats = False  # whether one was written since somebody said no


cdef int _put_float(Out* out, double value, bint canonical) except -1:
    cdef bytes text
    global _floats
    _floats = True
    if canonical and floor(value) == value:
        return _put_int(out, <long long>value) if -WHOLE < value < WHOLE else 0
    text = _encode(value)
    return _put_bytes(out, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef int _put(Out* out, object value, bint canonical, int levels) except -1:
    """`canonical`: a float without a fraction is written as the integer that it is."""
    cdef type kind = type(value)
    cdef int overflow = 0
    cdef long long number
    if kind is str:
        return _put_text(out, value)
    if kind is dict:
        return _put_dict(out, value, canonical, levels)
    if kind is list:
        return _put_list(out, value, canonical, levels)
    if kind is tuple:
        return _put_tuple(out, value, canonical, levels)
    if value is None:
        return _put_bytes(out, "null", 4)
    if kind is bool:
        return _put_bytes(out, "true", 4) if value is True else _put_bytes(out, "false", 5)
    if kind is int:
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        return 0 if overflow else _put_int(out, number)
    return _put_float(out, value, canonical) if kind is float else 0


cdef int _put_list(Out* out, list items, bint canonical, int levels) except -1:
    cdef bint first = True
    if levels == 0:
        return 0
    _put_char(out, c'[')
    for item in items:
        if not first:
            _put_char(out, c',')
        first = False
        if not _put(out, item, canonical, levels - 1):
            return 0
    return _put_char(out, c']')


cdef int _put_tuple(Out* out, tuple items, bint canonical, int levels) except -1:
    cdef bint first = True
    if levels == 0:
        return 0
    _put_char(out, c'[')
    for item in items:
        if not first:
            _put_char(out, c',')
        first = False
        if not _put(out, item, canonical, levels - 1):
            return 0
    return _put_char(out, c']')


cdef int _put_dict(Out* out, dict value, bint canonical, int levels) except -1:
    """Names in the order of their UTF-8 bytes."""
    cdef Entry entries[NAMES]
    cdef int count = _sorted(value, entries) if levels else -1
    cdef int n
    if count < 0:
        return 0
    _put_char(out, c'{')
    for n in range(count):
        _put_name(out, &entries[n], n)
        if not _put(out, <object>entries[n].value, canonical, levels - 1):
            return 0
    return _put_char(out, c'}')


cdef inline int _put_name(Out* out, Entry* entry, int before) except -1:
    if before:
        _put_char(out, c',')
    _put_escaped(out, entry.name, entry.size)
    return _put_char(out, c':')


cdef int _sorted(dict value, Entry* entries) except -2:
    """How many they are; -1: not sure."""
    cdef Entry entry
    cdef Py_ssize_t at = 0
    cdef int count = 0, n
    cdef PyObject* name
    cdef PyObject* item
    if len(value) > NAMES:
        return -1
    while PyDict_Next(value, &at, &name, &item):
        if type(<object>name) is not str:
            return -1
        entry.name = PyUnicode_AsUTF8AndSize(<object>name, &entry.size)
        entry.value = item
        n = count
        while n and _before(&entry, &entries[n - 1]):
            entries[n] = entries[n - 1]
            n -= 1
        entries[n] = entry
        count += 1
    return count


cdef inline bint _before(Entry* one, Entry* other) noexcept:
    cdef int order = memcmp(one.name, other.name, min(one.size, other.size))
    return order < 0 or (order == 0 and one.size < other.size)


cdef int _put_plain(Out* out, object value) except -1:
    """A text as it is, nothing as nothing, anything else as JSON."""
    cdef Py_ssize_t size
    cdef const char* at
    if value is None:
        return 1
    if type(value) is not str:
        return _put(out, value, False, LEVELS)
    at = PyUnicode_AsUTF8AndSize(value, &size)
    return _put_bytes(out, at, size)
