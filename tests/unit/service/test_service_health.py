"""Health is progress: what the three pages say, and what the server behind them takes."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from l07.errors import HealthPortTaken, MoveNotAllowed
from l07.service.health import Health, exposition, served
from l07.settings.group import Health as Rules
from l07.telemetry import APPLIED, BACK_OFFS, CATALOGUE, HANDLED, LOOP_LAG, MEMORY_USED, RELAYED, SCRIPT, Metrics


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    health = Health("ingest", stall_s=60, clock=clock, metrics=Metrics())
    health.joined()
    return health


def status(health: Health, path: str) -> int:
    return health.page(path)[0]


def test_before_it_has_joined_a_consumer_is_alive_and_not_ready() -> None:
    fresh = Health("ingest", metrics=Metrics())
    assert (status(fresh, "/healthz"), status(fresh, "/readyz")) == (200, 503)
    fresh.joined()
    assert status(fresh, "/readyz") == 200


def test_a_loop_that_no_longer_comes_round_is_not_alive(health: Health, clock: Clock) -> None:
    clock.now += 61
    code, _, body = health.page("/healthz")
    assert (code, json.loads(body)["why"]) == (503, "the loop has not come round for 61 s")
    health.turned()
    assert status(health, "/healthz") == 200


def test_a_loop_that_comes_round_and_does_nothing_before_work_is_not_alive(health: Health, clock: Clock) -> None:
    health.lag = 5
    clock.now += 61
    health.turned()
    assert "nothing was done for 61 s with 5 to do" in health.trouble()
    health.turned(moved=True)
    assert health.trouble() == ""


def test_an_idle_consumer_is_alive_for_ever(health: Health, clock: Clock) -> None:
    for _ in range(100):
        clock.now += 59
        health.turned()
        assert health.trouble() == ""


def test_a_standstill_with_a_reason_is_alive_and_not_ready_and_is_no_standstill_afterwards(
    health: Health, clock: Clock
) -> None:
    health.lag = 5
    health.say("memory", "E7454", "full")
    clock.now += 300
    health.turned()
    assert health.trouble() == ""
    code, _, body = health.page("/readyz")
    assert (code, json.loads(body)["reasons"]) == (503, [{"what": "memory", "code": "E7454", "why": "full"}])
    health.unsay("memory")
    clock.now += 59
    health.turned()
    assert (health.trouble(), status(health, "/readyz")) == ("", 200)


def test_a_long_handler_is_no_standstill_and_is_measured(health: Health, clock: Clock) -> None:
    health.lag = 1
    with health.handling("DatasetCreated"):
        clock.now += 9000
        assert health.trouble() == ""
    assert health.trouble() == ""
    (found,) = health.metrics.histograms[HANDLED].items()
    assert (found[0], found[1].total) == (("DatasetCreated", "done"), 9000)


def test_a_handler_s_outcome_is_its_code(health: Health) -> None:
    with pytest.raises(MoveNotAllowed), health.handling("X"):
        raise MoveNotAllowed("no")
    with pytest.raises(ZeroDivisionError), health.handling("X"):
        raise ZeroDivisionError
    assert set(health.metrics.histograms[HANDLED]) == {("X", "E7211"), ("X", "failed")}


def test_the_exposition_is_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.add(APPLIED, 3, 'a "topic"\n', "0")
    metrics.add(BACK_OFFS, 1, "E7450")
    for value in (0.002, 0.002, 7, 5000):
        metrics.observe(SCRIPT, value)
    families = {family.name: family for family in text_string_to_metric_families(exposition(metrics).decode())}
    (sample,) = families["l07_applied"].samples
    assert (sample.name, sample.labels, sample.value) == (
        "l07_applied_total",
        {"topic": 'a "topic"\n', "partition": "0"},
        3,
    )
    script = {(s.name, s.labels.get("le")): s.value for s in families["l07_script_seconds"].samples}
    assert script["l07_script_seconds_bucket", "0.0025"] == 2
    assert script["l07_script_seconds_bucket", "10.0"] == 3
    assert script["l07_script_seconds_count", None] == script["l07_script_seconds_bucket", "+Inf"] == 4
    assert script["l07_script_seconds_sum", None] == 5007.004
    assert [s.value for s in families[RELAYED.name.removesuffix("_total")].samples] == [0], "a counter begins at zero"
    assert families[MEMORY_USED.name].samples == [], "what was never measured is absent"


def test_metrics_have_one_name_each_with_prefix_and_unit() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(names) == len(set(names))
    for metric in CATALOGUE:
        assert metric.name.startswith("l07_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.text
        assert not set(metric.labels) & {"id", "key", "job", "model", "execution_id", "batch"}


def test_a_partition_that_went_away_is_no_longer_shown() -> None:
    metrics = Metrics()
    metrics.set(APPLIED, 1, "t", "0")
    metrics.replace(APPLIED, {("t", "1"): 2.0})
    assert (metrics.value(APPLIED, "t", "0"), metrics.value(APPLIED, "t", "1")) == (0, 2)


# ------------------------------------------------------------------ HTTP


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def listening(health: Health) -> AsyncIterator[int]:
    async with served(health, Rules(port=free_port())) as port:
        yield port


async def asked(port: int, request: bytes) -> tuple[str, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


async def test_get_and_head_say_the_same_and_only_get_has_a_body(health: Health) -> None:
    async with listening(health) as port:
        for path in ("/healthz", "/readyz?verbose", "/metrics", "/nothing"):
            first, headers, body = await asked(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            again, same, nothing = await asked(port, f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
            assert first == again == ("HTTP/1.1 404 Not Found" if path == "/nothing" else "HTTP/1.1 200 OK")
            assert int(headers["Content-Length"]) == len(body) == int(same["Content-Length"])
            assert (headers["Connection"], nothing) == ("close", b"")


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"POST /healthz HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"DELETE /readyz HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"hello\r\n\r\n", "400 Bad Request"),
        (b"GET /healthz\r\n\r\n", "400 Bad Request"),
        (b"GET /healthz SPDY/3\r\n\r\n", "400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", "400 Bad Request"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", "431 Request Header Fields Too Large"),
    ],
)
async def test_what_is_no_request_for_a_page_is_refused(health: Health, request_: bytes, answer: str) -> None:
    async with listening(health) as port:
        first, headers, _ = await asked(port, request_)
        assert first == f"HTTP/1.1 {answer}"
        assert ("Allow" in headers) == answer.startswith("405")


async def test_who_says_nothing_is_cut_off(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l07.service.health.REQUEST_S", 0.05)
    async with listening(health) as port:
        assert (await asked(port, b"GET /heal"))[0] == "HTTP/1.1 408 Request Timeout"


async def test_many_who_hang_keep_nobody_out_for_ever(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l07.service.health.REQUEST_S", 0.2)
    async with listening(health) as port:
        hanging = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        assert (await asked(port, b"GET /healthz HTTP/1.1\r\n\r\n"))[0] == "HTTP/1.1 200 OK"
        for _, writer in hanging:
            writer.close()


async def test_a_taken_port_is_a_clear_stop(health: Health) -> None:
    async with listening(health) as port:
        with pytest.raises(HealthPortTaken, match=f":{port}: "):
            async with served(health, Rules(port=port)):
                pass


async def test_without_a_port_nothing_listens_and_the_loop_s_lag_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l07.service.health.BEAT_S", 0.01)
    health = Health("ingest", metrics=Metrics())
    async with served(health, Rules()) as port:
        assert port == 0
        async with asyncio.timeout(5):
            while health.metrics.value(LOOP_LAG) < 0.05:
                time.sleep(0.1)  # noqa: ASYNC251  # the loop is blocked on purpose
                await asyncio.sleep(0.005)
