"""What `runs.pyx` says of runs that were decoded; None where it was not built."""

try:
    from l07.domain import runs
except ImportError:  # no C compiler where this was installed: who asks has a way in Python
    runs = None  # type: ignore[assignment]

__all__ = ["runs"]
