"""Children that print what they have measured: the bare clients, and the peers in an environment made for them."""

import json
import secrets
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from bench.stream.ours import ROOT, Taken
from bench.stream.servers import Servers

PEERS = ("faststream[kafka]>=0.6", "quixstreams>=3.20", "orjson")  # FastStream takes orjson where it is there
LIMIT_S = 300


class NotRun(Exception):
    """Why there is no figure."""


def environment(folder: Path) -> Path:
    """A Python with the peers, made once a folder. Raises NotRun."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    if not (folder / "ready").exists():
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotRun(f"the peers cannot be installed: {_end(done.stderr)}")
        (folder / "ready").touch()
    return python


def consume(
    servers: Servers,
    module: str,
    total: int,
    topics: Sequence[str],
    *,
    first: Sequence[str] = (),
    python: Path | None = None,
) -> Taken:
    """Run one of the modules beside this one until it has seen `total` records. Raises NotRun."""
    program, group = str(python or sys.executable), f"bench-{secrets.token_hex(4)}"
    command = [program, "-m", f"bench.stream.{module}", *first, servers.address, group, str(total), *topics]
    before = servers.broker_cpu_s()
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired as err:
        raise NotRun(f"{module} did not end within {LIMIT_S} s: {_end(err.stderr)}") from err
    if done.returncode or not done.stdout:
        raise NotRun(f"{module} ended with {done.returncode}: {_end(done.stderr)}")
    return Taken(**json.loads(done.stdout.splitlines()[-1]), broker_cpu_s=servers.broker_cpu_s() - before)


def versions(python: Path) -> str:
    code = "from importlib.metadata import version as v; print('FastStream', v('faststream'), 'Quix Streams', v('quixstreams'))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _end(text: str | bytes | None) -> str:
    said = text.decode(errors="replace") if isinstance(text, bytes) else text or ""
    return " ".join(said.split())[-300:]
