# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""What `habits.py` counts and compares, in C: the same numbers, one table for all counts, and trails as they are packed."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport log
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free

cdef double NOT_ASKED = -1.0
cdef double MOST_ATTEMPTS = 20.0
cdef double SMOOTHING = 0.5

cdef enum:
    START, END
    HEAD = 8  # bytes of a packed trail: the digest of the answer
    STEP = 16  # and of each step: <QIHH

cdef enum:  # what is counted; in the low bits of a name, above them the task or 0
    OUTPUTS = 1
    CALLS, FOLLOWS, STATES, OUTPUT_KINDS, NEXT_KINDS
    RESULTS, MADE, ANSWERS, LAST_OUTPUTS, DONE
    KIND_BITS = 4

cdef struct Count:
    uint64_t what
    uint64_t kind  # 0: nothing is here
    int64_t number

cdef struct Step:
    uint64_t call
    uint64_t output
    uint64_t call_kind
    uint64_t output_kind

cdef struct Part:
    uint64_t first
    uint64_t second

cdef struct Shares:
    double total
    double least
    int count


cdef inline uint64_t _number(const uint8_t* at, int size) noexcept nogil:
    """Little-endian, whatever the processor's order is."""
    cdef uint64_t found = 0
    cdef int i
    for i in range(size):
        found |= <uint64_t>at[i] << (8 * i)
    return found


cdef inline Step _step(const uint8_t* trail, Py_ssize_t place) noexcept nogil:
    cdef const uint8_t* at = trail + HEAD + STEP * place
    return Step(_number(at, 8), _number(at + 8, 4), _number(at + 12, 2), _number(at + 14, 2))


cdef inline Part _pair(const uint8_t* trail, Py_ssize_t steps, Py_ssize_t place) noexcept nogil:
    cdef Step step = _step(trail, place)
    return Part(step.call_kind, step.output_kind)


cdef inline Part _move(const uint8_t* trail, Py_ssize_t steps, Py_ssize_t place) noexcept nogil:
    """From the step before, or the start, to this one, or the end."""
    cdef Part move = Part(START, END)
    cdef Step step
    if place:
        step = _step(trail, place - 1)
        move.first = step.call_kind << 16 | step.output_kind
    if place < steps:
        move.second = _step(trail, place).call_kind
    return move


ctypedef Part (*PartOf)(const uint8_t*, Py_ssize_t, Py_ssize_t) noexcept nogil


cdef inline bint _has(const uint8_t* trail, Py_ssize_t steps, uint64_t call) noexcept nogil:
    """Whether the first steps have this call."""
    cdef Py_ssize_t i
    for i in range(steps):
        if _step(trail, i).call == call:
            return True
    return False


cdef inline void _note(Shares* shares, double value) noexcept nogil:
    shares.total += value
    if shares.count == 0 or value < shares.least:
        shares.least = value
    shares.count += 1


cdef inline double _mean(Shares* shares) noexcept nogil:
    return shares.total / shares.count if shares.count else NOT_ASKED


cdef inline double _least(Shares* shares) noexcept nogil:
    return shares.least if shares.count else NOT_ASKED


cdef const uint8_t* _packed(object trail, Py_ssize_t* steps) except NULL:
    if type(trail) is not bytes or PyBytes_GET_SIZE(trail) < HEAD:
        raise ValueError("no packed trail")
    steps[0] = (PyBytes_GET_SIZE(trail) - HEAD) // STEP
    return <const uint8_t*>PyBytes_AS_STRING(trail)


