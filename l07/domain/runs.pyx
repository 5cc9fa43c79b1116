# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""What `example.py` measures of a run and `digests.py` writes of it, in C, of a run as a decoder makes it: dicts, lists,
texts. Of any other it answers None, and the Python beside it does it; a test holds both against each other."""

from zlib import compress

import msgspec
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_GET_LENGTH
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

include "runs_json.pxi"
include "rounding.pxi"
include "runs_text.pxi"
include "runs_deflate.pxi"
include "runs_documents.pxi"

cdef object _encode = msgspec.json.encode

# ------------------------------------------------------------------ what a run has to be


cdef tuple _turns(object messages):
    """None where one is no object."""
    cdef tuple turns
    if type(messages) is tuple:
        turns = messages
    elif type(messages) is list:
        turns = tuple(messages)
    else:
        return None
    for message in turns:
        if type(message) is not dict:
            return None
    return turns


cdef tuple _calls(dict message):
    """The functions that a message calls; None where something is not as it should be."""
    cdef object calls = message.get("tool_calls")
    cdef list functions = []
    if calls is None:
        return ()
    if type(calls) is not list and type(calls) is not tuple:
        return None
    for call in calls:
        if type(call) is not dict:
            return None
        function = (<dict>call).get("function")
        if type(function) is not dict or type((<dict>function).get("name")) is not str:
            return None
        functions.append(function)
    return tuple(functions)


# ------------------------------------------------------------------ measuring


cdef class _Seen:
    """What is counted on the way."""

    cdef Py_ssize_t turns, outputs, output_chars, answer_chars, empty, errors, longest, run
    cdef list calls
    cdef set names


def measure(messages, str goal, search):
    """The values of FEATURES; None: not sure. `search`: whether a text of other letters than ASCII tells of an error."""
    cdef Out out
    cdef tuple turns = _turns(messages)
    cdef _Seen seen = _Seen()
    seen.calls, seen.names = [], set()
    if turns is None:
        return None
    _open(&out)
    try:
        if not _put_contents(&out, turns, seen, search) or not _put_calls(&out, turns, seen):
            return None
        return _values(&out, seen, PyUnicode_GET_LENGTH(goal))
    except UnicodeEncodeError:
        return None
    finally:
        _close(&out)


cdef tuple _values(Out* out, _Seen seen, Py_ssize_t goal_chars):
    cdef Py_ssize_t chars = _characters(out.at, out.size), calls = len(seen.calls), answers = seen.outputs
    cdef Py_ssize_t size = out.size
    cdef double mean = 0, empty = 0, errors = 0, repeated = 0, compression = 0, odd = 0
    if answers:
        mean = <double>seen.output_chars / <double>answers
        empty = <double>seen.empty / <double>answers
        errors = <double>seen.errors / <double>answers
    if calls:
        repeated = 1 - <double>len(set(seen.calls)) / <double>calls
    if size:
        compression = <double>_compressed(out) / <double>size
        odd = <double>_odd(out.at, size) / <double>chars
    return (
        <double>seen.turns, <double>calls, <double>len(seen.names), <double>goal_chars, <double>chars,
        <double>seen.answer_chars, _rounded(mean), _rounded(empty), _rounded(errors), _rounded(repeated),
        <double>seen.longest, _rounded(compression), _rounded(odd),
    )


cdef Py_ssize_t _compressed(Out* out) except -1:
    """How many bytes are left of it at zlib's level 1."""
    if not _AGREED or out.size > LARGEST:
        return len(compress(PyBytes_FromStringAndSize(out.at, out.size), 1))
    if out.room - out.size < TAIL:
        _grow(out, TAIL)
    memset(out.at + out.size, 0, TAIL)
    return _deflated(out.at, <int>out.size)


