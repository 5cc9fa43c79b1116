"""The check of the topics at start, on a real broker."""

import asyncio

import pytest

from l07.backends.kafka.admin import Admin
from l07.backends.kafka.aio import KafkaBus
from l07.backends.kafka.config import brokers
from l07.backends.open import open_bus
from l07.errors import BusUnavailable, TopicMissing, TopicUnfit
from l07.settings import Settings
from tests.servers.kafka_kit import settings_for
from tests.servers.kafka_server import Broker, free_port
from tests.servers.kafka_topics import make_topics

NAMES = ("traces", "planning", "scores", "reviews", "events", "dlq")


def topics_of(unique: str) -> dict[str, str]:
    return {name: f"{name}.{unique}" for name in NAMES}


def asked(kafka: Broker, unique: str, **options: object) -> Settings:
    return settings_for(kafka.address, topics=topics_of(unique), **options)


async def test_missing_topics_stop_the_start_and_the_commands_are_said(kafka: Broker, unique: str) -> None:
    with pytest.raises(TopicMissing, match="E7412") as said:
        async with open_bus(asked(kafka, unique)):
            pass
    text = said.value.message
    assert all(f"--create --topic {name}.{unique} --partitions 3 --replication-factor 1" in text for name in NAMES)
    assert "(topics.traces)" in text
    async with Admin.open(brokers(asked(kafka, unique))) as admin:  # asking has made none
        assert {topic.error for topic in (await admin.topics(list(topics_of(unique).values()))).values()} == {3}


async def test_missing_topics_are_made_when_that_is_asked(kafka: Broker, unique: str) -> None:
    settings = asked(kafka, unique, create_topics=True, retention_s=3600)
    buses = [open_bus(settings) for _ in range(3)]  # three processes start at once
    opened = await asyncio.gather(*(bus.__aenter__() for bus in buses))
    assert len(await opened[0].end_offsets(list(topics_of(unique).values()))) == 18
    await asyncio.gather(*(bus.__aexit__(None, None, None) for bus in buses))
    async with Admin.open(brokers(settings)) as admin:
        configs = await admin.configs([f"events.{unique}", f"traces.{unique}"])
    assert configs[f"events.{unique}"]["cleanup.policy"] == "delete"
    assert configs[f"events.{unique}"]["retention.ms"] == "3600000"
    assert configs[f"events.{unique}"]["max.message.bytes"] == "16777216"
    assert configs[f"traces.{unique}"]["compression.type"] == "producer"


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"cleanup.policy": "compact"}, r"cleanup\.policy=compact"),
        ({"cleanup.policy": "compact,delete"}, r"cleanup\.policy=compact,delete"),
        ({"max.message.bytes": "100000"}, r"takes records of 100000 bytes, ours may have 300000"),
        ({"min.insync.replicas": "2"}, r"1 replicas and min\.insync\.replicas=2"),
    ],
)
async def test_a_topic_that_would_lose_or_stop_something_is_named(
    kafka: Broker, unique: str, config: dict[str, str], fault: str
) -> None:
    topics = topics_of(unique)
    await make_topics(kafka.address, {name: 1 for name in topics.values() if "dlq" not in name})
    await make_topics(kafka.address, {topics["dlq"]: 1}, config)
    with pytest.raises(TopicUnfit, match=rf"E7413.*dlq.*{fault}"):
        async with open_bus(asked(kafka, unique)):
            pass


async def test_another_number_of_partitions_counts_only_where_we_make_topics(kafka: Broker, unique: str) -> None:
    await make_topics(kafka.address, dict.fromkeys(topics_of(unique).values(), 1))
    async with open_bus(asked(kafka, unique)):
        pass
    with pytest.raises(TopicUnfit, match=r"has 1 partitions, bus\.partitions is 3"):
        async with open_bus(asked(kafka, unique, create_topics=True)):
            pass


async def test_a_topic_that_cannot_be_made_is_told(kafka: Broker, unique: str) -> None:
    with pytest.raises(TopicUnfit, match=r"E7413.*making the topic"):
        async with open_bus(asked(kafka, unique, create_topics=True, replication=5)):
            pass


async def test_brokers_that_are_not_there_are_an_outage() -> None:
    settings = settings_for(f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}", request_timeout_s=1)
    async with asyncio.timeout(20):
        with pytest.raises(BusUnavailable, match=r"E7401.*connecting to 127"):
            async with KafkaBus.open(settings):
                pass


async def test_the_cluster_has_its_own_name(kafka: Broker) -> None:
    async with KafkaBus.open(settings_for(kafka.address), check=False) as bus:
        assert len(bus.cluster) == 22
