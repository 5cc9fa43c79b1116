"""What leaves for Kafka: idempotent, acknowledged by every replica in sync, and a producer that had trouble is thrown away."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka import errors as lib
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as RecordBatchBuilder

from l07.backends.kafka.config import Brokers, aiokafka_options
from l07.backends.kafka.fates import CAUGHT, fate_of
from l07.backends.kafka.starting import start
from l07.errors import L07Error, MessageTooLarge
from l07.events.record import Message

log = logging.getLogger("l07.kafka")

MAX_BATCH_BYTES = 131_072  # the library's 16 KiB halve the rate of an idempotent producer
MAX_REQUEST_BYTES = 100_000_000  # the topic's max.message.bytes decides, not the client
CLOSE_S = 10.0
AHEAD_MS = 1_800_000  # half of what brokers allow by default


class Producer:
    """Publishes for one process; calls may overlap. Order holds within a key as long as calls do not overlap."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._client: AIOKafkaProducer | None = None
        self._one = asyncio.Lock()  # for making and dropping

    async def publish(self, messages: Sequence[Message]) -> None:
        """Durable when it returns. After an error some of them may be there: whoever repeats does so under the same ids.

        Raises: BusUnavailable E7401, MessageTooLarge E7414, BusForbidden E7411, BusLoginRefused E7410."""
        if not messages:
            return
        client = await self._producer()
        try:
            async with asyncio.timeout(self._brokers.kafka.request_timeout_s):
                futures = [await _send(client, message) for message in messages]
                await asyncio.gather(*futures)
        except CAUGHT as err:
            await self._drop(client)
            raise _told(err, messages) from err
        except asyncio.CancelledError:  # what is under way may still arrive, but nothing waits for it
            await asyncio.shield(self._drop(client))
            raise

    async def _producer(self) -> AIOKafkaProducer:
        async with self._one:
            if self._client is None:
                client = AIOKafkaProducer(
                    **aiokafka_options(self._brokers),
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=MAX_BATCH_BYTES,
                    max_request_size=MAX_REQUEST_BYTES,
                )
                try:
                    async with asyncio.timeout(self._brokers.kafka.request_timeout_s):
                        # it asks for its number until it gets one
                        await start(client, _abandon, doing="starting a producer")
                except TimeoutError as err:
                    raise fate_of(err, doing="starting a producer") from err
                self._client = client
            return self._client

    async def _drop(self, client: AIOKafkaProducer) -> None:
        """A producer that met an error is never used again: its sequence numbers may be out of step for ever (#1017)."""
        async with self._one:
            if self._client is client:
                self._client = None
                log.warning("producer_dropped")
        await _abandon(client)

    async def close(self) -> None:
        async with self._one:
            client, self._client = self._client, None
        if client is not None:
            await _close(client)


def time_of(message: Message) -> int | None:
    """The record time that goes out. Brokers refuse one that is an hour ahead (`message.timestamp.after.max.ms`), and would
    refuse it at each repeat: what was written by a clock far ahead gets the time of its sending."""
    time_ms, now_ms = message.timestamp_ms, time.time_ns() // 1_000_000
    return time_ms if time_ms is None or time_ms <= now_ms + AHEAD_MS else None


async def _send(client: AIOKafkaProducer, message: Message) -> "asyncio.Future[Any]":
    try:
        headers = [(name.decode(), value) for name, value in message.headers]
    except UnicodeDecodeError:
        future = await _send_raw(client, message)
    else:
        future = await client.send(
            message.topic, message.value, key=message.key, headers=headers, timestamp_ms=time_of(message)
        )
    future.add_done_callback(_seen)
    return future


async def _send_raw(client: AIOKafkaProducer, message: Message) -> "asyncio.Future[Any]":
    """A message with a header whose name is no UTF-8 goes out in a batch of its own, by the library's slow builder: a replay
    sends what it has read."""
    await client.partitions_for(message.topic)
    partition = client._partition(message.topic, None, message.key, None, message.key, None)
    batch = _RawBatch(MAX_REQUEST_BYTES, 0)
    headers = [(_Name(name), value) for name, value in message.headers]
    batch.append(timestamp=time_of(message), key=message.key, value=message.value, headers=headers)
    batch.close()
    future: asyncio.Future[Any] = await client.send_batch(batch, message.topic, partition=partition)
    return future


class _RawBatch(BatchBuilder):  # type: ignore[misc]
    """A batch of the library by its builder in Python, which asks a header's name for its bytes."""

    def __init__(self, batch_size: int, compression: int) -> None:
        super().__init__(batch_size, compression)
        self._builder = RecordBatchBuilder(2, compression, 0, -1, -1, 0, batch_size)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._builder.set_producer_state(producer_id, producer_epoch, base_sequence)


class _Name:
    """A header's name as bytes, where the builder asks a text for its bytes."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def encode(self, _: str) -> bytes:
        return self._raw


def _seen(future: "asyncio.Future[Any]") -> None:
    """The first error of a batch is told; the others are not missed."""
    if not future.cancelled():
        future.exception()


def _told(err: Exception, messages: Sequence[Message]) -> L07Error:
    if isinstance(err, lib.MessageSizeTooLargeError | lib.RecordListTooLargeError):
        return too_large(messages)
    return fate_of(err, doing=f"publishing to {', '.join(sorted({message.topic for message in messages}))}")


def too_large(messages: Sequence[Message]) -> MessageTooLarge:
    largest = max(messages, key=size_of)
    size = size_of(largest)
    text = (
        f"an event of {size} bytes is larger than {largest.topic} takes: kafka-configs.sh --alter --topic "
        f"{largest.topic} --add-config max.message.bytes={2 * size}, then start again; it waits in the outbox"
    )
    return MessageTooLarge(text, topic=largest.topic, size_bytes=size)


def size_of(message: Message) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in message.headers)
    return len(message.value) + len(message.key or b"") + headers


async def _close(client: AIOKafkaProducer) -> None:
    try:
        await asyncio.wait_for(client.stop(), CLOSE_S)
    except CAUGHT:
        await _abandon(client)


async def _abandon(client: AIOKafkaProducer) -> None:
    """Close it without a wait for what it could not send."""
    client._closed = True
    try:
        await asyncio.wait_for(client._sender.close(), CLOSE_S)
    except CAUGHT as err:
        log.warning("producer_not_closed_in_order", extra={"why": str(err)})
    await client.client.close()
