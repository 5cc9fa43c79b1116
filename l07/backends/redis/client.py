"""Connections to the server, and one way to call it: a call in flight is never cancelled and never sent again."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import redis.asyncio as aioredis
from redis.exceptions import ResponseError

from l07.backends.redis.fates import CAUGHT, fate_of, said

T = TypeVar("T")
Client = aioredis.Redis
ANSWER_S = 15.0  # above the barrier's own limit, far above what a step of 500 records takes
# by default the library sends a write again whose answer was lost
OPTIONS: dict[str, Any] = {"retry": None, "socket_timeout": ANSWER_S, "socket_connect_timeout": 5}


def connect(url: str) -> Client:
    """A client of redis://HOST:PORT/DB or unix:///PATH."""
    return aioredis.Redis.from_url(url, **OPTIONS)


def connect_socket(path: Path) -> Client:
    """A client of a server's Unix socket."""
    return aioredis.Redis(unix_socket_path=str(path), **OPTIONS)


async def send(client: Client, *words: str | bytes | int) -> Any:
    """One command, as the library takes it; what it raises is the library's."""
    untyped: Any = client
    return await untyped.execute_command(*words)


async def answer(call: Coroutine[Any, Any, T]) -> T:
    """Wait for one call to end, even when the caller is cancelled: a half-read answer would be the next call's.

    Raises the fate of what the library raised."""
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: the caller leaves anyway, and what was done stands in the buffer
        raise
    except CAUGHT as err:
        raise fate_of(err) from err


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