def compressed(bytes text):
    """How many bytes are left of a text, by the way that `measure` goes."""
    cdef Out out
    _open(&out)
    try:
        _put_bytes(&out, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        return _compressed(&out)
    finally:
        _close(&out)


cdef int _put_contents(Out* out, tuple turns, _Seen seen, object search) except -1:
    """All texts but the system's, a line each."""
    cdef bint first = True
    cdef const char* at
    cdef Py_ssize_t size
    cdef dict message
    for message in turns:
        role = message.get("role")
        if type(role) is not str:
            return 0
        if <str>role == "system":
            continue
        content = message.get("content")
        if content is None:
            content = ""
        elif type(content) is not str:
            return 0
        at = PyUnicode_AsUTF8AndSize(content, &size)
        if not first:
            _put_char(out, c'\n')
        first = False
        _put_bytes(out, at, size)
        if <str>role == "assistant":
            seen.turns += 1
            seen.answer_chars = PyUnicode_GET_LENGTH(content)
        elif <str>role == "tool":
            seen.outputs += 1
            seen.output_chars += PyUnicode_GET_LENGTH(content)
            seen.empty += _blank(content)
            seen.errors += _tells_of_error(content, search)
    if first:
        seen.run = -1  # nothing stands before the first call
    return 1


cdef int _put_calls(Out* out, tuple turns, _Seen seen) except -1:
    """Every call of the assistant, a line each."""
    cdef bint first = seen.run == -1
    cdef tuple functions
    cdef Py_ssize_t start
    cdef dict message, function
    cdef object before = None
    seen.run = 0
    for message in turns:
        if <str>message.get("role") != "assistant":
            continue
        functions = _calls(message)
        if functions is None:
            return 0
        for function in functions:
            if not first:
                _put_char(out, c'\n')
            first = False
            start = out.size
            name = function.get("name")
            if not _put_plain(out, name) or not _put_char(out, c' ') or not _put_plain(out, function.get("arguments")):
                return 0
            call = PyBytes_FromStringAndSize(out.at + start, out.size - start)
            seen.run = seen.run + 1 if call == before else 1
            seen.longest = max(seen.longest, seen.run)
            seen.calls.append(call)
            seen.names.add(name)
            before = call
    return 1


# ------------------------------------------------------------------ who said what


def said_by(messages, str role not None):
    """The texts of those messages that bear the role; None: not sure."""
    cdef list found = []
    if type(messages) is not tuple and type(messages) is not list:
        return None
    for message in messages:
        if type(message) is not dict:
            return None
        whose = (<dict>message).get("role")
        if whose is role or (type(whose) is str and <str>whose == role):
            content = (<dict>message).get("content")
            if type(content) is not str:
                return None
            found.append(content)
        elif type(whose) is not str:
            return None
    return found


# ------------------------------------------------------------------ completeness


def broken(messages, tools):
    """What quality.py finds wrong with messages: 1 no_assistant_turn, 4 answer_without_call, 8 unknown_tool, added up. -1:
    not sure, as of all that is malformed."""
    cdef tuple turns = _turns(messages)
    cdef dict message
    cdef bint assistant = False, called = False, first = True
    cdef int found = 0
    cdef set offered = _offered(tools) if tools else None
    if turns is None or (tools and offered is None):
        return -1
    for message in turns:
        role, calls = message.get("role"), message.get("tool_calls")
        if type(role) is not str or not (calls is None or type(calls) is list or type(calls) is tuple):
            return -1
        if <str>role == "assistant":
            assistant = assistant or bool(calls) or bool(message.get("content"))
            called = called or bool(calls)
        elif <str>role == "tool" and not called and first:
            found |= 4
            first = False
        if calls and not _sound(calls, offered, <str>role == "assistant", &found):
            return -1
    return found if assistant else found | 1


cdef set _offered(tools):
    cdef set names = set()
    if type(tools) is not list and type(tools) is not tuple:
        return None
    for tool in tools:
        if type(tool) is not dict:
            return None
        function = (<dict>tool).get("function")
        if function is None:
            function = tool
        name = (<dict>function).get("name") if type(function) is dict else None
        if type(name) is not str:
            return None
        names.add(name)
    return names


cdef bint _sound(calls, set offered, bint assistant, int* found) except -1:
    """Every call has a name and arguments; whether it was offered goes to `found`."""
    for call in calls:
        function = (<dict>call).get("function") if type(call) is dict else None
        if type(function) is not dict:
            return False
        name = (<dict>function).get("name")
        if type(name) is not str or not <str>name or (assistant and type((<dict>function).get("arguments")) is not dict):
            return False
        if offered is not None and name not in offered:
            found[0] |= 8
    return True


_prepare()
cdef bint _AGREED = True
_PROBES = [bytes([n * n * step >> 3 & mask for n in range(size)]) for size, step, mask in (
    (0, 1, 255), (1, 1, 255), (40, 1, 255), (700, 1, 127), (900, 3, 7), (5000, 7, 63), (17000, 5, 31), (20000, 7919, 255),
)]
_AGREED = all(compressed(probe) == len(compress(probe, 1)) for probe in _PROBES)  # there are other zlibs: then they are asked
AGREED = bool(_AGREED)
