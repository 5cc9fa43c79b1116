"""What the tests of the bus share: messages, what lies on a bus, and a publisher in another process."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from l07.events.record import Message, Record
from l07.ports import Bus, Slice

PUBLISHER = """
import asyncio, sys
from pathlib import Path
from l07.backends.sqlite import SqliteBus
from l07.events.record import Message

async def main(path, name, batches):
    async with SqliteBus.open(Path(path)) as bus:
        for batch in range(batches):
            numbers = range(batch * 10, batch * 10 + 10)
            await bus.publish([Message("t", f"{name}-{n % 7}".encode(), f"{name}:{n}".encode()) for n in numbers])
            print(numbers[-1], flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def a_message(value: bytes = b"v", *, key: bytes | None = b"k", topic: str = "t", at: int | None = None) -> Message:
    return Message(topic, key, value, (), at)


async def everything(bus: Bus, *topics: str) -> list[Record]:
    ends = await bus.end_offsets(topics)
    return [record for tp, end in ends.items() if end for record in await bus.read(tp, 0, limit=end)]


def flat(slices: Sequence[Slice]) -> list[Record]:
    return [record for slice_ in slices for record in slice_.records]


def publisher(path: Path, name: str, batches: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PUBLISHER, str(path), name, str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
