"""The world's records on their way to Kafka: idempotent, some in transactions of which some are aborted, at an even pace."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import xxhash
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tests.campaign.ports import REPOSITORY
from tests.campaign.world import PARTITIONS, Send

CHUNK = 50
DELIVERY_MS = 180_000


@dataclass
class Produced:
    """What was asked for. `uncertain`: nobody answered; the judge looks into the log itself."""

    sent: int = 0
    aborted: int = 0
    uncertain: int = 0


@dataclass
class Feeder:
    """Sends until there is no more, in a thread of its own."""

    bootstrap: str
    topics: Mapping[str, str]  # role -> topic
    seed: int
    produced: Produced = field(default_factory=Produced)
    failure: BaseException | None = None
    allowed: float = (
        1.0  # share of the records that may have been sent by now: the feed does not end before the faults do
    )

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed ^ 0x5EED)
        options = {
            "bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5, "message.max.bytes": 8_000_000,
            "delivery.timeout.ms": DELIVERY_MS, "log_level": 0, "queue.buffering.max.messages": 200_000,
        }  # fmt: skip
        self._plain = Producer(options)
        self._options = options | {"transaction.timeout.ms": 60_000, "delivery.timeout.ms": 50_000}
        self._careful = self._transactional()
        self._lock = threading.Lock()

    def run(self, sends: Iterable[Send], *, total: int, per_second: float, stop: threading.Event) -> None:
        """All of `sends`, about `total`, evenly; what goes wrong is kept in `failure`."""
        try:
            self._run(iter(sends), total, per_second, stop)
        except (KafkaException, BufferError, RuntimeError) as err:
            self.failure = err

    def _run(self, sends: Iterable[Send], total: int, per_second: float, stop: threading.Event) -> None:
        due, number = time.monotonic(), 0
        while not stop.is_set() and (chunk := list(islice(sends, CHUNK))):
            while number > self.allowed * total and not stop.is_set():
                stop.wait(0.1)
            draw = self._rng.random()
            if draw < 0.08:
                self.transaction(chunk, commit=True)
            else:
                self.plain(chunk)
            if draw > 0.96:
                self.transaction(self.ghosts(), commit=False)
            number += len(chunk)
            due = max(due, time.monotonic() - 1) + len(chunk) / per_second
            stop.wait(max(0.0, due - time.monotonic()))
        self.flush()

    def plain(self, sends: Sequence[Send]) -> None:
        with self._lock:
            for send in sends:
                self._produce(self._plain, send)
            self._plain.poll(0)

    def flush(self) -> None:
        """Everything is answered for, one way or the other."""
        with self._lock:
            left = self._plain.flush(DELIVERY_MS / 1000)
        if left:
            raise RuntimeError(f"{left} records were not answered for within {DELIVERY_MS / 1000:.0f} s")

    def transaction(self, sends: Sequence[Send], *, commit: bool) -> None:
        """A commit or an abort; one that the brokers' trouble broke is begun again, aborted first: nothing is left half done."""
        for _ in range(20):
            try:
                self._careful.begin_transaction()
                for send in sends:
                    self._produce(self._careful, send, counted=commit)
                self._careful.flush(30)
                (self._careful.commit_transaction if commit else self._careful.abort_transaction)(45)
            except KafkaException as err:
                if commit and err.args[0].code() == KafkaError._TIMED_OUT:
                    self.produced.uncertain += len(sends)
                self._again()
            else:
                self.produced.aborted += 0 if commit else len(sends)
                return
        raise RuntimeError("no transaction went through in 20 tries")

    def raw_headers(self) -> None:
        """A record with an undecodable header key for every input partition."""
        for role in ("traces", "planning", "scores"):
            words = ["-m", "tests.campaign.raw_header", self.bootstrap, self.topics[role], str(PARTITIONS[role])]
            subprocess.run([sys.executable, *words], cwd=REPOSITORY, check=True, timeout=120, capture_output=True)

    def ghosts(self) -> list[Send]:
        """Sound runs that are never committed: one of them in a batch is a fault of the reader."""
        from tests.campaign.world import Plan, World

        world = World(Plan(self._rng.randrange(1 << 40), 40, real=False, poison_every=10**9))
        return [send._replace(key=b"ghost") for send in world.sends()]

    def _again(self) -> None:
        self._careful = self._transactional()

    def _transactional(self) -> Producer:
        """Its start also ends what a producer of this name left open."""
        for _ in range(10):
            made = Producer(self._options | {"transactional.id": f"campaign-{self.topics['traces']}"})
            try:
                made.init_transactions(30)
            except KafkaException:
                continue
            return made
        raise RuntimeError("no transactional producer could be made")

    def _produce(self, producer: Producer, send: Send, *, counted: bool = True) -> None:
        producer.produce(
            self.topics[send.role], send.value, send.key, partition=self._partition(send),
            headers=list(send.headers), timestamp=send.time_ms, on_delivery=self._told if counted else None,
        )  # fmt: skip

    def _partition(self, send: Send) -> int:
        if send.partition is not None:
            return send.partition
        return xxhash.xxh32_intdigest(send.key or b"") % PARTITIONS[send.role]

    def _told(self, err: KafkaError | None, _: Message) -> None:
        if err is None:
            self.produced.sent += 1
        else:
            self.produced.uncertain += 1
