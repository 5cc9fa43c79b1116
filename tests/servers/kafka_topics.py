"""Topics for tests, made without the product."""

from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic


async def make_topics(address: str, topics: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
    """Name -> number of partitions; one copy."""
    async with admin(address) as client:
        new = [NewTopic(name, count, 1, topic_configs=dict(config or {})) for name, count in topics.items()]
        answer = await client.create_topics(new)
        assert [error for _, error, _ in answer.topic_errors if error] == [], answer
        while any(topic["error_code"] for topic in await client.describe_topics(list(topics))):
            pass  # each look is a round trip


async def delete_topics(address: str, *topics: str) -> None:
    async with admin(address) as client:
        await client.delete_topics(list(topics))


class admin:
    """The library's own client, started and closed."""

    def __init__(self, address: str) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=address)

    async def __aenter__(self) -> AIOKafkaAdminClient:
        await self._client.start()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
