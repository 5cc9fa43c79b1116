"""The audit as one call: somebody's runs, faults planted into a copy of them, versions built as `l07 run` builds them, in
a scratch folder, and what became of each run."""

import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from l07.domain.example import NoExample, Provenance, TrainingExample, extract
from l07.domain.plants.base import Pool
from l07.domain.plants.plan import Plant, plants
from l07.domain.selection import keyed_hash
from l07.events.record import Record, TopicPartition
from l07.pipeline import curate
from l07.pipeline.audit.figures import Fact, figures, goals
from l07.pipeline.audit.leaks import Row, leaks
from l07.pipeline.audit.rows import sealed, with_plants
from l07.pipeline.ingest import ingest, ingest_rules
from l07.ports import Curator, Entry, Half, SealedBatch, SealedRow, Slice, Unreadable
from l07.service.extracting import as_row, thresholds
from l07.service.joining import Run, gate, join
from l07.settings import Settings, Track

Progress = Callable[[Mapping[str, Any]], None]
READ_RECORDS = 500


@dataclass(frozen=True, slots=True)
class Audit:
    """What is asked for."""

    rates: Mapping[str, float]
    seed: int
    half: str = ""  # "a" or "b": only tasks of that half; "": all
    truth: Mapping[str, str] = field(default_factory=dict)  # natural key -> what is wrong with the run; "": nothing


@dataclass(slots=True)
class Input:
    """Runs with both parts, by track, in the order in which they became complete."""

    rows: dict[str, list[SealedRow]] = field(default_factory=lambda: defaultdict(list))
    unreadable: Counter[str] = field(default_factory=Counter)  # by code
    ignored: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    duplicates: Mapping[str, int] = field(default_factory=dict)


def read_events(lines: Iterable[bytes], settings: Settings, progress: Progress) -> Input:
    """Events, one a line, decoded by the ingest and joined as the buffer joins them."""
    found, halves = Input(), list[Half]()
    place, start = TopicPartition("audit", 0), 0
    rules = ingest_rules(settings, cluster="audit")
    now_ms = time.time_ns() // 1_000_000
    source = iter(lines)
    while chunk := list(islice(source, READ_RECORDS)):
        records = [Record("audit", 0, start + number, now_ms, None, line) for number, line in enumerate(chunk)]
        for item in ingest([Slice(place, start, start + len(records), records)], rules=rules).items:
            _sort(item, found, halves)
        start += len(records)
        progress({"phase": "read", "records": len(records)})
    joined = join(halves, prefer_separate=settings.join.prefer_separate_s > 0)
    found.waiting, found.duplicates = joined.waiting, joined.duplicates
    for run in joined.runs:
        assert run.trace is not None  # the join gives runs with both parts
        found.rows[run.trace.track].append(_row(run, settings))
    return found


def read_dataset(folder: Path, track: str, settings: Settings) -> Input:
    """The rows of a published version, checked, as runs: those of its splits and those beside them.

    Raises DatasetChanged (E7102), DatasetUnreadable (E7103)."""
    from l07.backends.parquet import read_rows, verify
    from l07.domain.dataset import TABLES

    verify(folder)
    found = Input()
    rows = sorted((row for table in TABLES for row in read_rows(folder, table)), key=lambda row: str(row["key"]))
    for number, row in enumerate(rows):
        found.rows[track].append(as_row(_example(row), number=number, settings=settings))
    return found


def _example(row: Mapping[str, Any]) -> TrainingExample:
    names = ("key", "goal", "outcome", "domain", "task_type", "task_id", "agent_id", "source", "difficulty")
    return TrainingExample(
        **{name: row[name] for name in (*names, "quality_score", "confidence", "model_version")},
        messages=tuple(row["messages"]),
        tools=tuple(row["tools"]),
        provenance=Provenance("dataset", row["source"], "", None, None, None, ""),
    )


def _sort(item: Any, found: Input, halves: list[Half]) -> None:
    if isinstance(item, Half):
        halves.append(item)
    elif isinstance(item, Unreadable):
        found.unreadable["unreadable"] += 1
    else:
        found.ignored[item.reason] += 1


