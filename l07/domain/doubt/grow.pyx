# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `growing.py` does, in C: whole numbers, so the scores are the same."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.math cimport floor
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t
from libc.string cimport memset

cdef enum:
    BINS = 64
    GRADIENT = 4096
    SCORE = 65536
    REACH = 8
    STEP = 64
    MOST_NODES = 255
    MOST_COLUMNS = 1023  # a cell's place has 16 bits

cdef double CLOSE = 1 - 1e-9  # a gain below this part of another cannot be above it, however both are rounded

cdef struct Node:
    Py_ssize_t start  # its rows are order[start:end]
    Py_ssize_t end
    int64_t gradient
    int64_t weight
    double gain  # of its best split
    int column
    int code
    int left  # 0: a leaf
    int64_t value

cdef struct Grower:
    const uint8_t* codes
    int columns
    int varied  # columns that have more than one code
    int32_t* column  # of each of those its number,
    int32_t* first  # where its cells begin, and behind the last where they end
    uint16_t* places  # of each row's codes among a node's cells
    Py_ssize_t cells  # of a node's sums
    int64_t* packed  # of a row: gradient, weight and one
    int64_t* sums  # of each node
    int32_t* order
    int32_t* aside
    Node* nodes
    int leaves
    int least_rows
    int64_t ridge
    double rate


# A cell is gradient * 2**38 + weight * 2**14 + rows: 26, 24 and 14 bits hold the sums of MOST_ROWS rows.
cdef inline int64_t _gradient(int64_t cell) noexcept nogil:
    return cell >> 38


cdef inline int64_t _weight(int64_t cell) noexcept nogil:
    return (cell >> 14) & 0xFFFFFF


cdef inline int64_t _count(int64_t cell) noexcept nogil:
    return cell & 0x3FFF


cdef void _sum(Grower* g, int node) noexcept nogil:
    cdef int64_t* sums = g.sums + node * g.cells
    cdef Py_ssize_t i
    cdef int k
    cdef const uint16_t* places
    cdef int64_t cell
    memset(sums, 0, g.cells * sizeof(int64_t))
    for i in range(g.nodes[node].start, g.nodes[node].end):
        places = g.places + g.order[i] * <Py_ssize_t>g.varied
        cell = g.packed[g.order[i]]
        for k in range(g.varied):
            sums[places[k]] += cell


cdef void _best(Grower* g, int number) noexcept nogil:
    cdef Node* node = &g.nodes[number]
    cdef const int64_t* sums
    cdef Py_ssize_t rows = node.end - node.start
    cdef int k, code
    cdef int64_t cell, at, count
    cdef double gradient, weight, other, left, right, gain, most = -1.0
    cdef double whole = <double>node.gradient, heavy = <double>node.weight, ridge = <double>g.ridge
    node.gain = 0.0
    if rows < 2 * g.least_rows:
        return
    for k in range(g.varied):
        sums = g.sums + number * g.cells + g.first[k]
        cell = 0
        for code in range(g.first[k + 1] - g.first[k]):
            at = sums[code]
            if at == 0:  # nobody: what was said of the code before holds
                continue
            cell += at
            count = _count(cell)
            if count < g.least_rows:
                continue
            if count > rows - g.least_rows:
                break
            gradient, weight = <double>_gradient(cell), <double>_weight(cell)
            other = whole - gradient
            gradient, other = gradient * gradient, other * other
            left, right = weight + ridge, heavy - weight + ridge
            if gradient * right + other * left < most * CLOSE * (left * right):  # a division takes longer
                continue
            gain = gradient / left + other / right
            if gain > most:
                most, node.column, node.code = gain, g.column[k], code
    node.gain = most - whole * whole / (heavy + ridge)


cdef void _split(Grower* g, int number, int left, bint last) noexcept nogil:
    """The rows of a node go to the two children, each in their order; the sums of the larger are what is left. Nobody
    asks the children of the last split for theirs."""
    cdef Node* node = &g.nodes[number]
    cdef Node* small
    cdef Py_ssize_t i, at = node.start, others = 0
    cdef int32_t row
    cdef int64_t cell
    cdef int child, other
    cdef int64_t* sums = g.sums + number * g.cells
    for i in range(node.start, node.end):
        row = g.order[i]
        if g.codes[row * <Py_ssize_t>g.columns + node.column] <= node.code:
            g.order[at] = row
            at += 1
        else:
            g.aside[others] = row
            others += 1
    for i in range(others):
        g.order[at + i] = g.aside[i]
    node.left = left
    g.nodes[left].start, g.nodes[left].end = node.start, at
    g.nodes[left + 1].start, g.nodes[left + 1].end = at, node.end
    child = left if at - node.start <= node.end - at else left + 1
    other = 2 * left + 1 - child
    small = &g.nodes[child]
    cell = 0
    for i in range(small.start, small.end):
        cell += g.packed[g.order[i]]
    small.gradient, small.weight = _gradient(cell), _weight(cell)
    g.nodes[other].gradient = node.gradient - small.gradient
    g.nodes[other].weight = node.weight - small.weight
    g.nodes[left].left = g.nodes[left + 1].left = 0
    if last or node.end - node.start - (small.end - small.start) < 2 * g.least_rows:
        g.nodes[child].gain = g.nodes[other].gain = 0.0
        return
    _sum(g, child)
    for i in range(g.cells):
        g.sums[other * g.cells + i] = sums[i] - g.sums[child * g.cells + i]
    _best(g, left)
    _best(g, left + 1)


