# Part of runs.pyx: what is asked of texts. Bytes are UTF-8 as Python made it.

from cpython.unicode cimport Py_UNICODE_ISALNUM, Py_UNICODE_ISSPACE

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)

cdef enum:
    READ = 2000  # characters of an output in which an error is looked for

cdef uint8_t _USUAL[128]  # what most texts are made of; the rest of ASCII is odd
cdef uint8_t _WORD[128]  # letters, digits, the low line
cdef int _code
for _code in range(128):
    _WORD[_code] = chr(_code).isalnum() or _code == c'_'
    _USUAL[_code] = _WORD[_code] or chr(_code).isspace() or chr(_code) in ".,:;!?'\"()[]{}<>@#$%&*+=/\\|^~`-"

cdef struct Word:
    const char* text
    int size

cdef enum:
    WORDS = 9

cdef Word _ERRORS[WORDS]
_ERRORS[0] = Word("error", 5)
_ERRORS[1] = Word("exception", 9)
_ERRORS[2] = Word("traceback", 9)
_ERRORS[3] = Word("failed", 6)
_ERRORS[4] = Word("failure", 7)
_ERRORS[5] = Word("invalid", 7)
_ERRORS[6] = Word("not found", 9)
_ERRORS[7] = Word("denied", 6)
_ERRORS[8] = Word("unknown column", 14)
cdef uint8_t _BEGINS[256]  # a letter, small or large, that one of them begins with
for _code in range(WORDS):
    _BEGINS[<uint8_t>_ERRORS[_code].text[0]] = _BEGINS[<uint8_t>_ERRORS[_code].text[0] - 32] = 1


cdef Py_ssize_t _characters(const char* at, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t n, count = 0
    for n in range(size):
        count += (<uint8_t>at[n] & 0xC0) != 0x80
    return count


cdef inline Py_UCS4 _letter(const uint8_t** at) noexcept nogil:
    """The character there, of more than one byte; moves behind it."""
    cdef const uint8_t* here = at[0]
    if here[0] < 0xE0:
        at[0] += 2
        return <Py_UCS4>((here[0] & 0x1F) << 6 | here[1] & 0x3F)
    if here[0] < 0xF0:
        at[0] += 3
        return <Py_UCS4>((here[0] & 0x0F) << 12 | (here[1] & 0x3F) << 6 | here[2] & 0x3F)
    at[0] += 4
    return <Py_UCS4>((here[0] & 0x07) << 18 | (here[1] & 0x3F) << 12 | (here[2] & 0x3F) << 6 | here[3] & 0x3F)


cdef Py_ssize_t _odd(const char* text, Py_ssize_t size) noexcept:
    """Characters that are no letter, no digit, no white space and none of the usual marks."""
    cdef const uint8_t* at = <const uint8_t*>text
    cdef const uint8_t* end = at + size
    cdef Py_ssize_t count = 0
    cdef Py_UCS4 letter
    while at < end:
        if at[0] < 0x80:
            count += not _USUAL[at[0]]
            at += 1
            continue
        letter = _letter(&at)
        count += not (Py_UNICODE_ISALNUM(letter) or Py_UNICODE_ISSPACE(letter))
    return count


cdef bint _blank(str text) except -1:
    cdef Py_UCS4 letter
    for letter in text:
        if not Py_UNICODE_ISSPACE(letter):
            return False
    return True


cdef bint _tells_of_error(str text, object search) except -1:
    """ASCII is looked through here. Of other text too, as long as it has none of the words, nor a letter that is one of
    ASCII's in another case: \u0130, \u0131, \u017f, \u212a."""
    cdef Py_ssize_t size
    cdef const char* at
    if PyUnicode_GET_LENGTH(text) > READ:
        text = text[:READ]
    at = PyUnicode_AsUTF8AndSize(text, &size)
    if PyUnicode_IS_ASCII(text):
        return _has_word(<const uint8_t*>at, size, True)
    return (_folds(<const uint8_t*>at, size) or _has_word(<const uint8_t*>at, size, False)) and bool(search(text))


cdef bint _has_word(const uint8_t* at, Py_ssize_t size, bint whole) noexcept nogil:
    """`whole`: not as a part of a longer word."""
    cdef Py_ssize_t n
    cdef int word, length
    for n in range(size):
        if not _BEGINS[at[n]] or (whole and n and _WORD[at[n - 1]]):
            continue
        for word in range(WORDS):
            length = _ERRORS[word].size
            if length <= size - n and _same(at + n, _ERRORS[word].text, length):
                if not whole or length == size - n or not _WORD[at[n + length]]:
                    return True
    return False


cdef inline bint _same(const uint8_t* at, const char* word, int size) noexcept nogil:
    """But for case; a word has small letters and spaces."""
    cdef int n
    for n in range(size):
        if at[n] != <uint8_t>word[n] and (at[n] != <uint8_t>word[n] - 32 or word[n] == c' '):
            return False
    return True


cdef bint _folds(const uint8_t* at, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t n
    for n in range(size - 1):
        if at[n] == 0xC4 and (at[n + 1] & 0xFE) == 0xB0 or at[n] == 0xC5 and at[n + 1] == 0xBF:
            return True
        if at[n] == 0xE2 and at[n + 1] == 0x84 and n + 2 < size and at[n + 2] == 0xAA:
            return True
    return False
