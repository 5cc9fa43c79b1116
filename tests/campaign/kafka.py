"""One broker or three, from Kafka's own jars. Clients come through a proxy; the campaign itself comes straight."""

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from tests.campaign.processes import end, spawn

CLUSTER = "bDA3LWNhbXBhaWduLTAwMQ"
LOG4J = """Configuration:
  Appenders:
    Console: {name: out, PatternLayout: {pattern: "[%d] %p %m (%c)%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: [{ref: out}]}
"""
BROKER_SESSION_S = 6


@dataclass
class Node:
    """One broker, which is a controller too. `front`: what clients connect to, `shown`: the proxy before it."""

    number: int
    folder: Path
    direct: int
    front: int
    shown: int
    controller: int
    process: "subprocess.Popen[bytes] | None" = None


@dataclass
class Kafka:
    """A cluster. `nodes` with their ports are given; the rest follows."""

    home: Path
    nodes: list[Node]
    heap: str = "512m"
    admin: AdminClient = field(init=False)

    def __post_init__(self) -> None:
        self.admin = AdminClient({"bootstrap.servers": self.direct, "log_level": 0})

    @property
    def direct(self) -> str:
        return ",".join(f"127.0.0.1:{node.direct}" for node in self.nodes)

    @property
    def proxied(self) -> str:
        return ",".join(f"127.0.0.1:{node.shown}" for node in self.nodes)

    def start(self) -> None:
        made = [self._format(node) for node in self.nodes]
        for process in made:
            if process.wait(timeout=120):
                raise RuntimeError(f"formatting Kafka's folder failed; see {self.nodes[0].folder}/format.txt")
        for node in self.nodes:
            self.run(node)
        self.wait_ready()

    def run(self, node: Node) -> None:
        config = node.folder / "server.properties"
        node.process = spawn([*self._java(node), "kafka.Kafka", config], node.folder / "log.txt")

    def wait_ready(self, limit_s: float = 120) -> None:
        """Until every node is in the cluster."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            try:
                if len(self.admin.list_topics(timeout=2).brokers) == len(self.nodes):
                    return
            except KafkaException:
                time.sleep(0.1)
        raise RuntimeError(f"Kafka was not ready after {limit_s:.0f} s; see {self.nodes[0].folder}/log.txt")

    def kill(self, node: Node) -> None:
        end(node.process)

    def freeze(self, node: Node) -> None:
        assert node.process is not None
        os.kill(node.process.pid, signal.SIGSTOP)

    def wake(self, node: Node) -> None:
        assert node.process is not None
        os.kill(node.process.pid, signal.SIGCONT)

    def close(self) -> None:
        for node in self.nodes:
            end(node.process)

    def make_topics(self, sizes: dict[str, int]) -> None:
        copies = min(3, len(self.nodes))
        topics = [
            NewTopic(name, parts, copies, config={"max.message.bytes": "8388608", "retention.ms": "-1"})
            for name, parts in sizes.items()
        ]
        for made in self.admin.create_topics(topics).values():
            made.result(timeout=60)

    def _format(self, node: Node) -> "subprocess.Popen[bytes]":
        node.folder.mkdir(parents=True, exist_ok=True)
        (node.folder / "log4j2.yaml").write_text(LOG4J)
        (node.folder / "server.properties").write_text(self._properties(node))
        command = ["format", "--ignore-formatted", "-t", CLUSTER, "-c", node.folder / "server.properties"]
        return spawn([*self._java(node), "kafka.tools.StorageTool", *command], node.folder / "format.txt")

    def _java(self, node: Node) -> list[str]:
        home = os.environ.get("JAVA_HOME")
        java = (home and shutil.which("java", path=f"{home}/bin")) or shutil.which("java")
        if java is None:
            raise RuntimeError("no java found: Kafka needs Java 17 or newer")
        return [
            java, f"-Xmx{self.heap}", "-XX:TieredStopAtLevel=4", "-XX:+UseSerialGC", "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={node.folder}/log4j2.yaml", "-cp", f"{self.home}/libs/*",
        ]  # fmt: skip

    def _properties(self, node: Node) -> str:
        copies = min(3, len(self.nodes))
        insync = min(2, copies)
        voters = ",".join(f"{other.number}@127.0.0.1:{other.controller}" for other in self.nodes)
        listeners = {"PLAINTEXT": node.direct, "CLIENT": node.front, "CONTROLLER": node.controller}
        said = {
            "process.roles": "broker,controller", "node.id": node.number, "controller.quorum.voters": voters,
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.direct},CLIENT://127.0.0.1:{node.shown}",
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
            "controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": node.folder / "data", "broker.session.timeout.ms": BROKER_SESSION_S * 1000,
            "broker.heartbeat.interval.ms": 1000,
            "offsets.topic.replication.factor": copies, "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": copies, "transaction.state.log.min.isr": insync,
            "transaction.state.log.num.partitions": 4, "default.replication.factor": copies,
            "min.insync.replicas": insync, "group.initial.rebalance.delay.ms": 0, "auto.create.topics.enable": "false",
            "share.coordinator.state.topic.replication.factor": copies, "share.coordinator.state.topic.min.isr": insync,
            "num.network.threads": 2, "num.io.threads": 4, "message.max.bytes": 8388608,
            "replica.fetch.max.bytes": 8388608, "log.segment.bytes": 134217728, "group.min.session.timeout.ms": 3000,
        }  # fmt: skip
        return "".join(f"{name}={value}\n" for name, value in said.items())
