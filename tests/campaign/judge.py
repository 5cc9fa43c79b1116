"""The judge: what must have come of the input log, and what came of it. It shares no code with `l07`, and a test holds that.

`fold` reads the committed input records, in the order of each partition, and says what is expected; `Verdict` compares."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.campaign.reading import Place, Raw
from tests.campaign.rules import Poisoned, Said, read

QUALITY, CONFIDENCE = 70.0, 0.6
Match = Mapping[str, Mapping[str, Sequence[str]]]


@dataclass
class Run:
    """What the log holds of one run."""

    trace: Said | None = None
    trace_place: Place | None = None
    scores: dict[tuple[float, float, str], tuple[Said, Place]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a joined run must become."""

    track: str
    accepted: bool
    score: float
    confidence: float
    several: int  # different scores: each beyond the first may come as a revision


@dataclass
class Expected:
    """All that follows from the input log."""

    records: Counter[tuple[str, int]] = field(default_factory=Counter)  # committed, by partition
    letters: set[Place] = field(default_factory=set)
    joined: dict[str, Outcome] = field(default_factory=dict)
    counts: dict[tuple[str, int], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    waiting: set[str] = field(default_factory=set)


class Fold:
    """The log so far; `add` record by record, `expected` whenever asked."""

    def __init__(self, tracks: Match) -> None:
        self._tracks = tracks
        self._runs: dict[str, Run] = defaultdict(Run)
        self._out = Expected()
        self.kinds: Counter[str] = Counter()

    def add(self, raw: Raw) -> None:
        where = (raw.place.topic, raw.place.partition)
        self._out.records[where] += 1
        try:
            said = read(raw)
        except Poisoned as err:
            self.kinds[f"poison: {err}"] += 1
            self._out.letters.add(raw.place)
            self._out.counts[where]["dead_letter"] += 1
            return
        if said.kind == "unread":
            self._out.counts[where]["rejected"] += 1
        elif said.kind == "score":
            self._score(said, raw.place)
        else:
            self._trace(said, raw.place)

    def _trace(self, said: Said, place: Place) -> None:
        where = (place.topic, place.partition)
        if self._track(said) is None:
            self._out.counts[where]["rejected"] += 1
            return
        run = self._runs[said.key]
        if run.trace is not None:  # a repeat, or a conflict that came later in its partition
            self._out.counts[where]["used"] += 1
        else:
            run.trace, run.trace_place = said, place

    def _score(self, said: Said, place: Place) -> None:
        run = self._runs[said.key]
        same = (said.score, said.confidence, said.evaluation)
        if same in run.scores:
            self._out.counts[(place.topic, place.partition)]["used"] += 1
        else:
            run.scores[same] = (said, place)

    def _track(self, said: Said) -> str | None:
        for name, match in self._tracks.items():
            if said.domain in match.get("domains", [said.domain]) and said.source in match.get(
                "sources", [said.source]
            ):
                return name
        return None

    def expected(self) -> Expected:
        """A copy that later records do not change."""
        out = Expected(self._out.records.copy(), set(self._out.letters))
        for where, counts in self._out.counts.items():
            out.counts[where] = counts.copy()
        for key, run in self._runs.items():
            self._settle(key, run, out)
        return out

    def _settle(self, key: str, run: Run, out: Expected) -> None:
        scores = list(run.scores.values())
        whole = run.trace is not None and (scores or run.trace.score is not None)
        if not whole:
            out.waiting.add(key)
            places = [run.trace_place] if run.trace_place else [place for _, place in scores]
            for place in places[:1]:
                out.counts[(place.topic, place.partition)]["waiting"] += 1
            for place in places[1:]:
                out.counts[(place.topic, place.partition)]["used"] += 1
            return
        assert run.trace is not None
        assert run.trace_place is not None
        best = max((said for said, _ in scores), key=lambda said: said.confidence) if scores else run.trace
        accepted = not run.trace.flaw and best.score >= QUALITY and best.confidence >= CONFIDENCE
        out.joined[key] = Outcome(
            self._track(run.trace) or "", accepted, best.score, best.confidence, max(0, len(scores) - 1)
        )
        word = "used" if accepted else "rejected"
        for place in [run.trace_place, *(place for _, place in scores[:1])]:
            out.counts[(place.topic, place.partition)][word] += 1
        for _, place in scores[1:]:
            out.counts[(place.topic, place.partition)]["used"] += 1


@dataclass(frozen=True)
class Seen:
    """One batch.sealed as it stands in the outgoing log."""

    ident: str
    batch: str
    track: str
    keys: tuple[str, ...]
    decided: int  # accepted and rejected: keys that are no revisions
    epoch: int  # how often the buffer had lost what was published, when this was


@dataclass
class Judgement:
    """What is wrong; nothing, when `faults` is empty."""

    faults: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def must(self, name: str, wrong: Iterable[object]) -> None:
        """`wrong` must hold nothing; how many there are is a number of the report."""
        found = sorted(map(str, wrong))
        self.numbers[name] = len(found)
        if found:
            self.faults.append(f"{name}: {len(found)}, such as {', '.join(found[:4])}")


def compare(
    expected: Expected,
    seals: Sequence[Seen],
    letters: Sequence[Place],
    counts: Mapping[tuple[str, int], Mapping[str, int]],
) -> Judgement:
    """Everything but the datasets."""
    out = Judgement()
    _batches(expected, seals, out)
    found = Counter(letters)
    out.must("dead letters lost", expected.letters - found.keys())
    out.must("dead letters of sound records", found.keys() - expected.letters)
    _conservation(expected, counts, out)
    return out


def _batches(expected: Expected, seals: Sequence[Seen], out: Judgement) -> None:
    """Each joined run in exactly one batch an epoch; a run of several scores may come again as a revision of them."""
    times: Counter[tuple[int, str]] = Counter(key_at for seal in seals for key_at in _keys(seal))
    known = {key for _, key in times}
    out.must("runs lost", expected.joined.keys() - known)
    out.must("runs out of nowhere", known - expected.joined.keys())
    out.must(
        "runs doubled",
        (
            f"{key} {n} times" for (_, key), n in times.items()
            if n > 1 + (expected.joined[key].several if key in expected.joined else 0)
        ),
    )  # fmt: skip
    out.must(
        "runs of another track",
        (
            key
            for seal in seals
            for key in seal.keys
            if key in expected.joined and expected.joined[key].track != seal.track
        ),
    )
    out.must("batches out of order", _disorder(seals))
    revisions = sum(len(seal.keys) - seal.decided for seal in seals)
    again = sum(times.values()) - len(times)
    rolled_back = any(seal.epoch for seal in seals)  # then a revision may stand in a later epoch than what it revises
    if again > revisions or (again < revisions and not rolled_back):
        out.faults.append(f"{again} keys came again, but the batches say {revisions} revisions")
    out.numbers |= {"runs joined": len(expected.joined), "revisions": revisions, "batches": len(seals)}


def _keys(seal: Seen) -> Iterable[tuple[int, str]]:
    return ((seal.epoch, key) for key in seal.keys)


def _disorder(seals: Sequence[Seen]) -> Iterable[str]:
    """Numbers of a track and shard rise from one first occurrence to the next, without a hole."""
    last: dict[tuple[int, str, str], int] = {}
    for seal in seals:
        head, _, number = seal.batch.rpartition("-")
        shard, _, inner = number.rpartition(".")
        at = (seal.epoch, head, shard)
        if at in last and int(inner) != last[at] + 1:
            yield f"{seal.batch} after {last[at]}"
        last[at] = int(inner)


def _conservation(expected: Expected, counts: Mapping[tuple[str, int], Mapping[str, int]], out: Judgement) -> None:
    wrong = []
    for where, total in sorted(expected.records.items()):
        have, want = Counter(counts.get(where, {})), expected.counts[where]
        used = have["applied"] + have["duplicate"]
        parts = used + have["dead_letter"] + have["rejected"] + have["waiting"] + have["expired"]
        if have["consumed"] != total or parts != total:
            wrong.append(f"{where}: {total} in the log, {have['consumed']} consumed, {parts} accounted for")
        told = {"used": used} | {name: have[name] for name in ("dead_letter", "rejected", "waiting", "expired")}
        wrong += [f"{where}: {name} {n}, expected {want[name]}" for name, n in told.items() if n != want[name]]
    out.must("conservation broken", wrong)
    out.numbers["records"] = sum(expected.records.values())
