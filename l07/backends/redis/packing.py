"""Commands in the server's protocol. The library puts together each argument for itself, and looks at its size three times;
for slices of hundreds of bodies that costs 2.2 us an event, joined once it is 0.3."""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import TimeoutError as NoAnswer

SMALL = 4096
NEVER_S = 1e6
SIZES = [b"\r\n$%d\r\n" % n for n in range(SMALL)]


class Written(NamedTuple):
    """Words of a command that are in the protocol already, each with what stands before it. Only `Packing` takes them."""

    words: int
    data: bytes


class Packing(AbstractConnection):
    """Beside a connection of the library: the same bytes, joined once."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """One chunk. The first word may be two (`CONFIG GET`), as the library allows."""
        return self.pack_commands([args])

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return _joined([_words(command) for command in commands])

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Handed to the system, and no more: whoever sends waits for the answer within a time limit, and one command is all
        that lies here. The library waits for the writing too, with a task for its own limit."""
        if (
            self.is_connected
            and self._writer is not None
            and isinstance(command, list)
            and not self._writer.is_closing()
        ):
            self._writer.writelines(command)
            return
        await super().send_packed_command(command, check_health)

    async def answers(self, count: int) -> list[Any]:
        """So many, errors among them, within one time limit; the library has one for each."""
        parser, stream = cast(Any, self._parser), cast(asyncio.StreamReader, self._reader)
        late = asyncio.get_running_loop().call_later(self.socket_timeout or NEVER_S, _end, stream)
        try:
            return [await parser.read_response() for _ in range(count)]
        finally:
            late.cancel()


class PlainConnection(Packing, Connection):
    """TCP."""


class SecureConnection(Packing, SSLConnection):
    """TLS."""


class SocketConnection(Packing, UnixDomainSocketConnection):
    """A Unix socket."""


def _end(stream: asyncio.StreamReader) -> None:
    stream.set_exception(NoAnswer("no answer in time"))


def _words(command: Iterable[Any]) -> list[Any]:
    words = list(command)
    if isinstance(words[0], str) and " " in words[0]:
        words[:1] = words[0].split()
    return words


def joined(commands: list[list[Any]]) -> list[bytes]:
    """Commands in the server's protocol, in pieces. Each is a list of words; one that is no bytes is sent as its text."""
    pieces: list[bytes] = []
    out: list[bytes] = []
    for words in commands:
        out.append(b"*%d" % sum(word.words if isinstance(word, Written) else 1 for word in words))
        for word in words:
            if isinstance(word, Written):
                pieces += b"".join(out), word.data
                out.clear()
                continue
            raw = word if isinstance(word, bytes) else str(word).encode()
            out += before(len(raw)), raw
        out.append(b"\r\n")
    return [*pieces, b"".join(out)]  # once: a second large copy costs more in fresh pages than in bytes


def before(size: int) -> bytes:
    """What stands before a word of this size."""
    return SIZES[size] if size < SMALL else b"\r\n$%d\r\n" % size


try:
    from l07.backends.redis.pack import joined as _joined
except ImportError:  # no C compiler where this was installed
    _joined = joined
