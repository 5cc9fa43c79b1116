"""What is recorded goes out at least once, under one id, equal byte for byte."""

import pytest

from l07.errors import BusUnavailable
from l07.pipeline.announce import announce
from tests.fakes import MemoryBus, MemoryLedger

AT = "2026-01-05T09:00:00.000Z"


def failed(number: int) -> dict[str, object]:
    data = {
        "job_id": f"job-{number}",
        "track": "default",
        "code": "E7700",
        "message": "killed",
        "attempts": 1,
        "again": False,
    }
    return {"subject": f"jobs/job-{number}", "causationid": None, "correlationid": None, "data": data}


async def a_ledger(entries: int) -> MemoryLedger:
    ledger = MemoryLedger("jobs")
    for number in range(entries):
        await ledger.append("training.failed", f"job-{number}", failed(number), at=AT)
    return ledger


async def test_each_entry_is_published_once_in_order() -> None:
    bus, ledger = MemoryBus(), await a_ledger(3)
    assert await announce([ledger], bus, topic="learning.events") == 3
    assert await announce([ledger], bus, topic="learning.events") == 0
    values = [record.value or b"" for record in bus.topics["learning.events"]]
    assert [b'"job-%d"' % n in values[n] for n in range(3)] == [True] * 3


async def test_an_entry_of_our_own_kind_is_passed_over() -> None:
    bus, ledger = MemoryBus(), MemoryLedger("jobs")
    await ledger.append("job.queued", "default:1.0.0", {"track": "default"}, at=AT)
    assert await announce([ledger], bus, topic="learning.events") == 0
    assert await announce([ledger], bus, topic="learning.events") == 0


async def test_a_crash_before_the_cursor_repeats_the_same_bytes() -> None:
    bus, ledger = MemoryBus(), await a_ledger(1)
    await announce([ledger], bus, topic="learning.events")
    bus.cursors.clear()  # what the crash lost
    await announce([ledger], bus, topic="learning.events")
    first, again = bus.topics["learning.events"]
    assert (first.key, first.value) == (again.key, again.value)


async def test_nothing_is_passed_over_while_the_bus_is_down() -> None:
    bus, ledger = MemoryBus(fail_next=BusUnavailable("down")), await a_ledger(2)
    with pytest.raises(BusUnavailable):
        await announce([ledger], bus, topic="learning.events")
    assert await announce([ledger], bus, topic="learning.events") == 2
