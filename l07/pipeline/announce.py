"""What is recorded goes out: the buffer's outbox and the ledgers' entries, at least once, equal byte for byte.

A handler only appends to a ledger. Each ledger is its own outbox: this file publishes its entries in order, from a cursor
that is committed after the bus has them. A crash in between repeats an event under the same id.
"""

from collections.abc import Sequence

from l07.events import cloudevents, outbound
from l07.events.record import Message, TopicPartition
from l07.ports import Bus, ExampleBuffer, Ledger, OutboxEntry

GROUP = "l07.announce"


async def relay(buffer: ExampleBuffer, bus: Bus, *, topic: str, limit: int = 100) -> int:
    """Publish the oldest entries of the outbox, then drop them; how many went out."""
    entries = await buffer.outbox(limit=limit)
    if not entries:
        return 0
    await bus.publish([_message(entry, topic) for entry in entries])
    await buffer.sent([entry.id for entry in entries])
    return len(entries)


async def announce(ledgers: Sequence[Ledger], bus: Bus, *, topic: str) -> int:
    """Publish what each ledger holds beyond its cursor; how many events went out."""
    cursors = await bus.committed(GROUP, [_cursor(ledger).topic for ledger in ledgers])
    count = 0
    for ledger in ledgers:
        entries = await ledger.entries(after=cursors.get(_cursor(ledger), 0))
        if not entries:
            continue
        events = [event for entry in entries if (event := outbound.from_entry(entry)) is not None]
        await bus.publish([_addressed(cloudevents.encode(event), topic) for event in events])
        await bus.commit(GROUP, {_cursor(ledger): entries[-1].number})
        count += len(events)
    return count


def _cursor(ledger: Ledger) -> TopicPartition:
    return TopicPartition(f"ledger/{ledger.name}", 0)


def _message(entry: OutboxEntry, topic: str) -> Message:
    if entry.message is not None:
        return entry.message
    assert entry.seal is not None  # an outbox entry is one of the two
    return _addressed(cloudevents.encode(outbound.from_seal(entry.seal, entry.keys)), topic)


def _addressed(message: Message, topic: str) -> Message:
    return message._replace(topic=topic)
