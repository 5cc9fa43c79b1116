"""Tiny bases are made once a machine and shared by all tests: each folder's name follows from the code and the libraries that make it."""

from pathlib import Path

BASES = Path.home() / ".cache" / "l07" / "bases"
