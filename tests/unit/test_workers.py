"""Tests in several processes: each has a Redis to itself, and what they counted is added up."""

from types import SimpleNamespace

import pytest

from tests.servers import workers


def test_each_process_takes_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L07_TEST_REDIS", "unix:///a unix:///b")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    assert workers.address_of_mine("L07_TEST_REDIS") == "unix:///a"
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw1")
    assert workers.address_of_mine("L07_TEST_REDIS") == "unix:///b"
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw2")
    with pytest.raises(pytest.fail.Exception, match="names 2 servers"):
        workers.address_of_mine("L07_TEST_REDIS")
    monkeypatch.delenv("L07_TEST_REDIS")
    assert workers.address_of_mine("L07_TEST_REDIS") == ""


def test_what_workers_counted_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "counts", workers.Counter({("kafka", "home"): 3}))
    worker = SimpleNamespace(workeroutput={})
    workers.send_home(worker)
    workers.send_home(SimpleNamespace())  # the process that waits: nothing to send
    workers.Home().pytest_testnodedown(worker)
    workers.Home().pytest_testnodedown(SimpleNamespace())  # one that crashed
    assert workers.counts == {("kafka", "home"): 6}
