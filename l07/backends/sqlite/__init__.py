"""The embedded bus, in one SQLite file."""

from l07.backends.sqlite.bus import SqliteBus

__all__ = ["SqliteBus"]
