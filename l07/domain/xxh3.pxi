# Part of sketching.pyx and of doubt/skim.pyx: XXH3 with 64 bits. Source: github.com/Cyan4973/xxHash, doc/xxhash_spec.md, section XXH3;
# seed 0, the default secret.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #define L07_P1 UINT64_C(0x9E3779B185EBCA87)
    #define L07_P2 UINT64_C(0xC2B2AE3D27D4EB4F)
    #define L07_P3 UINT64_C(0x165667B19E3779F9)
    static const uint8_t L07_SECRET[128] = {
        0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4, 0x6d, 0xe9, 0x83,
        0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a,
        0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26,
        0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2,
        0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8, 0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc,
        0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73,
        0x64};
    static inline uint64_t l07_turn(uint64_t value) { /* the bytes in the other order */
        value = (value >> 8 & UINT64_C(0x00FF00FF00FF00FF)) | (value & UINT64_C(0x00FF00FF00FF00FF)) << 8;
        value = (value >> 16 & UINT64_C(0x0000FFFF0000FFFF)) | (value & UINT64_C(0x0000FFFF0000FFFF)) << 16;
        return value >> 32 | value << 32;
    }
    static inline uint64_t l07_eight(const uint8_t *at) { /* little-endian, whatever the processor's order is */
        uint64_t word;
        memcpy(&word, at, 8);
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = l07_turn(word);
    #endif
        return word;
    }
    static inline uint64_t l07_four(const uint8_t *at) {
        return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24;
    }
    static inline uint64_t l07_left(uint64_t x, int by) { return (x << by) | (x >> (64 - by)); }
    static inline uint64_t l07_fold(uint64_t a, uint64_t b) { /* both halves of the product of 128 bits */
    #if defined(__SIZEOF_INT128__)
        unsigned __int128 whole = (unsigned __int128)a * b;
        return (uint64_t)whole ^ (uint64_t)(whole >> 64);
    #else
        uint64_t low = (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF), ab = (a >> 32) * (b & 0xFFFFFFFF);
        uint64_t ba = (a & 0xFFFFFFFF) * (b >> 32), high = (a >> 32) * (b >> 32);
        uint64_t middle = (low >> 32) + (ab & 0xFFFFFFFF) + ba;
        return ((middle << 32) | (low & 0xFFFFFFFF)) ^ (high + (ab >> 32) + (middle >> 32));
    #endif
    }
    static inline uint64_t l07_avalanche(uint64_t x) {
        x = (x ^ x >> 37) * UINT64_C(0x165667919E3779F9);
        return x ^ x >> 32;
    }
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
