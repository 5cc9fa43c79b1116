"""A TCP proxy between the consumers and their servers: it can cut, refuse, stall and slow down what goes through it."""

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass, field

CHUNK = 65536


@dataclass(eq=False)
class Line:
    """One connection. While it is held, what comes in waits here, also when its sender is long gone."""

    ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    held: bool = False


@dataclass
class Door:
    """One address that is forwarded. What it does is changed from other threads; a single word is enough."""

    shown: int
    target: int
    mode: str = "open"  # open, refuse, stall
    delay_s: float = 0.0
    lines: set[Line] = field(default_factory=set)


class Proxy:
    """Doors in an event loop and a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []

    def open(self, shown: int, target: int) -> Door:
        door = Door(shown, target)
        made = asyncio.run_coroutine_threadsafe(self._serve(door), self._loop)
        self._servers.append(made.result(10))
        return door

    def cut(self, door: Door) -> int:
        """End every connection that is open now; how many."""
        return asyncio.run_coroutine_threadsafe(self._cut(door), self._loop).result(10)

    def refuse(self, door: Door) -> None:
        door.mode = "refuse"
        self.cut(door)

    def hold(self, door: Door) -> list[Line]:
        """What is open now is held until `held` is taken back; new connections go through."""
        lines = list(door.lines)
        for line in lines:
            line.held = True
        return lines

    def close(self) -> None:
        async def ended() -> None:
            for server in self._servers:
                server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(ended(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, door: Door) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._through(door, reader, writer)

        return await asyncio.start_server(connected, "127.0.0.1", door.shown)

    async def _cut(self, door: Door) -> int:
        lines = [line for line in door.lines if not line.held]
        for line in lines:
            for end in line.ends:
                end.transport.abort()
        return len(lines)

    async def _through(self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if door.mode == "refuse":
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", door.target)
        except OSError:
            writer.transport.abort()
            return
        line = Line((writer, far_writer))
        door.lines.add(line)
        pairs = ((reader, far_writer), (far_reader, writer))
        ways = [asyncio.create_task(self._pump(door, line, *pair)) for pair in pairs]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            door.lines.discard(line)
            for way in ways:
                way.cancel()
            for one in line.ends:
                one.transport.abort()

    async def _pump(self, door: Door, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                while line.held or door.mode == "stall":  # noqa: ASYNC110 - set from another thread
                    await asyncio.sleep(0.05)
                if door.delay_s:
                    await asyncio.sleep(door.delay_s)
                writer.write(data)
                await writer.drain()
