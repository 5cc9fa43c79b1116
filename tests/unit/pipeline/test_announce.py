"""What is recorded goes out at least once, under one id, equal byte for byte."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from l07.errors import BusUnavailable, MalformedJson, MessageTooLarge
from l07.events.record import Message, Record
from l07.pipeline import announce as module
from l07.pipeline.announce import announce, relay
from l07.pipeline.ingest import dead_letter, ingest_rules
from l07.ports import OutboxEntry, Seal
from l07.settings import Settings
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
    ledger.cursor = 0  # what the crash lost
    await announce([ledger], bus, topic="learning.events")
    first, again = bus.topics["learning.events"]
    assert (first.key, first.value) == (again.key, again.value)


async def test_nothing_is_passed_over_while_the_bus_is_down() -> None:
    bus, ledger = MemoryBus(fail_next=BusUnavailable("down")), await a_ledger(2)
    with pytest.raises(BusUnavailable):
        await announce([ledger], bus, topic="learning.events")
    assert await announce([ledger], bus, topic="learning.events") == 2


async def test_two_announcers_at_once_repeat_but_pass_nothing_over() -> None:
    bus, ledger = MemoryBus(), await a_ledger(3)
    late = SlowBus(bus, before=lambda: announce([ledger], bus, topic="learning.events"))
    await announce([ledger], late, topic="learning.events")  # type: ignore[arg-type]
    assert ids(bus) == [*ids(bus)[:3], *ids(bus)[:3]]
    assert ledger.cursor == 3


async def test_a_long_ledger_goes_out_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    bus, ledger = MemoryBus(), await a_ledger(5)
    pieces: list[int] = []
    counted = SlowBus(bus, before=None, sizes=pieces)
    assert await announce([ledger], counted, topic="learning.events") == 5  # type: ignore[arg-type]
    assert pieces == [2, 2, 1]


async def test_an_entry_that_the_topic_does_not_take_is_an_alert_and_holds_up_nothing() -> None:
    bus, ledger = MemoryBus(most_bytes=1500), MemoryLedger("jobs")
    await ledger.append("training.failed", "job-0", failed(0), at=AT)
    large: dict[str, Any] = failed(1)
    large["data"] = {**large["data"], "message": "x" * 5000}
    await ledger.append("training.failed", "job-1", large, at=AT)
    await ledger.append("training.failed", "job-2", failed(2), at=AT)
    assert await announce([ledger], bus, topic="learning.events") == 3
    told = distinct(bus)
    assert [event["type"] for event in told] == ["training.failed", "learning.alert", "training.failed"]
    assert told[1]["data"]["code"] == MessageTooLarge.code
    assert "entry 2 of the ledger jobs" in told[1]["data"]["stopped"]
    assert ledger.cursor == 3


# ------------------------------------------------------------------ the outbox


@dataclass
class Outbox:
    """The part of a buffer that is relayed."""

    entries: list[OutboxEntry] = field(default_factory=list)

    async def outbox(self, *, limit: int) -> list[OutboxEntry]:
        return self.entries[:limit]

    async def sent(self, ids: list[str]) -> None:
        self.entries = [entry for entry in self.entries if entry.id not in ids]


@dataclass
class SlowBus:
    """A bus on which something else happens before a publish."""

    bus: MemoryBus
    before: Any
    sizes: list[int] = field(default_factory=list)

    async def publish(self, messages: list[Message]) -> None:
        self.sizes.append(len(messages))
        if self.before is not None:
            await self.before()
        await self.bus.publish(messages)


def ids(bus: MemoryBus) -> list[str]:
    return [json.loads(record.value or b"")["id"] for record in bus.topics.get("learning.events", [])]


def distinct(bus: MemoryBus) -> list[Any]:
    """What a receiver keeps that drops repeats by id: a publish that failed may have sent some."""
    read = [json.loads(record.value or b"") for record in bus.topics["learning.events"]]
    return list({event["id"]: event for event in read}.values())


def a_seal(number: int, *, track: str = "default", keys: int = 1) -> OutboxEntry:
    seal = Seal(f"{track}-{number}", track, "count", 1_767_600_000_000 + number, 1, 0, {"t:0": 1}, {"t:0": number})
    return OutboxEntry(f"{track}-{number}", seal, tuple(f"execution:{n}" for n in range(keys)), None)


def a_letter(headers: int) -> OutboxEntry:
    record = Record("t", 0, 7, 1_767_600_000_000, b"k", b"{", ((b"x", b"y" * headers),))
    message = dead_letter(record, MalformedJson("no end"), rules=ingest_rules(Settings(), cluster="c"))
    return OutboxEntry("letter", None, (), message)


async def relayed(buffer: Outbox, bus: Any, **options: Any) -> int:
    return await relay(buffer, bus, topic="learning.events", **options)  # type: ignore[arg-type]


async def test_what_was_published_and_not_dropped_goes_out_again_byte_for_byte() -> None:
    bus = MemoryBus()
    await relayed(Outbox([a_seal(1)]), bus)
    await relayed(Outbox([a_seal(1)]), bus)  # as after a crash between the two
    first, again = bus.topics["learning.events"]
    assert (first.key, first.value) == (again.key, again.value)


async def test_nothing_is_dropped_while_the_bus_is_away() -> None:
    buffer, bus = Outbox([a_seal(1), a_seal(2)]), MemoryBus(fail_next=BusUnavailable("away"))
    with pytest.raises(BusUnavailable):
        await relayed(buffer, bus)
    assert len(buffer.entries) == 2
    assert await relayed(buffer, bus) == 2
    assert buffer.entries == []


async def test_large_entries_go_out_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 5000)
    sizes: list[int] = []
    buffer = Outbox([a_seal(number, keys=100) for number in range(1, 9)])
    await relayed(buffer, SlowBus(MemoryBus(), before=None, sizes=sizes))
    assert sum(sizes) == 8
    assert max(sizes) <= 3


async def test_a_seal_that_the_topic_does_not_take_goes_out_without_its_keys() -> None:
    buffer, bus = Outbox([a_seal(1), a_seal(2, keys=1000), a_seal(3)]), MemoryBus(most_bytes=3000)
    assert await relayed(buffer, bus) == 3
    told = distinct(bus)
    assert [(event["data"]["keys"], event["data"].get("keys_left_out")) for event in told] == [
        (["execution:0"], None), ([], 1000), (["execution:0"], None),
    ]  # fmt: skip
    assert buffer.entries == []


async def test_a_dead_letter_that_the_topic_does_not_take_is_cut() -> None:
    buffer, bus = Outbox([a_letter(9000), a_seal(1)]), MemoryBus(most_bytes=3000)
    assert await relayed(buffer, bus) == 2
    (letter,) = bus.topics["learning.dlq"]
    said = json.loads(letter.value or b"")["data"]
    assert (said["code"], said["offset"], said["length"]) == ("E7005", 7, 1)
    assert (said["headers"], said["key"], said["raw"]) == ([], None, None)
    assert buffer.entries == []


async def test_what_cannot_even_be_cut_stops_us_and_stays() -> None:
    buffer = Outbox([a_seal(1)])
    with pytest.raises(MessageTooLarge):
        await relayed(buffer, MemoryBus(most_bytes=10))
    assert len(buffer.entries) == 1


class Torn:
    """A bus whose publish may end after any of its messages, and a relay that may die after any step."""

    def __init__(self, chance: random.Random) -> None:
        self.log: list[str] = []
        self.chance = chance

    async def publish(self, messages: list[Message]) -> None:
        for message in messages:
            self.log.append(json.loads(message.value)["data"]["batch_id"])
            if self.chance.random() < 0.1:
                raise BusUnavailable("torn")


async def schedule(seed: int) -> list[str]:
    """Three relays, each read-publish-drop cut into its steps and run in any order; the outbox grows meanwhile."""
    chance = random.Random(seed)
    buffer, bus = Outbox(), Torn(chance)
    new = iter([a_seal(number // 2 + 1, track="ab"[number % 2]) for number in range(40)])
    relays: list[Any] = [None] * 3
    while True:
        which = chance.randrange(4)
        if which == 3:
            if (entry := next(new, None)) is not None:
                buffer.entries.append(entry)
            elif not buffer.entries and not any(relays):
                return bus.log
        elif relays[which] is None:
            relays[which] = stepwise(buffer, bus, chance.randrange(1, 6))
        else:
            try:
                await anext(relays[which])
            except (StopAsyncIteration, BusUnavailable):
                relays[which] = None


async def stepwise(buffer: Outbox, bus: Torn, limit: int) -> Any:
    """relay(), with a pause wherever another process may come in between."""
    pauses: list[str] = []

    class Paused:
        async def outbox(self, *, limit: int) -> list[OutboxEntry]:
            return read

        async def sent(self, ids: list[str]) -> None:
            pauses.extend(ids)

    read = await buffer.outbox(limit=limit)
    yield
    await relayed(Paused(), bus)  # type: ignore[arg-type]
    yield
    await buffer.sent(pauses)


def first_occurrences(log: list[str], track: str) -> list[str]:
    return [batch for batch in dict.fromkeys(log) if batch.startswith(track)]


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_several_relays_do_first_occurrences_keep_their_order(seed: int) -> None:
    log = await schedule(seed)
    for track in "ab":
        assert first_occurrences(log, track) == [f"{track}-{number}" for number in range(1, 21)]


GUARDED = ("E7730", "E7312", "E7313")


async def a_guarded_ledger(code: str, *, again: bool = False) -> MemoryLedger:
    ledger, body = MemoryLedger("jobs"), failed(0)
    body["data"] = {**body["data"], "code": code, "again": again}  # type: ignore[dict-item]
    await ledger.append("training.failed", "job-0", body, at=AT)
    return ledger


def types(bus: MemoryBus) -> list[str]:
    return [json.loads(record.value or b"")["type"] for record in bus.topics["learning.events"]]


@pytest.mark.parametrize("code", GUARDED)
async def test_a_job_that_a_guard_stopped_raises_an_alert(code: str) -> None:
    bus, ledger = MemoryBus(), await a_guarded_ledger(code)
    assert await announce([ledger], bus, topic="learning.events") == 2
    assert types(bus) == ["learning.alert", "training.failed"]
    told = json.loads(bus.topics["learning.events"][0].value or b"")["data"]
    assert (told["code"], told["severity"]) == (code, "error")
    assert "job-0" in told["stopped"]
    assert told["todo"]


async def test_an_alert_is_repeated_under_its_id_and_never_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off between alert and event, both go out again; the cursor did not pass the entry."""
    monkeypatch.setattr(module, "MOST", 1)
    bus, ledger = MemoryBus(), await a_guarded_ledger("E7730")
    failing = FailsAfter(bus, 1)
    with pytest.raises(BusUnavailable):
        await announce([ledger], failing, topic="learning.events")  # type: ignore[arg-type]
    assert (types(bus), ledger.cursor) == (["learning.alert"], 0)
    await announce([ledger], bus, topic="learning.events")
    assert types(bus) == ["learning.alert", "learning.alert", "training.failed"]
    first, again = bus.topics["learning.events"][:2]
    assert (first.key, first.value) == (again.key, again.value)


@pytest.mark.parametrize(("code", "again"), [("E7700", False), ("E7730", True)])
async def test_any_other_failure_raises_none(code: str, again: bool) -> None:
    bus = MemoryBus()
    await announce([await a_guarded_ledger(code, again=again)], bus, topic="learning.events")
    assert types(bus) == ["training.failed"]


@dataclass
class FailsAfter:
    """A bus that is down once it has taken `most` messages."""

    bus: MemoryBus
    most: int

    async def publish(self, messages: Any) -> None:
        if self.most <= 0:
            raise BusUnavailable("down")
        self.most -= len(messages)
        await self.bus.publish(messages)
