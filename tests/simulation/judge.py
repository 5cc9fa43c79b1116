"""What must be true in the end. Shares no code with the product: it folds what producers sent, in the order in which the
buffer says that it took it, and it checks that this order is one that can be.

Three looks, each of which would be enough for most faults: every record that is still in its log was taken exactly once and
in order; what came of it is what `buffer_model` makes of the same records and ticks; and, whatever the order was, the sets
of examples, rejects and lonely halves are those that follow from the records alone."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.contracts.buffer_model import Model
from tests.simulation.world import DLQ, EVENTS, WAIT_S

SEAL_COUNT, SEAL_AGE_MS, SEAL_MIN = 3, 600_000, 1


@dataclass(eq=False)
class Half:
    """What a record says, in the words of the model."""

    offset: int
    time_ms: int
    key: str
    side: str
    content: bytes
    track: str
    reason: str
    score: float | None
    confidence: float | None
    tiebreak: str
    body: bytes


@dataclass(eq=False)
class Unreadable:
    offset: int
    message: Any


@dataclass(eq=False)
class Ignored:
    offset: int
    reason: str


@dataclass(eq=False)
class Taken:
    """A record that the buffer took: which log (a topic may have been made again), which offset, what it was."""

    log: Any
    offset: int
    spec: Any
    time_ms: int

    @property
    def tp(self) -> str:
        return str(self.log.tp)

    def as_item(self) -> Any:
        spec = self.spec
        if spec.side == "broken":
            return Unreadable(self.offset, ("dead letter", self.tp, self.offset))
        if spec.side == "other":
            return Ignored(self.offset, "type_not_read")
        key, track = f"execution:{spec.run}", spec.track
        return Half(
            self.offset, self.time_ms, key, spec.side, spec.content, track, spec.reason,
            spec.score, spec.confidence, spec.tiebreak, spec.value,
        )  # fmt: skip


@dataclass(eq=False)
class Judge:
    kafka: Any
    world: Any
    state: Any
    inputs: tuple[str, ...]
    lossy: bool
    problems: list[str] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    logs: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    again: Counter[str] = field(default_factory=Counter)  # how often a log was reset that was no other

    def verdict(self) -> list[str]:
        for log in [*self.kafka.old, *self.kafka.of(self.inputs)]:
            self.logs[str(log.tp)].append(log)
        model = self._fold()
        self._nothing_lost()
        self._as_the_model(model)
        self._as_the_records_say()
        self._published()
        return self.problems

    def _wrong(self, what: str) -> None:
        self.problems.append(what)

    # ---------------------------------------------------------- the order in which it was taken

    def _fold(self) -> Model:
        model = Model(count=SEAL_COUNT, wait_ms=WAIT_S * 1000, age_ms=SEAL_AGE_MS, min_count=SEAL_MIN)
        at: dict[str, tuple[int, int]] = {}  # partition -> (which of its logs, next offset)
        for kind, *what in self.state.history:
            if kind == "tick":
                model.tick(what[0], {str(tp) for tp in what[1]}, expires=what[2])
                continue
            if kind == "rest":
                model.seal_rest()
                continue
            tp = str(what[0])
            if kind == "moved":
                model.ended.pop(tp, None)
                if what[1] is not None:
                    model.times[tp] = what[1]
            elif kind == "reset":
                if tp in at and at[tp][0] == what[1]:  # a person's word came late: the log was sound, and is read again
                    self.again[tp] += 1
                at[tp] = (what[1], 0)
            else:
                self._take(model, tp, what[1], at)
        return model

    def _take(self, model: Model, tp: str, item: Any, at: dict[str, tuple[int, int]]) -> None:
        number, next_ = at.get(tp, (0, 0))
        number = self._log_of(tp, item, number)
        if number < 0:
            return self._wrong(f"{tp}@{item.offset} was taken, and no log ever held it")
        log = self.logs[tp][number]
        if number == at.get(tp, (number, 0))[0] and item.offset < next_:
            return self._wrong(f"{tp}@{item.offset} was taken again: {next_} came next")
        at[tp] = number, item.offset + 1
        taken = Taken(log, item.offset, *log.ever[item.offset])
        self.taken.append(taken)
        which = f"#{number}.{self.again[tp]}" if number or self.again[tp] else ""
        model.record(tp + which, taken.as_item())
        return None

    def _log_of(self, tp: str, item: Any, number: int) -> int:
        for which in range(number, len(self.logs[tp])):
            seen = self.logs[tp][which].ever.get(item.offset)
            if seen is not None and _is_of(item, seen[0]):
                return which
        return -1

    def _nothing_lost(self) -> None:
        taken = {(id(t.log), t.offset) for t in self.taken}
        for log in self.kafka.of(self.inputs):
            lost = [n for n in log.ever if n not in log.gone and (id(log), n) not in taken]
            if lost:
                self._wrong(f"{log.tp}: lost {lost}")

    # ---------------------------------------------------------- what came of it

    def _as_the_model(self, model: Model) -> None:
        state = self.state
        want: dict[str, Counter[str]] = defaultdict(Counter)  # over all logs that a partition ever had
        for tp, counters in model.counters().items():
            want[tp.partition("#")[0]].update({name: n for name, n in counters.items() if n})
        have: dict[str, dict[str, int]] = defaultdict(dict)
        for (name, tp), n in state.counts.items():
            if n:
                have[str(tp)][name] = n
        if want != have:
            self._wrong(f"counters {dict(have)}, the model has {dict(want)}")
        if dict(model.all_reasons()) != {name: n for name, n in state.reasons.items() if n}:
            self._wrong(f"reasons {dict(state.reasons)}, the model has {dict(model.all_reasons())}")
        wanted = {seal[0]: _over_logs(seal) for seal in model.seals()}
        found = {ident: _described(state, sealed) for ident, sealed in state.sealed.items()}
        for ident in sorted(wanted.keys() | found.keys()):
            if wanted.get(ident) != found.get(ident):
                self._wrong(f"batch {ident} is {found.get(ident)}, the model has {wanted.get(ident)}")

    def _as_the_records_say(self) -> None:
        """Without any order: who must be an example, who a reject, who stays alone."""
        sides: dict[str, set[str]] = defaultdict(set)
        for taken in self.taken:
            sides[taken.spec.run].add(taken.spec.side)
        met = {run for run, has in sides.items() if "both" in has or has >= {"trace", "score"}}
        alone = {run for run, has in sides.items() if has in ({"trace"}, {"score"})}
        self._each_once(met)
        expired = sum(n for (name, _), n in self.state.counts.items() if name == "expired")
        if expired < len(alone - self.world.may) or (not self.world.may and expired > len(alone)):
            self._wrong(f"{expired} halves expired, {len(alone)} runs are alone")

    def _each_once(self, met: set[str]) -> None:
        rows = [(row.key.partition(":")[2], row.why) for row in self._rows() if not row.revision]
        found = dict(rows)
        if len(found) != len(rows):
            self._wrong(f"in more than one row: {[run for run, n in Counter(run for run, _ in rows).items() if n > 1]}")
        if lost := sorted((met - self.world.may) - found.keys()):
            self._wrong(f"have both halves and are nowhere: {lost}")
        if strange := sorted(found.keys() - met):
            self._wrong(f"have not both halves and became examples: {strange}")
        clear = found.keys() - self.world.may
        if wrong := sorted(run for run in clear if (found[run] == ()) != (run in self.world.good)):
            self._wrong(f"judged wrongly: {[(run, found[run]) for run in wrong]}")

    def _rows(self) -> Iterator[Any]:
        for rows in self.state.rows.values():
            yield from rows

    # ---------------------------------------------------------- what left

    def _published(self) -> None:
        seals = self._distinct(EVENTS, "batch.sealed", lambda data: data["batch_id"])
        wanted = {ident: [row.key for row in self.state.rows[ident]] for ident in self.state.sealed}
        if not self.lossy and sorted(seals) != sorted(wanted):
            self._wrong(f"announced {sorted(seals)}, sealed {sorted(wanted)}")
        for ident, keys in wanted.items():
            announced = [data["keys"] for data in seals.get(ident, ())]
            if keys not in announced:
                self._wrong(f"{ident} holds {keys}, it was announced with {announced}")
            if not self.lossy and any(other != keys for other in announced):
                self._wrong(f"{ident} was announced with {announced}, and nothing that was on a disk was lost")
        self._in_order(list(seals))
        letters = self._distinct(DLQ, "learning.dead_letter", lambda d: f"{d['topic']}:{d['partition']}@{d['offset']}")
        broken = {f"{t.tp}@{t.offset}" for t in self.taken if t.spec.side == "broken"}
        if (broken - letters.keys()) or (letters.keys() - broken and not self.lossy):
            self._wrong(f"dead letters {sorted(letters)}, broken {sorted(broken)}")

    def _distinct(self, topic: str, kind: str, name: Any) -> dict[str, list[Any]]:
        """Everything of one type that is on the bus, by name in order of the first; under one id all is equal byte for byte.

        A name may stand for two things: a place in a topic that was made again, and the number of a batch when the buffer
        has lost what it had on its disk. An id may not."""
        found: dict[str, dict[bytes, Any]] = {}
        by_id: dict[str, set[bytes]] = {}
        for log in self.kafka.of([topic]):
            for record in log.records.values():
                document = json.loads(record.value)
                if document["type"] == kind:
                    found.setdefault(name(document["data"]), {})[record.value] = document["data"]
                    by_id.setdefault(document["id"], set()).add(record.value)
        for ident, values in by_id.items():
            if len(values) > 1:
                self._wrong(f"{kind} {ident} was published with {len(values)} different values")
        return {ident: list(values.values()) for ident, values in found.items()}

    def _in_order(self, idents: list[str]) -> None:
        last: dict[str, int] = defaultdict(int)
        for ident in idents:
            track, _, number = ident.rpartition("-")
            if int(number) <= last[track] and not self.lossy:
                self._wrong(f"{ident} was announced after number {last[track]}")
            last[track] = int(number)


KINDS = {"broken": "Unreadable", "other": "Ignored"}


def _is_of(item: Any, spec: Any) -> bool:
    """Can what the buffer took be this record?"""
    same = type(item).__name__ == KINDS.get(spec.side, "Half")
    return same and getattr(item, "body", spec.value) == spec.value


def _over_logs(seal: Any) -> Any:
    """A seal of the model; the smallest and largest offsets are over all logs that a partition ever had."""
    first, last = [defaultdict(list), defaultdict(list)]  # type: ignore[var-annotated]
    for into, places in ((first, seal[5]), (last, seal[6])):
        for tp, offset in places.items():
            into[tp.partition("#")[0]].append(offset)
    smallest = {tp: min(offsets) for tp, offsets in first.items()}
    return (*seal[:5], smallest, {tp: max(offsets) for tp, offsets in last.items()}, seal[7])


def _described(state: Any, sealed: Any) -> Any:
    rows, places = [], []
    for row in state.rows[sealed.id]:
        judge = (row.score or row.trace).half
        bodies = [kept and kept.half.body for kept in (row.trace, row.score)]
        rows.append((row.key, row.why, judge.score, judge.confidence, *bodies, row.revision))
        places += [(str(kept.tp), kept.half.offset) for kept in (row.trace, row.score) if kept]
    first = {tp: min(o for t, o in places if t == tp) for tp, _ in places}
    last = {tp: max(o for t, o in places if t == tp) for tp, _ in places}
    counts = (sealed.accepted, sealed.rejected)
    return (sealed.id, sealed.cause, sealed.at_ms, *counts, first, last, rows)
