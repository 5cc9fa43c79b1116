# Part of skim.pyx: what `words.py` does. Each word that a run has gets a number, and each text is the list of the numbers of its
# words.

cdef double NOT_ASKED = -1.0

cdef enum:  # texts; the calls from CALLS on, then their outputs
    GOAL, ANSWER, CALLS

cdef struct Word:
    const uint8_t* at
    int32_t length
    int32_t text  # the last one that had it
    int32_t mark

cdef struct Skim:
    const uint8_t* table  # 0 between words, else the byte that is compared
    Word* words
    int32_t count
    int32_t room
    int32_t* slots
    int32_t slot_count  # a power of two
    int32_t* found  # numbers of words, text by text
    int32_t found_count
    int32_t found_room
    int32_t* starts  # of each text, and the end
    int32_t mark


cdef inline bint _same(Skim* s, const uint8_t* one, const uint8_t* other, int32_t length) noexcept nogil:
    cdef int32_t i
    for i in range(length):
        if s.table[one[i]] != s.table[other[i]]:
            return False
    return True


cdef int _more_words(Skim* s) except -1:
    """Room for twice as many words."""
    cdef int32_t number, slot, size = s.slot_count * 2
    cdef int32_t* slots
    cdef Word* words = <Word*>PyMem_Realloc(s.words, size // 2 * sizeof(Word))
    if words == NULL:
        raise MemoryError
    s.words = words
    slots = <int32_t*>PyMem_Realloc(s.slots, size * sizeof(int32_t))
    if slots == NULL:
        raise MemoryError
    s.slots, s.slot_count, s.room = slots, size, size // 2
    memset(slots, 0, size * sizeof(int32_t))
    for number in range(s.count):
        slot = <int32_t>(_key(s, s.words[number].at, s.words[number].length) & (size - 1))
        while slots[slot]:
            slot = (slot + 1) & (size - 1)
        slots[slot] = number + 1
    return 0


cdef inline uint64_t _key(Skim* s, const uint8_t* at, int32_t length) noexcept nogil:
    cdef uint64_t key = 1469598103934665603u
    cdef int32_t i
    for i in range(length):
        key = (key ^ s.table[at[i]]) * 1099511628211u
    return key ^ (key >> 29)


cdef int _read(Skim* s, int32_t text, const uint8_t* at, Py_ssize_t length) except -1:
    """The words of a text, each once."""
    cdef const uint8_t* end = at + length
    cdef const uint8_t* start
    cdef const uint8_t* table = s.table
    cdef uint64_t key
    cdef int32_t slot, number
    cdef int32_t* more
    s.starts[text] = s.found_count
    while at < end:
        if table[at[0]] == 0:
            at += 1
            continue
        start = at
        key = 1469598103934665603u
        while at < end and table[at[0]]:
            key = (key ^ table[at[0]]) * 1099511628211u
            at += 1
        if s.count == s.room:
            _more_words(s)
        slot = <int32_t>((key ^ (key >> 29)) & (s.slot_count - 1))
        number = -1
        while s.slots[slot]:
            number = s.slots[slot] - 1
            if s.words[number].length == at - start and _same(s, s.words[number].at, start, <int32_t>(at - start)):
                break
            number = -1
            slot = (slot + 1) & (s.slot_count - 1)
        if number < 0:
            number = s.count
            s.slots[slot] = number + 1
            s.words[number].at, s.words[number].length = start, <int32_t>(at - start)
            s.words[number].text, s.words[number].mark = -1, 0
            s.count += 1
        if s.words[number].text != text:
            s.words[number].text = text
            if s.found_count == s.found_room:
                more = <int32_t*>PyMem_Realloc(s.found, 2 * s.found_room * sizeof(int32_t))
                if more == NULL:
                    raise MemoryError
                s.found, s.found_room = more, 2 * s.found_room
            s.found[s.found_count] = number
            s.found_count += 1
    s.starts[text + 1] = s.found_count
    return 0


cdef inline int32_t _mark(Skim* s, int32_t text) noexcept nogil:
    """Its words bear the mark that comes back, and no others do."""
    cdef int32_t i
    s.mark += 1
    for i in range(s.starts[text], s.starts[text + 1]):
        s.words[s.found[i]].mark = s.mark
    return s.mark


cdef inline void _unmark(Skim* s, int32_t text) noexcept nogil:
    cdef int32_t i
    for i in range(s.starts[text], s.starts[text + 1]):
        s.words[s.found[i]].mark = 0


cdef inline int32_t _marked(Skim* s, int32_t text) noexcept nogil:
    cdef int32_t i, count = 0
    for i in range(s.starts[text], s.starts[text + 1]):
        count += s.words[s.found[i]].mark == s.mark
    return count


cdef inline int32_t _size(Skim* s, int32_t text) noexcept nogil:
    return s.starts[text + 1] - s.starts[text]


cdef double _met(Skim* s, int32_t words, int32_t first, int32_t end) noexcept nogil:
    """The share of so many marked words that the texts from first to end have."""
    cdef int32_t i, left = words
    for i in range(s.starts[first], s.starts[end]):
        if s.words[s.found[i]].mark == s.mark:
            s.words[s.found[i]].mark = 0
            left -= 1
    return NOT_ASKED if words == 0 else 1 - left / <double>words


cdef double _answer_known(Skim* s, int32_t calls) noexcept nogil:
    if calls == 0:
        return NOT_ASKED
    _mark(s, ANSWER)
    _unmark(s, GOAL)
    return _met(s, _marked(s, ANSWER), CALLS + calls, CALLS + 2 * calls)


cdef double _answer_last(Skim* s, int32_t calls) noexcept nogil:
    if calls == 0 or _size(s, ANSWER) == 0:
        return NOT_ASKED
    _mark(s, ANSWER)
    return _marked(s, CALLS + 2 * calls - 1) / <double>_size(s, ANSWER)


cdef double _goal_met(Skim* s, int32_t calls) noexcept nogil:
    _mark(s, GOAL)
    return _met(s, _size(s, GOAL), ANSWER, CALLS + 2 * calls)


cdef double _fit_own(Skim* s, int32_t calls) noexcept nogil:
    cdef double total = 0.0
    cdef int32_t one, beside, words, count = 0
    for one in range(calls if calls > 1 else 0):
        words = _size(s, CALLS + one)
        if words:
            beside = one + 1 if one < calls - 1 else one - 1
            _mark(s, CALLS + one)
            total += (_marked(s, CALLS + calls + one) - _marked(s, CALLS + calls + beside)) / <double>words
            count += 1
    return total / count if count else NOT_ASKED


cdef double _next_use(Skim* s, int32_t calls) noexcept nogil:
    cdef double total = 0.0
    cdef int32_t one, new, count = 0
    for one in range(calls - 1):
        _mark(s, CALLS + one + 1)
        _unmark(s, CALLS + one)
        _unmark(s, GOAL)
        new = _marked(s, CALLS + one + 1)
        if new:
            total += _marked(s, CALLS + calls + one) / <double>new
            count += 1
    return total / count if count else NOT_ASKED


cdef int _begin(Skim* s, const uint8_t* table, int32_t calls) except -1:
    """Room for the words of a run; `_end` gives it back, also where there was none."""
    s.mark, s.table, s.count, s.slot_count, s.room, s.found_count, s.found_room = 0, table, 0, 512, 256, 0, 1024
    s.words = <Word*>PyMem_Malloc(s.room * sizeof(Word))
    s.slots = <int32_t*>PyMem_Malloc(s.slot_count * sizeof(int32_t))
    s.found = <int32_t*>PyMem_Malloc(s.found_room * sizeof(int32_t))
    s.starts = <int32_t*>PyMem_Malloc((3 + 2 * <Py_ssize_t>calls) * sizeof(int32_t))
    if not (s.words and s.slots and s.found and s.starts):
        _end(s)
        raise MemoryError
    memset(s.slots, 0, s.slot_count * sizeof(int32_t))
    return 0


cdef void _end(Skim* s) noexcept:
    PyMem_Free(s.words)
    PyMem_Free(s.slots)
    PyMem_Free(s.found)
    PyMem_Free(s.starts)
