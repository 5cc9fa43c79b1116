"""All that an order asks for, wherever there are hands for it: buffer, bus, dead letters, datasets, the file on disk.

Each part may be done again at any time. Who finishes is whoever has everything open: `l07 forget` where nothing runs, else the
curator, so that no version is built beside it.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from l07.domain.erasure import DONE, Erasure
from l07.domain.marks import KEY
from l07.errors import ErasuresBehind
from l07.pipeline import announce
from l07.pipeline.forget import buffer as in_buffer
from l07.pipeline.forget import bus as on_bus
from l07.pipeline.forget import datasets as in_datasets
from l07.pipeline.forget.bus import OwnLog
from l07.pipeline.forget.datasets import Shelf
from l07.pipeline.forget.known import Known, disagreement, tell, widen
from l07.ports import Bus, ExampleBuffer
from l07.settings import Settings

log = logging.getLogger("l07.forget")

HEAR_S = 3.0  # every ingest has heard of an order by then: each looks once a second


@dataclass(slots=True)
class Hands:
    """What the work needs. `alone`: nobody reads the bus meanwhile, so nobody has to hear of it first."""

    known: Known
    buffer: ExampleBuffer
    bus: Bus
    shelf: Shelf
    alone: bool = False
    done: dict[str, int] = field(default_factory=dict)  # what went, over all calls

    @property
    def settings(self) -> Settings:
        return self.shelf.settings

    def add(self, **counts: int) -> None:
        for name, count in counts.items():
            self.done[name] = self.done.get(name, 0) + count


async def is_due(hands: Hands) -> bool:
    """Whether `finish` would do anything; costs next to nothing. Raises ErasuresBehind (E7128)."""
    await _agree(hands)
    return bool(hands.known.state.open) or await in_datasets.is_due(hands.known, hands.shelf)


async def finish(hands: Hands) -> bool:
    """Whether all that is ordered is done. What an interrupted call has done is found done. Raises ErasuresBehind (E7128)."""
    await _agree(hands)
    due = [order for order in hands.known.state.open if hands.alone or _is_heard(order, hands.shelf.now())]
    if due:
        keys = await _found(hands)
        if hands.known.tombstones.by_content:
            await widen(hands.known, due[-1], KEY, keys, at=hands.shelf.now())
        await _clean(hands, keys)
        for order in due:
            body = {"of": order.key, "asked": order.asked}
            await hands.known.note(DONE, f"{order.key}/{order.asked}", body, at=hands.shelf.now())
            log.warning("erased", extra={"order": order.key, **hands.done})
    elif hands.known.tombstones:
        hands.add(**await in_datasets.clean(hands.known, hands.shelf))
    return not hands.known.state.open


async def _agree(hands: Hands) -> None:
    await hands.known.look()
    if text := await disagreement(hands.known, hands.buffer):
        raise ErasuresBehind(text)
    await tell(hands.known, hands.buffer)


def _is_heard(order: Erasure, now: str) -> bool:
    return datetime.fromisoformat(now) - datetime.fromisoformat(order.at) > timedelta(seconds=HEAR_S)


async def _found(hands: Hands) -> set[str]:
    """Natural keys of what is to go, wherever it lies. Of a person and a source: their scores do not say whose they are."""
    tombstones = hands.known.tombstones
    keys = await in_buffer.found(hands.buffer, tombstones)
    for held in (await in_datasets.found(hands.known, hands.shelf)).values():
        keys.update(held)
    if isinstance(hands.bus, OwnLog):
        keys |= await on_bus.found(hands.bus, hands.settings.topics, tombstones)
    return keys


async def _clean(hands: Hands, keys: set[str]) -> None:
    """The outbox leaves first: a dead letter in it is one on the bus then. The file last, when nothing more goes."""
    topics, prefix = hands.settings.topics, hands.settings.types.prefix
    while await announce.relay(hands.buffer, hands.bus, topic=topics.events, prefix=prefix):
        pass
    gone = await hands.buffer.erase(keys)  # what it remembers of runs that lie there no more goes too
    hands.add(buffer=gone + await in_buffer.clean(hands.buffer, hands.known.tombstones))
    if isinstance(hands.bus, OwnLog):
        hands.add(**await on_bus.clean(hands.bus, topics, hands.known.tombstones))
    else:
        hands.add(letters=await on_bus.clean_letters(hands.bus, topics.dlq, hands.known.tombstones))
    hands.add(**await in_datasets.clean(hands.known, hands.shelf))
    ledgers = hands.shelf.datasets, hands.shelf.registry
    await announce.announce(ledgers, hands.bus, topic=topics.events, prefix=prefix)
    await hands.buffer.rewrite_file()
