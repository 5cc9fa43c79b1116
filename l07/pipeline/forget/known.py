"""The ledger `erasures`: ordering, and hearing of what was ordered."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from l07.domain.erasure import AGAIN, CHECK, ORDERED, STUCK, WIDENED, Erasure, Erasures, Tombstones, fold, order_of
from l07.domain.marks import Marks
from l07.ports import ExampleBuffer, Ledger

Secret = Callable[[], Marks | None]  # None: there is no key file yet


@dataclass(slots=True)
class Known:
    """What is recorded, as of the last look. A look costs next to nothing while nothing has come."""

    ledger: Ledger
    secret: Secret
    state: Erasures = field(default_factory=Erasures)

    @property
    def tombstones(self) -> Tombstones:
        return self.state.tombstones

    async def look(self) -> bool:
        """Whether tombstones came since the last look. Raises SecretMissing (E7121); LedgerBroken (E7200) where the ledger's
        end is gone: whoever it stood for would come in again."""
        await self.ledger.announced()
        if not await self.ledger.entries(after=self.state.read):
            return False
        before = self.tombstones.number
        self.state = fold(await self.ledger.entries(), self.secret())
        return self.tombstones.number != before

    async def note(self, kind: str, key: str, body: Mapping[str, Any], *, at: str) -> None:
        """Record it, once; that the ledger is as long as this stands beside it, so that a cut end is noticed."""
        entry = await self.ledger.append(kind, key, body, at=at)
        await self.ledger.mark_announced(entry.number)
        await self.look()


async def disagreement(known: Known, buffer: ExampleBuffer) -> str:
    """Whether somebody on this buffer knows of tombstones that are not in our ledger, in words; "": nobody does."""
    ours, number = _ours(known)
    more = {key: at for key, at in (await buffer.erasures()).items() if at > (number if key == ours else 0)}
    if not more:
        return ""
    which = f"it ends at entry {number}, they at {more[ours]}" if ours in more else "theirs is another data folder's"
    return (
        f"others on this buffer know of erasures that the ledger of this data folder does not have ({which}): give every "
        "consumer the same ledgers/erasures and keys/marks.key"
    )


async def tell(known: Known, buffer: ExampleBuffer) -> None:
    """The others on this buffer, of our last tombstone: whoever has another data folder hears that there are some."""
    ours, number = _ours(known)
    if number > (await buffer.erasures()).get(ours, 0):
        await buffer.note_erasures(ours, number)


def _ours(known: Known) -> tuple[str, int]:
    """What tells our key from others without telling it, and the number of our last tombstone."""
    tombstones = known.tombstones
    return (tombstones.marks.of(CHECK, CHECK), tombstones.number) if tombstones else ("", 0)


async def order(
    known: Known, marks: Marks, kind: str, names: Collection[str], *, reason: str, by: str, at: str
) -> tuple[Erasure, bool]:
    """Record it, before anything is done; and whether it had been recorded already: then it is done once more, for what came
    to lie somewhere since. `names` go no further than this."""
    await known.look()
    key, body = order_of(marks, kind, names, reason=reason, by=by)
    before = known.state.orders.get(key)
    if before is None:
        await known.note(ORDERED, key, body, at=at)
    elif before.done_at:
        await known.note(AGAIN, f"{key}/{before.asked}", {"of": key, "by": by, "reason": reason}, at=at)
    return known.state.orders[key], before is not None


async def widen(known: Known, erasure: Erasure, kind: str, names: Collection[str], *, at: str) -> None:
    """Tombstones for what was found to belong to it, such as the runs of a person: their scores do not name him."""
    marks = known.tombstones.marks
    new = sorted({marks.of(kind, name) for name in names} - known.tombstones.stones.get(kind, frozenset()))
    if new:
        await known.note(WIDENED, f"{erasure.key}/{new[0]}", {"of": erasure.key, "marks": {kind: new}}, at=at)


async def stuck(known: Known, trouble: str, *, at: str) -> None:
    """What keeps the open orders from being done, for whoever waits for them. The same again is one."""
    for order in known.state.open:
        body = {"of": order.key, "trouble": trouble}
        await known.note(STUCK, f"{order.key}/{order.asked}/{trouble[:5]}", body, at=at)
