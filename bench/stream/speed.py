"""Full ingest, the bare clients and the peers on the same topics, in turn, round after round; and the buffer's server alone."""

import gc
import itertools
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench import buffer as core
from bench.stream.fill import copies
from bench.stream.ours import SCORES, TRACES, Taken, full_ingest
from bench.stream.peers import NotRun, consume, environment, versions
from bench.stream.servers import PARTITIONS, Servers, redis_program, version
from bench.stream.table import Row
from l07.backends.embedded import server_program
from l07.events.record import Record, TopicPartition
from l07.ports import IngestBatch

TOPICS = (TRACES, SCORES)
CORE_EVENTS, SLICE = 30_000, 250
CLIENTS = ("aiokafka", "confluent")
PEERS = {"FastStream": "faststream_peer", "Quix": "quix_peer"}
Runs = dict[str, list[Taken]]


class Speed:
    """All figures of the rounds; a measure that cannot run is absent and has its reason in `why`."""

    def __init__(self, servers: Servers, total: int, peers: Path) -> None:
        self.servers = servers
        self.total = total
        self.peers = peers
        self.runs: Runs = defaultdict(list)
        self.core: dict[str, list[float]] = defaultdict(list)
        self.why: dict[str, str] = {}
        self._batches = core_batches()

    async def round(self) -> None:
        for client in CLIENTS:
            raw = partial(consume, self.servers, "raw", self.total, TOPICS, first=[client])
            self._run(f"raw {client}", raw)
            with tempfile.TemporaryDirectory(prefix="l07-") as folder:
                self._note(f"ours {client}", await full_ingest(self.servers, client, Path(folder), self.total))
        for name, module in PEERS.items():
            self._run(name, partial(self._peer, module))
        programs = {"Valkey": server_program(), "Redis": redis_program()}
        for name, program in programs.items():
            if program is not None:
                name = f"{name} {version(program)}"
                self.core[name].append((await core.one_round(program, self._batches))["per_server_cpu_s"])
                print(f"{name:16} {self.core[name][-1]:9,.0f} events/server CPU s", flush=True)

    def _peer(self, module: str) -> Taken:
        return consume(self.servers, module, self.total, TOPICS, python=environment(self.peers))

    def _run(self, name: str, measure: Callable[[], Taken]) -> None:
        try:
            self._note(name, measure())
        except NotRun as err:
            self.why[name] = str(err)
            print(f"{name:16} {err}", flush=True)

    def _note(self, name: str, taken: Taken) -> None:
        self.runs[name].append(taken)
        text = f"{name:16} {taken.per_cpu_s:9,.0f} events/CPU s {taken.per_s:9,.0f} events/s"
        if taken.buffer_cpu_s:
            text += f"; server {taken.records / taken.buffer_cpu_s:9,.0f} events/CPU s"
        if taken.broker_cpu_s:
            text += f"; broker {taken.broker_cpu_s:.1f} CPU s"
        print(text, flush=True)

    # -------------------------------------------------------------- rows

    def rows(self) -> list[Row]:
        return [
            *(self._rate(f"raw {client}", f"raw {client}") for client in CLIENTS),
            *(self._rate(f"ours {client}", f"full ingest, {client}") for client in CLIENTS),
            self._ratio("full ingest over aiokafka : raw aiokafka", "ours aiokafka", "raw aiokafka", 0.42, 0.60),
            self._ratio("full ingest over confluent : raw confluent", "ours confluent", "raw confluent", 0.24, 0.35),
            *self._core(),
            self._ratio(
                "full ingest over aiokafka : FastStream, batch to dict", "ours aiokafka", "FastStream", 1.6, 2.5
            ),
            self._ratio("full ingest over aiokafka : Quix Streams, a counter", "ours aiokafka", "Quix", 2.5, 4.0),
            self._ratio("the same over confluent, which Quix uses", "ours confluent", "Quix", None, None),
            *(
                Row(f"one process over {client}, events/s wall", must, None, self._wall(client), form=",.0f")
                for client, must in (("aiokafka", 30_000), ("confluent", None))
            ),
        ]

    def _wall(self, client: str) -> Sequence[float]:
        return [taken.per_s for taken in self.runs[f"ours {client}"]]

    def _rate(self, key: str, name: str) -> Row:
        return Row(f"{name}, events/CPU s", None, None, [taken.per_cpu_s for taken in self.runs[key]], form=",.0f")

    def _ratio(self, name: str, ours: str, theirs: str, must: float | None, goal: float | None) -> Row:
        """Of each round: a machine that is slower for a while is so for both."""
        pairs = zip(self.runs[ours], self.runs[theirs], strict=False)
        note = self.why.get(theirs, "")
        return Row(name, must, goal, [own.per_cpu_s / other.per_cpu_s for own, other in pairs], note=note)

    def _core(self) -> list[Row]:
        rows = []
        for name, found in self.core.items():
            must, goal = (core.MUST, core.GOAL) if name.startswith("Valkey") else (None, None)
            rows.append(Row(f"buffer alone, {name}, events/server CPU s", must, goal, found, form=",.0f"))
        return rows

    def peers_said(self) -> str:
        try:
            return versions(environment(self.peers))
        except NotRun as err:
            return str(err)


def core_batches() -> list[IngestBatch]:
    """Slices of 250 records, as an ingest process cuts them."""
    logs: dict[TopicPartition, list[Record]] = {}
    for number, (is_score, key, value) in enumerate(itertools.islice(copies(), CORE_EVENTS)):
        tp = TopicPartition(SCORES if is_score else TRACES, sum(key) % PARTITIONS)
        log = logs.setdefault(tp, [])
        log.append(Record(tp.topic, tp.partition, len(log), core.T0 + number * core.STEP_MS, key, value, core.HEADERS))
    batches = core.slices_of(logs, SLICE)
    gc.collect()
    gc.freeze()
    return batches
