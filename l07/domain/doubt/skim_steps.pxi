# Part of skim.pyx: the steps of a run as digests and kinds, and what is asked of them.

cdef enum:
    HEAD = 60  # characters of a free text in which its first word is looked for
    SMALL = 256  # more than they can have bytes

cdef uint16_t _ERROR = l07_xxh3("error", 5) & 0xFFFF
cdef uint16_t _NONE = l07_xxh3("none", 4) & 0xFFFF


cdef struct Step:
    uint64_t call
    uint32_t output
    uint16_t kind
    uint16_t output_kind

cdef struct Steps:
    Step* all
    int32_t count


cdef int _take_steps(Steps* held, Run* run, int32_t count, tuple errors, shape) except -1:
    cdef int32_t n
    cdef Call* call
    cdef Step* step
    cdef Py_ssize_t size
    cdef const char* at
    held.count, held.all = count, <Step*>PyMem_Malloc(max(1, count) * sizeof(Step))
    if held.all == NULL:
        raise MemoryError
    for n in range(count):
        call, step = &run.calls[n], &held.all[n]
        at, size = "", 0
        if call.output != NULL:
            at = PyUnicode_AsUTF8AndSize(<object>call.output, &size)
        step.call, step.kind = _hash(run.out.at + call.name, call.end - call.name), call.kind
        step.output = _hash(at, size) & 0xFFFFFFFF
        step.output_kind = _NONE if call.output == NULL else _shape(<object>call.output, at, size, errors, shape)
    return 0


cdef bytes _packed(Steps* held, str answer):
    """Little-endian: the digest of the answer, and 16 bytes a step."""
    cdef Py_ssize_t size
    cdef const char* at = PyUnicode_AsUTF8AndSize(answer, &size)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, 8 + 16 * held.count)
    cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(out)
    cdef int32_t n
    to = _little(to, _hash(at, size), 8)
    for n in range(held.count):
        to = _little(to, held.all[n].call, 8)
        to = _little(to, held.all[n].output, 4)
        to = _little(to, held.all[n].kind, 2)
        to = _little(to, held.all[n].output_kind, 2)
    return out


cdef inline uint8_t* _little(uint8_t* to, uint64_t value, int size) noexcept nogil:
    cdef int n
    for n in range(size):
        to[n] = value >> (8 * n) & 0xFF
    return to + size


cdef double _conflicts(Steps* held) noexcept nogil:
    """Of the calls that were made before, the share that had another output than the last time."""
    cdef int32_t n, before, repeated = 0, other = 0
    for n in range(held.count):
        before = n - 1
        while before >= 0 and held.all[before].call != held.all[n].call:
            before -= 1
        if before >= 0:
            repeated += 1
            other += held.all[before].output != held.all[n].output
    return other / <double>repeated if repeated else NOT_ASKED


cdef double _repeated(Steps* held) noexcept nogil:
    """The share of outputs that are one of those before."""
    cdef int32_t n, before, distinct = 0
    for n in range(held.count):
        before = n - 1
        while before >= 0 and held.all[before].output != held.all[n].output:
            before -= 1
        distinct += before < 0
    return 1 - distinct / <double>held.count if held.count else NOT_ASKED


# ------------------------------------------------------------------ kinds


cdef int _call_kind(Out* out, Py_ssize_t name, object arguments, const uint8_t* table) except -1:
    """See trail.py. The name is the last that was written, from `name` on; the kind's text is put together behind it."""
    cdef Py_ssize_t end = out.size, size
    cdef const char* at
    cdef int kind
    if type(arguments) is dict and len(<dict>arguments) == 1:
        (value,) = (<dict>arguments).values()
        if type(value) is str:
            at = PyUnicode_AsUTF8AndSize(value, &size)
            if memchr(at, c' ', size) != NULL:
                _put_first_word(out, name, end, <const uint8_t*>at, _clipped(at, size, HEAD), table)
    kind = _hash(out.at + name, out.size - name) & 0xFFFF
    out.size = end
    return kind


cdef int _put_first_word(
    Out* out, Py_ssize_t name, Py_ssize_t end, const uint8_t* at, Py_ssize_t size, const uint8_t* table
) except -1:
    """The first word that is not the tool's own, with a blank before it; nothing where there is none."""
    cdef char word[SMALL]
    cdef Py_ssize_t n = 0, length
    while n < size:
        length = 0
        while n < size and table[at[n]]:
            word[length] = <char>table[at[n]]
            length += 1
            n += 1
        if length and not _is_own(<const uint8_t*>out.at + name, end - name, word, length, table):
            _put_char(out, c' ')
            return _put_bytes(out, word, length)
        n += 1
    return 0


cdef bint _is_own(
    const uint8_t* name, Py_ssize_t size, const char* word, Py_ssize_t length, const uint8_t* table
) noexcept nogil:
    """Whether the tool's name has the word; a low line stands between words."""
    cdef Py_ssize_t n = 0, first, i
    while n < size:
        first = n
        while n < size and table[name[n]] and name[n] != c'_':
            n += 1
        if n - first == length:
            i = 0
            while i < length and table[name[first + i]] == <uint8_t>word[i]:
                i += 1
            if i == length:
                return True
        n += 1
    return False


cdef bint _is_blank(char one) noexcept nogil:
    return one == 32 or 9 <= one <= 13 or 28 <= one <= 31


cdef int _shape(object output, const char* text, Py_ssize_t length, tuple errors, shape) except -1:
    """The kind of an output: error, empty, or the shape of its beginning. `shape` is asked where a character is not ASCII."""
    cdef Py_ssize_t at = 0, end = min(length, 200), i
    cdef char small[201]
    cdef char found[8]
    cdef char one
    cdef int count = 0
    if not PyUnicode_IS_ASCII(output):
        return _kind_of(shape(output))
    while at < end and _is_blank(text[at]):
        at += 1
    if at == end:
        return _kind_of(b"empty")
    for i in range(at, end):
        one = text[i]
        if one == 0:
            return _kind_of(shape(output))
        small[i - at] = one + 32 if 65 <= one <= 90 else one
    small[end - at] = 0
    for word in errors:
        if strstr(small, <const char*><bytes>word) != NULL:
            return _ERROR
    for i in range(min(end - at, 24)):
        one = small[i]
        if one == 32 or one == 9 or one == 10 or one == 13:
            continue
        one = 97 if 97 <= one <= 122 else 48 if 48 <= one <= 57 else one
        if count and (one == 97 or one == 48) and found[count - 1] == one:
            continue
        if count == 6:
            break
        found[count] = one
        count += 1
    if length > 300:
        found[count] = 43
        count += 1
    return l07_xxh3(found, count) & 0xFFFF


cdef int _kind_of(bytes text) except -1:
    return _hash(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)) & 0xFFFF
