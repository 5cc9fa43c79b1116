# Part of pack.pyx: BLAKE2b of 16 bytes, without a key. What hashlib.blake2b(data, digest_size=16) says, without its objects.
# Source: RFC 7693, sections 2 and 3.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    static const uint64_t L07_IV[8] = {
        UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b), UINT64_C(0x3c6ef372fe94f82b), UINT64_C(0xa54ff53a5f1d36f1),
        UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f), UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179)};
    static const uint8_t L07_SIGMA[12][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
        {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
        {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
        {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
        {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};
    static inline uint64_t l07_right(uint64_t x, int by) { return (x >> by) | (x << (64 - by)); }
    #define L07_MIX(a, b, c, d, x, y) \\
        a += b + (x); d = l07_right(d ^ a, 32); c += d; b = l07_right(b ^ c, 24); \\
        a += b + (y); d = l07_right(d ^ a, 16); c += d; b = l07_right(b ^ c, 63);
    #define L07_ROUND(r) \\
        L07_MIX(v[0], v[4], v[8], v[12], m[L07_SIGMA[r][0]], m[L07_SIGMA[r][1]]) \\
        L07_MIX(v[1], v[5], v[9], v[13], m[L07_SIGMA[r][2]], m[L07_SIGMA[r][3]]) \\
        L07_MIX(v[2], v[6], v[10], v[14], m[L07_SIGMA[r][4]], m[L07_SIGMA[r][5]]) \\
        L07_MIX(v[3], v[7], v[11], v[15], m[L07_SIGMA[r][6]], m[L07_SIGMA[r][7]]) \\
        L07_MIX(v[0], v[5], v[10], v[15], m[L07_SIGMA[r][8]], m[L07_SIGMA[r][9]]) \\
        L07_MIX(v[1], v[6], v[11], v[12], m[L07_SIGMA[r][10]], m[L07_SIGMA[r][11]]) \\
        L07_MIX(v[2], v[7], v[8], v[13], m[L07_SIGMA[r][12]], m[L07_SIGMA[r][13]]) \\
        L07_MIX(v[3], v[4], v[9], v[14], m[L07_SIGMA[r][14]], m[L07_SIGMA[r][15]])
    static void l07_compress(uint64_t *h, const uint8_t *block, uint64_t count, int last) {
        uint64_t v[16], m[16];
        int n, k;
        for (n = 0; n < 16; n++) {
            m[n] = 0;
            for (k = 0; k < 8; k++) m[n] |= (uint64_t)block[8 * n + k] << (8 * k);
        }
        for (n = 0; n < 8; n++) { v[n] = h[n]; v[n + 8] = L07_IV[n]; }
        v[12] ^= count;
        if (last) v[14] = ~v[14];
        L07_ROUND(0) L07_ROUND(1) L07_ROUND(2) L07_ROUND(3) L07_ROUND(4) L07_ROUND(5)
        L07_ROUND(6) L07_ROUND(7) L07_ROUND(8) L07_ROUND(9) L07_ROUND(10) L07_ROUND(11)
        for (n = 0; n < 8; n++) h[n] ^= v[n] ^ v[n + 8];
    }
    static void l07_blake2b_16(const char *text, size_t size, uint8_t *out) {
        const uint8_t *at = (const uint8_t *)text;
        uint8_t block[128];
        uint64_t h[8], count = 0;
        int n;
        memcpy(h, L07_IV, sizeof(h));
        h[0] ^= 0x01010000 ^ 16; /* no key, 16 bytes come out */
        for (; size > 128; size -= 128, at += 128) l07_compress(h, at, count += 128, 0);
        memset(block, 0, sizeof(block));
        memcpy(block, at, size);
        l07_compress(h, block, count + size, 1);
        for (n = 0; n < 16; n++) out[n] = (uint8_t)(h[n / 8] >> (8 * (n % 8)));
    }
    """
    void l07_blake2b_16(const char* text, size_t size, uint8_t* out) nogil


def blake2b_16(bytes data):
    """For the test that holds it against the library."""
    cdef uint8_t out[16]
    l07_blake2b_16(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), out)
    return PyBytes_FromStringAndSize(<char*>out, 16)
