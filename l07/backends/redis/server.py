"""Is this server one that a buffer can stand on? Checked once, when it is opened."""

from collections.abc import Mapping
from typing import Any

from redis.exceptions import ResponseError

from l07.backends.redis.client import Client, answer, send
from l07.backends.redis.fates import said
from l07.errors import BufferEvicts, BufferNotDurable, BufferUnavailable


async def check_server(client: Client) -> None:
    """Raises BufferEvicts (E7452) and BufferNotDurable (E7453)."""
    await check_settings(client, await answer(send(client, "INFO")))
    if await has_barrier(client):
        return
    fsync = await config(client, "appendfsync")
    if fsync != "always":
        known = f"appendfsync {fsync}" if fsync else "CONFIG GET forbidden, so that appendfsync is unknown"
        text = f"the buffer's server has no WAITAOF (Redis 7.2, Valkey), and {known}; set appendfsync always"
        raise BufferNotDurable(text)


async def check_settings(client: Client, info: Mapping[str, Any]) -> None:
    """What INFO says of eviction and of the append-only file.

    Raises BufferEvicts (E7452) and BufferNotDurable (E7453); BufferUnavailable (E7450) while the server reads its file:
    until it is done, it says that it keeps none."""
    if info.get("loading"):
        raise BufferUnavailable("the buffer's server is reading its append-only file")
    policy = info.get("maxmemory_policy") or await config(client, "maxmemory-policy")
    if policy != "noeviction":
        raise BufferEvicts(
            f"the buffer's server evicts keys (maxmemory-policy {policy or 'unknown'}): silent loss; set noeviction"
        )
    if not info.get("aof_enabled"):
        raise BufferNotDurable("the buffer's server keeps no append-only file; set appendonly yes")


async def has_barrier(client: Client) -> bool:
    """Does the server know WAITAOF, so that a write can be waited for until it is on disk?"""
    return bool(await answer(_knows(client, "WAITAOF")))


async def _knows(client: Client, command: str) -> bool:
    try:
        await send(client, command, 0, 0, 1)
    except ResponseError as err:
        if "unknown command" in said(err).lower():
            return False
        raise
    return True


async def config(client: Client, name: str) -> str | None:
    """One value of the server's configuration; None where CONFIG is forbidden, as managed servers do."""
    return await answer(_configured(client, name))


async def _configured(client: Client, name: str) -> str | None:
    try:
        found: dict[Any, Any] = await send(client, "CONFIG", "GET", name)
    except ResponseError:
        return None
    value = found.get(name, found.get(name.encode()))
    return value.decode() if isinstance(value, bytes) else value
