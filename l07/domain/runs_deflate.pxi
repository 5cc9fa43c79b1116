# Part of runs.pyx: how many bytes zlib makes of a text at its level 1, without making them: no state to allocate, no bits to
# write. Follows zlib 1.2.5 to 1.3.1 (deflate_fast, longest_match, build_tree) step by step: a figure that depends on the
# trees' ties is the same only if they are broken the same way. Asked at import whether Python's zlib agrees.

from libc.string cimport memset

cdef enum:
    LARGEST = 32000  # no window slides below
    TAIL = 272  # zero bytes behind the text, which a match may reach into, read eight at a time
    SYMBOLS = 16383  # of a block
    CHAIN = 4  # earlier places that are tried
    NICE = 8  # a match that ends the search
    INSERTED = 4  # a longer match is skipped, not entered
    LITERALS = 286
    DISTANCES = 30
    LENGTHS = 19  # of codes
    HEAP = 573
    END_OF_BLOCK = 256

cdef struct Tree:
    uint32_t[HEAP] freq
    uint32_t[HEAP] up  # the node above; then the length of the code
    int elements, most, last  # `most`: bits; `last`: the largest element that occurs
    const uint8_t* extra  # bits beside a code, from `base` on
    int base
    const uint8_t* fixed  # lengths of the code that is never written; NULL: there is none

cdef struct Squeezed:
    Tree literals, distances, lengths
    uint64_t[HEAP] heap  # keys, see `_key`
    int[HEAP] taken
    int count, top  # of the heap, and where the taken nodes begin
    long long best, fixed  # bits with trees of its own, and with the fixed ones
    int symbols
    uint64_t bits  # of all blocks before

cdef Squeezed _squeezed  # nobody else runs: the interpreter's lock is held all the while
cdef uint32_t[32768] _heads  # the last place of each hash, from `_origin` on; below: of an earlier text
cdef uint16_t[LARGEST] _before_
cdef uint32_t _origin = 0
cdef uint8_t[256] _length_codes
cdef uint8_t[512] _distance_codes
cdef uint8_t[32] _length_extra, _distance_extra
cdef uint8_t[LENGTHS] _repeat_extra
cdef uint8_t[288] _fixed_literals
cdef uint8_t[32] _fixed_distances
cdef uint8_t[LENGTHS] _ORDER
_ORDER[:] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]


