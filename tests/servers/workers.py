"""Tests in several processes at once (pytest-xdist): who of them has which server, and what they counted."""

import os
from collections import Counter
from typing import Any

import pytest

COUNTS = "servers"  # what a worker sends home

counts: Counter[tuple[str, str]] = Counter()  # (server, kind) -> tests that ran on it


def worker_number() -> int:
    """0 where there is one process only."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def address_of_mine(variable: str) -> str:
    """The one among the addresses in a variable, split at white space, that this process has to itself; "": none is named.

    Tests empty their Redis, change its settings and fill its memory: two processes at one server would see each other."""
    named = os.environ.get(variable, "").split()
    if not named:
        return ""
    if worker_number() >= len(named):
        count = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
        pytest.fail(f"{variable} names {len(named)} servers for {count} processes: one for each, or -n {len(named)}")
    return named[worker_number()]


def send_home(config: Any) -> None:
    """At the end of a worker."""
    if hasattr(config, "workeroutput"):
        config.workeroutput[COUNTS] = [[*key, n] for key, n in counts.items()]


class Home:
    """In the process that waits for the workers; without xdist its hook would be unknown, so it is registered apart."""

    def pytest_testnodedown(self, node: Any) -> None:
        for server, kind, n in getattr(node, "workeroutput", {}).get(COUNTS, ()):
            counts[server, kind] += n
