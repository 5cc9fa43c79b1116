# How records and items lie side by side in memory, on their way from the bus to the buffer. One compiled module writes them and
# another reads them; both include this file, and whoever reads compares the number that comes with them, so that modules which
# were not compiled together never read each other. In this machine's order of bytes: rows never leave the process.

from libc.stdint cimport int32_t, int64_t, uint32_t

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define L07_SOON(at) __builtin_prefetch(at)
    #else
    #define L07_SOON(at) (void)(at)
    #endif
    """
    void L07_SOON(const void* at) nogil  # the memory there is needed soon; any address will do

cdef struct RecordRow:
    int64_t offset
    int64_t time_ms
    int64_t until  # bytes of all values up to this one, it among them

cdef struct ItemRow:
    int64_t offset
    int64_t time_ms
    double score, confidence  # -1: there is none
    char content[8]
    uint32_t text  # where its texts begin, one behind the other: key, tiebreak, track
    uint32_t key, tiebreak, track  # their sizes, in UTF-8
    int32_t part
    int32_t side  # the letter t, s or b; 0: what is no simple half, an object of its own

cdef long RECORD_ROWS = 1000 + <long>sizeof(RecordRow)  # the version, and the size
cdef long ITEM_ROWS = 1000 + <long>sizeof(ItemRow)
