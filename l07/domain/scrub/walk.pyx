# cython: language_level=3, boundscheck=False, wraparound=False
"""What `texts.py` and `replacing.py` do to every value of a row, in C. A test holds both against each other."""

from collections.abc import Mapping

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.ref cimport PyObject
from libc.string cimport memchr, memcmp, memcpy, memset

cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    bint PyUnicode_IS_ASCII(object text) noexcept
    void* PyUnicode_DATA(object text) noexcept
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    Py_ssize_t PyUnicode_FindChar(object text, Py_UCS4 mark, Py_ssize_t start, Py_ssize_t end, int direction) except -2

cdef enum:
    HEADS = 3  # lines that may be the head of a table
    BITS = 15  # of the number of a pair of marks: a megabyte
    WHOLE = 0x5CA1AB1E  # in place of a name's hash: it is all of the text
    TABLE = 0x7AB1E  # likewise: the text has no cells
    NAMED = 0x0DDBA11  # a place where nothing was put is no mark of two empty texts


cdef struct Mark:
    Py_hash_t name
    Py_hash_t value


cdef class Nothing:
    """Of which texts, and of which names and values, it is known that nothing is found in them, without the texts: by Python's
    keyed hashes. Of a fixed size: a new one takes the place of one that nobody asked for lately. By chance one text of 10^14 is
    taken for another."""

    cdef Mark[2 << BITS] marks

    cdef bint has(self, Py_hash_t name, Py_hash_t value) noexcept:
        cdef Mark* pair = self._pair(name, value)
        cdef Mark other
        if pair[0].value == value and pair[0].name == name:
            return True
        if pair[1].value == value and pair[1].name == name:
            other = pair[0]
            pair[0] = pair[1]
            pair[1] = other
            return True
        return False

    cdef void add(self, Py_hash_t name, Py_hash_t value) noexcept:
        cdef Mark* pair = self._pair(name, value)
        pair[1] = pair[0]
        pair[0].name, pair[0].value = name, value

    def told_apart(self, dict found not None):
        """Of texts and what is found in them those with a find; the others are known from now on."""
        cdef dict some = {}
        for text, finds in found.items():
            if <tuple>finds:
                some[text] = finds
            elif type(text) is str:
                self.add(WHOLE, hash(text))
        return some

    cdef Mark* _pair(self, Py_hash_t name, Py_hash_t value) noexcept:
        cdef size_t mixed = (<size_t>value ^ (<size_t>name * <size_t>0x9E3779B97F4A7C15)) * <size_t>0xD6E8FEB86659FD93
        return &self.marks[(mixed >> (64 - BITS)) * 2]


cdef class _Walk:
    cdef list told
    cdef Py_ssize_t long
    cdef object cells
    cdef dict known
    cdef Nothing nothing

    cdef bint text(self, text) except -1:
        """Whether nothing is found in it, as far as is known."""
        cdef PyObject* found
        if self.nothing is not None and type(text) is str and self.nothing.has(WHOLE, hash(text)):
            return True
        found = PyDict_GetItemWithError(self.known, text)
        if found == NULL:
            self.told.append(text)
        elif <tuple>found:
            self.told.append(<object>found)
        else:
            return True
        return False

    cdef int pair(self, name, value) except -1:
        """A value with its name, or with none."""
        cdef Py_hash_t of_name, of_value
        cdef bint plain = type(value) is str and (name is None or type(name) is str)
        if self.nothing is None or not plain:
            self.text(value if name is None else _named(name, value))
            return 0
        if name is None:
            self.text(value)
            return 0
        of_name, of_value = hash(name) ^ NAMED, hash(value)
        if not self.nothing.has(of_name, of_value) and self.text(_named(name, value)):
            self.nothing.add(of_name, of_value)
        return 0

    cdef int table(self, text) except -1:
        cdef bint marked = self.nothing is not None and type(text) is str
        if marked and self.nothing.has(TABLE, hash(text)):
            return 0
        cells = self.cells(text)
        for cell in cells:
            self.text(cell)
        if marked and not cells:
            self.nothing.add(TABLE, hash(text))
        return 0

    cdef int value(self, value, name) except -1:
        if isinstance(value, str):
            self.pair(name if name and PyUnicode_GET_LENGTH(value) < self.long else None, value)
            if _may_be_table(value):
                self.table(value)
        elif isinstance(value, dict):
            for key, item in (<dict>value).items():
                self.item(value, key, item)
        elif isinstance(value, (list, tuple)):
            self.items(value, name)
        elif value is None or isinstance(value, (float, bool)):
            pass
        elif isinstance(value, Mapping):
            for key, item in value.items():
                self.item(value, key, item)
        elif _is_long_number(value):
            self.text(f"{name}={value}")
        return 0

    cdef int item(self, mapping, key, item) except -1:
        if isinstance(item, str) and PyUnicode_GET_LENGTH(item) < self.long and _find(item, 10, 0) < 0:
            if key == "value":
                key = mapping.get("name") or mapping.get("key")
            self.pair("None" if key is None else key, item)
        else:
            key = str(key)
            self.pair(None, key)
            self.value(item, key)
        return 0

    cdef int items(self, values, name) except -1:
        flag = ""
        for item in values:
            self.value(item, flag or name)
            flag = item if isinstance(item, str) and item[:1] == "-" else ""
        return 0


