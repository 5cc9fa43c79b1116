# Part of pack.pyx: a batch whose items came as rows (ports/rows.pxi), written as the server reads it: measured first, written once.

include "../../ports/rows.pxi"


cdef enum:
    AHEAD = 8


cdef struct Sizes:
    Py_ssize_t bodies, halves, count


cdef inline Py_ssize_t _word(Py_ssize_t size) noexcept:
    """Of a word, with what stands before it."""
    return 5 + _width(size) + size


cdef inline char* _put_word_head(char* at, Py_ssize_t size) noexcept:
    at = _put_bytes(at, b"\r\n$", 3)
    at += _digits(size, at)
    return _put_bytes(at, b"\r\n", 2)


cdef inline Py_ssize_t _packed_size(ItemRow* row, Py_ssize_t name) noexcept:
    return HEAD + SLICE + name + row.track + row.tiebreak + row.key + CHECK


cdef int _measured(ItemRow* row, Py_ssize_t texts, object body, Py_ssize_t name, Py_ssize_t number, Sizes* sizes) except -1:
    """Adds what this half takes; 0 where it breaks the port's contract, or may."""
    cdef uint64_t all_ = <uint64_t>row.key + row.tiebreak + row.track
    if row.side == 116:
        if row.score != -1.0 or row.confidence != -1.0:
            return 0
    elif (row.side != 115 and row.side != 98) or not 0 <= row.score <= 100 or not 0 <= row.confidence <= 1:
        return 0
    if row.text + all_ > <uint64_t>texts or row.time_ms < 0 or (row.side != 115) != (row.track > 0) or type(body) is not bytes:
        return 0
    if row.track > SHORT or name > SHORT or number > SHORT or PyBytes_GET_SIZE(body) > 0xFFFFFFFF:
        return 0
    sizes.bodies += _word(_width(number)) + _word(PyBytes_GET_SIZE(body))
    sizes.halves += _word(_packed_size(row, name))
    sizes.count += 1
    return 1


cdef char* _put_half(char* at, ItemRow* row, const char* text, bytes name, bytes own, bytes body, Py_ssize_t number, check) except NULL:
    """As `wire._packed` writes it."""
    cdef char* begin
    cdef bytes sum_
    cdef Py_ssize_t name_size = PyBytes_GET_SIZE(name), size = _packed_size(row, name_size) - CHECK
    at = _put_word_head(at, size + CHECK)
    begin = at
    at[0] = <char>row.side
    at = _put_float(_put_float(_put_float(at + 1, <double>row.time_ms), row.score), row.confidence)
    at = _put_float(_put_bytes(at, row.content, CONTENT), <double>row.offset)
    at = _put(_put(_put(at, PyBytes_GET_SIZE(body), 4), number, 2), name_size, 2)
    at = _put(_put(_put(_put(at, row.track, 2), 0, 2), row.tiebreak, 4), row.key, 4)
    at = _put_bytes(_put_bytes(at, PyBytes_AS_STRING(own), SLICE), PyBytes_AS_STRING(name), name_size)
    at = _put_bytes(_put_bytes(at, text + row.key + row.tiebreak, row.track), text + row.key, row.tiebreak)
    at = _put_bytes(at, text, row.key)
    if size + PyBytes_GET_SIZE(body) > L07_LONG:
        return _put(at, l07_xxh3(begin, size, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body), WIDE), CHECK)
    sum_ = check(begin[:size] + body)
    return _put_bytes(at, PyBytes_AS_STRING(sum_), CHECK)


cdef int _measured_object(tuple half, bytes name, bytes own, Py_ssize_t number, check, dict packed, Sizes* sizes) except -1:
    """The same for a half that is an object: it is packed at once."""
    found = _packed(half, name, own, _text(half[3]), number, check)
    if found is None:
        return 0
    packed[number] = found
    sizes.bodies += _word(_width(number)) + _word(PyBytes_GET_SIZE(half[11]))
    sizes.halves += _word(PyBytes_GET_SIZE(found))
    sizes.count += 1
    return 1


