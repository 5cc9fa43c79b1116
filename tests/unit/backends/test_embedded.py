"""The embedded Valkey: no orphan after a close, none left alone after a kill, clear words where it cannot start."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l07.backends import embedded
from l07.backends.embedded import EmbeddedRedis, attach, is_alive, is_our_server
from l07.errors import FolderInUse, FolderNotWritable, NoLiveBuffer, StoreFull, ValkeyMissing, ValkeyNotStarted

OWNER = """
import asyncio, sys
from pathlib import Path
from l07.backends.embedded import EmbeddedRedis

async def main():
    server = EmbeddedRedis(Path(sys.argv[1]))
    async with server as client:
        await client.set("written", "yes")
        sys.stdout.write(f"{server.pid}\\n"); sys.stdout.flush()
        await asyncio.Event().wait()

asyncio.run(main())
"""


def an_owner(data_dir: Path) -> tuple["subprocess.Popen[str]", int]:
    """A process that holds the buffer open, and its server's pid."""
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(data_dir)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    return owner, int(owner.stdout.readline())


def kill(owner: "subprocess.Popen[str]") -> None:
    owner.kill()
    owner.wait()
    assert owner.stdout is not None
    owner.stdout.close()


def a_stranger() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


async def wait_until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  # a process is watched from outside
            await asyncio.sleep(0.01)


def live(data_dir: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((data_dir / "buffer" / "valkey.json").read_text())
    return said


async def test_a_close_leaves_no_server_no_socket_and_no_pid_file(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    async with server as client:
        await client.set("a", "1")
        said, pid = live(tmp_path), server.pid
        assert said["pid"] == pid
        assert len(said["socket"].encode()) <= 107
        assert is_our_server(pid, tmp_path / "buffer")
    assert not is_alive(pid)
    assert not Path(said["socket"]).parent.exists()
    assert not list((tmp_path / "buffer").glob("valkey.[jp]*"))
    async with EmbeddedRedis(tmp_path) as client:
        assert await client.get("a") == b"1"


async def test_the_settings_that_nothing_may_be_lost_by(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as client:
        found = {
            name: (await client.config_get(name))[name]
            for name in ("appendonly", "appendfsync", "maxmemory-policy", "port")
        }
    assert found == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "port": "0"}


@pytest.mark.parametrize("said", ["", "glibc.malloc.tcache_count=9"])
async def test_the_server_s_allocator_keeps_more_at_hand_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if said:
        monkeypatch.setenv("GLIBC_TUNABLES", said)
    monkeypatch.setenv("L07_OF_THE_USER", "stays")
    telling = tmp_path / "telling-server"
    telling.write_text(f'#!/bin/sh\nenv > "{tmp_path}/given"\nexec "{embedded.server_program()}" "$@"\n')
    telling.chmod(0o755)
    monkeypatch.setattr(embedded, "server_program", lambda: telling)
    async with EmbeddedRedis(tmp_path):
        given = (tmp_path / "given").read_text().splitlines()
    assert f"GLIBC_TUNABLES={said or 'glibc.malloc.tcache_count=512'}" in given
    assert "L07_OF_THE_USER=stays" in given


async def test_a_folder_with_a_long_path_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    async with EmbeddedRedis(deep) as client:
        assert await client.ping()


async def test_a_temporary_folder_with_a_long_path_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("t" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    async with EmbeddedRedis(tmp_path) as client:
        assert await client.ping()


@pytest.mark.slow
async def test_after_the_owner_was_killed_the_next_open_takes_its_server_over(tmp_path: Path) -> None:
    owner, pid = an_owner(tmp_path)
    kill(owner)
    assert is_alive(pid)
    server = EmbeddedRedis(tmp_path)
    async with server as client:
        assert (server.pid, server.took_over) == (pid, True)
        assert await client.get("written") == b"yes"
    await wait_until(lambda: not is_alive(pid))


@pytest.mark.slow
async def test_a_server_that_was_left_and_does_not_answer_is_ended(tmp_path: Path) -> None:
    owner, pid = an_owner(tmp_path)
    kill(owner)
    Path(live(tmp_path)["socket"]).unlink()
    server = EmbeddedRedis(tmp_path)
    async with server as client:
        assert server.pid != pid
        assert not server.took_over
        assert not is_alive(pid)
        assert await client.get("written") == b"yes"


@pytest.mark.slow
async def test_a_server_is_found_by_its_own_pid_file_when_ours_was_cut_off(tmp_path: Path) -> None:
    owner, pid = an_owner(tmp_path)
    kill(owner)
    path = tmp_path / "buffer" / "valkey.json"
    path.write_text(json.dumps({"pid": 0, "socket": live(tmp_path)["socket"]}))
    server = EmbeddedRedis(tmp_path)
    async with server:
        assert server.pid == pid
    assert not is_alive(pid)


@pytest.mark.slow
async def test_a_stranger_with_the_pid_of_a_dead_server_is_left_alone(tmp_path: Path) -> None:
    stranger = a_stranger()
    folder = tmp_path / "buffer"
    folder.mkdir()
    (folder / "valkey.json").write_text(json.dumps({"pid": stranger.pid, "socket": "/tmp/l07-gone/v.sock"}))
    async with EmbeddedRedis(tmp_path) as client:
        assert await client.ping()
        assert stranger.poll() is None
    stranger.communicate(b"\n")


@pytest.mark.slow
async def test_a_second_owner_is_refused_and_a_reader_attaches(tmp_path: Path) -> None:
    owner, pid = an_owner(tmp_path)
    with pytest.raises(FolderInUse):
        async with EmbeddedRedis(tmp_path):
            pass
    async with attach(tmp_path) as client:
        assert await client.get("written") == b"yes"
    assert is_alive(pid)
    owner.send_signal(signal.SIGINT)  # Ctrl-C in the terminal: the owner closes, and its server with it
    await wait_until(lambda: owner.poll() is not None)
    assert owner.stdout is not None
    owner.stdout.close()
    assert not is_alive(pid)


async def test_without_an_owner_there_is_nothing_to_attach_to(tmp_path: Path) -> None:
    with pytest.raises(NoLiveBuffer):
        async with attach(tmp_path):
            pass


async def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "buffer").write_text("not a folder")
    with pytest.raises(FolderNotWritable):
        async with EmbeddedRedis(tmp_path):
            pass


async def test_a_full_disk_is_told_and_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(StoreFull):
            async with EmbeddedRedis(tmp_path):
                pass
    async with EmbeddedRedis(tmp_path) as client:  # the lock was let go
        assert await client.ping()


@pytest.mark.parametrize(("log", "error"), [("garbage", ValkeyNotStarted), ("No space left on device", StoreFull)])
async def test_a_server_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, error: Any
) -> None:
    program = tmp_path / "valkey-server"
    program.write_text(f"#!/bin/sh\necho {log}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(embedded, "server_program", lambda: program)
    with pytest.raises(error, match=log if error is ValkeyNotStarted else "no space"):
        async with EmbeddedRedis(tmp_path):
            pass


async def test_a_server_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(embedded, "server_program", lambda: program)
    server = EmbeddedRedis(tmp_path, timeout_s=0.2)
    with pytest.raises(ValkeyNotStarted):
        async with server:
            pass
    assert server.pid == 0


def test_without_the_wheel_a_server_on_the_path_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_bundled", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValkeyMissing):
        embedded.server_program()
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert embedded.server_program() == program
