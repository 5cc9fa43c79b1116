# cython: language_level=3, boundscheck=False, wraparound=False
"""What `selection.keyed_hash` does: BLAKE2b of eight bytes with a key, which is taken in once. A test holds both against each
other. Source: RFC 7693, sections 2 and 3."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    static const uint64_t L07_IV[8] = {
        UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b), UINT64_C(0x3c6ef372fe94f82b), UINT64_C(0xa54ff53a5f1d36f1),
        UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f), UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179)};
    static const uint8_t L07_SIGMA[10][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
        {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
        {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
        {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
        {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};
    static inline uint64_t l07_right(uint64_t x, int by) { return (x >> by) | (x << (64 - by)); }
    static inline uint64_t l07_read(const uint8_t *at) { /* little-endian, whatever the processor's order is */
        uint64_t word;
        memcpy(&word, at, 8);
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
    #endif
        return word;
    }
    #if defined(__GNUC__) && !defined(__clang__)
    #define L07_UNROLLED _Pragma("GCC unroll 12")
    #else
    #define L07_UNROLLED
    #endif
    #define L07_MIX(a, b, c, d, x, y) \\
        v[a] += v[b] + (x); v[d] = l07_right(v[d] ^ v[a], 32); v[c] += v[d]; v[b] = l07_right(v[b] ^ v[c], 24); \\
        v[a] += v[b] + (y); v[d] = l07_right(v[d] ^ v[a], 16); v[c] += v[d]; v[b] = l07_right(v[b] ^ v[c], 63);
    /* A block of 128 bytes; `done`: bytes with it. */
    static void l07_compress(uint64_t *h, const uint8_t *block, uint64_t done, int last) {
        uint64_t v[16], m[16];
        int n;
        for (n = 0; n < 16; n++) m[n] = l07_read(block + 8 * n);
        for (n = 0; n < 8; n++) v[n] = h[n], v[n + 8] = L07_IV[n];
        v[12] ^= done;
        if (last) v[14] = ~v[14];
        L07_UNROLLED for (n = 0; n < 12; n++) {
            const uint8_t *s = L07_SIGMA[n % 10];
            L07_MIX(0, 4, 8, 12, m[s[0]], m[s[1]]) L07_MIX(1, 5, 9, 13, m[s[2]], m[s[3]])
            L07_MIX(2, 6, 10, 14, m[s[4]], m[s[5]]) L07_MIX(3, 7, 11, 15, m[s[6]], m[s[7]])
            L07_MIX(0, 5, 10, 15, m[s[8]], m[s[9]]) L07_MIX(1, 6, 11, 12, m[s[10]], m[s[11]])
            L07_MIX(2, 7, 8, 13, m[s[12]], m[s[13]]) L07_MIX(3, 4, 9, 14, m[s[14]], m[s[15]])
        }
        for (n = 0; n < 8; n++) h[n] ^= v[n] ^ v[n + 8];
    }
    /* After the block of the key, unless nothing follows. */
    static void l07_begin(uint64_t *h, const uint8_t *key, size_t size, int last) {
        uint8_t block[128] = {0};
        memcpy(h, L07_IV, sizeof(L07_IV));
        h[0] ^= UINT64_C(0x01010008) ^ (uint64_t)size << 8;
        memcpy(block, key, size);
        l07_compress(h, block, 128, last);
    }
    /* The first eight bytes of the digest as a number, the first byte the highest. */
    static uint64_t l07_turned(uint64_t h) {
        uint64_t out = 0;
        int n;
        for (n = 0; n < 8; n++) out = out << 8 | (h >> 8 * n & 0xFF);
        return out;
    }
    static uint64_t l07_keyed(const uint64_t *begun, const uint8_t *text, size_t size) {
        uint64_t h[8], done = 128;
        uint8_t block[128];
        memcpy(h, begun, sizeof(h));
        for (; size > 128; text += 128, size -= 128) l07_compress(h, text, done += 128, 0);
        memset(block, 0, sizeof(block));
        memcpy(block, text, size);
        l07_compress(h, block, done + size, 1);
        return l07_turned(h[0]);
    }
    """
    void l07_begin(uint64_t* h, const uint8_t* key, size_t size, int last) nogil
    uint64_t l07_keyed(const uint64_t* begun, const uint8_t* text, size_t size) nogil
    uint64_t l07_turned(uint64_t h) nogil


cdef class Keyed:
    """Of one key, of 64 bytes at most."""

    cdef uint64_t begun[8]
    cdef uint64_t of_nothing

    def __init__(self, bytes key not None):
        cdef uint64_t alone[8]
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(key)
        if not 0 < PyBytes_GET_SIZE(key) <= 64:
            raise ValueError(f"a key of {len(key)} bytes")
        l07_begin(self.begun, at, PyBytes_GET_SIZE(key), 0)
        l07_begin(alone, at, PyBytes_GET_SIZE(key), 1)
        self.of_nothing = l07_turned(alone[0])

    def of(self, str name not None):
        """64 bits."""
        cdef Py_ssize_t size
        cdef const char* at
        try:
            at = PyUnicode_AsUTF8AndSize(name, &size)
        except UnicodeEncodeError:
            raw = name.encode("utf-8", "surrogatepass")
            at, size = PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw)
        return l07_keyed(self.begun, <const uint8_t*>at, size) if size else self.of_nothing
