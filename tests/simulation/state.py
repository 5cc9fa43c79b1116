"""What the server's script does, in plain Python with values that never change: a copy of the dictionaries is a copy of the
state, and a rollback is an assignment. `test_state.py` proves it equal to the script over random batches."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from l07.backends.redis import BufferRules
from l07.events.record import Message, TopicPartition
from l07.ports import Half, IngestBatch, Position, Unreadable

DAY_MS = 86_400_000
SCORES_KEPT = 32


class Kept(NamedTuple):
    """A half and where it came from."""

    tp: TopicPartition
    half: Half


class Memory(NamedTuple):
    """What is remembered of a run. state: W waiting, J joined into a batch, X expired."""

    state: str = "W"
    trace: bytes = b""
    scores: tuple[bytes, ...] = ()
    track: str = ""
    number: int = 0
    index: int = 0
    reason: str = ""
    day: int = -1


class Wait(NamedTuple):
    kept: Kept
    content: Any  # of a trace; of a score all contents that were seen


class Row(NamedTuple):
    key: str
    why: tuple[str, ...]
    trace: Kept | None
    score: Kept | None
    time_ms: int
    revision: bool


class Track(NamedTuple):
    number: int = 1
    accepted: int = 0
    rejected: int = 0
    revisions: int = 0
    oldest_ms: int = 0


class Sealed(NamedTuple):
    track: str
    number: int
    cause: str
    at_ms: int
    accepted: int
    rejected: int

    @property
    def id(self) -> str:
        return f"{self.track}-{self.number}"


@dataclass
class State:
    """Everything that the server holds."""

    positions: dict[TopicPartition, Position] = field(default_factory=dict)
    logs: dict[TopicPartition, str] = field(default_factory=dict)
    ended: dict[TopicPartition, tuple[int, int]] = field(default_factory=dict)  # next and time of the tick at the end
    counts: Counter[tuple[str, TopicPartition]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    memory: dict[str, Memory] = field(default_factory=dict)
    waiting: dict[str, Wait] = field(default_factory=dict)
    tracks: dict[str, Track] = field(default_factory=dict)
    rows: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    sealed: dict[str, Sealed] = field(default_factory=dict)
    outbox: dict[int, Sealed | Message] = field(default_factory=dict)
    number: list[int] = field(default_factory=lambda: [0])  # of the last outbox entry
    history: list[tuple[Any, ...]] = field(default_factory=list)  # what was done, in order; the judge's witness

    def copy(self) -> "State":
        return State(*[getattr(self, name).copy() for name in _NAMES])


_NAMES = [f.name for f in fields(State)]


@dataclass(eq=False)
class Script:
    """What one step does to a state. `broken` switches rules off, for the controls."""

    rules: BufferRules
    broken: frozenset[str] = frozenset()
    clock: Callable[[], int] = lambda: 0  # of the server, in microseconds
    s: State = field(default_factory=State)
    _sealed: list[str] = field(default_factory=list)
    _net: Counter[str] = field(default_factory=Counter)

    # ---------------------------------------------------------- a batch

    def apply(self, batch: IngestBatch) -> tuple[dict[TopicPartition, int], dict[str, int], list[str]]:
        """What is refused; or what changed, and what was sealed."""
        have = [self._have(part.tp, part.start) for part in batch.parts]
        places, logs = zip(batch.parts, have, strict=True), self.s.logs
        refused = {p.tp: at for p, at in places if p.start > at or p.log not in ("", logs.get(p.tp))}
        if refused and self._fenced():
            return refused, {}, []
        self._sealed, self._net = [], Counter()
        for item in batch.items:
            if item.offset >= have[item.part] or not self._fenced():
                self._record(batch.parts[item.part].tp, item)
        for part, at in zip(batch.parts, have, strict=True):
            if part.next > at or not self._fenced():
                self._move(part)
        self._net.pop("consumed", None)
        return {}, {name: n for name, n in self._net.items() if n}, self._sealed

    def _off(self, rule: str) -> bool:
        return rule in self.broken

    def _fenced(self) -> bool:
        return not self.broken & {"fence", "kafka offsets"}

    def _have(self, tp: TopicPartition, start: int) -> int:
        missing = start if self._off("missing offset") else 0
        return self.s.positions[tp].next if tp in self.s.positions else missing

    def _move(self, part: Any) -> None:
        before = self.s.positions.get(part.tp, Position(0, b"", 0))
        last = (part.last_digest, part.last_time_ms) if part.last_digest else before[1:]
        self.s.positions[part.tp] = Position(part.next, *last)
        self.s.history.append(("moved", part.tp, part.last_time_ms if part.last_digest else None))

    def _record(self, tp: TopicPartition, item: Any) -> None:
        self.s.history.append(("record", tp, item))
        self._count(tp, "consumed")
        if isinstance(item, Unreadable):
            self._count(tp, "dead_letter")
            self._leave(item.message)
        elif not isinstance(item, Half):
            self._count(tp, "rejected")
            self.s.reasons[item.reason] += 1
        elif item.side == "score":
            self._score(Kept(tp, item))
        else:
            self._trace(Kept(tp, item))

    def _count(self, tp: TopicPartition, name: str, n: int = 1) -> None:
        self.s.counts[name, tp] += n
        self._net[name] += n

    def _duplicate(self, kept: Kept, reason: str) -> None:
        self._count(kept.tp, "duplicate")
        self.s.reasons[reason] += 1

    def _leave(self, what: Sealed | Message) -> None:
        self.s.number[0] = max(self.s.number[0], 0 if self._off("numbers") else self.clock()) + 1
        self.s.outbox[self.s.number[0]] = what

    def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        for tp, offset in offsets.items():
            if tp not in self.s.positions:
                self.s.positions[tp] = Position(offset, b"", 0)
                self.s.history.append(("moved", tp, 0))

    # ---------------------------------------------------------- a run

    def _known(self, key: str, time_ms: int) -> Memory | None:
        found = self.s.memory.get(key)
        if found is not None and found.day >= time_ms // DAY_MS - self._remember_days():
            return found
        waits = self.s.waiting.get(key)
        if waits is None:
            return None
        if waits.kept.half.side == "score":
            return Memory(scores=waits.content)
        return Memory(trace=waits.content)

    def _remember_days(self) -> int:
        return -(-self.rules.remember_s // 86400)

    def _remember(self, key: str, known: Memory, time_ms: int) -> Memory:
        known = known._replace(day=max(known.day, time_ms // DAY_MS))
        self.s.memory[key] = known
        return known

    def _trace(self, kept: Kept) -> None:
        half = kept.half
        known = self._known(half.key, half.time_ms) or Memory()
        if known.trace and not self._off("duplicates"):
            return self._duplicate(kept, "repeat" if known.trace == half.content else "trace_conflict")
        known = self._remember(half.key, known._replace(trace=half.content), half.time_ms)
        if known.state == "X":
            return self._duplicate(kept, "late")
        if half.key in self.s.waiting:
            score: Kept | None = self._stop_waiting(half.key)
            if half.side == "both" and self._better(half, score.half):  # type: ignore[union-attr]
                self._duplicate(score, "score_superseded")  # type: ignore[arg-type]
                score = None
            return self._join(known, kept, score, half.time_ms)
        if half.side == "both":
            return self._join(known, kept, None, half.time_ms)
        return self._wait(kept, half.content)

    def _score(self, kept: Kept) -> None:
        half = kept.half
        known = self._known(half.key, half.time_ms) or Memory()
        if half.content in known.scores and not self._off("duplicates"):
            return self._duplicate(kept, "repeat")
        known = known._replace(scores=(*known.scores, half.content)[-SCORES_KEPT:])
        known = self._remember(half.key, known, half.time_ms)
        if known.state == "X":
            return self._duplicate(kept, "late")
        if known.state != "J":
            return self._first_score(known, kept)
        if known.number == self._track(known.track).number:
            return self._second_score(known, kept)
        return self._revise(known, kept)

    def _first_score(self, known: Memory, kept: Kept) -> None:
        waits = self.s.waiting.get(kept.half.key)
        if waits is None:
            return self._wait(kept, known.scores)
        if waits.kept.half.side != "score":
            return self._join(known, self._stop_waiting(kept.half.key), kept, kept.half.time_ms)
        if not self._better(kept.half, waits.kept.half):
            return self._duplicate(kept, "score_superseded")
        self._duplicate(self._stop_waiting(kept.half.key), "score_superseded")
        return self._wait(kept, known.scores)

    def _second_score(self, known: Memory, kept: Kept) -> None:
        batch = f"{known.track}-{known.number}"
        row = self.s.rows[batch][known.index]
        judge = row.score or row.trace
        assert judge is not None
        if not self._better(kept.half, judge.half):
            return self._duplicate(kept, "score_superseded")
        self._settle(row, -1)
        if row.score:
            self._duplicate(row.score, "score_superseded")
        row = row._replace(score=kept, why=self._gate(row.trace.half.reason, kept.half))  # type: ignore[union-attr]
        rows = self.s.rows[batch]
        self.s.rows[batch] = (*rows[: known.index], row, *rows[known.index + 1 :])
        self._settle(row, 1)
        return self._seal_when_full(known.track, kept.half.time_ms)

    def _revise(self, known: Memory, kept: Kept) -> None:
        half = kept.half
        track = self._track(known.track)
        self.s.tracks[known.track] = track._replace(revisions=track.revisions + 1)
        self._add(known.track, Row(half.key, self._gate(known.reason, half), None, kept, half.time_ms, True))
        self._count(kept.tp, "applied")
        self.s.reasons["revision"] += 1

    @staticmethod
    def _better(a: Half, b: Half) -> bool:
        if a.confidence != b.confidence:
            return a.confidence > b.confidence  # type: ignore[operator]
        return a.tiebreak.encode() < b.tiebreak.encode()

    def _gate(self, extraction: str, judge: Half) -> tuple[str, ...]:
        low = judge.score < self.rules.quality_threshold and "low_score"  # type: ignore[operator]
        unsure = judge.confidence < self.rules.confidence_threshold and "low_confidence"  # type: ignore[operator]
        return tuple(why for why in (extraction, low, unsure) if why)

    # ---------------------------------------------------------- waiting, batches

    def _wait(self, kept: Kept, content: Any) -> None:
        self._count(kept.tp, "waiting")
        self.s.waiting[kept.half.key] = Wait(kept, content)

    def _stop_waiting(self, key: str) -> Kept:
        kept = self.s.waiting.pop(key).kept
        self._count(kept.tp, "waiting", -1)
        return kept

    def _track(self, name: str) -> Track:
        return self.s.tracks.setdefault(name, Track())

    def _add(self, name: str, row: Row) -> tuple[int, int]:
        track = self._track(name)
        batch = f"{name}-{track.number}"
        rows = self.s.rows.get(batch, ())
        self.s.rows[batch] = (*rows, row)
        oldest = row.time_ms if track.oldest_ms == 0 else min(track.oldest_ms, row.time_ms)
        self.s.tracks[name] = track._replace(oldest_ms=oldest)
        return track.number, len(rows)

    def _join(self, known: Memory, trace: Kept, score: Kept | None, at: int) -> None:
        judge, half = score or trace, trace.half
        row = Row(half.key, self._gate(half.reason, judge.half), trace, score, at, False)
        number, index = self._add(half.track, row)
        known = known._replace(state="J", track=half.track, reason=half.reason, number=number, index=index)
        self._remember(half.key, known, at)
        self._settle(row, 1)
        self._seal_when_full(half.track, at)

    def _settle(self, row: Row, sign: int) -> None:
        track = self._track(row.trace.half.track)  # type: ignore[union-attr]
        name = "rejected" if row.why else "applied"
        for kept in (row.trace, row.score):
            if kept is not None:
                self._count(kept.tp, name, sign)
        where = {"rejected": track.rejected + sign} if row.why else {"accepted": track.accepted + sign}
        self.s.tracks[row.trace.half.track] = track._replace(**where)  # type: ignore[union-attr]
        for why in row.why:
            self.s.reasons[why] += sign

    def _seal_when_full(self, name: str, at_ms: int) -> None:
        if self._track(name).accepted >= self.rules.seals[name].count:
            self._seal(name, "count", at_ms)

    def _seal(self, name: str, cause: str, at_ms: int) -> None:
        track = self._track(name)
        sealed = Sealed(name, track.number, cause, at_ms, track.accepted, track.rejected)
        self.s.sealed[sealed.id] = sealed
        self.s.rows.setdefault(sealed.id, ())
        self._leave(sealed)
        self._sealed.append(sealed.id)
        self.s.tracks[name] = Track(track.number + 1)

    # ---------------------------------------------------------- time

    def tick(
        self, now_ms: int, at_end: Collection[TopicPartition], inputs: Collection[TopicPartition] = ()
    ) -> list[str]:
        self._sealed, self._net = [], Counter()
        stored = self.s.positions
        claims = at_end if isinstance(at_end, Mapping) else dict.fromkeys(at_end, -1)
        here = [tp for tp, upto in claims.items() if upto < 0 or self._reached(tp, upto)]
        times = {tp: self._time_of(tp, p) for tp, p in stored.items()} | dict.fromkeys(here, now_ms)
        if not self._off("ended"):
            self.s.ended |= {tp: (stored[tp].next, now_ms) for tp in here if tp in stored}
        self.s.history.append(("tick", now_ms, tuple(here), all(tp in times for tp in inputs)))
        if all(tp in times for tp in inputs):
            self._expire_all(times)
        self._seal_old(now_ms)
        return self._sealed

    def _expire_all(self, times: dict[TopicPartition, int]) -> None:
        if self._off("progress"):  # by event time: the newest that was seen anywhere
            times = dict.fromkeys(times, max(times.values(), default=0))
        scores_at = _slowest(times, self.rules.score_topics)
        traces_at = _slowest(times, self.rules.trace_topics)
        for key, waits in list(self.s.waiting.items()):
            passed = traces_at if waits.kept.half.side == "score" else scores_at
            if passed is not None and waits.kept.half.time_ms < passed - self.rules.wait_s * 1000:
                self._expire(key)
        self._forget(min(times.values(), default=None))

    def _seal_old(self, now_ms: int) -> None:
        for name in sorted(self.s.tracks):
            track, rule = self.s.tracks[name], self.rules.seals[name]
            old = track.oldest_ms > 0 and now_ms - track.oldest_ms >= rule.max_age_s * 1000
            if old and track.accepted >= rule.min_count:
                self._seal(name, "age", now_ms)

    def _reached(self, tp: TopicPartition, upto: int) -> bool:
        stored = self.s.positions.get(tp)
        return self._off("claims") or (stored is not None and stored.next >= upto)

    def _time_of(self, tp: TopicPartition, position: Position) -> int:
        next_, time_ms = self.s.ended.get(tp, (-1, 0))
        return max(position.time_ms, time_ms) if next_ == position.next else position.time_ms

    def _expire(self, key: str) -> None:
        half = self.s.waiting[key].kept.half
        known = self._known(key, half.time_ms) or Memory()
        self._count(self._stop_waiting(key).tp, "expired")
        self._remember(key, known._replace(state="X"), half.time_ms + self.rules.wait_s * 1000)

    def _forget(self, progress: int | None) -> None:
        if progress is None:
            return
        limit = progress // DAY_MS - self._remember_days()
        for key in [key for key, known in self.s.memory.items() if known.day < limit]:
            del self.s.memory[key]

    def seal_rest(self) -> list[str]:
        self.s.history.append(("rest",))
        self._sealed = []
        newest = max((p.time_ms for p in self.s.positions.values()), default=0)
        for name in sorted(self.s.tracks):
            if self.s.tracks[name].accepted or self.s.tracks[name].revisions:
                self._seal(name, "idle", newest)
        return self._sealed


def _slowest(times: Mapping[TopicPartition, int], topics: frozenset[str]) -> int | None:
    return min((time for tp, time in times.items() if tp.topic in topics), default=None)
