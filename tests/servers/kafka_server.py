"""A real Kafka broker for tests: one that is there already, one in a container, or one from the jars of KAFKA_HOME."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

IMAGE = "apache/kafka:4.3.1"
CLUSTER_ID = "bDA3LXRlc3RzLWthZmthMQ"
STARTED = "Kafka Server started"
START_S = 90.0
SCRIPT = "/tmp/l07-start.sh"
LOG4J = """Configuration:
  Appenders:
    Console: {name: out, PatternLayout: {pattern: "[%d] %p %m (%c)%n"}}
  Loggers:
    Root: {level: INFO, AppenderRef: [{ref: out}]}
"""
BASE: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "INTERNAL",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    "log.initial.task.delay.ms": "86400000",  # the tests' records have times of long ago, and a broker deletes such
    "log.retention.check.interval.ms": "86400000",  # after half a minute, and then every five
    "num.network.threads": "2",
    "num.io.threads": "4",
}


class NoServer(Exception):
    """Why there is no server of this kind here."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """One broker with a client listener of any security. `properties` go over the ones that every test broker has."""

    kind: Literal["env", "docker", "home"]
    address: str  # host:port

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.kind = "env"

    def stop(self) -> None:
        """Nothing: somebody else's."""


def properties(
    *, listen: str, advertised: str, internal: int, controller: int, security: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """`listen` and `advertised` are host:port of the listener that clients use."""
    return {
        **BASE,
        "listeners": f"CLIENT://{listen},INTERNAL://127.0.0.1:{internal},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENT://{advertised},INTERNAL://127.0.0.1:{internal}",
        "listener.security.protocol.map": f"CLIENT:{security},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        **extra,
    }


class HomeBroker(Broker):
    """`kafka.Kafka` from a folder with `libs/`. It can be killed, frozen and started again on the data that it had."""

    def __init__(self, home: Path, *, security: str = "PLAINTEXT", extra: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.kind = "home"
        self._classpath = str(home / "libs" / "*")
        self.folder = Path(tempfile.mkdtemp(prefix="l07-kafka-"))
        port, self.internal, controller = free_port(), free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        conf = properties(
            listen=self.address, advertised=self.address, internal=self.internal, controller=controller,
            security=security, extra={"log.dirs": str(self.data), **(extra or {})},
        )  # fmt: skip
        (self.folder / "log4j2.yaml").write_text(LOG4J)
        text = "".join(f"{name}={_escaped(value)}\n" for name, value in conf.items())
        (self.folder / "server.properties").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None
        formatting = ["format", "--ignore-formatted", "-t", CLUSTER_ID, "-c", str(self.folder / "server.properties")]
        done = subprocess.run(
            self._java("256m", "kafka.tools.StorageTool", *formatting), capture_output=True, check=False
        )
        if done.returncode:
            raise NoServer(
                f"the storage of a broker cannot be formatted: {done.stdout[-500:]!r} {done.stderr[-500:]!r}"
            )
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def _java(self, heap: str, *command: str) -> list[str]:
        java = shutil.which("java", path=f"{os.environ['JAVA_HOME']}/bin") if os.environ.get("JAVA_HOME") else None
        java = java or shutil.which("java")
        if java is None:
            raise NoServer("KAFKA_HOME is set, but there is no java on PATH")
        log4j = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.yaml'}"
        return [
            java,
            f"-Xmx{heap}",
            "-XX:+UseSerialGC",
            "-Djava.awt.headless=true",
            log4j,
            "-cp",
            self._classpath,
            *command,
        ]

    def start(self) -> None:
        log = self.folder / "log.txt"
        said = log.read_text(errors="replace").count(STARTED) if log.exists() else 0
        with log.open("ab") as out:
            command = self._java("512m", "kafka.Kafka", str(self.folder / "server.properties"))
            self._process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        deadline = time.monotonic() + START_S
        while log.read_text(errors="replace").count(STARTED) == said:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoServer(f"the broker did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def hurt(self, number: int) -> None:
        """SIGKILL, SIGSTOP, SIGCONT... Stopped means that no thread of it answers any more."""
        assert self._process is not None
        os.kill(self._process.pid, number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def tool(self, name: str, *arguments: str) -> None:
        """A command of the distribution, by its class."""
        subprocess.run(self._java("256m", name, *arguments), capture_output=True, check=True)

    def halt(self, number: int = signal.SIGTERM) -> None:
        """End the process and keep the data."""
        if self._process is not None and self._process.poll() is None:
            self.hurt(number)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.hurt(signal.SIGKILL)
                self._process.wait(10)

    def stop(self) -> None:
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


class DockerBroker(Broker):
    """A container of the public image. Its address is known only once it runs: it waits for a script that names it."""

    def __init__(self, *, security: str = "PLAINTEXT", extra: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.kind = "docker"
        self._container = _container(IMAGE).with_exposed_ports(9092)
        self._container.with_command(["bash", "-c", f"until [ -s {SCRIPT} ]; do sleep 0.1; done; exec bash {SCRIPT}"])
        start_container(self._container)
        self.address = f"{self._container.get_container_host_ip()}:{self._container.get_exposed_port(9092)}"
        conf = properties(
            listen="0.0.0.0:9092", advertised=self.address, internal=19092, controller=9093,
            security=security, extra=extra or {},
        )  # fmt: skip
        self._run(conf)

    def _run(self, conf: Mapping[str, str]) -> None:
        exports = [f"export {_variable(name)}={_quoted(value)}" for name, value in conf.items()]
        exports += [f"export CLUSTER_ID={CLUSTER_ID}", "exec /etc/kafka/docker/run"]
        script = "\n".join(exports) + "\n"
        write = f"cat > {SCRIPT}.new <<'L07END'\n{script}L07END\nmv {SCRIPT}.new {SCRIPT}"
        code, out = self._container.exec(["bash", "-c", write])
        assert code == 0, out
        deadline = time.monotonic() + START_S
        while STARTED.encode() not in b"".join(self._container.get_logs()):
            if time.monotonic() > deadline:
                raise NoServer(f"the container's broker did not start: {self._container.get_logs()[0][-2000:]!r}")
            time.sleep(0.2)

    def stop(self) -> None:
        self._container.stop()


def _variable(name: str) -> str:
    """The public image's rule: dots, underscores and dashes become one, two and three underscores."""
    return "KAFKA_" + name.replace("_", "__").replace("-", "___").replace(".", "_").upper()


def _quoted(value: str) -> str:
    text = value.replace("\n", "\\n").replace("'", "'\\''")
    return f"'{text}'"


def _container(image: str) -> Any:
    os.environ.setdefault(
        "TESTCONTAINERS_RYUK_DISABLED", "true"
    )  # ends with us: every container is stopped by its fixture
    try:
        import docker
        from testcontainers.core.container import DockerContainer
    except ImportError as err:
        raise NoServer("testcontainers is not installed") from err
    try:
        docker.from_env(timeout=10).ping()
    except docker.errors.DockerException as err:
        raise NoServer(f"no Docker here: {err}") from err
    return DockerContainer(image)


def start_container(container: Any) -> None:
    import docker

    try:
        container.start()
    except docker.errors.DockerException as err:
        raise NoServer(f"the container does not start: {err}") from err


def a_container(image: str) -> Any:
    """Raises NoServer where there is no Docker."""
    return _container(image)


def kafka_home() -> Path:
    """Raises NoServer."""
    home = os.environ.get("KAFKA_HOME", "")
    if not home:
        raise NoServer("KAFKA_HOME is not set")
    if not (Path(home) / "libs").is_dir():
        raise NoServer(f"KAFKA_HOME={home} has no folder libs")
    return Path(home).absolute()


def a_broker(forced: str = "", *, security: str = "PLAINTEXT", extra: Mapping[str, str] | None = None) -> Broker:
    """A broker of our own; `forced` is docker or home, else the first that works here. Raises NoServer."""
    reasons = []
    for kind in [forced] if forced else ["docker", "home"]:
        try:
            if kind == "docker":
                return DockerBroker(security=security, extra=extra)
            return HomeBroker(kafka_home(), security=security, extra=extra)
        except NoServer as err:
            reasons.append(str(err))
    raise NoServer("; ".join(reasons))
