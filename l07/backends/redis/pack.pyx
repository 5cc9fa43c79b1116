# cython: language_level=3, boundscheck=False, wraparound=False
"""What `wire.py` and `packing.py` do for every record, in C. A test holds both against each other."""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

cdef extern from *:
    """
    #include <stdint.h>
    /* A number so that its bytes lie from the highest to the lowest. */
    static inline uint64_t l07_turned(uint64_t value) {
        const uint64_t one = 1;
        if (*(const uint8_t *)&one == 0) return value;
    #if defined(__GNUC__)
        return __builtin_bswap64(value);
    #else
        uint64_t out = 0;
        int n;
        for (n = 0; n < 8; n++) out = out << 8 | (value >> (8 * n) & 0xFF);
        return out;
    #endif
    }
    """
    uint64_t l07_turned(uint64_t value)

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

include "pack_hash.pxi"
include "pack_xxh3.pxi"

cdef enum:
    HEAD = 61
    SLICE = 16
    CHECK = 8
    CONTENT = 8
    SHORT = 65535


cdef struct Text:
    const char* at
    Py_ssize_t size


cdef inline Text _text(object text) except *:
    cdef Text found
    found.at = PyUnicode_AsUTF8AndSize(text, &found.size)
    return found


cdef inline char* _put(char* at, uint64_t value, int size) noexcept:
    """Big-endian. Writes up to eight bytes, of which `size` count."""
    value = l07_turned(value << (64 - 8 * size))
    memcpy(at, &value, 8)
    return at + size


cdef inline char* _put_float(char* at, double value) noexcept:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    return _put(at, bits, 8)


cdef inline char* _put_bytes(char* at, const char* what, Py_ssize_t size) noexcept:
    memcpy(at, what, size)
    return at + size


def pack(items, list starts, list ends, list names, bytes own, half_class, numbers, check):
    """The halves among a batch's items, each as one string, digests of their keys, and their bodies with their numbers; the
    numbers of all that is no half. None where an item breaks the port's contract, or may: `wire.check` says which and how.

    `starts`, `ends`, `names`: of the parts. `own`: the slice's name. `numbers`: as text. `check`: 8 bytes of a digest."""
    cdef list halves = [], digests = [], bodies = [], others = []
    cdef Py_ssize_t count = len(names), number = 0
    cdef uint8_t digest[16]
    cdef Text key
    cdef Py_ssize_t part
    cdef long long offset
    cdef list last = [start - 1 for start in starts]
    cdef tuple half
    for item in items:
        number += 1
        if not isinstance(item, tuple) or len(item) < 3 or number >= len(numbers):
            return None
        half = <tuple>item
        part, offset = half[0], half[1]
        if not 0 <= part < count or not <long long>last[part] < offset < <long long>ends[part]:
            return None
        last[part] = offset
        if type(item) is not half_class:
            others.append(number)
            continue
        key = _text(half[3])
        packed = _packed(half, <bytes>names[part], own, key, number, check)
        if packed is None:
            return None
        l07_blake2b_16(key.at, key.size, digest)
        digests.append(PyBytes_FromStringAndSize(<char*>digest, 16))
        halves.append(packed)
        bodies.append(numbers[number])
        bodies.append(half[11])
    return halves, digests, bodies, others


cdef bytes _packed(tuple half, bytes name, bytes own, Text key, Py_ssize_t number, check):
    cdef double time_ms = half[2], offset = half[1]
    cdef Text side = _text(half[4]), track = _text(half[6]), reason = _text(half[7]), tie = _text(half[10])
    cdef bytes content = half[5], body = half[11]
    cdef double score = -1.0, confidence = -1.0
    cdef char kind = side.at[0]
    if kind == 114:  # request, response
        kind = 113 if side.size == 7 else 112
    cdef bint unscored = kind == 116 or kind == 113 or kind == 112
    if half[8] is not None:
        if half[9] is None:
            return None
        score, confidence = half[8], half[9]
        if unscored or not 0 <= score <= 100 or not 0 <= confidence <= 1:
            return None
    elif not unscored or half[9] is not None:
        return None
    if PyBytes_GET_SIZE(content) != CONTENT or time_ms < 0 or PyBytes_GET_SIZE(own) != SLICE:
        return None
    if (kind != 115) != (track.size > 0) or (not unscored and kind != 115 and kind != 98):
        return None
    if PyBytes_GET_SIZE(name) > SHORT or track.size > SHORT or reason.size > SHORT or number > SHORT:
        return None
    cdef Py_ssize_t size = HEAD + SLICE + PyBytes_GET_SIZE(name) + track.size + reason.size + tie.size + key.size
    packed = PyBytes_FromStringAndSize(NULL, size + CHECK)
    cdef char* begin = PyBytes_AS_STRING(packed)
    cdef char* at = begin
    at[0] = kind
    at = _put_float(_put_float(_put_float(at + 1, time_ms), score), confidence)
    at = _put_float(_put_bytes(at, PyBytes_AS_STRING(content), CONTENT), offset)
    at = _put(_put(_put(at, PyBytes_GET_SIZE(body), 4), number, 2), PyBytes_GET_SIZE(name), 2)
    at = _put(_put(_put(_put(at, track.size, 2), reason.size, 2), tie.size, 4), key.size, 4)
    at = _put_bytes(_put_bytes(at, PyBytes_AS_STRING(own), SLICE), PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
    at = _put_bytes(_put_bytes(_put_bytes(at, track.at, track.size), reason.at, reason.size), tie.at, tie.size)
    at = _put_bytes(at, key.at, key.size)
    cdef bytes sum_
    if size + PyBytes_GET_SIZE(body) > L07_LONG:
        _put(at, l07_xxh3(begin, size, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body), WIDE), CHECK)
    else:
        sum_ = check(begin[:size] + body)
        memcpy(at, PyBytes_AS_STRING(sum_), CHECK)
    return packed


