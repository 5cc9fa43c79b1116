# Part of scan.pyx: XXH64 of bytes that lie where they lie. What xxhash.xxh64_digest says, without a copy and without a call.
# Source: the specification in github.com/Cyan4973/xxHash, doc/xxhash_spec.md; seed 0.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #define L07_P1 UINT64_C(0x9E3779B185EBCA87)
    #define L07_P2 UINT64_C(0xC2B2AE3D27D4EB4F)
    #define L07_P3 UINT64_C(0x165667B19E3779F9)
    #define L07_P4 UINT64_C(0x85EBCA77C2B2AE63)
    #define L07_P5 UINT64_C(0x27D4EB2F165667C5)
    static inline uint64_t l07_left(uint64_t x, int by) { return (x << by) | (x >> (64 - by)); }
    static inline uint64_t l07_eight(const uint8_t *at) { /* little-endian, whatever the processor's order is */
        uint64_t word;
        memcpy(&word, at, 8);
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
    #endif
        return word;
    }
    static inline uint64_t l07_four(const uint8_t *at) {
        return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24;
    }
    static inline uint64_t l07_round(uint64_t sum, uint64_t word) { return l07_left(sum + word * L07_P2, 31) * L07_P1; }
    static inline uint64_t l07_merge(uint64_t all, uint64_t sum) { return (all ^ l07_round(0, sum)) * L07_P1 + L07_P4; }
    static uint64_t l07_xxh64(const char *text, size_t size) {
        const uint8_t *at = (const uint8_t *)text, *end = at + size;
        uint64_t all;
        if (size >= 32) {
            uint64_t a = L07_P1 + L07_P2, b = L07_P2, c = 0, d = 0 - L07_P1;
            for (; end - at >= 32; at += 32) {
                a = l07_round(a, l07_eight(at));
                b = l07_round(b, l07_eight(at + 8));
                c = l07_round(c, l07_eight(at + 16));
                d = l07_round(d, l07_eight(at + 24));
            }
            all = l07_left(a, 1) + l07_left(b, 7) + l07_left(c, 12) + l07_left(d, 18);
            all = l07_merge(l07_merge(l07_merge(l07_merge(all, a), b), c), d);
        } else {
            all = L07_P5;
        }
        all += (uint64_t)size;
        for (; end - at >= 8; at += 8) all = l07_left(all ^ l07_round(0, l07_eight(at)), 27) * L07_P1 + L07_P4;
        if (end - at >= 4) {
            all = l07_left(all ^ (l07_four(at) * L07_P1), 23) * L07_P2 + L07_P3;
            at += 4;
        }
        for (; at < end; at++) all = l07_left(all ^ (*at * L07_P5), 11) * L07_P1;
        all = (all ^ (all >> 33)) * L07_P2;
        all = (all ^ (all >> 29)) * L07_P3;
        return all ^ (all >> 32);
    }
    """
    uint64_t l07_xxh64(const char* text, size_t size) nogil


cdef inline void _digest(const char* text, Py_ssize_t size, char* out) noexcept nogil:
    """Eight bytes, the highest first."""
    cdef uint64_t sum_ = l07_xxh64(text, size)
    cdef int n
    for n in range(8):
        out[n] = <char>(sum_ >> (56 - 8 * n) & 0xFF)


def xxh64_digest(bytes data):
    """For the test that holds it against the library."""
    cdef char out[8]
    _digest(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), out)
    return PyBytes_FromStringAndSize(out, 8)
