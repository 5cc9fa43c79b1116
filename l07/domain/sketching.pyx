# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What `duplicates.py` does for every run, in C. A test holds both against each other."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND, PyUnicode_READ
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

import msgspec
import numpy
import xxhash

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    bint Py_UNICODE_ISALNUM(Py_UCS4 char)

cdef object _encode = msgspec.json.encode

include "xxh3.pxi"
include "runs_json.pxi"
include "sketch_hash.pxi"

cdef enum:
    SHINGLE = 5
    PERMUTATIONS = 128

cdef uint8_t _PART[128]  # of a word
for _code in range(128):
    _PART[_code] = chr(_code).isalnum() or _code == 95


def run_shingles(str goal not None, messages, const uint64_t[::1] place):
    """Of what duplicates.py calls the action's text; None: not sure."""
    cdef Out out
    cdef bint plain
    _open(&out)
    try:
        if not _put_actions(&out, goal, messages):
            return None
        plain = _lowered(out.at, out.size)
        if plain:
            return _shingles_of(NULL, out.at, out.size, place)
        return shingles(out.at[:out.size].decode("utf-8"), place)
    except UnicodeEncodeError:
        return None
    finally:
        _close(&out)


cdef int _put_actions(Out* out, str goal, messages) except -1:
    """A line of each text and call of the assistant."""
    cdef dict function
    if type(messages) is not list and type(messages) is not tuple:
        return 0
    _put_plain(out, goal)
    for message in messages:
        if type(message) is not dict:
            return 0
        if (<dict>message).get("role") != "assistant":
            continue
        _put_char(out, c'\n')
        if not _put_plain(out, (<dict>message).get("content")):
            return 0
        for call in (<dict>message).get("tool_calls") or ():
            if type(call) is not dict or type((<dict>call).get("function")) is not dict:
                return 0
            function = (<dict>call)["function"]
            if type(function.get("name")) is not str:
                return 0
            _put_char(out, c'\n')
            _put_plain(out, function["name"])
            _put_char(out, c' ')
            if not _put_plain(out, function.get("arguments")):
                return 0
    return 1


cdef bint _lowered(char* at, Py_ssize_t size) noexcept nogil:
    """Whether all is ASCII; then it is in small letters."""
    cdef Py_ssize_t n
    cdef uint8_t all_ = 0
    for n in range(size):
        all_ |= <uint8_t>at[n]
    if all_ & 0x80:
        return False
    for n in range(size):
        at[n] += 32 * (<uint8_t>(<uint8_t>at[n] - 65) < 26)
    return True


def shingles(str text not None, const uint64_t[::1] place):
    """Sorted and distinct."""
    cdef str small = text.lower()
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(small)
    if PyUnicode_IS_ASCII(small):
        return _shingles_of(NULL, <const char*>PyUnicode_DATA(small), size, place)
    return _shingles_of(<PyObject*>small, NULL, size, place)


