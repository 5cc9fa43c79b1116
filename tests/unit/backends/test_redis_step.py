"""A transaction in one write: what its answers come to, and which connections are used again."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions as lib

from l07.backends.redis.client import OneServer, connect_socket, each, last_of

CLOSE = b""
LARGE = b"v" * 30_000_000  # more than any socket takes at once
Says = Callable[[int, int], bytes]  # connection, how many transactions came on it -> the answers

NO, LATER = lib.ResponseError("no"), lib.ResponseError("later")


@asynccontextmanager
async def a_server(says: Says, *, reads: int = 1 << 40) -> AsyncIterator[tuple[OneServer, list[int]]]:
    """Answers each EXEC as told; the second value: the bytes that came on each connection. `reads`: of its first one."""
    came: list[int] = []
    served: list[asyncio.Task[Any] | None] = []
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, steps, end = len(came), 0, b""
        served.append(asyncio.current_task())
        came.append(0)
        while data := await reader.read(1 << 20):
            came[number] += len(data)
            if number == 0 and came[0] > reads:
                await left.wait()
                break
            end = (end + data)[-400:]
            if not end.endswith((b"EXEC\r\n", b"LAST\r\n")):
                writer.write(b"+OK\r\n" * data.count(b"CLIENT") + b"%0\r\n" * data.count(b"HELLO"))
                continue
            steps, end = steps + 1, b""
            writer.write(answers := says(number, steps))
            if not answers:
                break
        writer.close()

    with tempfile.TemporaryDirectory(prefix="l07-") as folder:
        async with await asyncio.start_unix_server(serve, f"{folder}/s"):
            client = connect_socket(Path(folder) / "s")
            yield client, came
            left.set()
            await client.aclose()
            await asyncio.gather(*filter(None, served))


GOOD = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:%d\r\n"


async def test_the_last_answer_counts_and_the_connection_is_used_again() -> None:
    async with a_server(lambda number, steps: GOOD % (10 * number + steps)) as (client, came):
        assert [await client.step(("A", 1), ("B", 2)) for _ in range(3)] == [1, 2, 3]
    assert len(came) == 1


async def test_what_is_more_than_the_system_takes_arrives_whole() -> None:
    async with a_server(lambda number, steps: GOOD % steps) as (client, came):
        assert [await client.step(("A", LARGE), ("B", 2)) for _ in range(2)] == [1, 2]
    assert len(came) == 1
    assert came[0] > 2 * len(LARGE)


@pytest.mark.parametrize("half", [CLOSE, b"-LOADING it is read in\r\n+QUEUED\r\n"])
async def test_a_connection_whose_answers_were_not_all_read_is_not_used_again(half: bytes) -> None:
    async with a_server(lambda number, _: GOOD % number if number else half) as (client, came):
        with pytest.raises(lib.ConnectionError):
            await client.step(("A", 1), ("B", 2))
        assert await client.step(("A", 1), ("B", 2)) == 1
    assert len(came) == 2


async def test_a_server_that_says_half_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_server(lambda number, _: GOOD % number if number else b"+OK\r\n+QUEUED\r\n") as (client, came):
        monkeypatch.setitem(client.connection_pool.connection_kwargs, "socket_timeout", 0.2)
        with pytest.raises(lib.TimeoutError):
            await client.step(("A", 1), ("B", 2))
        assert await client.step(("A", 1), ("B", 2)) == 1
    assert len(came) == 2


def on_uvloop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """The consumers' loop, where there is one: it hands large writes to the system in another way."""
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


def test_on_the_consumers_loop_what_is_more_than_the_system_takes_arrives_whole() -> None:
    on_uvloop(test_what_is_more_than_the_system_takes_arrives_whole)


async def stalled() -> None:
    """Nobody waits for the write; the answer's limit is the write's too, and the connection is not used again."""
    async with a_server(lambda number, _: GOOD % number, reads=len(LARGE) // 2) as (client, came):
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.3
        with pytest.raises(lib.TimeoutError):
            await client.step(("A", LARGE), ("B", 2))
        assert await client.step(("A", 1), ("B", 2)) == 1
    assert len(came) == 2
    assert came[0] < len(LARGE)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_server_that_reads_nothing_is_waited_for_no_longer_than_for_an_answer(loop: str) -> None:
    if loop == "uvloop":
        on_uvloop(stalled)
    else:
        asyncio.run(stalled())


async def test_commands_without_a_transaction_have_an_answer_each() -> None:
    """And the first error comes out; the connection stays, for all answers were read."""
    failed = b"+one\r\n-NOPERM not you\r\n:3\r\n"
    good = b"+one\r\n*2\r\n:1\r\n$-1\r\n:%d\r\n"
    async with a_server(lambda _, steps: failed if steps == 1 else good % steps) as (client, came):
        with pytest.raises(lib.NoPermissionError):
            await each(client, ("A", 1), ("B", 2), ("LAST",))
        assert await each(client, ("A", 1), ("B", LARGE), ("LAST",)) == [b"one", [1, None], 2]
    assert len(came) == 1


async def test_an_error_in_the_transaction_is_raised_and_the_connection_stays() -> None:
    failed = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n-NOPERM not you\r\n"
    async with a_server(lambda _, steps: failed if steps == 1 else GOOD % steps) as (client, came):
        with pytest.raises(lib.NoPermissionError):
            await client.step(("A", 1), ("B", 2))
        assert await client.step(("A", 1), ("B", 2)) == 2
    assert len(came) == 1


@pytest.mark.parametrize(
    ("answers", "raised"),
    [
        ([b"OK", NO, b"QUEUED", lib.ExecAbortError("aborted")], NO),  # refused before: that is the reason
        ([b"OK", b"QUEUED", b"QUEUED", [1, NO]], NO),
        ([b"OK", b"QUEUED", b"QUEUED", [NO, LATER]], NO),
    ],
)
def test_the_first_error_is_raised(answers: Sequence[object], raised: Exception) -> None:
    with pytest.raises(lib.ResponseError) as caught:
        last_of(answers)
    assert caught.value is raised