cdef class Habits:
    """See habits.Counts."""

    cdef Count* counts
    cdef Py_ssize_t slots  # a power of two
    cdef Py_ssize_t used
    cdef int64_t output_kinds
    cdef int64_t next_kinds
    cdef dict tasks  # its number, of all attempts and of the accepted ones how many

    def __cinit__(self):
        self.slots, self.used, self.tasks, self.output_kinds, self.next_kinds = 4096, 0, {}, 0, 0
        self.counts = <Count*>calloc(self.slots, sizeof(Count))
        if self.counts is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.counts)

    cdef Count* _place(self, uint64_t what, uint64_t kind) noexcept nogil:
        cdef uint64_t key = (what ^ kind * 0x9E3779B97F4A7C15u) * 0xC2B2AE3D27D4EB4Fu
        cdef Py_ssize_t slot = <Py_ssize_t>((key ^ key >> 29) & <uint64_t>(self.slots - 1))
        while self.counts[slot].kind and (self.counts[slot].what != what or self.counts[slot].kind != kind):
            slot = (slot + 1) & (self.slots - 1)
        return &self.counts[slot]

    cdef inline int64_t _of(self, uint64_t what, uint64_t kind) noexcept nogil:
        return self._place(what, kind).number

    cdef int64_t _add(self, uint64_t what, uint64_t kind) except -1:
        """What is counted now."""
        cdef Count* old = self.counts
        cdef Count* at
        cdef Py_ssize_t i, slots = self.slots
        if 2 * (self.used + 1) > slots:
            at = <Count*>calloc(2 * slots, sizeof(Count))
            if at is NULL:
                raise MemoryError
            self.counts, self.slots = at, 2 * slots
            for i in range(slots):
                if old[i].kind:
                    self._place(old[i].what, old[i].kind)[0] = old[i]
            free(old)
        at = self._place(what, kind)
        if at.kind == 0:
            at.what, at.kind = what, kind
            self.used += 1
        at.number += 1
        return at.number

    def add(self, str task, trail, *, bint accepted):
        cdef Py_ssize_t steps, i
        cdef const uint8_t* at = _packed(trail, &steps)
        cdef Step step
        cdef Part part
        number, runs, good = self.tasks.get(task) or (1 + len(self.tasks), 0, 0)
        self.tasks[task] = (number, runs + 1, good + accepted)
        cdef uint64_t mine = <uint64_t>number << KIND_BITS
        for i in range(steps):
            step = _step(at, i)
            self._add(step.call, mine << 32 | step.output << KIND_BITS | RESULTS)
            self._add(step.call, mine | MADE)
        if not accepted:
            return
        self._add(_number(at, 8), mine | ANSWERS)
        if steps:
            self._add(_step(at, steps - 1).output, mine | LAST_OUTPUTS)
        for i in range(steps):
            step = _step(at, i)
            if not _has(at, i, step.call):
                self._add(step.call, mine | DONE)
            self._add(step.call_kind << 16 | step.output_kind, OUTPUTS)
            self._add(step.call_kind, CALLS)
            self.output_kinds += self._add(step.output_kind, OUTPUT_KINDS) == 1
        for i in range(steps + 1):
            part = _move(at, steps, i)
            self._add(part.first << 16 | part.second, FOLLOWS)
            self._add(part.first, STATES)
            self.next_kinds += self._add(part.second, NEXT_KINDS) == 1

    def compare(self, str task, trail, own, left_out):
        cdef Py_ssize_t steps, own_steps = 0, gone_steps = 0
        cdef const uint8_t* at = _packed(trail, &steps)
        cdef const uint8_t* mine = NULL if own is None else _packed(own, &own_steps)
        cdef const uint8_t* gone = NULL if left_out is None else _packed(left_out[1], &gone_steps)
        cdef Shares outputs = self._likelihoods(_pair, OUTPUTS, at, steps, steps, gone, gone_steps, gone_steps)
        cdef Shares moves = self._likelihoods(
            _move, FOLLOWS, at, steps, steps + 1, gone, gone_steps, gone_steps + 1 if gone else 0
        )
        cdef Shares agreements = Shares(0.0, 0.0, 0)
        cdef double answer = NOT_ASKED, last = NOT_ASKED, shared = NOT_ASKED, attempts = 0.0
        cdef int64_t count
        known = self.tasks.get(task)
        if known is not None:
            if gone and left_out[0] != task:
                gone, gone_steps = NULL, 0
            agreements = self._agreements(known[0] << KIND_BITS, at, steps, mine, own_steps)
            attempts = min(<double>known[1] - (own is not None), MOST_ATTEMPTS)
            count = known[2] - (gone is not NULL)
            if count:
                self._others(
                    known[0] << KIND_BITS, at, steps, gone, gone_steps, <double>count, &answer, &last, &shared
                )
        return (
            _mean(&outputs), _least(&outputs), _mean(&moves), _least(&moves), _mean(&agreements), _least(&agreements),
            answer, last, attempts, shared,
        )

    cdef Shares _likelihoods(
        self, PartOf part_of, uint64_t together, const uint8_t* at, Py_ssize_t steps, Py_ssize_t parts,
        const uint8_t* gone, Py_ssize_t gone_steps, Py_ssize_t gone_parts,
    ) noexcept nogil:
        """`together` counts the parts, the kind after it their first halves."""
        cdef Shares found = Shares(0.0, 0.0, 0)
        cdef double room = SMOOTHING * max(2, self.output_kinds if together == OUTPUTS else self.next_kinds)
        cdef int64_t both, first
        cdef Py_ssize_t i, k
        cdef Part part, other
        for i in range(parts):
            part = part_of(at, steps, i)
            both = self._of(part.first << 16 | part.second, together)
            first = self._of(part.first, together + 1)
            for k in range(gone_parts):
                other = part_of(gone, gone_steps, k)
                if other.first == part.first:
                    first -= 1
                    both -= other.second == part.second
            _note(&found, log((both + SMOOTHING) / (first + room)))
        return found

    cdef Shares _agreements(
        self, uint64_t task, const uint8_t* at, Py_ssize_t steps, const uint8_t* own, Py_ssize_t own_steps
    ) noexcept nogil:
        cdef Shares found = Shares(0.0, 0.0, 0)
        cdef int64_t made, same
        cdef Py_ssize_t i, k
        cdef Step step, other
        for i in range(steps):
            step = _step(at, i)
            made = self._of(step.call, task | MADE)
            same = self._of(step.call, task << 32 | step.output << KIND_BITS | RESULTS)
            for k in range(own_steps):
                other = _step(own, k)
                if other.call == step.call:
                    made -= 1
                    same -= other.output == step.output
            if made > 0:
                _note(&found, same / <double>made)
        return found

    cdef void _others(
        self, uint64_t task, const uint8_t* at, Py_ssize_t steps, const uint8_t* good, Py_ssize_t good_steps,
        double count, double* answer, double* last, double* shared,
    ) noexcept nogil:
        """Against `count` accepted attempts, without `good`."""
        cdef uint64_t said = _number(at, 8), call
        cdef int64_t done = 0, same = self._of(said, task | ANSWERS)
        cdef int distinct = 0
        cdef Py_ssize_t i
        answer[0] = (same - (good is not NULL and _number(good, 8) == said)) / count
        if steps == 0:
            return
        said = _step(at, steps - 1).output
        same = self._of(said, task | LAST_OUTPUTS)
        last[0] = (same - (good_steps > 0 and _step(good, good_steps - 1).output == said)) / count
        for i in range(steps):
            call = _step(at, i).call
            if not _has(at, i, call):
                distinct += 1
                done += self._of(call, task | DONE) - _has(good, good_steps, call)
        shared[0] = done / (count * distinct)