cdef inline Py_ssize_t _find(text, Py_UCS4 mark, Py_ssize_t start) except -2:
    return PyUnicode_FindChar(text, mark, start, PyUnicode_GET_LENGTH(text), 1)


cdef str _named(name, value):
    cdef Py_ssize_t size
    cdef char* begin
    if type(name) is not str or type(value) is not str:
        return f"{name}={value}"
    if not (PyUnicode_IS_ASCII(name) and PyUnicode_IS_ASCII(value)):
        return f"{<str>name}={<str>value}"
    size = PyUnicode_GET_LENGTH(name)
    text = PyUnicode_New(size + 1 + PyUnicode_GET_LENGTH(value), 127)
    begin = <char*>PyUnicode_DATA(text)
    memcpy(begin, PyUnicode_DATA(name), size)
    begin[size] = c"="
    memcpy(begin + size + 1, PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value))
    return <str>text


cdef bint _is_long_number(value) except -1:
    return isinstance(value, int) and abs(value) > 99999 and not isinstance(value, bool)


cdef bint _may_be_table(text) except -1:
    """Whether two lines, one under the other, have a mark in common, where `tables.cells` looks for a head."""
    cdef Py_ssize_t above, start = 0, end
    cdef Py_UCS4 mark
    cdef int line, marks, over = 0
    for line in range(HEADS + 1):
        end = _find(text, 10, start)
        if end < 0:
            end = PyUnicode_GET_LENGTH(text)
            if line == 0:
                return False
        marks = 0
        for bit, mark in enumerate("\t;,|"):
            if PyUnicode_FindChar(text, mark, start, end, 1) >= 0:
                marks |= 1 << bit
        if marks & over:
            return True
        if end == PyUnicode_GET_LENGTH(text):
            return False
        over, start = marks, end + 1
    return False


def told(values, Py_ssize_t long, cells, dict known not None, Nothing nothing):
    cdef _Walk walk = _Walk.__new__(_Walk)
    walk.told, walk.long, walk.cells, walk.known, walk.nothing = [], long, cells, known, nothing
    for value in values:
        walk.value(value, "")
    return walk.told


def opened(bytes data not None):
    return _exchanged(data, c"\\", b"nrt", 1, b"\n\r\t")


def closed(bytes data not None):
    return _exchanged(data, 1, b"\n\r\t", c"\\", b"nrt")


