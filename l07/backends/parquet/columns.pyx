# cython: language_level=3, boundscheck=False, wraparound=False
"""Messages of many runs as the buffers of Arrow's columns, in one pass: what `bodies.py` does column by column."""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport INT32_MAX, int32_t, uint8_t
from libc.string cimport memcpy

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL


cdef class _Bytes:
    """That grow."""

    cdef bytearray out
    cdef Py_ssize_t size

    def __cinit__(self):
        self.out, self.size = bytearray(), 0

    cdef char* more(self, Py_ssize_t count) except NULL:
        """Room for so many, which are counted as written."""
        cdef Py_ssize_t size = self.size + count
        if size > len(self.out):
            PyByteArray_Resize(self.out, max(2 * len(self.out), size, 4096))
        self.size = size
        return PyByteArray_AS_STRING(self.out) + size - count

    cdef int number(self, int32_t value) except -1:
        memcpy(self.more(4), &value, 4)
        return 0

    cdef bytearray done(self):
        PyByteArray_Resize(self.out, self.size)
        return self.out


cdef class _Texts:
    """A column of text, some of it absent."""

    cdef _Bytes text, offsets, valid
    cdef Py_ssize_t count, absent

    def __cinit__(self):
        self.text, self.offsets, self.valid = _Bytes(), _Bytes(), _Bytes()
        self.count = self.absent = 0
        self.offsets.number(0)

    cdef int put(self, const char* at, Py_ssize_t size, bint there) except -1:
        if self.text.size + size > INT32_MAX:
            raise OverflowError("texts of more than 2 GiB in one column")
        if self.count % 8 == 0:
            self.valid.more(1)[0] = 0
        if there:
            memcpy(self.text.more(size), at, size)
            (<uint8_t*>PyByteArray_AS_STRING(self.valid.out))[self.count // 8] |= 1 << (self.count % 8)
        self.absent += not there
        self.count += 1
        return self.offsets.number(<int32_t>self.text.size)

    cdef int add(self, value) except -1:
        """0: the value is neither text nor None."""
        cdef Py_ssize_t size
        cdef const char* at
        if value is None:
            self.put(NULL, 0, False)
            return 1
        if type(value) is not str:
            return 0
        at = PyUnicode_AsUTF8AndSize(value, &size)
        self.put(at, size, True)
        return 1

    cdef int encoded(self, bytes value) except -1:
        return self.put(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), True)

    cdef tuple done(self):
        valid = self.valid.done() if self.absent else None
        return self.count, self.absent, (valid, self.offsets.done(), self.text.done())


def columns(of_rows, encode):
    """Offsets of the runs; role, content, tool_call_id and name of their messages; offsets of the messages' calls and which
    have none; id, type, name and arguments of the calls. A text is (number, how many are absent, three buffers).

    None where something is of another type than usual: it is left to `bodies.py`."""
    cdef _Texts role = _Texts(), content = _Texts(), answered = _Texts(), name = _Texts()
    cdef _Texts ident = _Texts(), kind = _Texts(), function = _Texts(), arguments = _Texts()
    cdef _Bytes rows = _Bytes(), calls = _Bytes(), absent = _Bytes()
    cdef dict message
    rows.number(0)
    calls.number(0)
    for messages in of_rows:
        for one in messages:
            if type(one) is not dict:
                return None
            message = one
            said, made = message.get("content"), message.get("tool_calls") or None
            if said is None or type(said) is str:
                content.add(said)
            else:
                content.encoded(encode(said))
            if not (role.add(message.get("role")) and answered.add(message.get("tool_call_id")) and name.add(message.get("name"))):
                return None
            if made is not None and not _calls(made, encode, ident, kind, function, arguments):
                return None
            absent.more(1)[0] = made is None
            calls.number(<int32_t>ident.count)
        rows.number(<int32_t>role.count)
    texts = [role.done(), content.done(), answered.done(), name.done()]
    return rows.done(), texts, calls.done(), absent.done(), [ident.done(), kind.done(), function.done(), arguments.done()]


cdef int _calls(made, encode, _Texts ident, _Texts kind, _Texts function, _Texts arguments) except -1:
    if type(made) is not list and type(made) is not tuple:
        return 0
    for call in made:
        if type(call) is not dict:
            return 0
        done = (<dict>call)["function"]
        if type(done) is not dict:
            return 0
        if not (ident.add((<dict>call).get("id")) and kind.add((<dict>call).get("type", "function")) and function.add((<dict>done)["name"])):
            return 0
        arguments.encoded(encode((<dict>done)["arguments"]))
    return 1
