# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Runs as the buffers of Arrow's columns, in one pass: what `bodies.py` does column by column."""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport INT32_MAX, int32_t, uint8_t
from libc.string cimport memcpy

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    PyObject* PyDict_GetItemWithError(object of, object name) except? NULL


@cython.final
cdef class _Bytes:
    """That grow. `at` is where `out` has them: nobody else resizes it."""

    cdef bytearray out
    cdef char* at
    cdef Py_ssize_t size, room

    def __cinit__(self):
        self.out, self.at, self.size, self.room = bytearray(), NULL, 0, 0

    cdef inline char* more(self, Py_ssize_t count) except NULL:
        """Room for so many, which are counted as written."""
        if count > self.room - self.size:
            self.grow(count)
        self.size += count
        return self.at + self.size - count

    cdef int grow(self, Py_ssize_t count) except -1:
        PyByteArray_Resize(self.out, max(2 * self.room, self.size + count, 4096))
        self.at, self.room = PyByteArray_AS_STRING(self.out), PyByteArray_GET_SIZE(self.out)
        return 0

    cdef inline int number(self, int32_t value) except -1:
        memcpy(self.more(4), &value, 4)
        return 0

    cdef bytearray done(self):
        PyByteArray_Resize(self.out, self.size)
        return self.out


@cython.final
cdef class _Texts:
    """A column of text, some of it absent."""

    cdef _Bytes text, offsets, valid
    cdef Py_ssize_t count, absent
    cdef Py_ssize_t kept_count, kept_absent, kept_size  # at the last `keep`

    def __cinit__(self):
        self.text, self.offsets, self.valid = _Bytes(), _Bytes(), _Bytes()
        self.count = self.absent = 0
        self.offsets.number(0)

    cdef inline int put(self, const char* at, Py_ssize_t size, bint there) except -1:
        if self.text.size + size > INT32_MAX:
            raise OverflowError("texts of more than 2 GiB in one column")
        if self.count % 8 == 0:
            self.valid.more(1)[0] = 0
        if there:
            if size:
                memcpy(self.text.more(size), at, size)
            (<uint8_t*>self.valid.at)[self.count // 8] |= 1 << (self.count % 8)
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

    cdef void keep(self) noexcept:
        self.kept_count, self.kept_absent, self.kept_size = self.count, self.absent, self.text.size

    cdef void back(self) noexcept:
        """As it was at the last `keep`."""
        self.count, self.absent, self.text.size = self.kept_count, self.kept_absent, self.kept_size
        self.offsets.size, self.valid.size = 4 * (self.count + 1), (self.count + 7) // 8
        if self.count % 8:
            (<uint8_t*>self.valid.at)[self.count // 8] &= (1 << (self.count % 8)) - 1

    cdef tuple done(self):
        valid = self.valid.done() if self.absent else None
        return self.count, self.absent, (valid, self.offsets.done(), self.text.done())


cdef inline object _said(dict of, str name):
    """None where there is nothing of the name."""
    cdef PyObject* found = PyDict_GetItemWithError(of, name)
    return None if found == NULL else <object>found


cdef class Rows:
    """Runs, one after the other. `texts`: how many texts a run has beside its messages; `encode`: JSON."""

    cdef object encode
    cdef list texts
    cdef tuple columns
    cdef _Texts role, content, answered, name, ident, kind, function, arguments
    cdef _Bytes rows, calls, absent

    def __init__(self, Py_ssize_t texts, encode):
        self.encode = encode
        self.texts = [_Texts() for _ in range(texts)]
        self.role, self.content, self.answered, self.name = _Texts(), _Texts(), _Texts(), _Texts()
        self.ident, self.kind, self.function, self.arguments = _Texts(), _Texts(), _Texts(), _Texts()
        said = (self.role, self.content, self.answered, self.name)
        self.columns = (*self.texts, *said, self.ident, self.kind, self.function, self.arguments)
        self.rows, self.calls, self.absent = _Bytes(), _Bytes(), _Bytes()
        self.rows.number(0)
        self.calls.number(0)

    def add(self, tuple texts not None, messages):
        """False where something is of another type than usual: the run is left to `bodies.py`. A text may be bytes, of
        UTF-8."""
        cdef bint taken = False
        cdef _Texts column
        for column in self.columns:
            column.keep()
        try:
            taken = self._texts(texts) and self._messages(messages)
        finally:
            if not taken:
                for column in self.columns:
                    column.back()
                self.calls.size, self.absent.size = 4 * (self.role.count + 1), self.role.count
        if taken:
            self.rows.number(<int32_t>self.role.count)
        return taken

    def done(self):
        """The texts; offsets of the runs; role, content, tool_call_id and name of their messages; offsets of the messages'
        calls and which have none; id, type, name and arguments of the calls. A text is (number, how many are absent, three
        buffers). Nothing can be added any more."""
        cdef _Texts column
        found = [column.done() for column in self.columns]
        count = len(self.texts)
        return (
            found[:count], self.rows.done(), found[count:count + 4], self.calls.done(), self.absent.done(), found[count + 4:]
        )

    cdef bint _texts(self, tuple texts) except -1:
        cdef Py_ssize_t n
        if len(texts) != len(self.texts):
            raise ValueError(f"{len(texts)} texts instead of {len(self.texts)}")
        for n in range(len(texts)):
            column = <_Texts>self.texts[n]
            if type(texts[n]) is bytes:
                column.encoded(texts[n])
            elif not column.add(texts[n]):
                return False
        return True

    cdef bint _messages(self, messages) except -1:
        for message in messages:
            if type(message) is not dict:
                return False
            said, made = _said(message, "content"), _said(message, "tool_calls")
            if said is None or type(said) is str:
                self.content.add(said)
            else:
                self.content.encoded(self.encode(said))
            if not (
                self.role.add(_said(message, "role"))
                and self.answered.add(_said(message, "tool_call_id"))
                and self.name.add(_said(message, "name"))
            ):
                return False
            made = made or None
            if made is not None and not self._calls(made):
                return False
            self.absent.more(1)[0] = made is None
            self.calls.number(<int32_t>self.ident.count)
        return True

    cdef bint _calls(self, made) except -1:
        if type(made) is not list and type(made) is not tuple:
            return False
        for call in made:
            if type(call) is not dict:
                return False
            done = (<dict>call)["function"]
            if type(done) is not dict:
                return False
            if not (
                self.ident.add(_said(call, "id"))
                and self.kind.add((<dict>call).get("type", "function"))
                and self.function.add((<dict>done)["name"])
            ):
                return False
            self.arguments.encoded(self.encode((<dict>done)["arguments"]))
        return True
