"""What a process says of itself: JSON log lines on stderr, which never hold a prompt or an answer, and every metric, once."""

import json
import logging
import sys
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Level = Literal["debug", "info", "warning", "error"]

log = logging.getLogger("l07")
LIBRARIES = ("aiokafka", "asyncio", "kafka")  # what they warn of is on our lines too: stderr is JSON, all of it

# What a trace says. A field of this name is dropped from a log line, whoever passes it.
SPEECH = frozenset(
    {"messages", "prompt", "prompts", "completion", "completions", "content", "answer", "final_answer"}
    | {"body", "raw", "value", "data"}
)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """{"time", "level", "event", ...fields}, one line a record; fields are what the call passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD and name not in SPEECH}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Stderr(logging.Handler):
    """Looks the stream up for each line, so that a redirected stderr gets what follows."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")
        sys.stderr.flush()


def log_to_stderr(level: Level) -> None:
    """Send our log lines to stderr from this level on; called again it only changes the level."""
    handler = _Stderr()
    handler.setFormatter(JsonLines())
    log.handlers[:] = [handler]
    log.setLevel(level.upper())
    for name in LIBRARIES:
        logging.getLogger(name).handlers[:] = [handler]


# ------------------------------------------------------------------ metrics

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `labels` are closed sets (topics, partitions, codes, types), never an id."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    text: str


def _partitioned(name: str, kind: Kind, text: str) -> Metric:
    return Metric(name, kind, "records", ("topic", "partition"), text)


# consumed = applied + duplicates + dead letters + rejected + waiting + expired, for each partition (G5)
CONSUMED = _partitioned("l07_consumed_total", "counter", "records that the buffer has taken")
APPLIED = _partitioned("l07_applied_total", "counter", "records that became part of a run")
DUPLICATES = _partitioned("l07_duplicates_total", "counter", "records that repeat another")
DEAD_LETTERS = _partitioned("l07_dead_letters_total", "counter", "records that could not be read")
REJECTED = _partitioned("l07_rejected_total", "counter", "records that were read and can never be an example")
WAITING = _partitioned("l07_waiting", "gauge", "records that wait for their other half")
EXPIRED = _partitioned("l07_expired_total", "counter", "records whose other half never came")
COUNTED = {
    "consumed": CONSUMED,
    "applied": APPLIED,
    "duplicate": DUPLICATES,
    "dead_letter": DEAD_LETTERS,
    "rejected": REJECTED,
    "waiting": WAITING,
    "expired": EXPIRED,
}
LAG = _partitioned("l07_lag", "gauge", "records between the last that was applied and the end of the partition")
OLDEST_WAITING = Metric("l07_oldest_waiting_seconds", "gauge", "seconds", (), "age of the oldest waiting half")
OUTBOX = Metric("l07_outbox_depth", "gauge", "entries", (), "entries of the outbox that have not left yet")
RELAYED = Metric("l07_relayed_total", "counter", "entries", (), "entries of the outbox that were published")
SCRIPT = Metric("l07_script_seconds", "histogram", "seconds", (), "one step of the buffer, as its client sees it")
REFUSED = Metric(
    "l07_refused_total", "counter", "steps", (), "steps that the buffer did not take because it stands elsewhere"
)
REBALANCES = Metric("l07_rebalances_total", "counter", "changes", (), "changes of this member's assignment")
HALTED = Metric(
    "l07_halted_partitions",
    "gauge",
    "partitions",
    (),
    "partitions that stand still because their log is not the one that was applied",
)
HELD = Metric("l07_held_partitions", "gauge", "partitions", (), "partitions that wait because memory is short")
MEMORY_USED = Metric("l07_buffer_memory_used_bytes", "gauge", "bytes", (), "memory of the buffer's server")
MEMORY_LIMIT = Metric(
    "l07_buffer_memory_limit_bytes", "gauge", "bytes", (), "memory that it may use; 0: no limit is known"
)
BACK_OFFS = Metric("l07_back_offs_total", "counter", "waits", ("code",), "waits for something that was down")
LOOP_LAG = Metric("l07_loop_lag_seconds", "gauge", "seconds", (), "how late the event loop comes round")
HANDLED = Metric(
    "l07_handler_seconds",
    "histogram",
    "seconds",
    ("type", "outcome"),
    "one control event's handler; outcome: done, cut off, failed, or the error's code",
)
INFO = Metric("l07_build_info", "gauge", "", ("version", "consumer"), "always 1")
CATALOGUE: tuple[Metric, ...] = (
    *COUNTED.values(), LAG, OLDEST_WAITING, OUTBOX, RELAYED, SCRIPT, REFUSED, REBALANCES, HALTED, HELD, MEMORY_USED,
    MEMORY_LIMIT, BACK_OFFS, LOOP_LAG, HANDLED, INFO,
)  # fmt: skip

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
Labels = tuple[str, ...]


@dataclass(slots=True)
class Histogram:
    """How many values fell into each bucket (the last one has no bound), and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.total += value


@dataclass(slots=True)
class Metrics:
    """The values of one process; `labels` in the order of the metric's."""

    values: dict[Metric, dict[Labels, float]] = field(default_factory=dict)
    histograms: dict[Metric, dict[Labels, Histogram]] = field(default_factory=dict)

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        known = self.values.setdefault(metric, {})
        known[labels] = known.get(labels, 0.0) + amount

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        self.values.setdefault(metric, {})[labels] = value

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        self.histograms.setdefault(metric, {}).setdefault(labels, Histogram()).observe(value)

    def replace(self, metric: Metric, values: Mapping[Labels, float]) -> None:
        """These label sets and no others: a partition that went to another member is no longer shown."""
        self.values[metric] = dict(values)

    def value(self, metric: Metric, *labels: str) -> float:
        return self.values.get(metric, {}).get(labels, 0.0)


METRICS = Metrics()  # of this process
