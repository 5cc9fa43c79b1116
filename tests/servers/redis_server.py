"""A real Redis or Valkey for tests: one that is there already, one in a container, or a program of this machine."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import redis

from tests.servers.kafka_server import NoServer, a_container, free_port, start_container

IMAGE = "redis:7"
OPTIONS = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--save", "")
START_S = 30.0


class RedisServer:
    """`url` is without a database."""

    kind: Literal["env", "docker", "home"]

    def __init__(self, url: str) -> None:
        self.url = url
        self.kind = "env"

    def stop(self) -> None:
        """Nothing: somebody else's."""


class HomeRedis(RedisServer):
    """A server program on a free port, with its data in a folder of its own."""

    def __init__(self, program: str, *, options: Sequence[str] = OPTIONS) -> None:
        port = free_port()
        super().__init__(f"redis://127.0.0.1:{port}")
        self.kind = "home"
        self.folder = Path(tempfile.mkdtemp(prefix="l07-redis-"))
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--daemonize", "no"]
        self._process = subprocess.Popen(
            [program, *where, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self.url)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


class DockerRedis(RedisServer):
    def __init__(self, *, options: Sequence[str] = OPTIONS) -> None:
        self._container = a_container(IMAGE).with_exposed_ports(6379).with_command(["redis-server", *options])
        start_container(self._container)
        super().__init__(f"redis://{self._container.get_container_host_ip()}:{self._container.get_exposed_port(6379)}")
        self.kind = "docker"
        wait_for(self.url)

    def stop(self) -> None:
        self._container.stop()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + START_S
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
            except redis.RedisError as err:
                if time.monotonic() > deadline:
                    raise NoServer(f"{url} does not answer: {err}") from err
                time.sleep(0.05)
            else:
                return


def redis_program() -> str:
    """Raises NoServer."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise NoServer("no redis-server or valkey-server on PATH")
    return found


def a_redis(forced: str = "") -> RedisServer:
    """A server of our own; `forced` is docker or home, else the first that works here. Raises NoServer."""
    reasons = []
    for kind in [forced] if forced else ["docker", "home"]:
        try:
            return DockerRedis() if kind == "docker" else HomeRedis(redis_program())
        except NoServer as err:
            reasons.append(str(err))
    raise NoServer("; ".join(reasons))
