"""Somebody's runs, from events or from a version of a dataset, joined and gated."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from l07.domain.example import Provenance, TrainingExample
from l07.events.record import Record, TopicPartition
from l07.pipeline.ingest import ingest, ingest_rules
from l07.ports import Half, SealedRow, Slice, Unreadable
from l07.service.extracting import as_row, thresholds
from l07.service.joining import Run, gate, join
from l07.settings import Settings

Progress = Callable[[Mapping[str, Any]], None]
READ_RECORDS = 500


@dataclass(slots=True)
class Input:
    """Runs with both parts, by track, in the order in which they became complete."""

    rows: dict[str, list[SealedRow]] = field(default_factory=lambda: defaultdict(list))
    unreadable: Counter[str] = field(default_factory=Counter)  # by code
    ignored: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    duplicates: Mapping[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """What came, and of what no run became."""
        return {
            "runs": sum(map(len, self.rows.values())),
            "waiting": self.waiting,
            **{f"unreadable, {code}": count for code, count in sorted(self.unreadable.items())},
            "ignored": self.ignored.total(),
            "duplicate": sum(self.duplicates.values()),
        }


def read_events(lines: Iterable[bytes], settings: Settings, progress: Progress) -> Input:
    """Events, one a line, decoded by the ingest and joined as the buffer joins them."""
    found, halves = halves_of(lines, settings, progress)
    joined = join(halves, prefer_separate=settings.join.prefer_separate_s > 0)
    found.waiting, found.duplicates = joined.waiting, joined.duplicates
    for run in joined.runs:
        assert run.trace is not None  # the join gives runs with both parts
        found.rows[run.trace.track].append(_row(run, settings))
    return found


class Halves(NamedTuple):
    """`found`: what was left out."""

    found: Input
    halves: list[Half]


def halves_of(lines: Iterable[bytes], settings: Settings, progress: Progress) -> Halves:
    """Events, one a line, decoded by the ingest."""
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
    return Halves(found, halves)


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
        found.unreadable[msgspec.json.decode(item.message.value)["data"]["code"]] += 1
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
        request=run.request.body if run.request else None,
        request_at=("audit", 0, run.request.offset) if run.request else None,
    )  # fmt: skip
