"""What we ask the brokers about themselves: the login, the cluster, its topics. On aiokafka, for both clients."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition as LibPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import CoordinationType
from aiokafka.conn import create_conn
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest

from l07.backends.kafka.config import Brokers, aiokafka_options
from l07.backends.kafka.fates import CAUGHT, SAID, class_of, fate_of
from l07.backends.kafka.starting import start
from l07.backends.kafka.topic_ids import TopicIdsRequest, ids_of
from l07.errors import BusLoginRefused, BusUnavailable
from l07.events.record import TopicPartition

FIRST_S = 0.1


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the brokers describe it. `error`: the broker's number for why it says nothing more; 0: none."""

    name: str
    error: int
    partitions: int
    replicas: int  # of the partition that has the fewest
    led: bool  # every partition has a leader


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Errors of the client and of the system as ours."""
    try:
        yield
    except CAUGHT as err:
        raise fate_of(err, doing=doing) from err


async def check_login(brokers: Brokers) -> None:
    """Connect to one of the addresses, as every client object does, but say what went wrong.

    Raises: BusLoginRefused (E7410), when any of them refuses us; BusUnavailable (E7401), when none answers."""
    options = dict(aiokafka_options(brokers))
    names = ("client_id", "request_timeout_ms", "ssl_context", "security_protocol")
    wanted = {name: value for name, value in options.items() if name in names or name.startswith("sasl_")}
    failed: list[Exception] = []
    for address in brokers.addresses:
        host, _, port = address.rpartition(":")
        try:
            connection = await create_conn(host.strip("[]"), int(port), **wanted)
        except CAUGHT as err:
            if class_of(err) is not BusUnavailable:
                raise fate_of(err, doing=f"login at {address}") from err
            failed.append(err)
        else:
            try:
                accepted = await _is_accepted(connection, brokers)
            finally:
                await asyncio.shield(connection.close())
            if accepted:
                return
            raise BusLoginRefused(f"{SAID[BusLoginRefused]}: {address} does not take the token", address=address)
    raise fate_of(failed[-1], doing=f"connecting to {', '.join(brokers.addresses)}") from failed[-1]


async def _is_accepted(connection: Any, brokers: Brokers) -> bool:
    """A broker that refuses a token says so in a challenge, which aiokafka takes for a yes: only a question tells."""
    if not (brokers.uses_sasl and brokers.kafka.sasl_mechanism == "OAUTHBEARER"):
        return True
    try:
        return bool((await connection.send(MetadataRequest([]))).brokers)
    except CAUGHT:
        return False


class Admin:
    """Questions to the brokers. Every call raises our errors."""

    def __init__(self, client: AIOKafkaAdminClient) -> None:
        self._admin = client
        self._client = client._client  # its own questions would make the topics that they are about

    @classmethod
    @asynccontextmanager
    async def open(cls, brokers: Brokers) -> AsyncIterator["Admin"]:
        """Raises: BusLoginRefused E7410, BusUnavailable E7401."""
        await check_login(brokers)
        client = AIOKafkaAdminClient(**aiokafka_options(brokers))
        await start(client, AIOKafkaAdminClient.close, doing="connecting")
        try:
            with told("connecting"):
                async with asyncio.timeout(brokers.kafka.request_timeout_s):
                    while not client._client.cluster.brokers():  # a cluster in its first second names none
                        await client._client.force_metadata_update()
                        await asyncio.sleep(FIRST_S)
            yield cls(client)
        finally:
            await asyncio.shield(client.close())

    async def cluster(self) -> str:
        return str((await self._metadata([])).cluster_id)

    async def topics(self, names: Sequence[str]) -> Mapping[str, Topic]:
        """Each of `names`; asking makes none, whatever the brokers' `auto.create.topics.enable` says."""
        answer = await self._metadata(list(names))
        return {topic.name: topic for topic in map(_topic, answer.topics)}

    async def topic_ids(self, names: Sequence[str]) -> Mapping[str, str]:
        """Of those that are there; none where the brokers are older than topic ids."""
        with told("metadata"), suppress(NotImplementedError):
            return ids_of(await self.send(self._client.get_random_node(), TopicIdsRequest(names))) if names else {}
        return {}

    @property
    def timeout_s(self) -> float:
        return self._client._request_timeout_ms / 1000  # type: ignore[no-any-return]

    async def coordinator(self, group: str) -> tuple[int, int]:
        """(error, node) of who keeps this group."""
        found = await self.send(self._client.get_random_node(), FindCoordinatorRequest(group, CoordinationType.GROUP))
        return found.error_code, found.coordinator_id

    async def send(self, node: int, request: Any) -> Any:
        return await self._client.send(node, request)

    async def _metadata(self, names: list[str]) -> Any:
        with told("metadata"):
            request = MetadataRequest(names, allow_auto_topic_creation=False)
            return await self.send(self._client.get_random_node(), request)

    async def configs(self, names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Each topic's settings, defaults included; a topic whose settings this user may not see is left out."""
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        with told("topic settings"):
            answers = await self._admin.describe_configs(wanted) if wanted else []
        return {
            name: {entry[0]: entry[1] for entry in entries}
            for answer in answers
            for error, _, _, name, entries in answer.resources
            if error == 0
        }

    async def delete_before(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The records before these offsets are gone for everybody. Raises BusForbidden (E7411) without the right to delete."""
        wanted = {LibPartition(*tp): RecordsToDelete(offset) for tp, offset in offsets.items()}
        with told("deleting records"):
            if wanted:
                await self._admin.delete_records(wanted)

    async def create(self, topics: Sequence[NewTopic]) -> Sequence[tuple[str, int, str]]:
        """(topic, error, message) of each."""
        with told("making topics"):
            answer = await self._admin.create_topics(list(topics))
        return [(name, error, text or "") for name, error, text in answer.topic_errors]


def _topic(found: tuple[Any, ...]) -> Topic:
    error, name, _, partitions = found
    leaders = [partition[2] for partition in partitions]
    replicas = [len(partition[3]) for partition in partitions]
    return Topic(name, error, len(partitions), min(replicas, default=0), bool(leaders) and min(leaders) >= 0)
