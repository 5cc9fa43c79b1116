"""A broker and the buffer's servers for one run, and what they take of the processor."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis
from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from l07.backends.embedded import server_program
from tests.servers.kafka_server import Broker, a_broker
from tests.servers.redis_server import HomeRedis

KAFKA = Path(__file__).parents[3] / "shared" / "kafka"
PARTITIONS = 6
OPTIONS = ("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction", "--save", "")
BROKER = {"log.retention.check.interval.ms": "5000", "log.segment.delete.delay.ms": "1000"}
TOPIC_S = 30.0
SILENT = 3  # librdkafka says at its end what it has thrown away: nothing that counts


@dataclass(slots=True)
class Servers:
    """`address` of the broker, `url` of a Valkey over TCP, as a deployment has it."""

    address: str
    url: str
    broker_pid: int | None
    admin: AdminClient | None = None

    def _admin(self) -> AdminClient:
        if self.admin is None:
            self.admin = AdminClient({"bootstrap.servers": self.address, "log_level": SILENT})
        return self.admin

    def forget(self) -> None:
        """Everything that is in the buffer."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def buffer_cpu_s(self) -> float:
        with redis.Redis.from_url(self.url) as client:
            info = client.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def broker_cpu_s(self) -> float:
        """0.0 for a broker of somebody else."""
        return cpu_s(self.broker_pid) if self.broker_pid is not None else 0.0

    def make_topics(self, names: list[str], **config: str) -> None:
        topics = [NewTopic(name, PARTITIONS, 1, config=config) for name in names]
        for future in self._admin().create_topics(topics, operation_timeout=TOPIC_S).values():
            future.result(TOPIC_S)

    def shares(self, group: str) -> list[int]:
        """How many partitions each member has, of a group that is at rest; nothing while it shares them out."""
        try:
            found = self._admin().describe_consumer_groups([group])[group].result(TOPIC_S)
        except KafkaException:  # its coordinator is still being made
            return []
        if found.state != ConsumerGroupState.STABLE:
            return []
        return [len(member.assignment.topic_partitions) for member in found.members]

    def drop_topics(self, names: list[str]) -> None:
        for future in self._admin().delete_topics(names, operation_timeout=TOPIC_S).values():
            future.result(TOPIC_S)


def cpu_s(pid: int) -> float:
    """Of all threads of a process, and of the children that it has waited for."""
    return float(sum(psutil.Process(pid).cpu_times()[:4]))


@contextmanager
def started() -> Iterator[Servers]:
    """L07_TEST_KAFKA names a broker that is there; else one is started, from KAFKA_HOME or in a container."""
    if KAFKA.is_dir():
        os.environ.setdefault("KAFKA_HOME", str(KAFKA))
    address = os.environ.get("L07_TEST_KAFKA", "")
    home = "home" if "KAFKA_HOME" in os.environ else ""
    broker = Broker(address) if address else a_broker(home, extra=BROKER)
    try:
        valkey = HomeRedis(str(server_program()), options=OPTIONS)
        try:
            yield Servers(broker.address, f"{valkey.url}/0", _java())
        finally:
            valkey.stop()
    finally:
        broker.stop()


def _java() -> int | None:
    return next((child.pid for child in psutil.Process().children() if "java" in child.name()), None)


def redis_program() -> Path | None:
    found = shutil.which("redis-server")
    return Path(found) if found else None


def version(program: Path) -> str:
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True).stdout
    return next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), said.strip())
