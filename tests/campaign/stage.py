"""Everything that a campaign holds: servers, proxy, consumers, the feeder; and what is seen of them from outside."""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.campaign.kafka import Kafka, Node
from tests.campaign.members import Member
from tests.campaign.ports import free_ports, kafka_home
from tests.campaign.producing import Feeder
from tests.campaign.proxy import Door, Proxy
from tests.campaign.reading import Reader
from tests.campaign.redis_server import LIMIT_BYTES, RedisServer
from tests.campaign.world import PARTITIONS, TRACKS

ROLES = {
    "traces": "execution.traces", "planning": "planning.traces", "scores": "evaluation.quality_scores",
    "reviews": "learning.reviews", "events": "learning.events", "dlq": "learning.dlq",
}  # fmt: skip
QUIET_S = 4.0  # a publish that was under way when Redis went is over after this long, with healthy brokers


@dataclass
class Choices:
    """What the command line says."""

    seed: int = 1
    minutes: float = 20.0
    events: int = 300_000
    brokers: int = 1
    consumers: int = 3
    client: str = "aiokafka"
    shards: int = 1
    redis: str = "valkey"
    control: str = ""
    faults: int = 62
    gold_share: float = 0.06
    seal_count: int = 300
    seal_age_s: int = 20
    real: bool = True
    curators: int = 1
    without: Sequence[str] = ()
    kinds: Sequence[str] = ()  # exactly these, in this order; none: drawn from the seed
    patience: float = 1.0  # of the limits within which all must come to its end
    replay_days: int = 0  # above 0: everything is in Kafka before anybody reads, old record times, all traces first


