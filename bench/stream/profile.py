"""Where the time of one ingest process goes: py-spy beside it, and its samples by what they were for."""

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from bench.stream.ours import full_ingest
from bench.stream.peers import NotRun
from bench.stream.servers import Servers

RATE = 200  # samples a second
LINE = re.compile(r":\d+\)")
# the first that is in the stack counts
PARTS = {
    "announcing: rows of sealed batches": ("_entry (l07/backends/redis/",),
    "announcing: the rest": ("relay (l07/pipeline/announce",),
    "decode and rules": ("ingest (l07/pipeline/ingest",),
    "looks, ticks": ("Watch.look", "Ingest.tick"),
    "packing for the script": ("step_of (",),
    "redis: answers": ("_parsers/", "read_response"),
    "redis: sending": ("redis/asyncio", "RedisBuffer."),
    "kafka: batches to records": (
        "/take (",
        "take (l07/backends/kafka",
        "cut (l07/backends/kafka",
        "poll (l07/backends/kafka",
    ),
    "kafka: the client": ("aiokafka/", "confluent_kafka", "l07/backends/kafka/"),
    "sockets": ("selectors.py", "selector_events.py", "asyncio/streams.py"),
    "the runner": ("l07/runner/",),
}


async def profile(servers: Servers, client: str, total: int, tools: Path) -> list[str]:
    """Lines to print. `tools`: an environment in which py-spy is put."""
    with tempfile.TemporaryDirectory(prefix="l07-") as folder:
        out = Path(folder) / "stacks"
        spies: list[subprocess.Popen[bytes]] = []

        def watch(pid: int) -> None:
            command = [
                str(_spy(tools)),
                "record",
                "-r",
                str(RATE),
                "-f",
                "raw",
                "-d",
                "600",
                "-o",
                str(out),
                "-p",
                str(pid),
            ]
            spies.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        await full_ingest(servers, client, Path(folder), total, watch=watch)
        spies[0].wait(120)
        return _told(client, out.read_text().splitlines())


def _spy(tools: Path) -> Path:
    program = tools / "bin" / "py-spy"
    if not program.exists():
        install = [str(tools / "bin" / "python"), "-m", "pip", "install", "--quiet", "py-spy"]
        if subprocess.run(install, check=False, capture_output=True).returncode:
            raise NotRun("py-spy cannot be installed")
    return program


def _told(client: str, stacks: list[str]) -> list[str]:
    parts, own, inside = Counter[str](), Counter[str](), Counter[str]()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        parts[_part(stack)] += int(count)
        frames = [LINE.sub(")", frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        inside.update(dict.fromkeys(frames, int(count)))
    whole = parts.total() or 1
    lines = [f"where the time goes over {client}, {whole} samples"]
    lines += [f"{100 * count / whole:6.1f} %  {part}" for part, count in parts.most_common()]
    lines.append("functions: itself, with what it calls")
    lines += [
        f"{100 * n / whole:6.1f} % {100 * inside[name] / whole:6.1f} %  {name}" for name, n in own.most_common(20)
    ]
    return lines


def _part(stack: str) -> str:
    return next((part for part, marks in PARTS.items() if any(mark in stack for mark in marks)), "the rest")