cdef int _tree(Grower* g, Py_ssize_t rows) noexcept nogil:
    """The number of nodes."""
    cdef Py_ssize_t i
    cdef int64_t cell = 0
    cdef int number, node, leaves, count = 1
    for i in range(rows):
        g.order[i] = <int32_t>i
        cell += g.packed[i]
    g.nodes[0].start, g.nodes[0].end, g.nodes[0].left = 0, rows, 0
    g.nodes[0].gradient, g.nodes[0].weight = _gradient(cell), _weight(cell)
    _sum(g, 0)
    _best(g, 0)
    for leaves in range(1, g.leaves):
        node = -1
        for number in range(count):
            if g.nodes[number].left == 0 and (node < 0 or g.nodes[number].gain > g.nodes[node].gain):
                node = number
        if g.nodes[node].gain <= 0:
            break
        _split(g, node, count, leaves + 1 == g.leaves)
        count += 2
    for number in range(count):
        g.nodes[number].value = <int64_t>floor(
            -g.rate * SCORE * g.nodes[number].gradient / <double>(g.nodes[number].weight + g.ridge) + 0.5
        )
    return count


cdef void _lay_out(Grower* g, Py_ssize_t rows) noexcept nogil:
    """Cells for the codes that there are, and each row's places among them."""
    cdef Py_ssize_t i
    cdef int column, k
    cdef uint8_t least, most, code
    cdef uint16_t* places = g.places
    g.varied, g.first[0] = 0, 0
    for column in range(g.columns):
        least = most = g.codes[column]
        for i in range(1, rows):
            code = g.codes[i * g.columns + column]
            least, most = min(least, code), max(most, code)
        if least < most:
            g.column[g.varied] = column
            g.first[g.varied + 1] = g.first[g.varied] + most + 1
            g.varied += 1
    g.cells = g.first[g.varied]
    for i in range(rows):
        for k in range(g.varied):
            places[k] = <uint16_t>(g.first[k] + g.codes[i * g.columns + g.column[k]])
        places += g.varied


def grown(
    const uint8_t[:, ::1] codes, const uint8_t[::1] says, const uint8_t[:, ::1] asked, int64_t[::1] found, growth,
    const int64_t[::1] chance, const int64_t[::1] weight,
):
    """See growing.py. At most 8191 rows, 128 leaves and 1023 columns."""
    cdef Py_ssize_t rows = codes.shape[0], i
    cdef int columns = codes.shape[1], leaves = growth.leaves, trees = growth.trees, number, tree, count
    cdef int64_t place, most = REACH * <int64_t>SCORE
    cdef const uint8_t* row
    cdef Grower g
    if rows > 8191 or leaves > 128 or columns > MOST_COLUMNS:
        raise ValueError("more rows, leaves or columns than the sums have bits for")
    if asked.shape[1] != columns or says.shape[0] != rows or found.shape[0] != asked.shape[0]:
        raise ValueError("tables that do not fit")
    g.columns = columns
    g.leaves, g.least_rows, g.rate = leaves, growth.least_rows, growth.rate
    g.ridge = growth.ridge * GRADIENT
    if asked.shape[0] == 0:
        return
    cdef int64_t prior = found[0]
    g.codes = &codes[0, 0]
    cdef int64_t* scores = <int64_t*>PyMem_Malloc(rows * sizeof(int64_t))
    g.packed = <int64_t*>PyMem_Malloc(rows * sizeof(int64_t))
    g.order = <int32_t*>PyMem_Malloc(rows * sizeof(int32_t))
    g.aside = <int32_t*>PyMem_Malloc(rows * sizeof(int32_t))
    g.column = <int32_t*>PyMem_Malloc(columns * sizeof(int32_t))
    g.first = <int32_t*>PyMem_Malloc((columns + 1) * sizeof(int32_t))
    g.places = <uint16_t*>PyMem_Malloc(rows * columns * sizeof(uint16_t))
    g.sums = <int64_t*>PyMem_Malloc(2 * leaves * columns * BINS * sizeof(int64_t))
    g.nodes = <Node*>PyMem_Malloc(2 * leaves * sizeof(Node))
    try:
        if not (scores and g.packed and g.order and g.aside and g.column and g.first and g.places and g.sums and g.nodes):
            raise MemoryError
        with nogil:
            _lay_out(&g, rows)
            for i in range(rows):
                scores[i] = prior
            for tree in range(trees):
                for i in range(rows):
                    place = (min(max(scores[i], -most), most) + most) // STEP
                    g.packed[i] = (
                        (chance[place] - says[i] * GRADIENT) * (<int64_t>1 << 38) + weight[place] * (1 << 14) + 1
                    )
                count = _tree(&g, rows)
                for number in range(count):
                    if g.nodes[number].left == 0:
                        for i in range(g.nodes[number].start, g.nodes[number].end):
                            scores[g.order[i]] += g.nodes[number].value
                for i in range(asked.shape[0]):
                    row = &asked[i, 0]
                    number = 0
                    while g.nodes[number].left:
                        number = g.nodes[number].left + (row[g.nodes[number].column] > g.nodes[number].code)
                    found[i] += g.nodes[number].value
    finally:
        PyMem_Free(scores)
        PyMem_Free(g.packed)
        PyMem_Free(g.order)
        PyMem_Free(g.aside)
        PyMem_Free(g.column)
        PyMem_Free(g.first)
        PyMem_Free(g.places)
        PyMem_Free(g.sums)
        PyMem_Free(g.nodes)