@dataclass
class Stage:
    choices: Choices
    folder: Path
    kafka: Kafka
    redis: RedisServer
    proxy: Proxy
    doors: list[Door]
    topics: Mapping[str, str]
    feeder: Feeder
    redis_limit: int = LIMIT_BYTES
    ingesting: list[Member] = field(default_factory=list)
    curating: list[Member] = field(default_factory=list)
    boundaries: list[Mapping[tuple[str, int], int]] = field(
        default_factory=list
    )  # ends of the outgoing topics at each epoch
    samples: list[tuple[float, int]] = field(default_factory=list)  # (time, records consumed)
    stop: threading.Event = field(default_factory=threading.Event)
    extra: Member = field(init=False)

    @property
    def clock(self) -> Path:
        return self.folder / "clock"

    @property
    def members(self) -> list[Member]:
        return [*self.ingesting, *self.curating]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def name_of(self, door: Door) -> str:
        return "Redis" if door is self.doors[-1] else f"broker {self.doors.index(door) + 1}"

    # -------------------------------------------------------------- consumers

    def cast(self) -> None:
        """The consumers, made and started."""
        self.clock.write_text("0")
        (self.folder / "l07.toml").write_text(self._settings())
        control = ["--control", self.choices.control] if self.choices.control else []
        for number in range(self.choices.consumers):
            clock = ["--clock", str(self.clock)] if number == 0 and not control else []
            self.ingesting.append(self._member(f"ingest-{number + 1}", "consumers.ingest", [*clock, *control]))
        self.extra = self._member("ingest-extra", "consumers.ingest", control)
        self.extra.wanted = False
        for number in range(self.choices.curators):
            self.curating.append(self._member(f"curate-{number + 1}", "consumers.curate", ["--only", "gold"]))
        for member in self.members:
            member.start()

    def _member(self, name: str, module: str, extra: Sequence[str]) -> Member:
        return Member(name, module, {"L07_CONFIG": str(self.folder / "l07.toml")}, self.folder, extra)

    def _settings(self) -> str:
        choices = self.choices
        lines = [
            f'data_dir = "{self.data}"', 'log_level = "info"', "[topics]",
            *(f'{role} = "{topic}"' for role, topic in self.topics.items()),
            "[bus]", f'url = "kafka://{self.kafka.proxied}"', "[bus.kafka]", f'client = "{choices.client}"',
            "session_timeout_s = 6", "request_timeout_s = 5", "metadata_age_s = 5",
            "[buffer]", f'url = "redis://127.0.0.1:{self.doors[-1].shown}/0"', f"shards = {choices.shards}",
            *(["[ingest]", "slice_records = 20"] if choices.replay_days else []),
        ]  # fmt: skip
        for track, match in TRACKS.items():
            lines += [f"[tracks.{track}.match]", *(f"{name} = {json.dumps(values)}" for name, values in match.items())]
            count = choices.seal_count if track != "gold" else max(20, choices.seal_count // 3)
            lines += [
                f"[tracks.{track}.seal]",
                f"count = {count}",
                f"max_age_s = {choices.seal_age_s}",
                "min_count = 1",
            ]
        return "\n".join(lines) + "\n"

    # -------------------------------------------------------------- from outside

    def pause(self, seconds: float) -> None:
        """Time passes: consumers that ended are started, progress and the file's length are noted."""
        until = time.monotonic() + seconds
        while True:
            self.look()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(0.2, left))

    def look(self) -> None:
        for member in self.members:
            member.look()
        self.redis.sample()
        with suppress(redis.RedisError):
            self.samples.append((time.monotonic(), sum(one["consumed"] for one in self.counts().values())))

    def counts(self) -> Mapping[tuple[str, int], Counter[str]]:
        """The buffer's counters as they lie in Redis, over all shards."""
        out: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        for shard in range(self.choices.shards):
            found: Any = self.redis.client.hgetall(f"{{l07:default:{shard}}}:counts")
            for name, number in found.items():
                counter, _, where = name.decode().partition(" ")
                topic, _, partition = where.rpartition(":")
                out[(topic, int(partition))][counter] += int(number)
        return out

    def outbox(self) -> int:
        shards = range(self.choices.shards)
        found: Any = [self.redis.client.xlen(f"{{l07:default:{shard}}}:outbox") for shard in shards]
        return sum(found)

    @contextmanager
    def nobody_publishes(self) -> Iterator[None]:
        """The consumers are cut off from Redis, and what they had read of the outbox has arrived: the outgoing log is the end
        of an epoch. What is done inside may make the buffer forget what it had published."""
        door = self.doors[-1]
        self.proxy.refuse(door)
        self.pause(QUIET_S)
        reader = Reader(self.kafka.direct, [self.topics["events"]])
        self.boundaries.append(reader.ends())
        reader.close()
        try:
            yield
        finally:
            door.mode = "open"

    def close(self) -> None:
        self.stop.set()
        for member in [*self.members, *([self.extra] if hasattr(self, "extra") else [])]:
            member.wanted = False
            member.kill()
        self.redis.close()
        self.proxy.close()
        self.kafka.close()


def build(choices: Choices, folder: Path) -> Stage:
    """Servers up, topics made, nobody consumes yet."""
    home = kafka_home()
    if home is None:
        raise RuntimeError("no Kafka here: set KAFKA_HOME to a folder with libs/")
    ports = free_ports()
    nodes = [
        Node(number, folder / f"kafka-{number}", *(next(ports) for _ in range(4)))
        for number in range(1, choices.brokers + 1)
    ]
    with ExitStack() as made:  # what was started is ended, where something after it cannot start
        kafka, kept, proxy = Kafka(home, nodes), RedisServer(choices.redis, folder / "redis", next(ports)), Proxy()
        for server in (kafka, kept, proxy):
            made.callback(server.close)
        shown = next(ports)
        kafka.start()
        kept.start()
        doors = [proxy.open(node.shown, node.front) for node in nodes]
        doors.append(proxy.open(shown, kept.port))
        topics = dict(ROLES)
        kafka.make_topics({topics[role]: parts for role, parts in PARTITIONS.items()})
        feeder = Feeder(kafka.direct, topics, choices.seed)
        made.pop_all()
    return Stage(choices, folder, kafka, kept, proxy, doors, topics, feeder)
