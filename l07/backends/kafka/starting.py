"""The start of a client of aiokafka, of which nothing stays open where it fails or is cancelled."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from l07.backends.kafka.fates import CAUGHT, fate_of

GRACE_S = 1.0
Client = TypeVar("Client", bound=Any)


async def start(client: Client, end: Callable[[Client], Awaitable[None]], *, doing: str) -> None:
    """Raises what `client.start()` raises, as ours. A start that is cancelled may come to its end first, within GRACE_S:
    the library's bootstrap forgets a connection that waits for its answer then."""
    starting = asyncio.create_task(client.start())
    try:
        await asyncio.shield(starting)
    except CAUGHT as err:
        await end(client)
        raise fate_of(err, doing=doing) from err
    except BaseException:
        await asyncio.shield(_give_up(starting, client, end))
        raise


async def _give_up(starting: "asyncio.Task[None]", client: Client, end: Callable[[Client], Awaitable[None]]) -> None:
    await asyncio.wait([starting], timeout=GRACE_S)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await end(client)