cdef void _prepare() noexcept:
    cdef int code, n, length = 0, distance = 0
    for code in range(28):
        _length_extra[code] = 0 if code < 8 else (code - 4) // 4
        for n in range(1 << _length_extra[code]):
            if length < 256:
                _length_codes[length] = code
                length += 1
    _length_codes[255] = 28  # 258 bytes have a code of their own
    for code in range(DISTANCES):
        _distance_extra[code] = 0 if code < 4 else (code - 2) // 2
        for n in range(1 << _distance_extra[code]):
            if distance < 256:
                _distance_codes[distance] = code
            elif distance % 128 == 0:
                _distance_codes[256 + distance // 128] = code
            distance += 1
    _repeat_extra[16], _repeat_extra[17], _repeat_extra[18] = 2, 3, 7
    for n in range(288):
        _fixed_literals[n] = 8 if n < 144 else 9 if n < 256 else 7 if n < 280 else 8
    for n in range(DISTANCES):
        _fixed_distances[n] = 5
    _tree(&_squeezed.literals, LITERALS, 15, _length_extra, 257, _fixed_literals)
    _tree(&_squeezed.distances, DISTANCES, 15, _distance_extra, 0, _fixed_distances)
    _tree(&_squeezed.lengths, LENGTHS, 7, _repeat_extra, 0, NULL)


cdef void _tree(Tree* tree, int elements, int most, const uint8_t* extra, int base, const uint8_t* fixed) noexcept:
    tree.elements, tree.most, tree.extra, tree.base, tree.fixed = elements, most, extra, base, fixed


cdef inline void _clear(Squeezed* own) noexcept nogil:
    memset(own.literals.freq, 0, LITERALS * sizeof(uint32_t))
    memset(own.distances.freq, 0, DISTANCES * sizeof(uint32_t))
    memset(own.lengths.freq, 0, LENGTHS * sizeof(uint32_t))
    own.literals.freq[END_OF_BLOCK] = 1
    own.best = own.fixed = own.symbols = 0


cdef inline int _entered(const uint8_t* at, Py_ssize_t place) noexcept nogil:
    """The place goes to the head of its chain; answers the one before, 0 for none (the first place counts as none)."""
    cdef uint32_t* head = &_heads[(at[place] << 10 ^ at[place + 1] << 5 ^ at[place + 2]) & 32767]
    cdef int before = <int>(head[0] - _origin) if head[0] > _origin else 0
    _before_[place] = before
    head[0] = _origin + <uint32_t>place
    return before


cdef inline int _same_bytes(const uint8_t* one, const uint8_t* other) noexcept nogil:
    """How many, 258 at most; the first two are."""
    cdef uint64_t a, b
    cdef int length = 2
    while length < 258:
        memcpy(&a, one + length, 8)
        memcpy(&b, other + length, 8)
        if a != b:
            break
        length += 8
    while length < 258 and one[length] == other[length]:
        length += 1
    return min(length, 258)


cdef inline int _match(const uint8_t* at, int place, int earlier, int left, int* found) noexcept nogil:
    """The length of the longest match that is tried; where it begins."""
    cdef int best = 2, chain = CHAIN, length, nice = min(NICE, left)
    cdef const uint8_t* scan = at + place
    cdef const uint8_t* other
    while True:
        other = at + earlier
        if other[best] == scan[best] and other[best - 1] == scan[best - 1] and other[0] == scan[0] and other[1] == scan[1]:
            length = _same_bytes(other, scan)
            if length > best:
                found[0], best = earlier, length
                if length >= nice:
                    break
        earlier = _before_[earlier]
        chain -= 1
        if earlier == 0 or chain == 0:
            break
    return min(best, left)


cdef Py_ssize_t _deflated(const char* text, int size) noexcept nogil:
    """`text` has TAIL zero bytes behind its end; `size` is LARGEST at most."""
    global _origin
    cdef const uint8_t* at = <const uint8_t*>text
    cdef Squeezed* own = &_squeezed
    cdef int place = 0, begun = 0, earlier, length, start = 0, distance, left
    if _origin > 2000000000:
        memset(_heads, 0, sizeof(_heads))
        _origin = 0
    _clear(own)
    own.bits = 0
    while place < size:
        left = size - place
        earlier = _entered(at, place) if left >= 3 else 0
        length = _match(at, place, earlier, left, &start) if earlier else 0
        own.symbols += 1
        if length < 3:
            own.literals.freq[at[place]] += 1
            place += 1
        else:
            distance = place - start - 1
            own.literals.freq[257 + _length_codes[length - 3]] += 1
            own.distances.freq[_distance_codes[distance] if distance < 256 else _distance_codes[256 + (distance >> 7)]] += 1
            if length <= INSERTED and left - length >= 3:
                for earlier in range(place + 1, place + length):
                    _entered(at, earlier)
            place += length
        if own.symbols == SYMBOLS:
            _end_block(own, place - begun)
            begun = place
    _end_block(own, place - begun)
    _origin += <uint32_t>size + 1
    return 2 + <Py_ssize_t>((own.bits + 7) >> 3) + 4


cdef void _end_block(Squeezed* own, int stored) noexcept nogil:
    cdef long long best, fixed
    _build(own, &own.literals)
    _build(own, &own.distances)
    _count_lengths(&own.lengths, &own.literals)
    _count_lengths(&own.lengths, &own.distances)
    _build(own, &own.lengths)
    cdef int last = 18
    while last >= 3 and own.lengths.up[_ORDER[last]] == 0:
        last -= 1
    own.best += 3 * (last + 1) + 14
    best, fixed = (own.best + 10) >> 3, (own.fixed + 10) >> 3
    if stored + 4 <= min(best, fixed):
        own.bits = ((own.bits + 3 + 7) & ~<uint64_t>7) + 8 * (<uint64_t>stored + 4)
    else:
        own.bits += <uint64_t>(3 + (own.fixed if fixed <= best else own.best))
    _clear(own)


# A node in the heap: how often it occurs, its depth, its number. The first two say which node is smaller; of equal ones
# it depends on where they stand, so the number must not.
cdef inline uint64_t _key(uint64_t freq, uint64_t depth, int node) noexcept nogil:
    return freq << 24 | depth << 16 | <uint64_t>node


cdef inline int _node(uint64_t key) noexcept nogil:
    return <int>(key & 0xFFFF)


cdef inline void _sift(Squeezed* own, uint64_t value, int k) noexcept nogil:
    """`value` goes to the place k or below."""
    cdef uint64_t* heap = own.heap
    cdef int j = 2 * k, count = own.count
    heap[count + 1] = ~<uint64_t>0  # larger than all
    while j <= count:
        j += heap[j + 1] >> 16 <= heap[j] >> 16
        if value >> 16 <= heap[j] >> 16:
            break
        heap[k] = heap[j]
        k = j
        j *= 2
    heap[k] = value


cdef void _build(Squeezed* own, Tree* tree) noexcept nogil:
    """Huffman's code of what occurs; at least two elements have one. Taken nodes stand behind the heap, the last first."""
    cdef int n, m, node, top = HEAP
    cdef uint64_t one, other
    own.count, tree.last = 0, -1
    for n in range(tree.elements):
        tree.up[n] = 0
        if tree.freq[n]:
            own.count += 1
            own.heap[own.count] = _key(tree.freq[n], 0, n)
            tree.last = n
    while own.count < 2:
        node = 0
        if tree.last < 2:
            tree.last += 1
            node = tree.last
        own.count += 1
        own.heap[own.count] = _key(1, 0, node)
        tree.freq[node] = 1
        own.best -= 1
        if tree.fixed != NULL:
            own.fixed -= tree.fixed[node]
    for n in range(own.count // 2, 0, -1):
        _sift(own, own.heap[n], n)
    node = tree.elements
    while True:
        one, other = own.heap[1], own.heap[own.count]
        own.count -= 1
        _sift(own, other, 1)
        other = own.heap[1]
        n, m = _node(one), _node(other)
        own.taken[top - 1], own.taken[top - 2] = n, m
        top -= 2
        tree.freq[node] = tree.freq[n] + tree.freq[m]
        tree.up[n] = tree.up[m] = node
        _sift(own, _key(tree.freq[node], max(one >> 16 & 0xFF, other >> 16 & 0xFF) + 1, node), 1)
        node += 1
        if own.count < 2:
            break
    own.top = top - 1
    own.taken[own.top] = _node(own.heap[1])
    _lengthen(own, tree)


cdef void _lengthen(Squeezed* own, Tree* tree) noexcept nogil:
    """The lengths of the codes, none longer than allowed, and what they cost."""
    cdef int[16] counts
    cdef int h, n, bits, extra, overflow = 0
    memset(counts, 0, sizeof(counts))
    tree.up[own.taken[own.top]] = 0
    for h in range(own.top + 1, HEAP):
        n = own.taken[h]
        bits = tree.up[tree.up[n]] + 1
        if bits > tree.most:
            bits = tree.most
            overflow += 1
        tree.up[n] = bits
        if n > tree.last:
            continue
        counts[bits] += 1
        extra = tree.extra[n - tree.base] if n >= tree.base else 0
        own.best += <long long>tree.freq[n] * (bits + extra)
        if tree.fixed != NULL:
            own.fixed += <long long>tree.freq[n] * (tree.fixed[n] + extra)
    if overflow == 0:
        return
    while overflow > 0:
        bits = tree.most - 1
        while counts[bits] == 0:
            bits -= 1
        counts[bits] -= 1
        counts[bits + 1] += 2
        counts[tree.most] -= 1
        overflow -= 2
    h = HEAP
    for bits in range(tree.most, 0, -1):
        while counts[bits]:
            h -= 1
            n = own.taken[h]
            if n > tree.last:
                continue
            own.best += (<long long>bits - <long long>tree.up[n]) * <long long>tree.freq[n]
            tree.up[n] = bits
            counts[bits] -= 1


cdef void _count_lengths(Tree* lengths, Tree* tree) noexcept nogil:
    """How a tree's code lengths are written: runs of one length have codes of their own."""
    cdef int n, now, before = -1, next_ = tree.up[0], count = 0
    cdef int most = 7 if next_ else 138, least = 4 if next_ else 3
    for n in range(tree.last + 1):
        now = next_
        next_ = tree.up[n + 1] if n < tree.last else 0xFFFF
        count += 1
        if count < most and now == next_:
            continue
        if count < least:
            lengths.freq[now] += count
        elif now:
            if now != before:
                lengths.freq[now] += 1
            lengths.freq[16] += 1
        else:
            lengths.freq[17 if count <= 10 else 18] += 1
        count, before = 0, now
        if next_ == 0:
            most, least = 138, 3
        elif now == next_:
            most, least = 6, 3
        else:
            most, least = 7, 4
