"""Fixtures for tests on real servers, for every folder of tests (tests/conftest.py names this file as a plugin).

Where they come from, in this order: the address in L07_TEST_KAFKA (host:port) and L07_TEST_REDIS (redis://..., one for each
process of tests, split by spaces); Docker; KAFKA_HOME (a folder with libs/) and a redis-server on PATH. L07_TEST_SERVERS=docker|home takes that one or none.
Without any a test is skipped with the reasons, and fails where CI is set: there they must run.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import pytest

from tests.servers.kafka_server import Broker, HomeBroker, NoServer, a_broker, kafka_home
from tests.servers.redis_server import RedisServer, a_redis
from tests.servers.workers import Home, address_of_mine, counts, send_home

T = TypeVar("T")
KINDS = ("docker", "home", "env")
FIXTURES = {"kafka": "kafka", "redis_server": "redis"}  # fixture -> what it brings

USED = pytest.StashKey[list[str]]()

in_use: dict[str, str] = {}  # fixture -> kind of its server


def forced() -> str:
    kind = os.environ.get("L07_TEST_SERVERS", "")
    if kind not in ("", "docker", "home"):
        pytest.exit(f"L07_TEST_SERVERS={kind}: docker or home", 4)
    return kind


def or_skip(make: Callable[[], T]) -> T:
    """What `make` brings. Where there is no server: a skip at home, a failure in CI."""
    try:
        return make()
    except NoServer as err:
        _absent(str(err))


def _absent(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"no server for this test: {why}")
    pytest.skip(f"no server for this test: {why}")


def server_of(request: pytest.FixtureRequest, fixture: str) -> Any:
    """A server for a test that may do without: the count at the end has to know."""
    request.node.stash.setdefault(USED, []).append(fixture)
    return request.getfixturevalue(fixture)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """One broker for the session, without any security. `kind` says where it is from; make your own topics."""
    address = os.environ.get("L07_TEST_KAFKA", "")
    broker = Broker(address) if address and not forced() else or_skip(lambda: a_broker(forced()))
    in_use["kafka"] = broker.kind
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for the session, with an append-only file that is flushed at each write."""
    url = address_of_mine("L07_TEST_REDIS")
    server = RedisServer(url) if url and not forced() else or_skip(lambda: a_redis(forced()))
    in_use["redis_server"] = server.kind
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Shared with other tests: use `unique` in the buffer's name."""
    return redis_server.url if redis_server.url.startswith("unix://") else f"{server_url(redis_server.url)}/0"


def server_url(url: str) -> str:
    """Without a database."""
    head, _, path = url.partition("://")
    return f"{head}://{path.partition('/')[0]}"


@pytest.fixture
def home_broker() -> Iterator[Callable[..., HomeBroker]]:
    """Makes brokers that a test may kill, freeze, damage and start again, with any security and settings."""
    if forced() == "docker":
        _absent("this test hurts a process and its files: it needs KAFKA_HOME")
    made: list[HomeBroker] = []

    def make(**options: Any) -> HomeBroker:
        made.append(or_skip(lambda: HomeBroker(kafka_home(), **options)))
        in_use["home_broker"] = "home"
        return made[-1]

    yield make
    for broker in made:
        broker.stop()


@pytest.fixture
def unique() -> str:
    """Part of the names of topics, groups and buffers that belong to one test."""
    return secrets.token_hex(4)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    for fixture, server in FIXTURES.items():
        wanted = fixture in getattr(item, "fixturenames", ()) or fixture in item.stash.get(USED, [])
        if wanted and fixture in in_use:
            counts[server, in_use[fixture]] += 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """A test that made its own broker counts once it has."""
    if "home_broker" in getattr(item, "fixturenames", ()) and in_use.pop("home_broker", ""):
        counts["kafka", "home"] += 1
    yield


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.has_plugin("xdist"):
        config.pluginmanager.register(Home())


def pytest_sessionfinish(session: pytest.Session) -> None:
    send_home(session.config)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    parts = [
        f"{server} " + " ".join(f"{kind}={counts[server, kind]}" for kind in KINDS) for server in ("kafka", "redis")
    ]
    terminalreporter.write_line("servers: " + "; ".join(parts))