def _row(run: Run, settings: Settings) -> SealedRow:
    trace, judge, score = run.trace, run.judge, run.score
    assert trace is not None
    assert judge is not None
    quality, confidence = judge.score or 0.0, judge.confidence or 0.0
    reasons = gate(trace.reason, quality, confidence, **thresholds(settings))
    at = ("audit", 0, trace.offset)
    return SealedRow(
        trace.key, "REJECT" if reasons else "ACCEPT", reasons, quality, confidence, trace.body,
        score.body if score else None, at, ("audit", 0, score.offset) if score else None,
    )  # fmt: skip


async def audit(
    given: Input, asked: Audit, settings: Settings, *, curator: Curator, progress: Progress
) -> dict[str, Any]:
    """The whole report as data; versions are built in a scratch folder that is gone afterwards."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="l07-audit-") as scratch:
        work = _Work(asked, settings.model_copy(update={"data_dir": Path(scratch)}), curator, progress)
        for track, rows in sorted(given.rows.items()):
            await work.track(track, rows)
        report = work.report()
    return {
        "audit": 1,
        "seed": asked.seed,
        "half": asked.half or None,
        "rates": dict(asked.rates),
        "labelled": len(asked.truth),
        "input": {
            "runs": sum(map(len, given.rows.values())),
            "waiting": given.waiting,
            "unreadable": given.unreadable.total(),
            "ignored": dict(given.ignored),
            "duplicates": dict(given.duplicates),
        },
        **report,
        "seconds": round(time.monotonic() - started, 1),
    }


class _Work:
    """Track by track: plant, build, look at what came out."""

    def __init__(self, asked: Audit, settings: Settings, curator: Curator, progress: Progress) -> None:
        from l07.backends.open import open_ledger, open_store

        self._asked, self._settings = asked, settings
        self._curator, self._progress = curator, progress
        self._store, self._ledger = open_store(settings), open_ledger(settings, "datasets")
        self._facts: list[Fact] = []
        self._plants: list[Plant] = []
        self._rows: list[Row] = []
        self._versions: list[dict[str, Any]] = []
        self._refused: list[dict[str, Any]] = []

    async def track(self, track: str, rows: Sequence[SealedRow]) -> None:
        examples = self._examples(rows)
        kept = [row for row in rows if row.key in examples]
        names = _names(examples.values())
        planted = plants(self._pools(kept, examples, names), self._asked.rates, seed=self._asked.seed)
        self._progress({"phase": "plant", "records": len(planted)})
        with_faults, later = with_plants(kept, planted)
        count = self._settings.tracks.get(track, Track()).seal.count
        batches = list(sealed(track, with_faults, later, count=count))
        newest = await self._build(track, batches)
        self._plants += planted
        self._look(newest, with_faults, examples, planted, names)

    def _examples(self, rows: Sequence[SealedRow]) -> dict[str, TrainingExample]:
        """The runs of the asked half that can be examples at all."""
        found = {}
        for number, row in enumerate(rows):
            example = extract(
                row.key, row.trace, row.evaluation, score=row.score, confidence=row.confidence,
                trace_at=row.trace_at, evaluation_at=row.evaluation_at,
            )  # fmt: skip
            if not isinstance(example, NoExample) and self._asked.half in ("", half_of(example)):
                found[row.key] = example
            if number % READ_RECORDS == 0:
                self._progress({"phase": "look", "step": number, "steps": len(rows)})
        return found

    def _pools(
        self, rows: Sequence[SealedRow], examples: Mapping[str, TrainingExample], names: "Mapping[tuple[str, str], str]"
    ) -> dict[str, Pool]:
        """Of each source what may be planted into: nothing that a label calls spoiled."""
        accepted: dict[str, list[TrainingExample]] = defaultdict(list)
        rejected: dict[str, list[TrainingExample]] = defaultdict(list)
        for row in rows:
            example = examples[row.key]
            name = names[(example.source, example.domain)]
            if row.decision == "ACCEPT" and not self._asked.truth.get(row.key):
                accepted[name].append(example)
            elif "low_score" in row.reasons:
                rejected[name].append(example)
        return {name: Pool.of(accepted[name], rejected[name]) for name in accepted}

    async def _build(self, track: str, batches: Sequence[SealedBatch]) -> Entry | None:
        waiting: list[SealedBatch] = []
        for number, batch in enumerate(batches, 1):
            self._progress({"phase": "curate", "step": number, "steps": len(batches), "track": track})
            waiting.append(batch)
            standing = curate.Standing.of(await self._ledger.entries(), track)
            made = await curate.next_version(
                _Asked(_Batch(track, batch.seal.batch_id)), waiting, standing, ledger=self._ledger, store=self._store,
                curator=self._curator, settings=self._settings,
            )  # fmt: skip
            if isinstance(made, Entry):
                waiting = []
                self._versions.append(_version(made))
            elif number == len(batches):
                self._refused.append({"track": track, **made})
        return curate.Standing.of(await self._ledger.entries(), track).newest

    def _look(
        self,
        newest: Entry | None,
        rows: Sequence[SealedRow],
        examples: Mapping[str, TrainingExample],
        planted: Sequence[Plant],
        names: "Mapping[tuple[str, str], str]",
    ) -> None:
        from l07.backends.parquet import read_members, read_rows
        from l07.domain.dataset import SPLITS

        folder = self._store.path(newest.body["data"]["uri"]) if newest else None
        members = {member["key"]: member for member in read_members(folder)} if folder else {}
        by_key = {plant.key: plant for plant in planted}
        for row in rows:
            plant = by_key.get(row.key)
            example = plant.example if plant else examples[row.key]
            name = names[(example.source, example.domain)]
            self._facts.append(_fact(row, name, plant, members.get(row.key), self._asked.truth.get(row.key, "")))
        for table in SPLITS:
            for found in read_rows(folder, table) if folder else ():
                task = f"{found['domain']}/{found['task_id']}"
                self._rows.append(Row(found["key"], table, task, found["goal"], found["messages"]))

    def report(self) -> dict[str, Any]:
        self._progress({"phase": "measure", "step": 0, "steps": 1})
        found = {
            "versions": self._versions,
            "refused": self._refused,
            **figures(self._facts),
            "leaks": leaks(self._rows, similarity=self._settings.filter.cluster_similarity),
            "planted": [_told(fact) for fact in self._facts if fact.kind],
        }
        self._progress({"phase": "measure", "step": 1, "steps": 1})
        return found | {"goals": goals(found)}


@dataclass(frozen=True, slots=True)
class _Batch:
    track: str
    batch_id: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """What stands where the pipeline has the event batch.sealed."""

    data: _Batch
    correlationid: str | None = None

    @property
    def id(self) -> str:
        return f"audit:{self.data.batch_id}"


def half_of(example: TrainingExample) -> str:
    """ "a" or "b": runs of one task are in one half, whatever is asked and planted."""
    return "ab"[keyed_hash(0, "half", f"{example.domain}/{example.task_id}") % 2]


def _names(examples: Iterable[TrainingExample]) -> dict[tuple[str, str], str]:
    """What a (source, domain) is called: by its domain, with the source before it where there are several."""
    pairs = sorted({(example.source, example.domain) for example in examples})
    several = len({source for source, _ in pairs}) > 1
    return {pair: f"{pair[0]} {pair[1]}" if several else pair[1] for pair in pairs}


def _version(entry: Entry) -> dict[str, Any]:
    data = entry.body["data"]
    return {
        "id": entry.key,
        "splits": data["splits"],
        "added": data["added"],
        "removed": data["removed"],
        "counts": entry.body["counts"],
    }


def _fact(row: SealedRow, source: str, plant: Plant | None, member: Mapping[str, Any] | None, label: str) -> Fact:
    real = plant is None and bool(label)
    known = (
        {
            "decision": member["decision"],
            "table": member["table"] or "",
            "reasons": tuple(member["reasons"]),
            "scores": dict(member.get("scores") or {}),
        }
        if member
        else {"built": False}
    )
    return Fact(
        key=row.key,
        source=source,
        passed=row.decision == "ACCEPT",
        kind=plant.kind if plant else f"real {label}" if real else "",
        fault=plant.fault if plant else label,
        of=plant.of if plant else "",
        what=plant.what if plant else "labelled" if real else "",
        real=real,
        **known,
    )


def _told(fact: Fact) -> dict[str, Any]:
    names = ("key", "source", "kind", "fault", "of", "what", "fate", "table", "decision", "reasons", "scores")
    return {name: getattr(fact, name) for name in names}
