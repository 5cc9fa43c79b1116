"""The allocator is told to keep freed memory where it can be told."""

import ctypes
import platform

import pytest

from l07.backends.heap import ALL, give_back_memory, keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_takes_it() -> None:
    assert keep_freed_memory()
    assert keep_freed_memory(ALL)


def test_another_allocator_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()
    give_back_memory()