cdef bytes _exchanged(bytes data, char mark, const char* marked, char other, const char* meant):
    """Each pair of the mark and a byte of `marked` as the other mark and the byte of `meant` in its place; the same object
    where there is none."""
    cdef const char* begin = PyBytes_AS_STRING(data)
    cdef const char* end = begin + PyBytes_GET_SIZE(data)
    cdef const char* at = begin
    cdef const char* which
    cdef char* made = NULL
    cdef bytes out = data
    while at < end:
        at = <const char*>memchr(at, mark, end - at)
        if at == NULL or at + 1 == end:
            break
        which = <const char*>memchr(marked, at[1], 3)
        if which != NULL:
            if made == NULL:
                out = PyBytes_FromStringAndSize(begin, end - begin)
                made = PyBytes_AS_STRING(out)
            made[at - begin] = other
            made[at - begin + 1] = meant[which - marked]
            at += 1
        at += 1
    return out


cdef class _Change:
    cdef object replace
    cdef Py_ssize_t shortest
    cdef tuple needles

    cdef text(self, text):
        if PyUnicode_GET_LENGTH(text) < self.shortest:
            return text
        if self.needles:
            for needle in self.needles:
                if <str>needle in <str>text:
                    break
            else:
                return text
        return self.replace(text)

    cdef value(self, value):
        if isinstance(value, str):
            return self.text(value)
        if type(value) is dict:
            return self.mapping(<dict>value)
        if type(value) is list or type(value) is tuple:
            return self.items(value)
        if isinstance(value, dict):
            return {self.key(key): self.value(item) for key, item in (<dict>value).items()}
        if isinstance(value, (list, tuple)):
            return type(value)([self.value(item) for item in value])
        if value is None or isinstance(value, (float, bool)):
            return value
        if isinstance(value, Mapping):
            return {self.key(key): self.value(item) for key, item in value.items()}
        if _is_long_number(value):
            text = str(value)
            changed = self.text(text)
            return value if changed == text else changed
        return value

    cdef mapping(self, dict value):
        """The same object where nothing is replaced in it."""
        cdef dict changed = {}
        cdef bint same = True
        for key, item in value.items():
            new_key, new = self.key(key), self.value(item)
            same = same and new_key is key and new is item
            changed[new_key] = new
        return value if same else changed

    cdef items(self, values):
        """The same object where nothing is replaced in it."""
        cdef list changed = None
        cdef Py_ssize_t at = 0
        for item in values:
            new = self.value(item)
            if changed is None and new is not item:
                changed = list(values[:at])
            if changed is not None:
                changed.append(new)
            at += 1
        if changed is None:
            return values
        return changed if type(values) is list else tuple(changed)

    cdef key(self, key):
        return self.text(key) if isinstance(key, str) else key


def replaced(values, replace, Py_ssize_t shortest, tuple needles):
    cdef _Change change = _Change.__new__(_Change)
    change.replace, change.shortest, change.needles = replace, shortest, needles
    return tuple([change.value(value) for value in values])


cdef inline bint _in_word(unsigned char c) noexcept:
    return 48 <= c <= 57 or 65 <= c <= 90 or c == 95 or 97 <= c <= 122


cdef inline bint _is_here(tuple word, const unsigned char* begin, Py_ssize_t at, Py_ssize_t size) except -1:
    cdef bytes value = word[0]
    cdef Py_ssize_t end = at + PyBytes_GET_SIZE(value)
    if end > size or memcmp(begin + at, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)):
        return False
    if word[2] and at > 0 and _in_word(begin[at - 1]):
        return False
    return not (word[3] and end < size and _in_word(begin[end]))


def substituted(bytes data, tuple words):
    cdef const unsigned char* begin = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), at = 0, done = 0
    cdef char first[256]
    memset(first, 0, 256)
    for word in words:
        first[<unsigned char>PyBytes_AS_STRING(<bytes>(<tuple>word)[0])[0]] = 1
    cdef list pieces = []
    while at < size:
        if first[begin[at]]:
            for word in words:
                if _is_here(<tuple>word, begin, at, size):
                    pieces += (data[done:at], (<tuple>word)[1])
                    at += PyBytes_GET_SIZE(<bytes>(<tuple>word)[0])
                    done = at
                    break
            else:
                at += 1
        else:
            at += 1
    if not pieces:
        return data
    pieces.append(data[done:])
    return b"".join(pieces)
