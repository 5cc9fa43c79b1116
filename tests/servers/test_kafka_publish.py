"""What leaves for a real Kafka: times, keys, sizes, a broker that is away."""

import asyncio
import signal
import time
from collections.abc import Callable

import pytest
from aiokafka.partitioner import murmur2

from l07.backends.open import open_bus
from l07.errors import BusUnavailable, ClientMissing, MessageTooLarge
from l07.events.record import Message, TopicPartition
from tests.servers.kafka_kit import a_bus, messages, settings_for
from tests.servers.kafka_server import Broker, HomeBroker
from tests.servers.kafka_topics import make_topics


async def everything(bus: object, topic: str) -> list[bytes | None]:
    ends = await bus.end_offsets([topic])  # type: ignore[attr-defined]
    return [r.value for tp, end in ends.items() for r in await bus.read(tp, 0, limit=end or 1)]  # type: ignore[attr-defined]


async def test_a_key_lies_where_every_client_of_java_looks_for_it(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 6})
    keys = [b"a", b"", b"execution:1", b"\xff"]
    async with a_bus(kafka.address) as bus:
        await bus.publish([Message(unique, key, b"v") for key in keys])
        for tp, end in (await bus.end_offsets([unique])).items():
            for found in await bus.read(tp, 0, limit=end or 1):
                assert tp.partition == (murmur2(found.key) & 0x7FFFFFFF) % 6


async def test_an_event_that_its_topic_does_not_take_is_named_with_its_size(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 1}, {"max.message.bytes": "200000"})
    async with a_bus(kafka.address) as bus:
        with pytest.raises(MessageTooLarge, match=rf"E7414.*300\d\d\d bytes.*{unique}.*max\.message\.bytes=") as said:
            await bus.publish([*messages(unique, 3), Message(unique, b"big", b"x" * 300_000), *messages(unique, 2)])
        assert said.value.context["topic"] == unique
        await bus.publish(messages(unique, 3))  # through a new producer
        assert b"2" in await everything(bus, unique)


@pytest.mark.parametrize("client", ["aiokafka", "confluent"])
async def test_what_a_clock_far_ahead_has_written_leaves_with_the_time_of_its_sending(
    kafka: Broker, unique: str, client: str
) -> None:
    """A broker refuses a record two hours ahead of its clock, at each repeat: the outbox would stand still for two hours."""
    await make_topics(kafka.address, {unique: 1})
    now_ms = time.time_ns() // 1_000_000
    settings = settings_for(kafka.address, client=client)
    async with open_bus(settings, check=False) as bus:
        await bus.publish(
            [Message(unique, b"k", b"ahead", (), now_ms + 7_200_000), Message(unique, b"k", b"past", (), 1234)]
        )
        ahead, past = await bus.read(TopicPartition(unique, 0), 0, limit=2)
    assert (past.value, past.timestamp_ms) == (b"past", 1234)
    assert abs(ahead.timestamp_ms - now_ms) < 600_000


async def test_a_broker_that_is_away_is_an_outage_and_then_the_same_batch_goes_out(
    home_broker: Callable[..., HomeBroker], unique: str
) -> None:
    broker = home_broker()
    await make_topics(broker.address, {unique: 1})
    async with a_bus(broker.address, request_timeout_s=2) as bus:
        await bus.publish(messages(unique, 5))
        broker.halt(signal.SIGKILL)
        for _ in range(2):
            async with asyncio.timeout(15):
                with pytest.raises(BusUnavailable, match="E7401"):
                    await bus.publish(messages(unique, 5, first=5))
        await asyncio.to_thread(broker.start)
        await bus.publish(messages(unique, 5, first=5))
        assert {int(value or b"") for value in await everything(bus, unique)} == set(range(10))


async def test_a_frozen_broker_does_not_hold_a_publish_for_ever(
    home_broker: Callable[..., HomeBroker], unique: str
) -> None:
    broker = home_broker()
    await make_topics(broker.address, {unique: 1})
    async with a_bus(broker.address, request_timeout_s=1) as bus:
        await bus.publish(messages(unique, 1))
        broker.hurt(signal.SIGSTOP)
        try:
            async with asyncio.timeout(15):
                with pytest.raises(BusUnavailable):
                    await bus.publish(messages(unique, 1, first=1))
        finally:
            broker.hurt(signal.SIGCONT)
        await bus.publish(messages(unique, 1, first=1))
        assert {int(value or b"") for value in await everything(bus, unique)} == {0, 1}


async def test_a_message_whose_header_name_is_not_utf8_goes_out_as_it_is(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, {unique: 2})
    headers = ((b"ce_id", b"1"), (b"\xff\x00", b"\xfe"), (b"ce_id", None))
    async with a_bus(kafka.address) as bus:
        await bus.publish([Message(unique, b"k", b"v", headers, 1234)])
        [found] = [r for n in range(2) for r in await bus.read(TopicPartition(unique, n), 0)]
        assert (found.headers, found.timestamp_ms, found.key, found.value) == (headers, 1234, b"k", b"v")


async def test_a_client_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if "confluent" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ClientMissing, match=r"E7416.*confluent"):
        async with open_bus(settings_for("h:1", client="confluent")):
            pass
