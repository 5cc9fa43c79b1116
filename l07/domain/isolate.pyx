# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `forest.py` does, in C: whole numbers, so the lengths are the same."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, int64_t, uint64_t

cdef enum:
    UNIT = 65536
    MOST = 2147483647
    SAMPLES = 256
    DEPTH = 8
    NODES = 256  # above the lowest
    ABREAST = 8  # rows that go down together, so that one's load does not wait for another's

cdef uint64_t LOW = 0xFFFFFFFF  # bits

cdef struct Cut:
    int32_t column
    int32_t limit

cdef struct Tree:
    int columns
    int depth
    Cut cuts[NODES]
    int64_t path[NODES]  # of the lowest
    Py_ssize_t start[2 * NODES]  # its rows are picked[start:end]
    Py_ssize_t end[2 * NODES]


cdef inline int _varying(const int32_t* table, Tree* t, const int32_t* picked, int node, int32_t* least, int32_t* most,
                         int* varies) noexcept nogil:
    """How many columns have more than one value in the node, and which."""
    cdef Py_ssize_t i
    cdef int column, count = 0
    cdef const int32_t* row = table + picked[t.start[node]] * <Py_ssize_t>t.columns
    for column in range(t.columns):
        least[column] = most[column] = row[column]
    for i in range(t.start[node] + 1, t.end[node]):
        row = table + picked[i] * <Py_ssize_t>t.columns
        for column in range(t.columns):
            least[column] = min(least[column], row[column])
            most[column] = max(most[column], row[column])
    for column in range(t.columns):
        varies[count] = column
        count += least[column] < most[column]
    return count


cdef inline Py_ssize_t _part(const int32_t* table, Tree* t, int32_t* picked, int node) noexcept nogil:
    """The rows that go left come first; where the others begin."""
    cdef Py_ssize_t i, at = t.start[node]
    cdef int32_t row
    for i in range(t.start[node], t.end[node]):
        row = picked[i]
        if table[row * <Py_ssize_t>t.columns + t.cuts[node].column] <= t.cuts[node].limit:
            picked[i] = picked[at]
            picked[at] = row
            at += 1
    return at


cdef void _grow(const int32_t* table, Tree* t, int32_t* picked, Py_ssize_t samples, const uint64_t* chance,
                const int64_t* expected, int32_t* least, int32_t* most, int* varies) noexcept nogil:
    cdef int node, level, count, column, lowest = 1 << t.depth
    cdef uint64_t number, span
    for node in range(1, lowest):
        t.cuts[node].column, t.cuts[node].limit = 0, MOST
        t.start[node] = t.end[node] = 0
    for node in range(lowest, 2 * lowest):
        t.start[node] = t.end[node] = 0
    t.start[1], t.end[1] = 0, samples
    for level in range(t.depth + 1):
        for node in range(1 << level, 2 << level):
            if t.end[node] == t.start[node]:
                continue
            count = 0
            if level < t.depth and t.end[node] - t.start[node] > 1:
                count = _varying(table, t, picked, node, least, most, varies)
            if count == 0:
                t.path[(node << (t.depth - level)) - lowest] = level * UNIT + expected[t.end[node] - t.start[node]]
                continue
            number = chance[node]
            column = varies[((number >> 32) * <uint64_t>count) >> 32]
            t.cuts[node].column = column
            span = <uint64_t>(<int64_t>most[column] - <int64_t>least[column])
            t.cuts[node].limit = <int32_t>(least[column] + <int64_t>(((number & LOW) * span) >> 32))
            t.start[2 * node], t.end[2 * node + 1] = t.start[node], t.end[node]
            t.end[2 * node] = t.start[2 * node + 1] = _part(table, t, picked, node)


cdef void _descend(const int32_t* table, Py_ssize_t rows, Tree* t, int64_t* total) noexcept nogil:
    cdef Py_ssize_t first = 0
    cdef int level, k, abreast, lowest = 1 << t.depth
    cdef int node[ABREAST]
    cdef const int32_t* row
    cdef Cut cut
    while first < rows:
        abreast = <int>min(<Py_ssize_t>ABREAST, rows - first)
        for k in range(abreast):
            node[k] = 1
        for level in range(t.depth):
            row = table + first * t.columns
            for k in range(abreast):
                cut = t.cuts[node[k]]
                node[k] = 2 * node[k] + (row[cut.column] > cut.limit)
                row += t.columns
        for k in range(abreast):
            total[first + k] += t.path[node[k] - lowest]
        first += abreast


def lengths(const int32_t[:, ::1] table, const uint64_t[:, ::1] chance, const int64_t[::1] expected, int64_t[::1] total):
    """See forest.py. At most 256 rows a tree."""
    cdef Py_ssize_t rows = table.shape[0], samples = expected.shape[0] - 1, i, other
    cdef Py_ssize_t columns = table.shape[1]
    cdef int32_t row
    cdef int number
    cdef Tree t
    t.columns, t.depth = <int>columns, 0
    while (1 << t.depth) < samples:
        t.depth += 1
    if not (1 < samples <= SAMPLES and samples <= rows <= MOST) or columns < 1:
        raise ValueError("more rows a tree than there are, or than a tree has place for")
    if total.shape[0] != rows or chance.shape[1] != samples + (1 << t.depth):
        raise ValueError("tables that do not fit")
    cdef int32_t* order = <int32_t*>PyMem_Malloc(rows * sizeof(int32_t))
    cdef int32_t picked[SAMPLES]
    cdef int32_t* ends = <int32_t*>PyMem_Malloc(2 * columns * sizeof(int32_t))
    cdef int* varies = <int*>PyMem_Malloc(columns * sizeof(int))
    try:
        if not (order and ends and varies):
            raise MemoryError
        with nogil:
            for i in range(rows):
                order[i] = <int32_t>i
            for number in range(chance.shape[0]):
                for i in range(samples):
                    other = i + <Py_ssize_t>(((chance[number, i] >> 32) * <uint64_t>(rows - i)) >> 32)
                    row = order[i]
                    order[i] = order[other]
                    order[other] = row
                    picked[i] = order[i]
                _grow(
                    &table[0, 0], &t, picked, samples, &chance[number, samples], &expected[0],
                    ends, ends + columns, varies,
                )
                _descend(&table[0, 0], rows, &t, &total[0])
    finally:
        PyMem_Free(order)
        PyMem_Free(ends)
        PyMem_Free(varies)