cdef list _checked(tuple columns, list starts, list ends, list names, bytes own, half_class, check, dict packed, Sizes* sizes):
    """The numbers of what is no half; None: somebody else looks. Rows and all that they name lie in what was given then.
    `packed`: halves that are objects, by number."""
    cdef bytearray rows = columns[1]
    cdef list left = [], bodies = columns[3]
    cdef dict others = columns[4]
    cdef Py_ssize_t count = len(bodies), texts = PyByteArray_GET_SIZE(columns[2]), n
    cdef list last = [start - 1 for start in starts]
    cdef ItemRow* row = <ItemRow*>PyByteArray_AS_STRING(rows)
    if PyByteArray_GET_SIZE(rows) != count * <Py_ssize_t>sizeof(ItemRow):
        return None
    for n in range(count):
        if n + AHEAD < count:
            L07_SOON(<PyObject*>bodies[n + AHEAD])
        if not 0 <= row[n].part < len(names):
            return None
        if not <long long>last[row[n].part] < row[n].offset < <long long>ends[row[n].part]:
            return None
        last[row[n].part] = row[n].offset
        if row[n].side == 0:
            item = others.get(n)
            if not isinstance(item, tuple) or len(<tuple>item) < 3:
                return None
            if (<tuple>item)[0] != row[n].part or (<tuple>item)[1] != row[n].offset:
                return None
            if type(item) is not half_class:
                left.append(n + 1)
            elif not _measured_object(<tuple>item, names[row[n].part], own, n + 1, check, packed, sizes):
                return None
        elif not _measured(row + n, texts, bodies[n], PyBytes_GET_SIZE(names[row[n].part]), n + 1, sizes):
            return None
    return left


def pack_rows(items, list starts, list ends, list names, bytes own, half_class, check):
    """Of items with rows: (how many halves, words of the bodies with their numbers, words of the packed halves, digests of the
    keys, numbers of all that is no half), as `packing.Written` takes words. None where they have none, or an item breaks the
    port's contract or may. The rest: see `pack`."""
    columns = getattr(items, "columns", None)
    if columns is None or PyBytes_GET_SIZE(own) != SLICE:
        return None
    cdef tuple found = columns()
    cdef Sizes sizes
    cdef dict packed = {}
    memset(&sizes, 0, sizeof(sizes))
    if found[0] != ITEM_ROWS:
        return None
    left = _checked(found, starts, ends, names, own, half_class, check, packed, &sizes)
    return None if left is None else _written(found, names, own, check, packed, left, &sizes)


cdef tuple _written(tuple columns, list names, bytes own, check, dict packed, list left, Sizes* sizes):
    cdef bytes of_bodies = PyBytes_FromStringAndSize(NULL, sizes.bodies), of_halves = PyBytes_FromStringAndSize(NULL, sizes.halves)
    cdef bytes digests = PyBytes_FromStringAndSize(NULL, 16 * sizes.count)
    cdef list bodies = columns[3]
    cdef dict others = columns[4]
    cdef char* body_at = PyBytes_AS_STRING(of_bodies)
    cdef char* half_at = PyBytes_AS_STRING(of_halves)
    cdef uint8_t* digest_at = <uint8_t*>PyBytes_AS_STRING(digests)
    cdef ItemRow* row = <ItemRow*>PyByteArray_AS_STRING(columns[1])
    cdef Text key
    cdef bytes body
    cdef Py_ssize_t n
    for n in range(len(bodies)):
        if n + 1 < len(bodies):
            L07_SOON(<const char*><PyObject*>bodies[n + 1] + 64)
        if row[n].side:
            body, key.at, key.size = bodies[n], PyByteArray_AS_STRING(columns[2]) + row[n].text, row[n].key
            half_at = _put_half(half_at, row + n, key.at, <bytes>names[row[n].part], own, body, n + 1, check)
        elif n + 1 in packed:
            body, key, found = others[n][11], _text(others[n][3]), packed[n + 1]
            half_at = _put_word_head(half_at, PyBytes_GET_SIZE(found))
            half_at = _put_bytes(half_at, PyBytes_AS_STRING(found), PyBytes_GET_SIZE(found))
        else:
            continue
        body_at = _put_word_head(body_at, _width(n + 1))
        body_at += _digits(n + 1, body_at)
        body_at = _put_bytes(_put_word_head(body_at, PyBytes_GET_SIZE(body)), PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        l07_blake2b_16(key.at, key.size, digest_at)
        digest_at += 16
    return sizes.count, of_bodies, of_halves, digests, left
