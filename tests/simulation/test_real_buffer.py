"""The same schedules with the real script on an embedded Valkey: crashes between any two commands of `RedisBuffer`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as library

from l07.backends.embedded import EmbeddedRedis
from tests.simulation.plan import Fault
from tests.simulation.real import RealSimulation, a_real_plan

SEEDS = 30


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """A blocking client; the server is started by a loop of its own, which stands still while the simulation runs."""
    loop = asyncio.new_event_loop()
    embedded = EmbeddedRedis(tmp_path)
    try:
        client: Any = loop.run_until_complete(embedded.__aenter__())
        path = client.connection_pool.connection_kwargs["path"]
        with library.Redis(unix_socket_path=path) as blocking:
            # what is on disk is the simulation's to say: a real WAITAOF would wait for the server's next second each time
            blocking.config_set("appendfsync", "always")
            yield blocking
        loop.run_until_complete(embedded.__aexit__(None, None, None))
    finally:
        loop.close()


@pytest.mark.slow
def test_the_real_buffer_keeps_its_promises_under_the_same_schedules(server: Any) -> None:
    failures = {}
    for seed in range(SEEDS):
        if problems := RealSimulation(a_real_plan(seed), client=server).run():
            failures[seed] = problems[0]
    assert failures == {}


def many_crashes(seed: int, server: Any, *, barrier: bool) -> list[str]:
    """A server that writes to its disk only when it is waited for, and that crashes again and again."""
    plan = a_real_plan(seed)
    plan.lossy, plan.slow = False, 0.0
    plan.faults = [Fault(0.6 + 0.7 * n, "buffer crashes", 0.01, 0) for n in range(16)]
    sim = RealSimulation(plan, client=server)
    sim.redis.every_second, sim.redis.barrier = False, barrier
    return sim.run()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_without_the_barrier_the_real_buffer_is_caught(server: Any) -> None:
    assert [seed for seed in range(6) if many_crashes(seed, server, barrier=True)] == []
    assert any(many_crashes(seed, server, barrier=False) for seed in range(24))
