"""What the contracts share: the buffer's servers; a ledger in a folder; full disks and unwritable folders, for real where this machine allows it."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from l07.backends.redis import RedisBuffer
from l07.backends.store import FolderLedger
from l07.ports import Ledger
from tests.contracts.buffer_kit import RULES, SERVERS, Feeder, a_server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(params=["a file in its place", "an immutable folder"])
def unwritable(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A data folder that nobody can write, root included."""
    folder = tmp_path / "data"
    if request.param == "a file in its place":
        folder.write_text("not a folder")
        yield folder
        return
    folder.mkdir()
    if subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode:
        pytest.skip("no right to make a folder immutable here")
    yield folder
    subprocess.run(["chattr", "-i", folder], check=True)


@pytest.fixture(params=SERVERS)
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """Each server that keeps the buffer's promises, empty."""
    async with a_server(request.param, tmp_path) as client:
        yield client


@pytest.fixture
async def buffer(client: Any) -> RedisBuffer:
    return await RedisBuffer.open(client, "t", RULES)


@pytest.fixture
def feed(buffer: RedisBuffer) -> Feeder:
    return Feeder(buffer)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "ledgers"


@pytest.fixture
def ledger(root: Path) -> Ledger:
    return FolderLedger(root, "jobs")
