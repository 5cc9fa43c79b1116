"""Connections to the server, and one way to call it: a call in flight is never cancelled and never sent again."""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import redis.asyncio as aioredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from l07.backends.address import NOBODY, Access, Address, Node, address_of
from l07.backends.redis.fates import CAUGHT, fate_of, said
from l07.backends.redis.packing import PlainConnection, SecureConnection, SocketConnection
from l07.errors import Transient

T = TypeVar("T")
ANSWER_S = 15.0  # above the barrier's own limit, far above what a step of 500 records takes
# by default the library sends a write again whose answer was lost
OPTIONS: dict[str, Any] = {"retry": None, "socket_timeout": ANSWER_S, "socket_connect_timeout": 5}


class Client(Protocol):
    """What a buffer needs of a connection: the library's client of one server, or a `ShardClient` of a cluster.

    `execute_command(*words)` too, called by `send`."""

    def pipeline(self, transaction: bool = True) -> Any: ...

    def aclose(self) -> Awaitable[None]: ...


class OneServer(aioredis.Redis):
    """The library's client of one server, and a transaction with little around it: the ingest makes one for each slice."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._resting: list[Any] = []  # connections between two steps; the pool counts them as in use, and closes them

    async def step(self, *commands: Sequence[Any]) -> Any:
        """The commands between MULTI and EXEC; the last one's answer. Raises what a pipeline of the library would."""
        return last_of(await self._answers(("MULTI",), *commands, ("EXEC",)))

    async def each(self, *commands: Sequence[Any]) -> list[Any]:
        """The commands one after the other, in one write; of each the answer, as the server gives it. Raises the first error."""
        found = await self._answers(*commands)
        for answered in found:
            if isinstance(answered, Exception):
                raise answered
        return found

    async def _answers(self, *commands: Sequence[Any]) -> list[Any]:
        """Of each command one, errors among them; all in one write. The connections do not go back to the pool between two
        calls: to take one and give it back costs there what fifty events cost.

        A connection whose answers were not all read is closed: they would be the next call's."""
        pool: Any = self.connection_pool
        connection = await self._ready(pool)
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            found: list[Any] = await connection.answers(len(commands))
        except BaseException:
            await connection.disconnect(nowait=True)
            await asyncio.shield(pool.release(connection))
            raise
        self._resting.append(connection)
        return found

    async def _ready(self, pool: Any) -> Any:
        """One that rests, if the server has not closed it meanwhile; else one of the pool's."""
        if not self._resting:
            return await pool.get_connection()
        connection = self._resting.pop()
        if connection.rests():
            return connection
        try:
            await pool.ensure_connection(connection)
        except BaseException:
            await asyncio.shield(pool.release(connection))
            raise
        return connection


def takes_written(client: Client) -> bool:
    """Whether its transactions may hold words that are in the protocol already (`packing.Written`)."""
    return hasattr(client, "step")


async def transact(client: Client, *commands: Sequence[Any]) -> Any:
    """The commands as one transaction; the last one's answer. A client without `step` makes it with its pipeline."""
    step = getattr(client, "step", None)
    if step is not None:
        return await step(*commands)
    pipe = client.pipeline(transaction=True)
    for words in commands:
        pipe.execute_command(*words)
    return (await pipe.execute())[-1]


async def each(client: Client, *commands: Sequence[Any]) -> list[Any]:
    """The commands one after the other, and no transaction; their answers. A client without `each` makes it with its
    pipeline."""
    one_by_one = getattr(client, "each", None)
    if one_by_one is not None:
        return list(await one_by_one(*commands))
    pipe = client.pipeline(transaction=False)
    for words in commands:
        pipe.execute_command(*words)
    return list(await pipe.execute())


def last_of(answers: Sequence[Any]) -> Any:
    """The answer to the last command before EXEC; a command that was refused before it, or failed in it, comes first."""
    *queued, done = answers
    for answered in (*queued, *(done if isinstance(done, list) else [done])):
        if isinstance(answered, Exception):
            raise answered
    return done[-1]


def connect(url: str, access: Access = NOBODY) -> OneServer:
    """A client of one server: redis://HOST:PORT/DB, rediss:// or unix:///PATH. Raises BadSetting (E7501)."""
    return client_of(address_of(url, access))


def client_of(address: Address, node: Node | None = None) -> OneServer:
    """A client of this node of the address, or of its only one."""
    options = OPTIONS | _user(address.access) | {"db": address.db}
    if address.path:
        return _pooled(SocketConnection, path=address.path, **options)
    host, port = node or address.nodes[0]
    if address.tls:
        return _pooled(SecureConnection, host=host, port=port, **options, **_certificates(address.access))
    return _pooled(PlainConnection, host=host, port=port, **options)


def _pooled(kind: type[AbstractConnection], **options: Any) -> OneServer:
    return cast(OneServer, OneServer.from_pool(aioredis.ConnectionPool(connection_class=kind, **options)))


def _user(access: Access) -> dict[str, Any]:
    return {"username": access.username or None, "password": access.password or None}


def _certificates(access: Access) -> dict[str, Any]:
    return {
        "ssl_ca_certs": access.ca_file or None,
        "ssl_certfile": access.cert_file or None,
        "ssl_keyfile": access.key_file or None,
    }


def connect_socket(path: Path) -> OneServer:
    """A client of a server's Unix socket."""
    return _pooled(SocketConnection, path=str(path), **OPTIONS)


async def send(client: Client, *words: str | bytes | int) -> Any:
    """One command, as the library takes it; what it raises is the library's."""
    untyped: Any = client
    return await untyped.execute_command(*words)


async def direct(call: Coroutine[Any, Any, T]) -> T:
    """Wait for a call of `OneServer.step`, which ends even when its caller is cancelled, without a task of its own.

    Raises the fate of what the library raised."""
    try:
        return await call
    except CAUGHT as err:
        raise fate_of(err) from err


async def answer(call: Coroutine[Any, Any, T]) -> T:
    """Wait for one call to end, even when the caller is cancelled: a half-read answer would be the next call's.

    Raises the fate of what the library raised."""
    loop = asyncio.get_running_loop()
    task, ended = loop.create_task(call), loop.create_future()
    task.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))  # `shield` takes a turn more
    try:
        await ended
        return task.result()
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: the caller leaves anyway, and what was done stands in the buffer
        raise
    except CAUGHT as err:
        raise fate_of(err) from err


async def together(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All of them at once, each to its end, whatever the others do. Raises the error that no retry mends before one that a
    retry may mend: what was done in the others is skipped when the step comes again."""
    ended = await asyncio.gather(*calls, return_exceptions=True)
    failed = [end for end in ended if isinstance(end, BaseException)]
    if failed:
        raise min(failed, key=lambda err: isinstance(err, Transient))
    return [end for end in ended if not isinstance(end, BaseException)]


async def call_function(client: Client, library: str, words: tuple[Any, ...]) -> Any:
    """FCALL; a server that does not know the library gets it first: new, flushed, or restored from a backup."""
    try:
        return await send(client, *words)
    except ResponseError as err:
        if "Function not found" not in said(err):
            raise
    try:
        await send(client, "FUNCTION", "LOAD", library)
    except ResponseError as err:
        if "already exists" not in said(err):  # another process was faster; the name holds the text's digest
            raise
    return await send(client, *words)
