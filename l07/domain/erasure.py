"""What was erased, as far as it may be remembered: keyed hashes of natural keys, subjects and sources.

The ledger `erasures` is the truth. A tombstone stands for ever: whatever comes again of what was erased, from a replay, a
flushed buffer or a producer that is late, is rejected.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from l07.domain.marks import KEY, SOURCE, SUBJECT, Marks
from l07.errors import SecretMissing
from l07.events.outbound import EntryLike

ORDERED, AGAIN, DONE = "erasure.ordered", "erasure.again", "erasure.done"
WIDENED, LOOKED, STUCK = "erasure.widened", "erasure.looked", "erasure.stuck"
CHECK = "check"  # its mark tells whether the key is the one that the others were made with


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Empty, it is false, and nothing is looked at."""

    marks: Marks = field(default_factory=lambda: Marks(b""))
    stones: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by kind: KEY, SUBJECT, SOURCE
    number: int = 0  # of the last entry that brought one

    def __bool__(self) -> bool:
        return any(self.stones.values())

    @property
    def by_content(self) -> bool:
        """Whether a natural key alone does not tell: the event must be looked into."""
        return bool(self.stones.get(SUBJECT) or self.stones.get(SOURCE))

    def stands_for(self, kind: str, name: str) -> bool:
        stones = self.stones.get(kind)
        return bool(stones and name and self.marks.of(kind, name) in stones)

    def any_of(self, kind: str, names: Iterable[str]) -> bool:
        return any(self.stands_for(kind, name) for name in names)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What a person ordered to be erased, and how far it is."""

    key: str  # "<kind>/<mark>"
    asked: int  # number of the entry that asked for it last
    at: str
    by: str
    reason: str
    done_at: str = ""  # "": parts of it are not done
    trouble: str = ""  # what a person must do before it can be done


@dataclass(frozen=True, slots=True)
class Erasures:
    """The state after some entries."""

    tombstones: Tombstones = field(default_factory=Tombstones)
    orders: Mapping[str, Erasure] = field(default_factory=dict)  # by key, oldest first
    looked_at: tuple[int, int] = (0, 0)  # in which datasets, by which tombstones: numbers of the last entries
    read: int = 0  # entries

    @property
    def open(self) -> list[Erasure]:
        return [order for order in self.orders.values() if not order.done_at]


def fold(entries: Sequence[EntryLike], marks: Marks | None) -> Erasures:
    """`marks` None: there is no key file, and without entries none is needed.

    Raises:
        SecretMissing: E7121, no key, or another than the tombstones were made with."""
    stones: dict[str, set[str]] = {KEY: set(), SUBJECT: set(), SOURCE: set()}
    orders: dict[str, Erasure] = {}
    number, looked_at = 0, (0, 0)
    for entry in entries:
        body = entry.body
        if entry.kind in (ORDERED, WIDENED):
            number = entry.number
            for kind, found in body["marks"].items():
                stones[kind].update(found)
        if entry.kind == ORDERED:
            _check(body, marks)
        if entry.kind == LOOKED:
            looked_at = body["datasets"], body["tombstones"]
        else:
            _step(orders, entry)
    frozen = {kind: frozenset(found) for kind, found in stones.items()}
    return Erasures(Tombstones(marks or Marks(b""), frozen, number), orders, looked_at, len(entries))


def _step(orders: dict[str, Erasure], entry: EntryLike) -> None:
    """What an entry says of its order."""
    body = entry.body
    if entry.kind == ORDERED:
        orders[entry.key] = Erasure(entry.key, entry.number, entry.at, body["by"], body["reason"])
        return
    order = orders[body["of"]]
    if entry.kind == AGAIN:
        orders[order.key] = replace(order, asked=entry.number, done_at="", trouble="")
    elif entry.kind == STUCK:
        orders[order.key] = replace(order, trouble=body["trouble"])
    elif entry.kind == DONE and order.asked == body["asked"]:
        orders[order.key] = replace(order, done_at=entry.at, trouble="")


def _check(body: Mapping[str, Any], marks: Marks | None) -> None:
    if marks is None or marks.of(CHECK, CHECK) != body[CHECK]:
        what = "gone" if marks is None else "another one than the tombstones were made with"
        raise SecretMissing(f"the key of the keyed hashes is {what}: restore keys/marks.key from a copy")


def order_of(marks: Marks, kind: str, names: Collection[str], *, reason: str, by: str) -> tuple[str, dict[str, Any]]:
    """Key and body of the entry that orders it. `names`: all that stand for the one thing that is meant."""
    found = sorted(marks.of(kind, name) for name in names)
    body = {"marks": {kind: found}, "reason": reason, "by": by, CHECK: marks.of(CHECK, CHECK)}
    return f"{kind}/{found[0]}", body


def is_member_erased(key: str, subject: str, source: str, tombstones: Tombstones) -> bool:
    """Of one whom a dataset knows; his `subject` is a mark already."""
    marked = subject in tombstones.stones.get(SUBJECT, frozenset())
    return marked or tombstones.stands_for(KEY, key) or tombstones.stands_for(SOURCE, source)
