"""Commands in the server's protocol. The library puts together each argument for itself, and looks at its size three times;
for slices of hundreds of bodies that costs 2.2 us an event, joined once it is 0.3."""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection

from l07.backends.redis.collecting import Collector

SMALL = 4096
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

    _collector: Collector | None = None  # of the stream as it is now; a new one comes with each connect

    async def answers(self, count: int) -> list[Any]:
        """So many, errors among them, within one time limit; the library has one for each."""
        return await self._collecting().answers(count, self.socket_timeout)

    def rests(self) -> bool:
        """It is connected, and nothing came since the last answer: the next command may be sent."""
        return self.is_connected and self._collecting().rests()

    def _collecting(self) -> Collector:
        found = self._collector
        if found is None or found.stream is not self._reader:
            found = self._collector = Collector(cast(Any, self._reader), cast(Any, self._parser)._reader)
        return found


class PlainConnection(Packing, Connection):
    """TCP."""


class SecureConnection(Packing, SSLConnection):
    """TLS."""


class SocketConnection(Packing, UnixDomainSocketConnection):
    """A Unix socket."""


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
