# Part of pack.pyx: XXH3, 64 bits, of two texts that lie apart. What xxhash.xxh3_64_digest says of both joined, without joining.
# Source: the specification in github.com/Cyan4973/xxHash, doc/xxhash_spec.md, "XXH3 Algorithm Overview"; seed 0, long inputs.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif
    #define L07_LONG 240 /* up to here another algorithm is meant */
    #define L07_STRIPE 64
    #define L07_STRIPES 16 /* of a block: each begins 8 bytes further in the secret */
    static const uint8_t L07_SECRET[192] = {
        0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb,
        0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
        0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb,
        0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
        0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31,
        0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
        0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e, 0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc,
        0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e};
    static inline uint64_t l07_word(const uint8_t *at) { /* little-endian, whatever the processor's order is */
        uint64_t word;
        memcpy(&word, at, 8);
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
    #endif
        return word;
    }
    /* The next `count` stripes, which lie side by side; `done` were before them. The last of a block is followed by a mixing. */
    static inline void l07_stripes(uint64_t *sums, const uint8_t *at, size_t count, size_t done, const uint8_t *secret) {
        size_t n;
        int k;
    #if defined(__SSE2__)
        const __m128i prime = _mm_set1_epi32((int)0x9E3779B1);
        __m128i all[4];
        for (k = 0; k < 4; k++) all[k] = _mm_loadu_si128((const __m128i *)sums + k);
        for (n = done; n < done + count; n++, at += L07_STRIPE) {
            const __m128i *key = (const __m128i *)(secret + 8 * (n % L07_STRIPES));
            for (k = 0; k < 4; k++) {
                __m128i data = _mm_loadu_si128((const __m128i *)at + k);
                __m128i keyed = _mm_xor_si128(data, _mm_loadu_si128(key + k));
                __m128i product = _mm_mul_epu32(keyed, _mm_srli_epi64(keyed, 32));
                all[k] = _mm_add_epi64(all[k], _mm_add_epi64(product, _mm_shuffle_epi32(data, 0x4E)));
            }
            if (n % L07_STRIPES != L07_STRIPES - 1) continue;
            for (k = 0; k < 4; k++) {
                __m128i mixed = _mm_xor_si128(all[k], _mm_srli_epi64(all[k], 47)), low;
                mixed = _mm_xor_si128(mixed, _mm_loadu_si128((const __m128i *)(L07_SECRET + 128) + k));
                low = _mm_mul_epu32(mixed, prime);
                all[k] = _mm_add_epi64(low, _mm_slli_epi64(_mm_mul_epu32(_mm_srli_epi64(mixed, 32), prime), 32));
            }
        }
        for (k = 0; k < 4; k++) _mm_storeu_si128((__m128i *)sums + k, all[k]);
    #else
        for (n = done; n < done + count; n++, at += L07_STRIPE) {
            for (k = 0; k < 8; k++) {
                uint64_t data = l07_word(at + 8 * k), keyed = data ^ l07_word(secret + 8 * (n % L07_STRIPES) + 8 * k);
                sums[k ^ 1] += data;
                sums[k] += (keyed & 0xFFFFFFFF) * (keyed >> 32);
            }
            if (n % L07_STRIPES != L07_STRIPES - 1) continue;
            for (k = 0; k < 8; k++)
                sums[k] = (sums[k] ^ (sums[k] >> 47) ^ l07_word(L07_SECRET + 128 + 8 * k)) * UINT64_C(0x9E3779B1);
        }
    #endif
    }
    static inline uint64_t l07_folded(uint64_t a, uint64_t b) { /* both halves of the product, one over the other */
    #if defined(__SIZEOF_INT128__)
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    #else
        uint64_t low = (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF), left = (a >> 32) * (b & 0xFFFFFFFF);
        uint64_t right = (a & 0xFFFFFFFF) * (b >> 32), high = (a >> 32) * (b >> 32);
        uint64_t middle = (low >> 32) + (left & 0xFFFFFFFF) + right;
        return ((middle << 32) | (low & 0xFFFFFFFF)) ^ ((left >> 32) + (middle >> 32) + high);
    #endif
    }
    /* 64 bytes that begin at `at` of both, wherever they lie. */
    static inline void l07_seam(uint8_t *out, const uint8_t *a, size_t a_size, const uint8_t *b, size_t at) {
        size_t left = at < a_size ? a_size - at : 0;
        if (left > L07_STRIPE) left = L07_STRIPE;
        if (left) memcpy(out, a + at, left);
        if (left < L07_STRIPE) memcpy(out + left, b + (at + left - a_size), L07_STRIPE - left);
    }
    /* Both together are longer than L07_LONG. */
    static uint64_t l07_xxh3(const char *first, size_t a_size, const char *second, size_t b_size) {
        const uint8_t *a = (const uint8_t *)first, *b = (const uint8_t *)second;
        uint64_t sums[8] = {
            UINT64_C(0xC2B2AE3D), UINT64_C(0x9E3779B185EBCA87), UINT64_C(0xC2B2AE3D27D4EB4F), UINT64_C(0x165667B19E3779F9),
            UINT64_C(0x85EBCA77C2B2AE63), UINT64_C(0x85EBCA77), UINT64_C(0x27D4EB2F165667C5), UINT64_C(0x9E3779B1)};
        const size_t size = a_size + b_size, count = (size - 1) / L07_STRIPE, of_a = a_size / L07_STRIPE;
        const size_t before = of_a < count ? of_a : count;
        uint8_t seam[L07_STRIPE];
        uint64_t all = (uint64_t)size * UINT64_C(0x9E3779B185EBCA87);
        int k;
        l07_stripes(sums, a, before, 0, L07_SECRET);
        if (before < count) {
            l07_seam(seam, a, a_size, b, before * L07_STRIPE);
            l07_stripes(sums, seam, 1, before, L07_SECRET);
            l07_stripes(sums, b + ((before + 1) * L07_STRIPE - a_size), count - before - 1, before + 1, L07_SECRET);
        }
        l07_seam(seam, a, a_size, b, size - L07_STRIPE);
        l07_stripes(sums, seam, 1, 0, L07_SECRET + 121);
        for (k = 0; k < 8; k += 2)
            all += l07_folded(sums[k] ^ l07_word(L07_SECRET + 11 + 8 * k), sums[k + 1] ^ l07_word(L07_SECRET + 19 + 8 * k));
        all = (all ^ (all >> 37)) * UINT64_C(0x165667919E3779F9);
        return all ^ (all >> 32);
    }
    """
    enum:
        L07_LONG
    uint64_t l07_xxh3(const char* first, size_t a_size, const char* second, size_t b_size) nogil


def xxh3_64(bytes first, bytes second):
    """For the test that holds it against the library; both together longer than 240 bytes."""
    cdef Py_ssize_t a = PyBytes_GET_SIZE(first), b = PyBytes_GET_SIZE(second)
    if a + b <= L07_LONG:
        raise ValueError(f"{a + b} bytes: too short")
    return l07_xxh3(PyBytes_AS_STRING(first), a, PyBytes_AS_STRING(second), b)
