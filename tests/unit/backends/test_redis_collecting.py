"""Answers that come in pieces, on a socket of its own: who waits is woken once, and nothing of one call is left for the next."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from redis import exceptions as lib

from l07.backends.redis.packing import PlainConnection

LIMIT_S = 20.0
Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(serve: Server, *, limit_s: float = LIMIT_S) -> AsyncIterator[Any]:
    running: list[asyncio.Task[Any] | None] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.append(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):  # the client left
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection: Any = PlainConnection(host="127.0.0.1", port=port, socket_timeout=limit_s, retry=None)
    await connection._connect()
    connection._parser.on_connect(connection)
    try:
        yield connection
    finally:
        await connection.disconnect(nowait=True)
        server.close()
        await asyncio.wait([task for task in running if task is not None], timeout=LIMIT_S)


def says(*pieces: bytes, ask: bool = False) -> Server:
    """A server that sends these, each on its own: the next when it is asked (one byte), or after the one before was read."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            if ask:
                await reader.readexactly(1)
            writer.write(piece)
            await writer.drain()
        if ask:
            await reader.read()

    return serve


async def test_one_waits_through_all_pieces_and_is_woken_once() -> None:
    pieces = [b"+OK\r\n", b"+QUEUED\r\n:", b"7\r\n$3\r\nab", b"c\r\n*2\r\n:1\r\n-ERR no\r\n"]
    async with connected(says(*pieces, ask=True)) as connection:
        turns = 0

        async def watched() -> list[Any]:
            nonlocal turns
            call = connection.answers(5).__await__()
            while True:
                try:
                    step = next(call)
                except StopIteration as end:
                    return list(end.value)
                turns += 1
                await _again(step)

        waiting = asyncio.create_task(watched())
        for _ in pieces:
            connection._writer.write(b".")
        ok, queued, number, text, both = await asyncio.wait_for(waiting, LIMIT_S)
        assert (ok, queued, number, text) == (b"OK", b"QUEUED", 7, b"abc")
        assert both[0] == 1
        assert isinstance(both[1], lib.ResponseError)
        assert turns == 1
        assert connection.rests()


async def _again(step: Any) -> None:
    """What the loop would do with a future that a coroutine gave out: wait until it is done."""
    done = asyncio.Event()
    step.add_done_callback(lambda _: done.set())
    step._asyncio_future_blocking = False
    await done.wait()


async def test_what_nobody_waits_for_stays_with_the_stream_and_the_connection_does_not_rest() -> None:
    async with connected(says(b"+OK\r\n", b"+late\r\n", ask=True)) as connection:
        connection._writer.write(b".")
        assert await connection.answers(1) == [b"OK"]
        assert connection.rests()
        connection._writer.write(b".")
        await until(lambda: not connection.rests())


async def test_more_than_was_asked_for_is_seen_too() -> None:
    async with connected(says(b"+OK\r\n+more\r\n", ask=True)) as connection:
        connection._writer.write(b".")
        assert await connection.answers(1) == [b"OK"]
        assert not connection.rests()


async def test_what_came_before_anybody_waited_counts() -> None:
    async with connected(says(b"+OK\r\n", b"+late\r\n", ask=True)) as connection:
        connection._writer.write(b".")
        await until(lambda: not connection.rests())
        connection._writer.write(b".")
        assert await connection.answers(2) == [b"OK", b"late"]
        assert connection.rests()


async def test_a_message_to_subscribers_is_no_answer() -> None:
    async with connected(says(b">2\r\n+invalidate\r\n*0\r\n+OK\r\n", ask=True)) as connection:
        connection._writer.write(b".")
        assert await connection.answers(1) == [b"OK"]


async def test_a_server_that_hangs_up_in_the_middle_is_an_error() -> None:
    async with connected(says(b"+OK\r\n")) as connection:
        with pytest.raises(lib.ConnectionError):
            await connection.answers(2)
        assert not connection.rests()
        with pytest.raises(lib.ConnectionError):
            await connection.answers(1)


async def test_no_answer_in_time_is_an_error() -> None:
    async with connected(says(b"+OK\r\n", b"never", ask=True), limit_s=0.05) as connection:
        connection._writer.write(b".")
        with pytest.raises(lib.TimeoutError):
            await connection.answers(2)


async def test_what_is_no_protocol_is_an_error() -> None:
    async with connected(says(b"HTTP/1.1 400\r\n", ask=True)) as connection:
        connection._writer.write(b".")
        with pytest.raises(lib.InvalidResponse):
            await connection.answers(1)


async def test_whoever_is_cancelled_waits_until_the_call_has_ended() -> None:
    async with connected(says(b"+OK\r\n", ask=True)) as connection:
        waiting = asyncio.create_task(connection.answers(1))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        connection._writer.write(b".")
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, LIMIT_S)
        assert connection.rests()


async def test_a_cancelled_call_whose_server_is_gone_ends() -> None:
    async with connected(says(b"+OK\r\n", ask=True), limit_s=0.2) as connection:
        waiting = asyncio.create_task(connection.answers(1))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, LIMIT_S)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not what():  # noqa: ASYNC110  # what a connection holds tells nobody
            await asyncio.sleep(0.005)
