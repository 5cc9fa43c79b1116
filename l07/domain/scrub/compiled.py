"""What `walk.pyx` does in C; None where no C compiler was: `texts.py` and `replacing.py` do it all."""

__all__ = ["walk"]

try:
    from l07.domain.scrub import walk
except ImportError:
    walk = None  # type: ignore[assignment]
