# Part of runs.pyx and of doubt/skim.pyx: Python's round(value, 6).

from libc.math cimport fabs, rint


cdef inline object _rounded(double value):
    """A millionth that is clearly the nearest is told here: both numbers of the quotient are exact, so it is the float that
    its digits stand for. What lies half way between two, and what is large, Python rounds."""
    cdef double parts
    if floor(value) == value:
        return value
    parts = value * 1e6
    if fabs(parts) < 1e12 and fabs(fabs(parts - rint(parts)) - 0.5) > 1e-3:
        return rint(parts) / 1e6
    return round(<object>value, 6)
