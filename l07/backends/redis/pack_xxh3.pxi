# Part of pack.pyx: XXH3, 64 bits, of two texts that lie apart. What xxhash.xxh3_64_digest says of both joined, without joining.
# Long inputs; for short ones see domain/xxh3.pxi.

include "../../domain/xxh3_common.pxi"

cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__GNUC__)
    #include <immintrin.h>
    #define L07_AVX2 1
    static int l07_has_avx2(void) { __builtin_cpu_init(); return __builtin_cpu_supports("avx2") ? 1 : 0; }
    #else
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif
    static int l07_has_avx2(void) { return 0; }
    #endif
    #define L07_LONG 240 /* up to here another algorithm is meant */
    #define L07_STRIPE 64
    #define L07_STRIPES 16 /* of a block: each begins 8 bytes further in the secret */
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
                uint64_t data = l07_eight(at + 8 * k), keyed = data ^ l07_eight(secret + 8 * (n % L07_STRIPES) + 8 * k);
                sums[k ^ 1] += data;
                sums[k] += (keyed & 0xFFFFFFFF) * (keyed >> 32);
            }
            if (n % L07_STRIPES != L07_STRIPES - 1) continue;
            for (k = 0; k < 8; k++)
                sums[k] = (sums[k] ^ (sums[k] >> 47) ^ l07_eight(L07_SECRET + 128 + 8 * k)) * UINT64_C(0x9E3779B1);
        }
    #endif
    }
    #if defined(L07_AVX2)
    /* The same with twice as wide words. */
    __attribute__((target("avx2")))
    static void l07_stripes_wide(uint64_t *sums, const uint8_t *at, size_t count, size_t done, const uint8_t *secret) {
        const __m256i prime = _mm256_set1_epi32((int)0x9E3779B1);
        const __m256i *mix = (const __m256i *)(L07_SECRET + 128);
        __m256i a = _mm256_loadu_si256((const __m256i *)sums), b = _mm256_loadu_si256((const __m256i *)sums + 1);
        size_t n;
    #define L07_STRIPE_OF(all, k) { \\
            const __m256i data = _mm256_loadu_si256((const __m256i *)at + k); \\
            const __m256i keyed = _mm256_xor_si256(data, _mm256_loadu_si256(key + k)); \\
            const __m256i product = _mm256_mul_epu32(keyed, _mm256_srli_epi64(keyed, 32)); \\
            all = _mm256_add_epi64(all, _mm256_add_epi64(product, _mm256_shuffle_epi32(data, 0x4E))); }
    #define L07_MIXED_OF(all, k) { \\
            __m256i mixed = _mm256_xor_si256(all, _mm256_srli_epi64(all, 47)), low; \\
            mixed = _mm256_xor_si256(mixed, _mm256_loadu_si256(mix + k)); \\
            low = _mm256_mul_epu32(mixed, prime); \\
            all = _mm256_add_epi64(low, _mm256_slli_epi64(_mm256_mul_epu32(_mm256_srli_epi64(mixed, 32), prime), 32)); }
        for (n = done; n < done + count; n++, at += L07_STRIPE) {
            const __m256i *key = (const __m256i *)(secret + 8 * (n % L07_STRIPES));
            L07_STRIPE_OF(a, 0) L07_STRIPE_OF(b, 1)
            if (n % L07_STRIPES == L07_STRIPES - 1) { L07_MIXED_OF(a, 0) L07_MIXED_OF(b, 1) }
        }
        _mm256_storeu_si256((__m256i *)sums, a);
        _mm256_storeu_si256((__m256i *)sums + 1, b);
    }
    #else
    #define l07_stripes_wide l07_stripes
    #endif
    /* 64 bytes that begin at `at` of both, wherever they lie. */
    static inline void l07_seam(uint8_t *out, const uint8_t *a, size_t a_size, const uint8_t *b, size_t at) {
        size_t left = at < a_size ? a_size - at : 0;
        if (left > L07_STRIPE) left = L07_STRIPE;
        if (left) memcpy(out, a + at, left);
        if (left < L07_STRIPE) memcpy(out + left, b + (at + left - a_size), L07_STRIPE - left);
    }
    /* Both together are longer than L07_LONG. */
    static uint64_t l07_xxh3(const char *first, size_t a_size, const char *second, size_t b_size, int wide) {
        const uint8_t *a = (const uint8_t *)first, *b = (const uint8_t *)second;
        uint64_t sums[8] = {
            UINT64_C(0xC2B2AE3D), L07_P1, L07_P2, L07_P3,
            UINT64_C(0x85EBCA77C2B2AE63), UINT64_C(0x85EBCA77), UINT64_C(0x27D4EB2F165667C5), UINT64_C(0x9E3779B1)};
        const size_t size = a_size + b_size, count = (size - 1) / L07_STRIPE, of_a = a_size / L07_STRIPE;
        const size_t before = of_a < count ? of_a : count;
        void (*const stripes)(uint64_t *, const uint8_t *, size_t, size_t, const uint8_t *) = wide ? l07_stripes_wide : l07_stripes;
        uint8_t seam[L07_STRIPE];
        uint64_t all = (uint64_t)size * L07_P1;
        int k;
        stripes(sums, a, before, 0, L07_SECRET);
        if (before < count) {
            l07_seam(seam, a, a_size, b, before * L07_STRIPE);
            stripes(sums, seam, 1, before, L07_SECRET);
            stripes(sums, b + ((before + 1) * L07_STRIPE - a_size), count - before - 1, before + 1, L07_SECRET);
        }
        l07_seam(seam, a, a_size, b, size - L07_STRIPE);
        stripes(sums, seam, 1, 0, L07_SECRET + 121);
        for (k = 0; k < 8; k += 2)
            all += l07_fold(sums[k] ^ l07_eight(L07_SECRET + 11 + 8 * k), sums[k + 1] ^ l07_eight(L07_SECRET + 19 + 8 * k));
        return l07_avalanche(all);
    }
    """
    enum:
        L07_LONG
    int l07_has_avx2()
    uint64_t l07_xxh3(const char* first, size_t a_size, const char* second, size_t b_size, int wide) nogil

cdef int WIDE = l07_has_avx2()  # this processor's own instructions


def xxh3_64(bytes first, bytes second, bint wide=True):
    """For the test that holds it against the library; both together longer than 240 bytes. `wide`: as this processor can."""
    cdef Py_ssize_t a = PyBytes_GET_SIZE(first), b = PyBytes_GET_SIZE(second)
    if a + b <= L07_LONG:
        raise ValueError(f"{a + b} bytes: too short")
    return l07_xxh3(PyBytes_AS_STRING(first), a, PyBytes_AS_STRING(second), b, wide and WIDE)
