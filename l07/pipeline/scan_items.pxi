# Part of scan.pyx: what was found, as rows. A Half is made only where somebody asks for one.

include "../ports/rows.pxi"


cdef class Items:
    """A sequence of Half, Unreadable and Ignored; None where nothing was put yet. Equal to any sequence of the same.

    `columns` has what it is made of, for whoever reads rows: see ports/rows.pxi."""

    cdef bytearray rows, texts
    cdef list bodies  # None beside an object of its own
    cdef dict others
    cdef Py_ssize_t size, used
    cdef type half

    def __init__(self, type half):
        self.half, self.rows, self.texts, self.bodies, self.others = half, bytearray(), bytearray(), [], {}
        self.size = self.used = 0

    def columns(self):
        """(what rows these are, rows, texts, bodies, objects by place)."""
        return ITEM_ROWS, self.rows, self.texts, self.bodies, self.others

    def __len__(self):
        return self.size

    def __getitem__(self, place):
        if isinstance(place, slice):
            return [self._item(n) for n in range(*place.indices(self.size))]
        cdef Py_ssize_t at = place
        if at < 0:
            at += self.size
        if not 0 <= at < self.size:
            raise IndexError(f"item {place} of {self.size}")
        return self._item(at)

    def __setitem__(self, Py_ssize_t place, item):
        """An object of its own, where None was."""
        if not 0 <= place < self.size or self._row(place).side:
            raise IndexError(f"item {place} of {self.size} is there, or cannot be")
        self.others[place] = item

    def __iter__(self):
        return iter([self._item(n) for n in range(self.size)])

    def __reversed__(self):
        return reversed([self._item(n) for n in range(self.size)])

    def __contains__(self, item):
        return item in list(self)

    def index(self, item, *between):
        return list(self).index(item, *between)

    def count(self, item):
        return list(self).count(item)

    def __eq__(self, other):
        return list(self) == list(other) if isinstance(other, (list, tuple, Items)) else NotImplemented

    def __repr__(self):
        return repr(list(self))

    def __iadd__(self, other):
        """With what comes behind it: a list where `other` has no rows."""
        if not isinstance(other, Items):
            return [*self, *other]
        cdef Items more = <Items>other
        cdef Py_ssize_t before = self.size, n
        self._room(more.size)
        memcpy(self._row(before), more._row(0), more.size * sizeof(ItemRow))
        memcpy(self._text(more.used), PyByteArray_AS_STRING(more.texts), more.used)
        for n in range(more.size):
            self._row(before + n).text += <uint32_t>self.used
        self.used += more.used
        self.size += more.size
        self.bodies += more.bodies
        for place, item in more.others.items():
            self.others[before + place] = item
        return self

    cdef inline ItemRow* _row(self, Py_ssize_t place) noexcept:
        return <ItemRow*>PyByteArray_AS_STRING(self.rows) + place

    cdef int _room(self, Py_ssize_t more) except -1:
        """For so many rows more."""
        PyByteArray_Resize(self.rows, (self.size + more) * sizeof(ItemRow))
        return 0

    cdef char* _text(self, Py_ssize_t more) except NULL:
        """Where the next so many bytes of text go."""
        cdef Py_ssize_t room = PyByteArray_GET_SIZE(self.texts)
        if self.used + more > MOST_TEXT:
            raise OverflowError("more text than a row can name")
        if self.used + more > room:
            PyByteArray_Resize(self.texts, max(2 * room, self.used + more, 4096))
        return PyByteArray_AS_STRING(self.texts) + self.used

    cdef object _item(self, Py_ssize_t place):
        cdef ItemRow* row = self._row(place)
        if not row.side:
            return self.others.get(place)
        cdef const char* text = PyByteArray_AS_STRING(self.texts) + row.text
        scored = row.side != 116
        return _filled_in(self.half, (
            row.part, row.offset, row.time_ms, PyUnicode_DecodeUTF8(text, row.key, NULL),
            "trace" if not scored else "score" if row.side == 115 else "both", PyBytes_FromStringAndSize(row.content, 8),
            PyUnicode_DecodeUTF8(text + row.key + row.tiebreak, row.track, NULL), "",
            row.score if scored else None, row.confidence if scored else None,
            PyUnicode_DecodeUTF8(text + row.key, row.tiebreak, NULL), self.bodies[place],
        ))  # fmt: skip


cdef struct Named:  # an id, and what stands before it in a key; size 0: none
    const char* prefix
    Py_ssize_t prefix_size
    const char* at
    Py_ssize_t size


cdef int _put(Items items, Py_ssize_t place, ItemRow* found, Named* key, Span* tiebreak, bytes track) except -1:
    """The texts of a row that is otherwise filled."""
    cdef ItemRow* row = items._row(place)
    cdef Py_ssize_t tie = tiebreak.size if tiebreak.kind & STRING else 0
    cdef Py_ssize_t size = key.prefix_size + key.size + tie + PyBytes_GET_SIZE(track)
    cdef char* text = items._text(size)
    memcpy(text, key.prefix, key.prefix_size)
    memcpy(text + key.prefix_size, key.at, key.size)
    text += key.prefix_size + key.size
    if tie:
        memcpy(text, tiebreak.at, tie)
    memcpy(text + tie, PyBytes_AS_STRING(track), PyBytes_GET_SIZE(track))
    found.text, found.key, found.tiebreak = <uint32_t>items.used, <uint32_t>(key.prefix_size + key.size), <uint32_t>tie
    found.track = <uint32_t>PyBytes_GET_SIZE(track)
    items.used += size
    row[0] = found[0]
    return 0
