"""What leaves for Kafka by confluent-kafka: idempotent, acknowledged by every replica in sync, awaited as one batch."""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import confluent_kafka as lib

from l07.backends.kafka.config import Brokers
from l07.backends.kafka.confluent_config import producer_options
from l07.backends.kafka.confluent_fates import CAUGHT, fate_of, fate_of_error
from l07.backends.kafka.producer import time_of, too_large
from l07.errors import BusUnavailable, HeaderUnfit, L07Error, MessageTooLarge
from l07.events.record import Message

log = logging.getLogger("l07.kafka")

FULL_S = 0.05  # a full queue is emptied by the library's own threads
Headers = list[tuple[str, bytes | None]]
Ready = tuple[Message, Headers]


class ConfluentProducer:
    """Publishes for one process, one call after the other, in a thread of its own."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._client: lib.Producer | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="l07-kafka-out")

    async def publish(self, messages: Sequence[Message]) -> None:
        """Durable when it returns. After an error some of them may be there: whoever repeats does so under the same ids.

        Raises: BusUnavailable E7401, MessageTooLarge E7414, BusForbidden E7411, HeaderUnfit E7431."""
        if not messages:
            return
        ready = [(message, headers_of(message)) for message in messages]
        await asyncio.get_running_loop().run_in_executor(self._thread, self._send, ready)

    def _send(self, ready: Sequence[Ready]) -> None:
        topics = ", ".join(sorted({message.topic for message, _ in ready}))
        deadline = time.monotonic() + self._brokers.kafka.request_timeout_s
        failed: list[lib.KafkaError] = []
        try:
            client = self._producer()
            for message, headers in ready:
                _hand_over(client, message, headers, failed, deadline)
            left = client.flush(max(0.0, deadline - time.monotonic()))
        except CAUGHT as err:
            self._drop()
            raise _told(fate_of(err, doing=f"publishing to {topics}"), ready) from err
        if failed:
            self._drop()
            raise _told(fate_of_error(failed[0], doing=f"publishing to {topics}"), ready)
        if left:
            self._drop()
            raise BusUnavailable(f"Kafka did not acknowledge {left} of {len(ready)} messages in time", topics=topics)

    def _producer(self) -> lib.Producer:
        if self._client is None:
            options = producer_options(self._brokers)
            self._client = lib.Producer(options, logger=options.pop("logger"))
        return self._client

    def _drop(self) -> None:
        """A producer that met an error is never used again. What it still holds goes nowhere."""
        client, self._client = self._client, None
        if client is not None:
            client.purge(in_queue=True, in_flight=True, blocking=False)
            client.poll(0)  # tells of what was purged; without this it would be kept
            log.warning("producer_dropped")

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop_quietly)
        self._thread.shutdown(wait=False)

    def _drop_quietly(self) -> None:
        self._client = None  # nothing is in it between two calls


def _hand_over(
    client: lib.Producer, message: Message, headers: Headers, failed: list[lib.KafkaError], deadline: float
) -> None:
    def done(error: lib.KafkaError | None, _: object) -> None:
        if error is not None:
            failed.append(error)

    topic, key, value, _, _ = message
    time_ms = time_of(message)
    while True:
        try:
            client.produce(topic, value, key, on_delivery=done, timestamp=time_ms or 0, headers=headers)
        except BufferError:  # the library's queue is full
            if failed or time.monotonic() > deadline:
                raise
            client.poll(FULL_S)
        else:
            client.poll(0)
            return


def _told(err: L07Error, ready: Sequence[Ready]) -> L07Error:
    return too_large([message for message, _ in ready]) if isinstance(err, MessageTooLarge) else err


def headers_of(message: Message) -> Headers:
    """As the library takes them. Given a name that is not UTF-8 it ends the process, and it cuts one at a zero byte.

    Raises HeaderUnfit (E7431)."""
    try:
        headers = [(name.decode(), value) for name, value in message.headers]
    except UnicodeDecodeError as err:
        raise HeaderUnfit(f"a header's name is not UTF-8: {err.object!r}", topic=message.topic) from err
    for name, _ in headers:
        if "\0" in name:
            raise HeaderUnfit(f"a header's name holds a zero byte: {name!r}", topic=message.topic)
    return headers
