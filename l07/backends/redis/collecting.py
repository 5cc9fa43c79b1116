"""All answers to one write, when all are there.

A step of the ingest is five commands in one write, and the server answers in four pieces while it reads. The library wakes
its caller for each piece, through eight coroutines that were pushed out of the processor's cache meanwhile."""

import asyncio
from contextlib import suppress
from typing import Any

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.exceptions import ConnectionError as Closed
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer


class Collector:
    """Stands before a connection's stream. While answers are awaited, what comes goes to the parser and nobody is woken
    until the last one is there; otherwise it goes to the stream, as ever."""

    def __init__(self, stream: asyncio.StreamReader, reader: hiredis.Reader) -> None:
        self.stream = stream
        self._reader = reader
        self._feed, self._end, self._fail = stream.feed_data, stream.feed_eof, stream.set_exception
        self._found: list[Any] = []
        self._count = 0
        self._all: asyncio.Future[None] | None = None  # somebody waits
        before: Any = stream
        before.feed_data, before.feed_eof, before.set_exception = self.feed_data, self.feed_eof, self.set_exception

    async def answers(self, count: int, limit_s: float | None) -> list[Any]:
        """Raises what the library raises: Closed when the server hangs up, NoAnswer after `limit_s`. Whoever gets
        an error closes the connection: the answers that are missing would be the next one's. A cancelled call is waited for."""
        stream: Any = self.stream
        if (failure := stream.exception()) is not None:
            raise failure
        loop = asyncio.get_running_loop()
        self._found, self._count, self._all = [], count, loop.create_future()
        late = loop.call_later(limit_s, self._too_late) if limit_s else None
        try:
            if stream._buffer:  # it came before anybody waited
                self.feed_data(await stream.read(len(stream._buffer)))
            if stream._eof:
                self._ended(Closed("the server closed the connection"))
            try:
                await self._all
            except asyncio.CancelledError:  # the step goes on, and so does whoever was cancelled, once it has ended
                self._all = loop.create_future()
                with suppress(RedisError, OSError):
                    await self._all
                raise
            return self._found
        finally:
            self._all = None
            if late is not None:
                late.cancel()

    def rests(self) -> bool:
        """Nothing came since the last answer, and the server did not hang up."""
        stream: Any = self.stream
        return not (self._reader.has_data() or stream._buffer or stream._eof or stream.exception())

    # -------------------------------------------------------------- from the transport, as asyncio calls its stream

    def feed_data(self, data: bytes) -> None:
        if self._all is None:
            self._feed(data)
            return
        try:
            self._reader.feed(data)
            while len(self._found) < self._count:
                answer = self._reader.gets()
                if answer is NOT_ENOUGH_DATA:
                    return
                if isinstance(answer, Closed):
                    raise answer
                if not isinstance(answer, hiredis.PushNotification):  # nobody subscribed to anything here
                    self._found.append(answer)
        except RedisError as err:  # Closed, or what is no answer in the protocol: whoever waits hears it
            self._ended(err)
            return
        self._ended(None)

    def feed_eof(self) -> None:
        self._end()
        self._ended(Closed("the server closed the connection"))

    def set_exception(self, error: Exception) -> None:
        self._fail(error)
        self._ended(error)

    def _too_late(self) -> None:
        self._ended(NoAnswer("no answer in time"))

    def _ended(self, error: Exception | None) -> None:
        if self._all is None or self._all.done():
            return
        if error is None:
            self._all.set_result(None)
        else:
            self._all.set_exception(error)
