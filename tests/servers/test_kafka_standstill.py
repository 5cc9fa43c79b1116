"""A client whose own task for fetching is gone, or waits for ever, without a word: another one takes its place."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import errors as lib
from aiokafka.protocol.fetch import FetchRequest

from l07.backends.kafka import subscription
from l07.backends.kafka.subscription import KafkaSubscription
from l07.errors import BusUnavailable
from l07.events.record import TopicPartition
from tests.servers.kafka_kit import Begin, a_bus, gather_records, messages, until_placed
from tests.servers.kafka_server import Broker
from tests.servers.kafka_topics import make_topics


async def test_a_member_whose_fetching_has_ended_without_a_word_joins_anew(
    kafka: Broker, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    await make_topics(kafka.address, {unique: 1})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
        await until_placed(sub, 1)
        await end_fetching(inside(sub))
        with pytest.raises(BusUnavailable, match="stopped fetching"):
            await sub.poll(limit=1, timeout_s=0.5)
        assert told(caplog)["ended"] is True
        await bus.publish(messages(unique, 3))
        assert len(await gather_records(sub, 3)) == 3


async def test_a_member_whose_fetches_get_no_answer_at_all_joins_anew(
    kafka: Broker, unique: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subscription, "SILENCE_S", -9.0)  # one second beside the ten of `a_bus`
    await make_topics(kafka.address, {unique: 1})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
        await until_placed(sub, 1)
        hang(inside(sub))
        with pytest.raises(BusUnavailable, match="stopped fetching"):
            await gather_records(sub, 1)
        said = told(caplog)
        assert said["ended"] is False
        assert len(said["in_flight"]) == len(said["led"]) == 1
        await bus.publish(messages(unique, 3))
        assert len(await gather_records(sub, 3)) == 3


async def test_a_member_that_has_nothing_to_read_is_left_alone(
    kafka: Broker, unique: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subscription, "SILENCE_S", -9.0)
    await make_topics(kafka.address, {unique: 2})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
        await until_placed(sub, 2)
        member = inside(sub)
        assert await sub.poll(limit=1, timeout_s=2.5) == []
        sub.hold(sub.position())
        assert await sub.poll(limit=1, timeout_s=2.5) == []
        assert inside(sub) is member
        assert "fetch_stands_still" not in caplog.messages


@pytest.mark.parametrize("trouble", ["ended", "silent"])
async def test_a_read_that_brings_nothing_is_done_by_another_client(
    kafka: Broker, unique: str, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    await make_topics(kafka.address, {unique: 1})
    async with a_bus(kafka.address, request_timeout_s=2) as bus:
        await bus.publish(messages(unique, 3))
        tp = TopicPartition(unique, 0)
        assert await bus.end_offsets([unique]) == {tp: 3}
        stuck = bus._reader._consumer
        if trouble == "ended":
            await end_fetching(stuck)
        else:
            hang(stuck)
        assert len(await bus.read(tp, 0, limit=3)) == 3
        assert told(caplog)["ended"] is (trouble == "ended")
        assert bus._reader._consumer is not stuck


async def test_a_client_is_closed_in_order_while_a_fetch_rests_before_its_next_try(kafka: Broker, unique: str) -> None:
    """The library awaits its fetches when it closes: one that told of its cancellation would cancel whoever closes it."""
    await make_topics(kafka.address, {unique: 1})
    async with a_bus(kafka.address) as bus, bus.subscribe([unique], group=f"l07.{unique}", start=Begin()) as sub:
        await until_placed(sub, 1)
        member = inside(sub)
        member._fetcher._retry_backoff = 60.0
        refused = asyncio.Event()

        async def refuse() -> None:
            refused.set()
            raise lib.NodeNotReadyError

        instead_of_fetches(member, refuse)
        await asyncio.wait_for(refused.wait(), 10)
        await asyncio.wait_for(sub._leave(), 10)
        assert member._fetcher.error_future.done()


def inside(sub: KafkaSubscription) -> Any:
    return sub._consumer


async def end_fetching(consumer: Any) -> None:
    """The library's task swallows a cancellation, whoever sent it, and is over."""
    task = consumer._fetcher.error_future
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    assert task.done()
    assert not task.cancelled()


def hang(consumer: Any) -> None:
    """Every fetch that is sent from now on stays without an answer."""

    async def wait() -> None:
        await asyncio.Event().wait()

    instead_of_fetches(consumer, wait)


def instead_of_fetches(consumer: Any, act: Callable[[], Awaitable[None]]) -> None:
    send = consumer._client.send

    async def sent(node: int, request: Any, **options: Any) -> Any:
        if isinstance(request, FetchRequest):
            await act()
        return await send(node, request, **options)

    consumer._client.send = sent


def told(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    found = [record for record in caplog.records if record.getMessage() == "fetch_stands_still"]
    assert len(found) == 1
    assert found[0].levelno == logging.ERROR
    return vars(found[0])
