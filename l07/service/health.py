"""What a consumer says of itself over HTTP: `/healthz` (it moves), `/readyz` (it can work, or why not), `/metrics`.

Health is progress, not connectivity: a consumer whose loop no longer comes round, or that stands still before work without
saying why, is not alive and should be started again. One that says why (memory is short, the buffer is away, its partitions
are halted) is alive and not ready: a restart would mend nothing.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

from l07.errors import HealthPortTaken, L07Error
from l07.settings.group import Health as Rules
from l07.telemetry import BUCKETS, CATALOGUE, HANDLED, INFO, LOOP_LAG, METRICS, Histogram, Metric, Metrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

log = logging.getLogger("l07.health")

HEAD_BYTES = 8192  # of a request, all of it: none has a body
REQUEST_S = 5.0
MOST_AT_ONCE = 32
BEAT_S = 0.5
CONTENT = "application/json"


class Reason(NamedTuple):
    """Why a consumer cannot work now."""

    code: str  # E7xxx, or "" where no error stands behind it
    text: str


@dataclass(slots=True)
class Health:
    """The state behind the three pages. Times are of `clock`, which never goes back."""

    consumer: str
    stall_s: float = 60.0
    clock: Callable[[], float] = time.monotonic
    metrics: Metrics = field(default_factory=lambda: METRICS)
    lag: int = 0  # records or events that are there and not done
    reasons: dict[str, Reason] = field(default_factory=dict)
    busy: int = 0  # handlers at work: their time is their own, the loop waits for them
    _turned_at: float = 0.0
    _moved_at: float = 0.0

    def __post_init__(self) -> None:
        self._turned_at = self._moved_at = self.clock()
        self.say("start", "", "not yet joined")
        self.metrics.set(INFO, 1, version("l07"), self.consumer)

    def joined(self) -> None:
        """The group is joined and the buffer was reached."""
        self.unsay("start")

    def turned(self, *, moved: bool = False) -> None:
        """The consumer's loop came round; `moved`: something was done."""
        self._turned_at = self.clock()
        if moved:
            self._moved_at = self._turned_at

    def say(self, key: str, code: str, text: str) -> None:
        """Not ready, under this key, until `unsay`."""
        self.reasons[key] = Reason(code, text)

    def unsay(self, key: str) -> None:
        if self.reasons.pop(key, None) is not None:
            self._moved_at = self.clock()  # a standstill that had a reason is none that counts

    @contextmanager
    def handling(self, kind: str) -> Iterator[None]:
        """Measure one handler; while it runs the consumer's loop may stand still. `kind` is the event's class, a closed set."""
        begun, outcome = self.clock(), "failed"
        self.busy += 1
        try:
            yield
            outcome = "done"
        except L07Error as err:
            outcome = err.code
            raise
        except asyncio.CancelledError:
            outcome = "cut off"
            raise
        finally:
            self.busy -= 1
            self.turned(moved=True)
            self.metrics.observe(HANDLED, self.clock() - begun, kind, outcome)

    def trouble(self) -> str:
        """Why this process should be started again; "" while it is alive."""
        now = self.clock()
        if self.busy:
            return ""
        if now - self._turned_at > self.stall_s:
            return f"the loop has not come round for {now - self._turned_at:.0f} s"
        if self.lag > 0 and not self.reasons and now - self._moved_at > self.stall_s:
            return f"nothing was done for {now - self._moved_at:.0f} s with {self.lag} to do"
        return ""

    def page(self, path: str) -> tuple[int, str, bytes]:
        """(status, content type, body) of a GET."""
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", exposition(self.metrics)
        if path == "/healthz":
            trouble = self.trouble()
            return (503 if trouble else 200), CONTENT, _json({"alive": not trouble, "why": trouble, "lag": self.lag})
        if path == "/readyz":
            said = [{"what": key, "code": why.code, "why": why.text} for key, why in sorted(self.reasons.items())]
            return (503 if said else 200), CONTENT, _json({"ready": not said, "reasons": said})
        return 404, CONTENT, _json({"pages": ["/healthz", "/readyz", "/metrics"]})


def exposition(metrics: Metrics) -> bytes:
    """Every metric in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics))
    return generate_latest(registry)


class _Collector:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator["Family"]:
        for metric in CATALOGUE:
            yield _family(metric, self._metrics)


def _family(metric: Metric, metrics: Metrics) -> "Family":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if metric.kind == "histogram":
        known = metrics.histograms.get(metric, {})
        histogram = HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
        for labels, found in known.items():
            histogram.add_metric(labels, buckets=_buckets(found), sum_value=found.total)
        return histogram
    counts = metric.kind == "counter"
    family = (CounterMetricFamily if counts else GaugeMetricFamily)(metric.name, metric.text, labels=metric.labels)
    nothing = {(): 0.0} if counts and not metric.labels else {}  # a gauge that was never measured is absent
    for labels, value in metrics.values.get(metric, nothing).items():
        family.add_metric(labels, value)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    out, total = [], 0
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), histogram.counts, strict=True):
        total += count
        out.append((bound, float(total)))
    return out


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


# ------------------------------------------------------------------ HTTP

STATUS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


@asynccontextmanager
async def served(health: Health, rules: Rules) -> AsyncIterator[int]:
    """The three pages at `health.host`:`health.port` (0: nothing listens); yields the port. The loop's own lag is measured too.

    Raises HealthPortTaken (E7800)."""
    beat = asyncio.create_task(_beat(health))
    server = await _listening(health, rules) if rules.port else None
    try:
        yield server.sockets[0].getsockname()[1] if server else 0
    finally:
        if server is not None:
            server.close()
        beat.cancel()
        with suppress(asyncio.CancelledError):
            await beat


async def _listening(health: Health, rules: Rules) -> asyncio.Server:
    gate = asyncio.Semaphore(MOST_AT_ONCE)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with gate:
                writer.write(await _reply(reader, health))
                await writer.drain()
        except OSError:
            return  # the client has gone
        finally:
            writer.close()

    try:
        return await asyncio.start_server(answer, rules.host, rules.port, limit=HEAD_BYTES)
    except OSError as err:
        text = f"health.host, health.port = {rules.host}:{rules.port}: {err.strerror or err}"
        raise HealthPortTaken(text, host=rules.host, port=rules.port) from err


async def _reply(reader: asyncio.StreamReader, health: Health) -> bytes:
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_S)
    except TimeoutError:
        return _response(408)
    except asyncio.LimitOverrunError:
        return _response(431)
    except asyncio.IncompleteReadError:
        return _response(400)
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return _response(400)
    if words[0] not in ("GET", "HEAD"):
        return _response(405, extra="Allow: GET, HEAD\r\n")
    status, kind, body = health.page(words[1].partition("?")[0])
    return _response(status, kind, body, head_only=words[0] == "HEAD")


def _response(
    status: int, kind: str = CONTENT, body: bytes = b"", *, head_only: bool = False, extra: str = ""
) -> bytes:
    head = (
        f"HTTP/1.1 {status} {STATUS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n{extra}\r\n"
    )
    return head.encode() + (b"" if head_only else body)


async def _beat(health: Health) -> None:
    """A blocked loop shows here first: the group's heartbeats are late by as much."""
    while True:
        due = health.clock() + BEAT_S
        await asyncio.sleep(BEAT_S)
        health.metrics.set(LOOP_LAG, max(0.0, health.clock() - due))
