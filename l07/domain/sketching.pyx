# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What `duplicates.py` does for every run, in C. A test holds both against each other."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND, PyUnicode_READ
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

import numpy
import xxhash

from l07.domain.example import text_of

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    bint Py_UNICODE_ISALNUM(Py_UCS4 char)

include "xxh3.pxi"
include "sketch_hash.pxi"

cdef enum:
    SHINGLE = 5
    PERMUTATIONS = 128

cdef uint8_t _PART[128]  # of a word
for _code in range(128):
    _PART[_code] = chr(_code).isalnum() or _code == 95


def action_text(str goal, messages):
    """None where a message or a call is something else than a dict."""
    cdef list parts = [goal]
    for message in messages:
        if type(message) is not dict:
            return None
        if (<dict>message).get("role") != "assistant":
            continue
        content = (<dict>message).get("content")
        parts.append(content if type(content) is str else text_of(content))
        for call in (<dict>message).get("tool_calls") or ():
            if type(call) is not dict:
                return None
            function = (<dict>call).get("function")
            if type(function) is not dict:
                return None
            parts.append(f"{(<dict>function).get('name')} {text_of((<dict>function).get('arguments'))}")
    return "\n".join(parts)


def shingles(str text, const uint64_t[::1] place):
    """Sorted and distinct."""
    cdef str small = text.lower()
    cdef Py_ssize_t count, size = PyUnicode_GET_LENGTH(small)
    cdef uint64_t* words = <uint64_t*>PyMem_Malloc((size // 2 + 1 + SHINGLE) * sizeof(uint64_t))
    if words is NULL:
        raise MemoryError
    try:
        count = _ascii_words(small, size, words) if PyUnicode_IS_ASCII(small) else _words(small, size, words)
        while count < SHINGLE:
            words[count] = 0
            count += 1
        found = numpy.empty(count - SHINGLE + 1, numpy.uint64)
        _mix(words, found, place)
    finally:
        PyMem_Free(words)
    found.sort()
    return found[:_distinct(found)]


cdef Py_ssize_t _ascii_words(str text, Py_ssize_t size, uint64_t* out) except -1:
    cdef const char* at = <const char*>PyUnicode_DATA(text)
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
