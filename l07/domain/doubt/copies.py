"""Copies of runs with a fault each, as numbers: what a source's trees learn faults from."""

import random
from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from l07.domain.doubt.faults import FAULTS, Run
from l07.domain.doubt.trail import read
from l07.domain.example import FEATURES, measure
from l07.domain.selection import keyed_hash

Value = TypeVar("Value")

REMEMBERED = 20_000  # a few hundred bytes each


class Texts(Protocol):
    """Where the texts of runs come from. To say which should be there is cheap, to fetch them need not be."""

    def there(self, keys: Collection[str]) -> Collection[str]: ...

    def fetch(self, keys: Collection[str]) -> Mapping[str, Run]:
        """Without those that are gone after all."""


class Held(dict[str, Run]):
    """Texts that are at hand."""

    def there(self, keys: Collection[str]) -> Collection[str]:
        return [key for key in keys if key in self]

    def fetch(self, keys: Collection[str]) -> Mapping[str, Run]:
        return {key: self[key] for key in keys}


class Copy(NamedTuple):
    """What is measured of a copy: FEATURES, then CONSISTENCY, and the trail."""

    values: tuple[float, ...]
    trail: bytes  # packed


class CountBoundCache(Generic[Value]):
    """What follows from texts alone, by their digests, so that nobody reads them twice; those go that nobody has asked for
    the longest."""

    def __init__(self, most: int = 0) -> None:
        """`most`: REMEMBERED, if it is 0."""
        self._most = most
        self._known: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, name: Hashable) -> Value | None:
        found = self._known.get(name)
        if found is not None:
            self._known.move_to_end(name)
        return found

    def put(self, name: Hashable, value: Value) -> None:
        self._known[name] = value
        if len(self._known) > (self._most or REMEMBERED):
            self._known.popitem(last=False)


_MADE: CountBoundCache[tuple[Copy, ...]] = CountBoundCache()


def copies(contents: Mapping[str, int], texts: Texts, *, each: int, seed: int) -> dict[str, tuple[Copy, ...]]:
    """Of each of these runs whose text is there `each` copies, every one with another fault; fewer where fewer faults
    change anything. `contents`: 64 bits of the texts' digests by key, 0 where there is none.

    What comes from another run comes from the next one on a ring, so that most copies stay as they were when a few
    runs come and go."""
    ring = sorted(texts.there(contents), key=lambda key: (keyed_hash(seed, "ring", key), key))
    after = dict(zip(ring, [*ring[1:], *ring[:1]], strict=True))
    names = {key: (seed, each, key, contents[key], contents[other]) for key, other in after.items()}
    made = {key: _MADE.get(names[key]) if all(names[key][3:]) else None for key in ring}
    missing = sorted(key for key, known in made.items() if known is None)
    runs = texts.fetch({*missing, *(after[key] for key in missing)}) if missing else {}
    for key in (key for key in missing if key in runs and after[key] in runs):
        found = tuple(_copies(runs[key], runs[after[key]], random.Random(keyed_hash(seed, "fault", key)), each))
        _MADE.put(names[key], found)
        made[key] = found
    return {key: found for key, found in sorted(made.items()) if found}


def _copies(run: Run, other: Run, rng: random.Random, each: int) -> Iterator[Copy]:
    for name in rng.sample(sorted(FAULTS), len(FAULTS)):
        made = FAULTS[name](run, other, rng) if each else None
        if made is not None:
            each -= 1
            features, reading = measure(made.messages, made.goal), read(made.messages, made.goal)
            yield Copy((*(features[name] for name in FEATURES), *reading.values), reading.trail)
