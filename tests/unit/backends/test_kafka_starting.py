"""A client whose start fails, is cancelled, or hangs: it is ended once, and whoever waited hears why."""

import asyncio

import pytest
from aiokafka import errors as lib

from l07.backends.kafka import starting
from l07.errors import BusUnavailable


class Client:
    """Starts when `answered` is set; `error`: fails then."""

    def __init__(self, error: Exception | None = None) -> None:
        self.answered, self._error = asyncio.Event(), error
        self.began, self.started, self.ended = asyncio.Event(), False, 0

    async def start(self) -> None:
        self.began.set()
        await self.answered.wait()
        if self._error is not None:
            raise self._error
        self.started = True

    async def end(self) -> None:
        self.ended += 1


async def started(client: Client) -> "asyncio.Task[None]":
    task = asyncio.create_task(starting.start(client, Client.end, doing="connecting"))
    await client.began.wait()
    return task


async def test_a_client_that_starts_is_left_alone() -> None:
    client = Client()
    task = await started(client)
    client.answered.set()
    await task
    assert client.started
    assert client.ended == 0


async def test_an_error_comes_as_ours_and_the_client_is_ended() -> None:
    client = Client(lib.KafkaConnectionError("nobody there"))
    task = await started(client)
    client.answered.set()
    with pytest.raises(BusUnavailable, match="connecting"):
        await task
    assert client.ended == 1


async def test_a_start_that_is_cancelled_comes_to_its_end_first() -> None:
    client = Client()
    task = await started(client)
    task.cancel()
    await asyncio.sleep(0)
    client.answered.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.started, "what it had asked was answered"
    assert client.ended == 1


async def test_a_start_that_hangs_is_given_up_after_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "GRACE_S", 0.01)
    client = Client()
    task = await started(client)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert not client.started
    assert client.ended == 1


async def test_a_start_that_takes_too_long_is_a_timeout_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "GRACE_S", 0.01)
    client = Client()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await starting.start(client, Client.end, doing="connecting")
    assert client.ended == 1