cdef inline int _digits(Py_ssize_t number, char* out) noexcept:
    """How many; written to `out` from the left."""
    cdef char turned[24]
    cdef int count = 0, n
    while True:
        turned[count] = <char>(48 + number % 10)
        number //= 10
        count += 1
        if number == 0:
            break
    for n in range(count):
        out[n] = turned[count - 1 - n]
    return count


cdef inline Py_ssize_t _width(Py_ssize_t number) noexcept:
    cdef Py_ssize_t count = 1
    while number >= 10:
        number //= 10
        count += 1
    return count


include "pack_rows.pxi"


def joined(list commands):
    """Commands in the server's protocol, in pieces. Each is a list of words; one that is no bytes is sent as its text, and a
    tuple is so many words that are written already. Measured first and written once: a second large copy costs more in fresh
    pages than in bytes."""
    cdef list words, pieces = []
    cdef Py_ssize_t size = 0, n, count, begin = 0
    for words in commands:
        count = 0
        for n in range(len(words)):
            if isinstance(words[n], tuple):
                count += (<tuple>words[n])[0]
                continue
            count += 1
            if type(words[n]) is not bytes:
                words[n] = str(words[n]).encode()
            size += _word(PyBytes_GET_SIZE(words[n]))
        size += 3 + _width(count)
    out = PyBytes_FromStringAndSize(NULL, size)
    cdef char* at = PyBytes_AS_STRING(out)
    for words in commands:
        count = 0
        for word in words:
            count += (<tuple>word)[0] if isinstance(word, tuple) else 1
        at[0] = 42
        at += 1
        at += _digits(count, at)
        for n in range(len(words)):
            if isinstance(words[n], tuple):
                pieces += [(<bytes>out)[begin:at - PyBytes_AS_STRING(out)], (<tuple>words[n])[1]]
                begin = at - PyBytes_AS_STRING(out)
                continue
            at = _put_word_head(at, PyBytes_GET_SIZE(words[n]))
            at = _put_bytes(at, PyBytes_AS_STRING(words[n]), PyBytes_GET_SIZE(words[n]))
        at = _put_bytes(at, b"\r\n", 2)
    if not pieces:
        return [out]
    pieces.append((<bytes>out)[begin:])
    return pieces


cdef inline uint64_t _get(const char* at, int size) noexcept:
    """Big-endian."""
    cdef uint64_t value = 0
    cdef int n
    for n in range(size):
        value = value << 8 | <uint8_t>at[n]
    return value


cdef enum:
    MOST_NAMES = 64


cdef struct Spread:
    Text name
    double low, high


cdef Spread* _spread(Spread* known, int* count, const char* name, Py_ssize_t size, double offset) noexcept:
    """That of this topic:partition, which may be new; NULL: there is no room for one more."""
    cdef int n
    for n in range(count[0]):
        if known[n].name.size == size and memcmp(known[n].name.at, name, size) == 0:
            return known + n
    if count[0] == MOST_NAMES:
        return NULL
    n, count[0] = count[0], count[0] + 1
    known[n].name.at, known[n].name.size, known[n].low, known[n].high = name, size, offset, offset
    return known + n


def told(list blobs):
    """What `wire.told_of` reads out of rows: their keys, and (topic:partition, smallest, largest offset), sorted.
    None where a row is not as it should be, or there are many partitions: somebody else looks."""
    cdef list keys = []
    cdef Spread spreads[MOST_NAMES]
    cdef Spread* spread
    cdef bytes blob
    cdef const char* begin
    cdef Py_ssize_t size, at, texts, name_size, key_size, end
    cdef int bits, bit, left, names = 0, n
    cdef uint64_t raw
    cdef double offset
    cdef Text key
    for blob in blobs:
        begin, size = PyBytes_AS_STRING(blob), PyBytes_GET_SIZE(blob)
        if size < 3:
            return None
        bits = <uint8_t>begin[0]
        at = 3 + <Py_ssize_t>_get(begin + 1, 2)
        key.size = 0
        for bit in range(1, 3):  # a trace, a score
            left = 1 if bits & bit else 0
            if left and at < size and begin[at] == 112:  # a response: its request lies behind it
                left = 2
            while left > 0:
                left -= 1
                if size - at < HEAD + SLICE:
                    return None
                raw = _get(begin + at + 33, 8)
                memcpy(&offset, &raw, 8)
                name_size, key_size = _get(begin + at + 47, 2), _get(begin + at + 57, 4)
                texts = at + HEAD + SLICE
                end = texts + name_size + _get(begin + at + 49, 2) + _get(begin + at + 51, 2) + _get(begin + at + 53, 4) + key_size
                if end + CHECK > size or not 0 <= offset < 2.0 ** 53:
                    return None
                spread = _spread(spreads, &names, begin + texts, name_size, offset)
                if spread == NULL:
                    return None
                spread.low, spread.high = min(spread.low, offset), max(spread.high, offset)
                if key.size == 0:
                    key.at, key.size = begin + end - key_size, key_size
                at = end + CHECK
        if at != size or key.size == 0:
            return None
        try:
            keys.append(key.at[:key.size].decode())
        except UnicodeDecodeError:
            return None
    try:
        return keys, sorted([
            (spreads[n].name.at[:spreads[n].name.size].decode(), int(spreads[n].low), int(spreads[n].high)) for n in range(names)
        ])  # fmt: skip
    except UnicodeDecodeError:
        return None