cdef object _shingles_of(PyObject* text, const char* plain, Py_ssize_t size, const uint64_t[::1] place):
    """Of a text, or of ASCII; in small letters."""
    cdef Py_ssize_t count
    cdef uint64_t* words = <uint64_t*>PyMem_Malloc((size // 2 + 1 + SHINGLE) * sizeof(uint64_t))
    if words is NULL:
        raise MemoryError
    try:
        count = _ascii_words(plain, size, words) if text == NULL else _words(<object>text, size, words)
        while count < SHINGLE:
            words[count] = 0
            count += 1
        found = numpy.empty(count - SHINGLE + 1, numpy.uint64)
        _mix(words, found, place)
    finally:
        PyMem_Free(words)
    found.sort()
    return found[:_distinct(found)]


cdef Py_ssize_t _ascii_words(const char* at, Py_ssize_t size, uint64_t* out) except -1:
    cdef Py_ssize_t n = 0, first, count = 0
    while n < size:
        if not _PART[<uint8_t>at[n]]:
            n += 1
            continue
        first = n
        while n < size and _PART[<uint8_t>at[n]]:
            n += 1
        out[count] = _hash(at + first, n - first)
        count += 1
    return count


cdef Py_ssize_t _words(str text, Py_ssize_t size, uint64_t* out) except -1:
    cdef int kind = PyUnicode_KIND(text)
    cdef void* data = PyUnicode_DATA(text)
    cdef Py_ssize_t n = 0, first, count = 0
    while n < size:
        if not _is_part(PyUnicode_READ(kind, data, n)):
            n += 1
            continue
        first = n
        while n < size and _is_part(PyUnicode_READ(kind, data, n)):
            n += 1
        raw = text[first:n].encode("utf-8", "surrogatepass")
        out[count] = _hash(PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw))
        count += 1
    return count


cdef inline bint _is_part(Py_UCS4 char) noexcept:
    """What `\\w` matches."""
    return Py_UNICODE_ISALNUM(char) or char == 95


cdef int _mix(uint64_t* words, uint64_t[::1] out, const uint64_t[::1] place) except -1:
    cdef Py_ssize_t n
    cdef uint64_t value
    for n in range(out.shape[0]):
        value = (
            words[n] * place[0] + words[n + 1] * place[1] + words[n + 2] * place[2] + words[n + 3] * place[3]
            + words[n + 4] * place[4]
        )
        value = (value ^ (value >> 33)) * <uint64_t>0xFF51AFD7ED558CCDULL
        out[n] = value ^ (value >> 33)
    return 0


cdef Py_ssize_t _distinct(uint64_t[::1] values) except -1:
    """How many; they come first."""
    cdef Py_ssize_t n, count = 1
    for n in range(1, values.shape[0]):
        if values[n] != values[count - 1]:
            values[count] = values[n]
            count += 1
    return count


def sketch(const uint64_t[::1] values, const uint64_t[::1] multiply, const uint64_t[::1] add):
    """Little-endian."""
    cdef uint32_t best[PERMUTATIONS]
    cdef uint8_t out[4 * PERMUTATIONS]
    cdef int n
    for n in range(PERMUTATIONS):
        best[n] = 0xFFFFFFFF
    if values.shape[0]:
        l07_minima(&values[0], values.shape[0], &multiply[0], &add[0], best, PERMUTATIONS)
    for n in range(4 * PERMUTATIONS):
        out[n] = best[n // 4] >> (8 * (n % 4)) & 0xFF
    return PyBytes_FromStringAndSize(<char*>out, 4 * PERMUTATIONS)


def shared(const uint64_t[::1] one, const uint64_t[::1] other):
    """How many two have in common that are sorted and distinct."""
    cdef Py_ssize_t a = 0, b = 0, found = 0
    while a < one.shape[0] and b < other.shape[0]:
        found += one[a] == other[b]
        if one[a] <= other[b]:
            a, b = a + 1, b + (one[a] == other[b])
        else:
            b += 1
    return found


def agreement(
    const uint32_t[:, ::1] one, const int64_t[::1] mine, const uint32_t[:, ::1] other, const int64_t[::1] theirs
):
    """The share of equal minima of pairs of sketches."""
    found = numpy.empty(mine.shape[0])
    cdef double[::1] out = found
    cdef Py_ssize_t n
    for n in range(mine.shape[0]):
        out[n] = l07_equal(&one[mine[n], 0], &other[theirs[n], 0], PERMUTATIONS) / <double>PERMUTATIONS
    return found


def equal(const uint32_t[::1] asked, const uint32_t[::1] here, Py_ssize_t crowd):
    """Places of equal values in two sorted arrays, see bands.py: hand in hand through both, in leaps where one has far more."""
    cdef Py_ssize_t n, at = 0, low, high, step, count = 0, size = here.shape[0], end, total = 0
    cdef int64_t[::1] first = numpy.empty(asked.shape[0], numpy.int64)
    cdef int64_t[::1] met = numpy.empty(asked.shape[0], numpy.int64)
    cdef int64_t[::1] one, other
    cdef uint32_t value
    with nogil:
        for n in range(asked.shape[0]):
            value = asked[n]
            step = 1
            low = at
            while low + step < size and here[low + step] < value:
                low += step
                step *= 2
            high = min(low + step, size)
            while low < high:
                end = (low + high) // 2
                if here[end] < value:
                    low = end + 1
                else:
                    high = end
            at = low
            if at == size:
                break
            if here[at] == value:
                first[count], met[count] = at, n
                count += 1
                for end in range(at, min(at + crowd, size)):
                    if here[end] != value:
                        break
                    total += 1
    one, other = numpy.empty(total, numpy.int64), numpy.empty(total, numpy.int64)
    total = 0
    for n in range(count):
        for end in range(first[n], min(first[n] + crowd, size)):
            if here[end] != asked[met[n]]:
                break
            one[total], other[total] = met[n], end
            total += 1
    return numpy.asarray(one), numpy.asarray(other)
