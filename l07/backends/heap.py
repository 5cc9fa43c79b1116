"""How this process's memory is kept. glibc hands every freed block of some hundred kilobytes back to the system; each slice of
records and each answer of a broker is such a block, whose pages are then faulted in and cleared anew."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # malloc.h
BLOCK = 32 << 20  # the largest that glibc takes; larger blocks still go back at once, unless ALL is kept
KEPT = 32 << 20  # free memory at the heap's end that stays with the process: two answers of a broker


ALL = 2**31 - 1  # as `kept`: nothing goes back before `give_back_memory`


def keep_freed_memory(kept: int = KEPT) -> bool:
    """Whether the allocator was told; one of another C library (musl, macOS) is left as it is. `kept`: bytes that stay."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    if kept == ALL and not mallopt(M_MMAP_MAX, 0):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, BLOCK) and mallopt(M_TRIM_THRESHOLD, kept))


def give_back_memory() -> None:
    """What is free, to the system: a process that waits for its next work holds little."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return
    trim(0)
