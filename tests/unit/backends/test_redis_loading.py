"""A server that reads its append-only file is away for a moment; it is not one without such a file."""

from typing import Any

import pytest

from l07.backends.redis.server import check_settings
from l07.errors import BufferNotDurable, BufferUnavailable

LOADING = {"loading": 1, "aof_enabled": 0, "maxmemory_policy": "noeviction"}  # as Valkey 9.1 says while it starts


async def test_a_server_that_is_loading_is_waited_for() -> None:
    client: Any = None
    with pytest.raises(BufferUnavailable):
        await check_settings(client, LOADING)


async def test_a_server_that_has_loaded_without_a_file_is_refused() -> None:
    client: Any = None
    with pytest.raises(BufferNotDurable):
        await check_settings(client, LOADING | {"loading": 0})
