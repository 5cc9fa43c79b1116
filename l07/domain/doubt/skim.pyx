# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `trail.py` and `words.py` do, in C, of a run as a decoder makes it: dicts, lists, texts. Of any other it answers
None, and the Python beside it does it; a test holds both against each other."""

import msgspec
import xxhash
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset, strstr

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    PyObject* PyDict_GetItemWithError(object of, object name) except? NULL

cdef object _encode = msgspec.json.encode

include "../xxh3.pxi"
include "../runs_json.pxi"
include "../rounding.pxi"
include "skim_words.pxi"
include "skim_steps.pxi"


cdef struct Call:
    Py_ssize_t name  # where it begins in what was written: the name, a blank, the arguments
    Py_ssize_t arguments
    Py_ssize_t end
    uint16_t kind
    bint waits
    PyObject* ident
    PyObject* output  # a text; NULL: none came back

cdef struct Run:
    Out out
    Call* calls
    int32_t count
    int32_t room
    int32_t first  # of the calls that wait


def read(
    messages, str goal not None, bytes table not None, tuple errors not None, shape, Py_ssize_t steps, Py_ssize_t most
):
    """See trail.py: the values of CONSISTENCY and the packed trail; None: not sure. `table`: what each byte is compared as,
    a blank between words; `errors`: words that tell of one; `shape`: of an output that is not ASCII."""
    cdef Run run
    cdef const uint8_t* given = table
    cdef uint8_t compared[256]
    cdef int number
    if type(messages) is not list and type(messages) is not tuple:
        return None
    if len(table) != 256:
        raise ValueError(f"{len(table)} bytes are no table of all bytes")
    for number in range(256):
        compared[number] = 0 if given[number] == 32 else given[number]
    run.count = run.first = 0
    run.room, run.calls = 0, NULL
    _open(&run.out)
    try:
        if not _take_calls(&run, messages, compared):
            return None
        return _told(&run, messages, goal, compared, errors, shape, <int32_t>min(steps, run.count), most)
    except UnicodeEncodeError:
        return None
    finally:
        PyMem_Free(run.calls)
        _close(&run.out)


cdef tuple _told(
    Run* run, messages, str goal, const uint8_t* table, tuple errors, shape, int32_t steps, Py_ssize_t most
):
    cdef Steps held
    cdef double shares[5]
    cdef object answer = _answer(messages)
    cdef int32_t n, unanswered = 0
    held.all = NULL
    if answer is None:
        return None
    _overlaps(run, goal, answer, table, most, shares)
    for n in range(run.count):
        unanswered += run.calls[n].output == NULL
    try:
        _take_steps(&held, run, steps, errors, shape)
        values = (
            _rounded(shares[0]), _rounded(shares[1]), _rounded(shares[2]), _rounded(shares[3]), _rounded(shares[4]),
            _rounded(_conflicts(&held)),
            _rounded(_repeated(&held)),
            _rounded(unanswered / <double>run.count if run.count else NOT_ASKED),
            <double>(held.all[0].output_kind == _ERROR) if steps else NOT_ASKED,
            <double>(held.all[steps - 1].output_kind == _ERROR) if steps else NOT_ASKED,
            <double>_after_last_output(messages),
            _ending(messages),
        )
        return values, _packed(&held, answer)
    finally:
        PyMem_Free(held.all)


# ------------------------------------------------------------------ messages


cdef inline object _said(dict of, str name):
    """None where there is nothing of the name."""
    cdef PyObject* found = PyDict_GetItemWithError(of, name)
    return None if found == NULL else <object>found


cdef bint _take_calls(Run* run, messages, const uint8_t* table) except -1:
    """Each call with its output: the tool message that names its id, else the next one."""
    for message in messages:
        if type(message) is not dict:
            return False
        role = _said(message, "role")
        if type(role) is not str:
            return False
        if <str>role == "assistant":
            made = _said(message, "tool_calls")
            if made is None:
                continue
            if type(made) is not list and type(made) is not tuple:
                return False
            for call in made:
                if type(call) is not dict or not _take_call(run, call, table):
                    return False
        elif <str>role == "tool" and run.first < run.count:
            content = _said(message, "content")
            if content is None:
                content = ""
            ident = _said(message, "tool_call_id")
            if type(content) is not str or not (ident is None or type(ident) is str):
                return False
            _answer_one(run, ident, content)
    return True


cdef int _take_call(Run* run, dict call, const uint8_t* table) except -1:
    cdef Call* one
    cdef Call* more
    function, ident = _said(call, "function"), _said(call, "id")
    if type(function) is not dict or not (ident is None or type(ident) is str):
        return 0
    name, arguments = _said(function, "name"), _said(function, "arguments")
    if type(name) is not str:
        return 0
    if run.count == run.room:
        run.room = 2 * run.room + 16
        more = <Call*>PyMem_Realloc(run.calls, run.room * sizeof(Call))
        if more == NULL:
            raise MemoryError
        run.calls = more
    one = &run.calls[run.count]
    one.waits, one.ident, one.output, one.name = True, <PyObject*>ident, NULL, run.out.size
    _put_plain(&run.out, name)
    one.kind = _call_kind(&run.out, one.name, arguments, table)
    _put_char(&run.out, c' ')
    one.arguments = run.out.size
    if not _put_plain(&run.out, arguments):
        return 0
    one.end = run.out.size
    run.count += 1
    return 1


cdef int _answer_one(Run* run, object ident, str content) except -1:
    """An id is compared as a text; the messages hold what is pointed at."""
    cdef int32_t n, found = run.first
    for n in range(run.first, run.count):
        if run.calls[n].waits and (run.calls[n].ident == <PyObject*>ident or <object>run.calls[n].ident == ident):
            found = n
            break
    run.calls[found].waits, run.calls[found].output = False, <PyObject*>content
    while run.first < run.count and not run.calls[run.first].waits:
        run.first += 1
    return 0


cdef object _answer(messages):
    """None: not sure."""
    for message in reversed(messages):
        if <str>_said(message, "role") == "assistant":
            content = _said(message, "content")
            if content is None:
                continue
            if type(content) is not str:
                return None
            if <str>content:
                return content
    return ""


cdef Py_ssize_t _after_last_output(messages) except -1:
    cdef Py_ssize_t count = 0
    for message in reversed(messages):
        if <str>_said(message, "role") == "tool":
            break
        count += 1
    return count


cdef double _ending(messages) except -1:
    if not messages:
        return 4.0
    role = _said(messages[len(messages) - 1], "role")
    if <str>role == "user":
        return 0.0
    if <str>role == "tool":
        return 1.0
    return 3.0 if _said(messages[len(messages) - 1], "tool_calls") else 2.0


# ------------------------------------------------------------------ words


cdef int _overlaps(Run* run, str goal, str answer, const uint8_t* table, Py_ssize_t most, double* shares) except -1:
    cdef Skim s
    cdef int32_t n, calls = run.count
    cdef Call* one
    _begin(&s, table, calls)
    try:
        _read_text(&s, GOAL, goal, most)
        _read_text(&s, ANSWER, answer, most)
        for n in range(calls):
            one = &run.calls[n]
            at = run.out.at + one.arguments
            _read(&s, CALLS + n, <const uint8_t*>at, _clipped(at, one.end - one.arguments, most))
        for n in range(calls):
            _read_text(&s, CALLS + calls + n, "" if run.calls[n].output == NULL else <object>run.calls[n].output, most)
        shares[0], shares[1] = _answer_known(&s, calls), _answer_last(&s, calls)
        shares[2], shares[3], shares[4] = _fit_own(&s, calls), _next_use(&s, calls), _goal_met(&s, calls)
    finally:
        _end(&s)
    return 0


cdef int _read_text(Skim* s, int32_t number, str text, Py_ssize_t most) except -1:
    cdef Py_ssize_t size
    cdef const char* at = PyUnicode_AsUTF8AndSize(text, &size)
    return _read(s, number, <const uint8_t*>at, min(size, most) if PyUnicode_IS_ASCII(text) else _clipped(at, size, most))


cdef Py_ssize_t _clipped(const char* at, Py_ssize_t size, Py_ssize_t most) noexcept nogil:
    """The bytes of the first `most` characters."""
    cdef Py_ssize_t n, count = 0
    if size <= most:
        return size
    for n in range(size):
        if (<uint8_t>at[n] & 0xC0) != 0x80:
            if count == most:
                return n
            count += 1
    return size
