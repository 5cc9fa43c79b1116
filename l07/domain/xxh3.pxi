# Part of sketching.pyx and of doubt/skim.pyx: XXH3 with 64 bits, of texts of 128 bytes at most; the library does the others.

include "xxh3_common.pxi"

cdef extern from *:
    """
    static inline uint64_t l07_four(const uint8_t *at) {
        return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24;
    }
    static inline uint64_t l07_left(uint64_t x, int by) { return (x << by) | (x >> (64 - by)); }
    static inline uint64_t l07_mix(const uint8_t *at, const uint8_t *key) {
        return l07_fold(l07_eight(at) ^ l07_eight(key), l07_eight(at + 8) ^ l07_eight(key + 8));
    }
    static uint64_t l07_xxh3(const char *text, size_t size) { /* of 128 bytes at most */
        const uint8_t *at = (const uint8_t *)text, *key = L07_SECRET;
        uint64_t low, high, all;
        int n;
        if (!size) {
            all = l07_eight(key + 56) ^ l07_eight(key + 64);
        } else if (size <= 3) {
            low = (uint64_t)at[0] << 16 | (uint64_t)at[size >> 1] << 24 | at[size - 1] | (uint64_t)size << 8;
            all = low ^ l07_four(key) ^ l07_four(key + 4);
        } else if (size <= 8) {
            all = (l07_four(at + size - 4) + (l07_four(at) << 32)) ^ l07_eight(key + 8) ^ l07_eight(key + 16);
            all = (all ^ l07_left(all, 49) ^ l07_left(all, 24)) * UINT64_C(0x9FB21C651E98DF25);
            all = (all ^ ((all >> 35) + size)) * UINT64_C(0x9FB21C651E98DF25);
            return all ^ all >> 28;
        } else if (size <= 16) {
            low = l07_eight(at) ^ l07_eight(key + 24) ^ l07_eight(key + 32);
            high = l07_eight(at + size - 8) ^ l07_eight(key + 40) ^ l07_eight(key + 48);
            return l07_avalanche(size + l07_turn(low) + high + l07_fold(low, high));
        } else {
            all = size * L07_P1;
            for (n = (int)((size - 1) / 32); n >= 0; n--) {
                all += l07_mix(at + 16 * n, key + 32 * n);
                all += l07_mix(at + size - 16 * (n + 1), key + 32 * n + 16);
            }
            return l07_avalanche(all);
        }
        all = (all ^ all >> 33) * L07_P2;
        all = (all ^ all >> 29) * L07_P3;
        return all ^ all >> 32;
    }
    """
    uint64_t l07_xxh3(const char* text, size_t size) nogil

cdef enum:
    SHORT = 128  # bytes of a text that is hashed here; a longer one is the library's


cdef inline uint64_t _hash(const char* at, Py_ssize_t size) except? 0:
    if size <= SHORT:
        return l07_xxh3(at, size)
    return xxhash.xxh3_64_intdigest(PyBytes_FromStringAndSize(at, size))


def xxh3_64(bytes data):
    """For the test that holds it against the library."""
    return _hash(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
