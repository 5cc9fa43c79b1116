# Part of scan.pyx: what all share, and texts and numbers. Each function answers the kind, or 0: not sure.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif
    /* The next byte of a text that is a quote, a backslash, a control character or not ASCII; or one of the last bytes. */
    static inline const char *l07_special(const char *at, const char *end) {
    #if defined(__SSE2__)
        const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\\\'), space = _mm_set1_epi8(' ');
        while (end - at >= 16) {
            __m128i word = _mm_loadu_si128((const __m128i *)at);
            __m128i found = _mm_or_si128(_mm_cmpeq_epi8(word, quote), _mm_cmpeq_epi8(word, slash));
            int marks = _mm_movemask_epi8(_mm_or_si128(found, _mm_cmplt_epi8(word, space))); /* signed: 0x80.. is below */
            if (marks) return at + __builtin_ctz(marks);
            at += 16;
        }
    #else
        const uint64_t ones = UINT64_C(0x0101010101010101), tops = UINT64_C(0x8080808080808080);
        while (end - at >= 8) {
            uint64_t word, quote, slash;
            memcpy(&word, at, 8);
            quote = word ^ (ones * '"');
            slash = word ^ (ones * '\\\\');
            if ((((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((word - ones * ' ') & ~word) | word) & tops) break;
            at += 8;
        }
    #endif
        return at;
    }
    /* For names: so short that a call costs more than the comparing. */
    static inline int l07_equal(const char *a, const char *b, size_t size) {
        uint64_t first, second;
        uint32_t short_first, short_second;
        if (size >= 8) {
            memcpy(&first, a, 8); memcpy(&second, b, 8);
            if (first != second) return 0;
            if (size > 16) return memcmp(a + 8, b + 8, size - 8) == 0;
            memcpy(&first, a + size - 8, 8); memcpy(&second, b + size - 8, 8);
            return first == second;
        }
        if (size >= 4) {
            memcpy(&short_first, a, 4); memcpy(&short_second, b, 4);
            if (short_first != short_second) return 0;
            memcpy(&short_first, a + size - 4, 4); memcpy(&short_second, b + size - 4, 4);
            return short_first == short_second;
        }
        for (; size; size--) if (a[size - 1] != b[size - 1]) return 0;
        return 1;
    }
    """
    const char* l07_special(const char* at, const char* end) nogil
    int l07_equal(const char* a, const char* b, size_t size) nogil

cdef extern from "Python.h":
    double PyOS_string_to_double(const char* text, char** end, void* overflow) except? -1.0

cdef enum:
    KNOWN_FIELDS = 64  # of one struct: a bit each
    ALL_FIELDS = 512
    ALL_NODES = 256
    OTHERS = 16  # fields of `data` that nobody knows: none may stand twice
    LEVELS = 48  # the rule allows 64
    SLOTS = 32
    MAX_ID = 256
    MOST_TEXT = 0x7FFFFFFF  # bytes of a batch's keys, tiebreaks and tracks

cdef enum:
    FREE = -1
    NOWHERE = -1
    NULL_ = 1
    BOOL = 2
    NUMBER = 4
    STRING = 8
    ARRAY = 16
    OBJECT = 32
    # what is known of a text
    ESCAPED = 64
    # of an array
    MANY = 128  # not empty

cdef enum Role:
    UNKNOWN_ROLE, SYSTEM, USER, ASSISTANT, TOOL

cdef struct Span:
    const char* at
    Py_ssize_t size
    int kind  # 0: absent

cdef struct Field:
    const char* name
    Py_ssize_t size
    int node
    int slot

cdef struct Node:
    int kinds
    int item  # of an array
    int first, count  # of its fields; count < 0: any object
    uint64_t required
    int unique  # no unknown field may stand twice
    int message  # 1: of a conversation

cdef struct Talk:
    int strange, assistant, user
    Span goal  # the first thing that a user says

cdef struct Scan:
    const char* at
    const char* end
    int level
    Span slots[SLOTS]
    Talk talk

cdef Node nodes[ALL_NODES]
cdef Field fields[ALL_FIELDS]
cdef int node_count = 0
cdef int field_count = 0
cdef list kept = []  # the names' bytes

# ------------------------------------------------------------------ JSON; each function answers the kind, or 0: not sure

cdef inline int _follows(const unsigned char* at) noexcept nogil:
    return (at[0] & 0xC0) == 0x80


cdef inline int _utf8(const unsigned char* at) noexcept nogil:
    """The length of a character of several bytes; 0 where it is none. A zero byte is no following byte."""
    cdef unsigned char head = at[0]
    if 0xC2 <= head <= 0xDF:
        return 2 if _follows(at + 1) else 0
    if (head & 0xF0) == 0xE0:
        if not _follows(at + 1) or not _follows(at + 2):
            return 0
        if (head == 0xE0 and at[1] < 0xA0) or (head == 0xED and at[1] > 0x9F):  # too long, or a surrogate
            return 0
        return 3
    if 0xF0 <= head <= 0xF4:
        if not _follows(at + 1) or not _follows(at + 2) or not _follows(at + 3):
            return 0
        if (head == 0xF0 and at[1] < 0x90) or (head == 0xF4 and at[1] > 0x8F):
            return 0
        return 4
    return 0


cdef inline int _hex(char c) noexcept nogil:
    return 48 <= c <= 57 or 65 <= c <= 70 or 97 <= c <= 102


cdef inline int _escape(const char* at) noexcept nogil:
    """The length of an escape; 0 where it is none, or half of a pair: those are looked at elsewhere."""
    cdef char c = at[1]
    if c == 117:  # u
        if not (_hex(at[2]) and _hex(at[3]) and _hex(at[4]) and _hex(at[5])):
            return 0
        return 0 if (at[2] | 32) == 100 and (at[3] >= 56) else 6  # d8.. to df..
    return 2 if c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110 or c == 114 or c == 116 else 0


cdef int _string(Scan* s, Span* span) noexcept nogil:
    """Behind the opening quote; ends behind the closing one."""
    cdef const char* at = s.at
    cdef int kind = STRING, size
    cdef unsigned char c
    while True:
        at = l07_special(at, s.end)
        c = at[0]
        if c == 34:
            break
        if c == 92:
            size = _escape(at)
            kind |= ESCAPED
        elif c >= 0x80:
            size = _utf8(<const unsigned char*>at)
        elif c < 0x20:
            return 0
        else:
            size = 1
        if size == 0:
            return 0
        at += size
    span.at, span.size, span.kind = s.at, at - s.at, kind
    s.at = at + 1
    return STRING


cdef int _filled(Span* span) noexcept nogil:
    """A text in which something is surely no white space."""
    cdef const char* at = span.at
    cdef const char* end = at + span.size
    cdef unsigned char c
    if not span.kind & STRING:
        return 0
    while at < end:
        c = at[0]
        if c == 92:
            if at[1] == 117:
                at += 6
            elif at[1] == 34 or at[1] == 92 or at[1] == 47:
                return 1
            else:
                at += 2
        elif c > 0x20 and c < 0x7F:
            return 1
        elif c >= 0xC4 and c != 0xE1 and c != 0xE2 and c != 0xE3:  # Unicode's white space begins with C2, E1, E2, E3
            return 1
        elif c >= 0x80:
            at += _utf8(<const unsigned char*>at)
        else:
            at += 1
    return 0


cdef int _number(Scan* s) noexcept nogil:
    cdef const char* at = s.at
    cdef const char* begin
    if at[0] == 45:
        at += 1
    begin = at
    while 48 <= at[0] <= 57:
        at += 1
    if at == begin or at - begin > 18 or (begin[0] == 48 and at - begin > 1):
        return 0
    if at[0] == 46:
        begin = at + 1
        at = begin
        while 48 <= at[0] <= 57:
            at += 1
        if at == begin or at - begin > 30:
            return 0
    if at[0] == 101 or at[0] == 69:  # an exponent
        return 0
    s.at = at
    return NUMBER


cdef inline int _word(Scan* s, const char* word, Py_ssize_t size, int kind) noexcept nogil:
    if s.end - s.at < size or memcmp(s.at, word, size) != 0:
        return 0
    s.at += size
    return kind
