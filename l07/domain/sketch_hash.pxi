# Part of sketching.pyx: the minima of a sketch.

cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
    #define L07_CLONES __attribute__((optimize("O3"), target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
    #else
    #define L07_CLONES
    #endif
    L07_CLONES static int l07_equal(const uint32_t *one, const uint32_t *other, int width) {
        int k, found = 0;
        for (k = 0; k < width; k++) found += one[k] == other[k];
        return found;
    }
    L07_CLONES static void l07_minima(const uint64_t *values, Py_ssize_t count, const uint64_t *multiply, const uint64_t *add,
                           uint32_t *best, int width) {
        Py_ssize_t n;
        int k;
        for (n = 0; n < count; n++) {
            const uint64_t value = values[n];
            for (k = 0; k < width; k++) {
                const uint32_t found = (uint32_t)((value * multiply[k] + add[k]) >> 32);
                best[k] = found < best[k] ? found : best[k];
            }
        }
    }
    """
    int l07_equal(const uint32_t* one, const uint32_t* other, int width) nogil
    void l07_minima(
        const uint64_t* values, Py_ssize_t count, const uint64_t* multiply, const uint64_t* add, uint32_t* best, int width
    ) nogil
