"""What is recorded goes out: the buffer's outbox and the ledgers' entries, at least once, equal byte for byte.

A handler only appends to a ledger. Each ledger is its own outbox: this file publishes its entries in order, and then moves
the cursor that lies beside them. A crash in between repeats an event under the same id.

Several processes may do this at once. Each publishes the oldest that is there, in order, and only what is on the bus is
dropped or passed over: so whenever an entry is published, all before it were, and first occurrences keep their order.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from l07.domain.job_ledger import FAILED
from l07.errors import BudgetSpent, MessageTooLarge, PolicyOutOfBounds, RewardHacked
from l07.events import cloudevents, deadletter, outbound
from l07.events.record import Message
from l07.ports import Bus, Entry, ExampleBuffer, Ledger, OutboxEntry

log = logging.getLogger("l07.announce")

MOST, MOST_BYTES = 100, 4_000_000  # of one publish
MOST_READ = 32  # of the outbox at a time: an entry may be as large as an event
GUARDS: Mapping[str, str] = {  # of a `training.failed` that is the end of its job: what somebody has to do
    BudgetSpent.code: "raise the budget that training.failed names and ask for the job again: it goes on from its last checkpoint",
    PolicyOutOfBounds.code: "look at what the policy wrote and at its curves; its last good weights are kept beside the job",
    RewardHacked.code: "mend the reward or its reward model; the policy's last good weights are kept beside the job",
}
TEXT_KEPT = 1000  # characters of what a cut dead letter says was wrong


class _Item(NamedTuple):
    """Something to say, the mark that stands for it, and what is said in its place where the topic does not take it."""

    mark: str | int
    message: Message | None
    cut: Callable[[], Message]


async def relay(buffer: ExampleBuffer, bus: Bus, *, topic: str, prefix: str = "", limit: int = MOST_READ) -> int:
    """Publish the oldest entries of the outbox, then drop them; how many went out."""
    entries = await buffer.outbox(limit=limit)
    for items in _bounded(_of_outbox(entry, topic, prefix) for entry in entries):
        await _publish(items, bus)
        await buffer.sent([str(item.mark) for item in items])
    return len(entries)


async def announce(ledgers: Sequence[Ledger], bus: Bus, *, topic: str, prefix: str = "") -> int:
    """Publish what each ledger holds beyond its cursor; how many events went out."""
    count = 0
    for ledger in ledgers:
        entries = await ledger.entries(after=await ledger.announced())
        for items in _bounded(item for entry in entries for item in _items(entry, topic, prefix)):
            count += await _publish(items, bus)
            await ledger.mark_announced(int(items[-1].mark))
    return count


def _bounded(items: Iterable[_Item]) -> Iterator[Sequence[_Item]]:
    """In order, in pieces that fit into memory; encoded only when their turn comes."""
    piece: list[_Item] = []
    size = 0
    for item in items:
        piece.append(item)
        size += len(item.message.value) if item.message else 0
        if len(piece) >= MOST or size >= MOST_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


async def _publish(items: Sequence[_Item], bus: Bus) -> int:
    """One that the topic will never take is said in a shorter form: it must not hold up what comes after it."""
    messages = [item.message for item in items if item.message is not None]
    try:
        await bus.publish(messages)
    except MessageTooLarge:
        for item in items:
            if item.message is not None:
                await _publish_one(item.message, item.cut, bus)
    return len(messages)


async def _publish_one(message: Message, cut: Callable[[], Message], bus: Bus) -> None:
    try:
        await bus.publish([message])
    except MessageTooLarge as err:
        shorter = cut()
        if len(shorter.value) >= len(message.value):
            raise
        log.error("message_cut", extra={"code": err.code, "topic": message.topic, "bytes": len(message.value)})
        await bus.publish([shorter])


# ------------------------------------------------------------------ in full, and cut


def _of_outbox(entry: OutboxEntry, topic: str, prefix: str) -> _Item:
    letter, seal = entry.message, entry.seal
    if letter is not None:
        return _Item(entry.id, letter, lambda: _cut_letter(letter))
    assert seal is not None  # an outbox entry is one of the two
    event = outbound.from_seal(seal, entry.keys)

    def without_keys() -> Message:
        """The curator reads the batch from the buffer; the keys are for others, and stand in the dataset's provenance."""
        data = msgspec.structs.replace(event.data, keys=[], keys_left_out=len(entry.keys))
        return cloudevents.encode(msgspec.structs.replace(event, data=data), topic=topic, prefix=prefix)

    return _Item(entry.id, cloudevents.encode(event, topic=topic, prefix=prefix), without_keys)


def _cut_letter(message: Message) -> Message:
    """A dead letter that still says where the record lies, its length, its digest and what was wrong with it."""
    document = msgspec.json.decode(message.value)
    data = msgspec.convert(document["data"], deadletter.DeadLetterData)
    data = msgspec.structs.replace(data, headers=[], key=None, raw=None, message=data.message[:TEXT_KEPT])
    return message._replace(value=msgspec.json.encode({**document, "data": data}))


def _items(entry: Entry, topic: str, prefix: str) -> Iterator[_Item]:
    """What an entry says, behind the alert that it raises: the mark of that is the entry before, so that neither is passed
    over when they go out in two pieces."""
    data = entry.body.get("data") or {}
    todo = GUARDS.get(str(data.get("code"))) if entry.kind == FAILED and not data.get("again") else None
    if todo is not None:
        told = outbound.alert(
            str(data["code"]), "error", stopped=f"the training job {data['job_id']} of track {data['track']}", todo=todo,
            at=entry.at, cause=f"{entry.ledger}/{entry.number}",
        )  # fmt: skip
        message = cloudevents.encode(told, topic=topic, prefix=prefix)
        yield _Item(entry.number - 1, message, lambda: message)
    yield _of_entry(entry, topic, prefix)


def _of_entry(entry: Entry, topic: str, prefix: str) -> _Item:
    event = outbound.from_entry(entry)
    message = cloudevents.encode(event, topic=topic, prefix=prefix) if event is not None else None

    def alert() -> Message:
        told = outbound.alert(
            MessageTooLarge.code,
            "error",
            stopped=f"the announcement of entry {entry.number} of the ledger {entry.ledger}, {entry.kind} {entry.key}",
            todo="let the topic take larger messages, then announce again: remove the file `announced` of that ledger",
            at=entry.at,
            cause=f"{entry.ledger}/{entry.number}",
        )
        return cloudevents.encode(told, topic=topic, prefix=prefix)

    return _Item(entry.number, message, alert)
