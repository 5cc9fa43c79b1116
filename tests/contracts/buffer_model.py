"""What the buffer should have done, as a plain fold over the records in their order; no code of the product in it.

A run is an object; a record's fate is looked up at the end, from where it came to lie. Nothing is counted before."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Place = tuple[str, int]  # "topic:partition", offset


@dataclass(frozen=True)
class Pair:
    """A response and its request, where a trace is: their places stand where its place does."""

    response: Any
    request: Any
    side = "trace"
    score = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.response, name)

    @property
    def content(self) -> Any:
        return self.response.content, self.request.content

    @property
    def reason(self) -> str:
        return str(self.response.reason or self.request.reason)

    @property
    def time_ms(self) -> int:
        return max(self.response.time_ms, self.request.time_ms)

    @property
    def body(self) -> Any:
        return self.response.body, self.request.body


def places_of(place: Any) -> list[Place]:
    """Of a pair two."""
    return [place] if isinstance(place[0], str) else list(place)


@dataclass(eq=False)
class Run:
    trace: Any = None  # (place, half) of the accepted trace
    alone: Any = None  # (place, half) of a request or a response that waits for the other
    trace_content: Any = None
    score: Any = None  # (place, half) of the winning separate score
    contents: set[bytes] = field(default_factory=set)
    batch: "Batch | None" = None
    dead: bool = False  # a half of it expired
    done_at: int = 0
    held: bool = False

    def judge(self) -> Any:
        return (self.score or self.trace)[1]


@dataclass(eq=False)
class Batch:
    track: str
    number: int
    rows: list[Any] = field(default_factory=list)  # Run, or ("revision", place, half, extraction reason)
    cause: str = ""
    at: int = 0
    gone: list[int] = field(default_factory=list)  # times of rows that were erased: the batch is as old as it was

    @property
    def id(self) -> str:
        return f"{self.track}-{self.number}"


class Model:
    def __init__(
        self, *, count: int, wait_ms: int, age_ms: int, min_count: int, quality: float = 70.0, confidence: float = 0.6
    ) -> None:
        self.count, self.wait_ms, self.age_ms, self.min_count = count, wait_ms, age_ms, min_count
        self.gates = quality, confidence
        self.runs: dict[str, Run] = defaultdict(Run)
        self.fixed: dict[Place, tuple[str, str]] = {}  # a record whose fate is settled: counter, reason
        self.all: dict[Place, Any] = {}
        self.open: dict[str, Batch] = {}
        self.sealed: list[Batch] = []
        self.outbox: list[Any] = []
        self.times: dict[str, int] = {}
        self.ended: dict[str, int] = {}  # partitions that stand at their end, and the time of the tick that said so

    # ---------------------------------------------------------- records

    def record(self, tp: str, item: Any) -> None:
        place = (tp, item.offset)
        self.all[place] = item
        self.ended.pop(tp, None)
        kind = type(item).__name__
        if kind == "Unreadable":
            self.fixed[place] = ("dead_letter", "")
            self.outbox.append(item.message)
        elif kind == "Ignored":
            self.fixed[place] = ("rejected", item.reason)
        elif item.side == "score":
            self._score(place, item, self.runs[item.key])
        elif item.side in ("request", "response"):
            self._part(place, item, self.runs[item.key])
        else:
            self._trace(place, item, self.runs[item.key])

    def _trace(self, place: Place, half: Any, run: Run) -> None:
        if run.trace_content is not None:
            same = run.trace_content == half.content
            self._fix(place, "duplicate", "repeat" if same else "trace_conflict")
            return
        run.trace_content = half.content
        if run.dead:
            self._fix(place, "duplicate", "late")
            return
        run.trace = (place, half)
        if half.side == "both" and run.score and self._beats(half, run.score[1]):
            self.fixed[run.score[0]] = ("duplicate", "score_superseded")
            run.score = None
        if run.score or half.side == "both":
            self._complete(run, half.time_ms)

    def _part(self, place: Place, half: Any, run: Run) -> None:
        known = run.trace_content
        if isinstance(known, tuple):
            known = known[half.side == "request"]
        if run.alone and run.alone[1].side == half.side:
            same = run.alone[1].content == half.content
            self.fixed[place] = ("duplicate", "repeat" if same else "trace_conflict")
        elif run.alone:
            other, run.alone = run.alone, None
            (one, response), (two, request) = ((place, half), other)[:: 1 if half.side == "response" else -1]
            self._trace((one, two), Pair(response, request), run)
        elif known is not None:
            otherwise = "late" if run.dead else "trace_conflict"
            self.fixed[place] = ("duplicate", "repeat" if known == half.content else otherwise)
        elif run.dead:
            run.trace_content = half.content
            self.fixed[place] = ("duplicate", "late")
        else:
            run.alone = (place, half)

    def _fix(self, place: Any, counter: str, reason: str = "") -> None:
        self.fixed.update(dict.fromkeys(places_of(place), (counter, reason)))

    def _score(self, place: Place, half: Any, run: Run) -> None:
        if half.content in run.contents:
            self.fixed[place] = ("duplicate", "repeat")
            return
        run.contents.add(half.content)
        if run.dead:
            self.fixed[place] = ("duplicate", "late")
        elif run.batch and run.batch.cause:
            self.fixed[place] = ("applied", "revision")
            self._open(run.batch.track).rows.append(("revision", place, half, run.trace[1].reason))
        elif run.batch or run.score:
            self._compete(place, half, run)
        else:
            run.score = (place, half)
            if run.trace:
                self._complete(run, half.time_ms)

    def _compete(self, place: Place, half: Any, run: Run) -> None:
        if not self._beats(half, run.judge() if run.batch else run.score[1]):
            self.fixed[place] = ("duplicate", "score_superseded")
            return
        if run.score:
            self.fixed[run.score[0]] = ("duplicate", "score_superseded")
        run.score = (place, half)
        if run.batch:
            self._seal_if_full(run.batch, half.time_ms)

    @staticmethod
    def _beats(new: Any, old: Any) -> bool:
        return (-new.confidence, new.tiebreak) < (-old.confidence, old.tiebreak)

    # ---------------------------------------------------------- batches

    def _open(self, track: str) -> Batch:
        if track not in self.open:
            number = 1 + sum(batch.track == track for batch in self.sealed)
            self.open[track] = Batch(track, number)
        return self.open[track]

    def _complete(self, run: Run, at: int) -> None:
        run.batch = self._open(run.trace[1].track)
        run.done_at = at
        run.batch.rows.append(run)
        self._seal_if_full(run.batch, at)

    def accepted(self, batch: Batch) -> int:
        return sum(isinstance(row, Run) and not self.reasons(row) for row in batch.rows)

    def rejected(self, batch: Batch) -> int:
        return sum(isinstance(row, Run) and bool(self.reasons(row)) for row in batch.rows)

    def reasons(self, row: Any) -> tuple[str, ...]:
        half, extraction = (row.judge(), row.trace[1].reason) if isinstance(row, Run) else (row[2], row[3])
        found = [
            extraction,
            half.score < self.gates[0] and "low_score",
            half.confidence < self.gates[1] and "low_confidence",
        ]
        return tuple(reason for reason in found if reason)

    def _seal_if_full(self, batch: Batch, at: int) -> None:
        if self.accepted(batch) >= self.count:
            self._seal(batch, "count", at)

    def _seal(self, batch: Batch, cause: str, at: int) -> None:
        batch.cause, batch.at = cause, at
        self.sealed.append(batch)
        self.outbox.append(batch)
        del self.open[batch.track]

    def seal_rest(self) -> None:
        for _, batch in sorted(self.open.items()):
            if self.accepted(batch) or any(not isinstance(row, Run) for row in batch.rows):
                self._seal(batch, "idle", max(self.times.values()))

    # ---------------------------------------------------------- time

    def tick(self, now: int, at_end: set[str], *, expires: bool = True) -> None:
        said = {tp: max(self.times[tp], time) for tp, time in self.ended.items()}
        times = {**self.times, **said, **dict.fromkeys(at_end, now)}
        self.ended |= dict.fromkeys(at_end & self.times.keys(), now)
        slowest = {
            side: min((t for tp, t in times.items() if tp.startswith(names)), default=None)
            for side, names in (
                ("trace", "evaluation"),
                ("score", ("execution", "planning", "inference")),
                ("request", "inference"),
                ("response", "inference"),
            )
        }
        for run in self.runs.values() if expires else ():
            self._expire(run, slowest)
        for _, batch in sorted(self.open.items()):
            times = [row.done_at if isinstance(row, Run) else row[2].time_ms for row in batch.rows]
            oldest = min((*times, *batch.gone))
            if self.accepted(batch) >= self.min_count and now - oldest >= self.age_ms:
                self._seal(batch, "age", now)

    def _expire(self, run: Run, slowest: Mapping[str, Any]) -> None:
        half, alone = self._waiting(run), run.alone
        if half and self._overdue(half[1], slowest):
            self._fix(half[0], "expired")
            run.dead, run.trace, run.score = True, None, None
        if alone and self._overdue(alone[1], slowest):
            self._fix(alone[0], "expired")
            run.alone = None
            if not (run.trace or run.score or run.batch or run.dead):
                run.dead, run.trace_content = True, alone[1].content

    def _overdue(self, half: Any, slowest: Mapping[str, Any]) -> bool:
        upto = slowest[half.side]
        return upto is not None and half.time_ms + self.wait_ms < upto

    @staticmethod
    def _waiting(run: Run) -> Any:
        return None if run.batch or run.dead else run.trace or run.score

    # ---------------------------------------------------------- erasure

    def erase(self, keys: set[str]) -> None:
        """As if nobody had ever seen these runs, but that their records were read."""
        for batch in (*self.open.values(), *self.sealed):
            for row in list(batch.rows):
                gone = row.judge().key if isinstance(row, Run) else row[2].key
                if gone in keys:
                    batch.rows.remove(row)
                    batch.gone.append(row.done_at if isinstance(row, Run) else row[2].time_ms)
                    if not isinstance(row, Run):
                        self.fixed[row[1]] = ("rejected", "erased")
        for key in keys & self.runs.keys():
            run = self.runs.pop(key)
            halves = (run.alone,) if run.dead else (run.alone, run.trace, run.score)
            for half in filter(None, halves):
                self._fix(half[0], "rejected", "erased")

    # ---------------------------------------------------------- what came of it

    def fates(self) -> dict[Place, tuple[str, str]]:
        out = dict(self.fixed)
        for run in self.runs.values():
            if run.batch:
                name = "rejected" if self.reasons(run) else "applied"
                records = [place for half in (run.trace, run.score) if half for place in places_of(half[0])]
                out.update(dict.fromkeys(records, (name, "")))
            elif half := self._waiting(run):
                out.update(dict.fromkeys(places_of(half[0]), ("waiting", "")))
            if run.alone:
                out[run.alone[0]] = ("waiting", "")
        assert out.keys() == self.all.keys()
        return out

    def halves(self) -> set[Place]:
        return {place for place, item in self.all.items() if type(item).__name__ == "Half"}

    def counters(self) -> dict[str, dict[str, int]]:
        names = ("consumed", "applied", "duplicate", "dead_letter", "rejected", "waiting", "expired")
        out: dict[str, dict[str, int]] = {}
        for (tp, _), (name, _) in self.fates().items():
            counters = out.setdefault(tp, dict.fromkeys(names, 0))
            counters[name] += 1
            counters["consumed"] += 1
        return out

    def all_reasons(self) -> Mapping[str, int]:
        found = Counter(reason for _, reason in self.fixed.values() if reason)
        for run in self.runs.values():
            if run.batch:
                found.update(self.reasons(run))
        return dict(found)

    def seals(self) -> list[Any]:
        return [self._described(batch) for batch in self.sealed]

    def _described(self, batch: Batch) -> Any:
        rows, places = [], []
        for row in batch.rows:
            trace, score = (row.trace, row.score) if isinstance(row, Run) else (None, (row[1], row[2]))
            judge = (score or trace)[1]
            rows.append(
                (
                    judge.key,
                    self.reasons(row),
                    judge.score,
                    judge.confidence,
                    trace and trace[1].body,
                    score and score[1].body,
                    not isinstance(row, Run),
                )
            )
            places += [place for half in (trace, score) if half for place in places_of(half[0])]
        first = {tp: min(o for t, o in places if t == tp) for tp, _ in places}
        last = {tp: max(o for t, o in places if t == tp) for tp, _ in places}
        return (batch.id, batch.cause, batch.at, self.accepted(batch), self.rejected(batch), first, last, rows)
