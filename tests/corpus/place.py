"""A working folder as a `cli` or `job` case describes it: files, ledgers, damage, a lock, a disk that is full."""

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from l07.backends.lock import DataLock
from l07.backends.open import open_ledger
from l07.settings import Settings
from tests.corpus.cases import Case, content_of


@contextmanager
def prepared(case: Case, here: Path) -> Iterator[None]:
    """Everything is in place below `here` inside of the block."""
    with ExitStack() as stack:
        if "disk" in case:
            stack.enter_context(_small_disk(here / case["disk"]["at"], case["disk"]["bytes"]))
        for name, what in case.get("files", {}).items():
            _write(here / name, what)
        for name, entries in case.get("ledgers", {}).items():
            asyncio.run(_append(here / "d", name, entries))
        damaged(case.get("damage", ()), here)
        if "held" in case:
            stack.enter_context(DataLock(here / "d", purpose=case["held"]))
        yield


def damaged(ways: Sequence[dict[str, Any]], here: Path) -> None:
    """Each way spoils one file below `here`."""
    for one in ways:
        _damage(here / one["file"], one)


def _write(path: Path, what: Any) -> None:
    """A file, or an empty folder where it is null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if what is None:
        path.mkdir()
    else:
        path.write_bytes(content_of(what))


async def _append(data_dir: Path, name: str, entries: list[Any]) -> None:
    ledger = open_ledger(Settings(data_dir=data_dir), name)
    for kind, key, body in entries:
        await ledger.append(kind, key, body, at="2026-01-05T09:00:00Z")


def _damage(path: Path, how: dict[str, Any]) -> None:
    """`replace` [old, new], `append`, `cut` to so many bytes, `rename` to, `sql` in a database; with none of them it is removed."""
    if "replace" in how:
        old, new = (text.encode() for text in how["replace"])
        raw = path.read_bytes()
        assert old in raw, f"{path} does not hold what is to be damaged"
        path.write_bytes(raw.replace(old, new, 1))
    elif "append" in how:
        path.write_bytes(path.read_bytes() + how["append"].encode())
    elif "cut" in how:
        os.truncate(path, how["cut"])
    elif "rename" in how:
        path.rename(path.with_name(how["rename"]))
    elif "sql" in how:
        path.parent.mkdir(parents=True, exist_ok=True)
        with sqlite3.connect(path) as db:
            db.executescript(how["sql"])
        db.close()
    else:
        path.unlink()


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of so many bytes."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
