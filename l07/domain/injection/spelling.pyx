# cython: language_level=3, boundscheck=False, wraparound=False
"""What `disguise.plain_of_any` does, in C, for texts of characters that do not depend on their neighbours. A test holds
both against each other."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memchr

cdef extern from "Python.h":
    int PyUnicode_KIND(object text) noexcept
    void* PyUnicode_DATA(object text) noexcept
    unsigned int PyUnicode_READ(int kind, const void* data, Py_ssize_t at) noexcept
    bint PyUnicode_IS_ASCII(object text) noexcept
    object PyUnicode_FromKindAndData(int kind, const void* data, Py_ssize_t size)

cdef enum:
    LIMIT = 0x2C00  # characters from here on are never known
    LANES = 4  # characters that one becomes, at most
    BLANK = 0x20
    ON_STACK = 4096

cdef uint64_t _UNKNOWN = <uint64_t>-1
cdef uint64_t[LIMIT] _known  # what a character becomes, 16 bits each, the first in the lowest; nothing: 0
cdef uint8_t[128] _known_ascii
cdef Py_ssize_t _place

for _place in range(LIMIT):
    _known[_place] = _UNKNOWN


def know(spelt):
    """From then on: what each character becomes, for those of which it is known whatever stands beside them. All of
    ASCII must be there, and become ASCII."""
    cdef uint64_t lanes
    for character, becomes in spelt.items():
        code = ord(character)
        if code >= LIMIT or len(becomes) > LANES or max(becomes, default="") > "\uffff":
            raise ValueError(f"{character!r} is none that could be known")
        lanes = 0
        for number, one in enumerate(becomes):
            lanes |= <uint64_t>ord(one) << (16 * number)
        _known[code] = lanes
        if code < 128:
            _known_ascii[code] = <uint8_t>lanes


def plain(str text not None):
    """None where it is not sure."""
    cdef Py_ssize_t size = len(text)
    cdef uint16_t[ON_STACK] here
    cdef uint16_t* out
    cdef bint ascii = PyUnicode_IS_ASCII(text)
    cdef Py_ssize_t room = size if ascii else size * LANES
    if room <= ON_STACK:
        return _of_ascii(text, size, here) if ascii else _of_any(text, size, here)
    out = <uint16_t*>PyMem_Malloc(room * sizeof(uint16_t))
    if out == NULL:
        raise MemoryError
    try:
        return _of_ascii(text, size, out) if ascii else _of_any(text, size, out)
    finally:
        PyMem_Free(out)


cdef _of_ascii(str text, Py_ssize_t size, uint16_t* scratch):
    cdef const uint8_t* data = <const uint8_t*>PyUnicode_DATA(text)  # ends with a zero
    cdef const uint8_t* escape
    cdef uint8_t* out = <uint8_t*>scratch
    cdef Py_ssize_t at = 0, done = 0, stop
    cdef uint8_t code, last = BLANK  # so that none comes first
    cdef bint kept
    while at < size:
        escape = <const uint8_t*>memchr(data + at, c'\\', size - at)
        stop = size if escape == NULL else escape - data
        while at < stop:  # without a branch: written, and overwritten where it does not count
            code = _known_ascii[data[at]]
            kept = (code != 0) & ((code != BLANK) | (last != BLANK))
            out[done] = code
            done += kept
            last = code if kept else last
            at += 1
        if at == size:
            break
        code = data[at + 1]
        if code == c'u':
            return _of_any(text, size, scratch)  # may be an escape of any character: no shorter than it
        at += 1
        if code == c'n' or code == c't' or code == c'r':
            at += 1
            if last != BLANK:
                out[done] = last = BLANK
                done += 1
    if done and last == BLANK:
        done -= 1
    return PyUnicode_FromKindAndData(1, out, done)


cdef _of_any(str text, Py_ssize_t size, uint16_t* out):
    cdef int kind = PyUnicode_KIND(text)
    cdef const void* data = PyUnicode_DATA(text)
    cdef Py_ssize_t at = 0, done = 0
    cdef unsigned int code, after
    cdef uint64_t lanes
    cdef int escaped
    cdef bint due = False
    while at < size:
        code = PyUnicode_READ(kind, data, at)
        if code == c'\\' and at + 1 < size:
            after = PyUnicode_READ(kind, data, at + 1)
            if after == c'n' or after == c't' or after == c'r':
                at += 1
                code = BLANK
            elif after == c'u' and at + 5 < size:
                escaped = _of_hex(kind, data, at + 2)
                if escaped >= 0:
                    at += 5
                    code = escaped
        at += 1
        if code >= LIMIT:
            return None
        lanes = _known[code]
        if lanes == _UNKNOWN:
            return None
        if lanes == BLANK:
            due = done > 0
            continue
        if lanes and due:
            out[done] = BLANK
            done += 1
            due = False
        while lanes:
            out[done] = <uint16_t>lanes
            done += 1
            lanes >>= 16
    return PyUnicode_FromKindAndData(2, out, done)


cdef inline int _of_hex(int kind, const void* data, Py_ssize_t at) noexcept:
    """Of four digits; -1 where there are none."""
    cdef int value = 0, digit
    cdef Py_ssize_t place
    for place in range(at, at + 4):
        digit = _digit(PyUnicode_READ(kind, data, place))
        if digit < 0:
            return -1
        value = value << 4 | digit
    return value


cdef inline int _digit(unsigned int code) noexcept:
    if c'0' <= code <= c'9':
        return code - c'0'
    if c'a' <= code <= c'f':
        return code - c'a' + 10
    if c'A' <= code <= c'F':
        return code - c'A' + 10
    return -1
